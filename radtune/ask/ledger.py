"""The ledger of a run: every answer that was ever paid for, in SQLite beside the output, so that a kill loses none.

An answer is committed as soon as it has come. Nothing is ever removed: after a change of model, prompt or parameters
the old answers stay, and asking as before costs nothing. ``sqlite3 OUTPUT.ledger 'SELECT * FROM answers'`` shows it,
also while a run writes it. The ledgers of earlier versions, JSON lines under the same name, are taken over when opened.
"""

import json
import os
import sqlite3
from collections.abc import Iterator
from contextlib import ExitStack, closing, suppress
from pathlib import Path
from typing import Any, BinaryIO

from radtune.config import InputError
from radtune.files import jsonl_line, lock

# "radt"; tells our files from other databases.
_APPLICATION_ID = 0x72616474
# Of a ledger that was made as one, and of one that was taken over.
_NEW, _TAKEN_OVER = 1, 2
_TABLE = "CREATE TABLE IF NOT EXISTS answers (key_sha256 TEXT PRIMARY KEY, report_id TEXT, answer TEXT NOT NULL)"
_INSERT = "INSERT OR REPLACE INTO answers VALUES (?, ?, ?)"
_SQLITE_BEGINS = b"SQLite format 3\0"
# How every line of an earlier ledger begins.
_LINE_BEGINS = b'{"key_sha256": "'


def ledger_path(output: Path) -> Path:
    """Where the ledger of an output file stands: ``annotations.jsonl`` -> ``annotations.jsonl.ledger``."""
    return output.with_name(f"{output.name}.ledger")


class Ledger:
    """Answers by the hash of what was asked, written by one process at a time. Use as a context manager.

    ``taken_over`` says whether it holds answers of an earlier version, by that version's keys.
    """

    def __init__(self, path: Path | None) -> None:
        """Opens or makes the file, and locks it; None is a ledger in memory.

        Raises:
            InputError: Another process has it, it cannot be written, or it holds something else than answers.
        """
        self.path = path
        with ExitStack() as held:
            if path is not None:
                # Another kind of lock than SQLite's own, which lets others read meanwhile. Its handle stays open until
                # SQLite has closed its own: closing any handle of a process takes SQLite's locks away.
                head = held.enter_context(lock(path)).read(len(_SQLITE_BEGINS))
                if head and _LINE_BEGINS.startswith(head):
                    held.enter_context(_take_over(path))
                elif head not in (b"", _SQLITE_BEGINS):
                    raise _foreign(path, 1)
            try:
                self._db = _connect(path or ":memory:", "WAL", _NEW)
                self.taken_over = self._db.execute("PRAGMA user_version").fetchone()[0] == _TAKEN_OVER
                self._keys = {key for (key,) in self._db.execute("SELECT key_sha256 FROM answers")}
            except sqlite3.Error as error:
                raise InputError(f"{path}: cannot read: {error}") from None
            self._lock = held.pop_all()

    def __enter__(self) -> "Ledger":
        return self

    def __exit__(self, *error: object) -> None:
        # On a full disk the last answers stay in the file's write-ahead log, where the next start finds them.
        with suppress(sqlite3.Error):
            self._db.close()
        if self.path is not None and not self._keys:
            self.path.unlink(missing_ok=True)
        self._lock.close()

    def __len__(self) -> int:
        return len(self._keys)

    def __contains__(self, key_sha256: str) -> bool:
        return key_sha256 in self._keys

    def get(self, key_sha256: str) -> dict[str, Any] | None:
        """The latest answer to a question, as it was appended; None if there is none."""
        if key_sha256 not in self._keys:
            return None
        try:
            found = self._db.execute("SELECT answer FROM answers WHERE key_sha256 = ?", [key_sha256]).fetchone()
            return json.loads(found[0])
        except (sqlite3.Error, ValueError, RecursionError, TypeError):
            # The decoder's own message may quote the answer, and the answer may hold a patient's text.
            raise InputError(f"{self.path}: the answer {key_sha256} is damaged; remove it to go on") from None

    def append(self, key_sha256: str, answer: dict[str, Any]) -> None:
        """Keeps an answer; it is in the file on return."""
        try:
            self._db.execute(_INSERT, [key_sha256, answer.get("report_id"), jsonl_line(answer).rstrip("\n")])
        except sqlite3.Error as error:
            raise InputError(f"{self.path}: cannot write: {error}") from None
        self._keys.add(key_sha256)


def _connect(path: Path | str, journal: str, version: int) -> sqlite3.Connection:
    db = sqlite3.connect(path, isolation_level=None)
    try:
        # Ours have an id; another program's database has tables of its own.
        (application,) = db.execute("PRAGMA application_id").fetchone()
        if application != _APPLICATION_ID and db.execute("SELECT 1 FROM sqlite_master").fetchone():
            raise InputError(f"{path}: not answers written here; give another output=")
        db.execute(f"PRAGMA journal_mode={journal}")
        # A kill loses nothing that was committed; a power cut may lose the last answers, as with any file.
        db.execute("PRAGMA synchronous=NORMAL")
        if application != _APPLICATION_ID:
            db.execute(f"PRAGMA application_id={_APPLICATION_ID}")
            db.execute(f"PRAGMA user_version={version}")
        db.execute(_TABLE)
    except BaseException:
        db.close()
        raise
    return db


def _take_over(path: Path) -> BinaryIO:
    """Puts SQLite with the same answers in an earlier version's place, whole or not at all; gives a locked handle."""
    new = path.with_name(f".{path.name}.tmp")
    try:
        new.unlink(missing_ok=True)
        with ExitStack() as undo:
            undo.callback(new.unlink, missing_ok=True)
            taken_over = undo.enter_context(lock(new))
            with closing(_connect(new, "DELETE", _TAKEN_OVER)) as db:
                db.execute("BEGIN")
                db.executemany(_INSERT, _lines(path))
                db.execute("COMMIT")
            os.replace(new, path)
            undo.pop_all()
    except (OSError, sqlite3.Error) as error:
        raise InputError(f"{path}: cannot write: {getattr(error, 'strerror', None) or error}") from None
    return taken_over


def _lines(path: Path) -> Iterator[tuple[str, Any, str]]:
    with open(path, "rb") as stream:
        for number, line in enumerate(stream, start=1):
            try:
                answer = json.loads(line)
                key = bytes.fromhex(answer.pop("key_sha256")).hex()
                if len(key) != 64:
                    raise ValueError
            except (ValueError, RecursionError, KeyError, TypeError, AttributeError):
                if not line.endswith(b"\n") and _LINE_BEGINS.startswith(line[: len(_LINE_BEGINS)]):
                    # Cut short by a kill; what it was about is asked again.
                    return
                raise _foreign(path, number) from None
            yield key, answer.get("report_id"), jsonl_line(answer).rstrip("\n")


def _foreign(path: Path, number: int) -> InputError:
    return InputError(f"{path}:{number}: not an answer written here; give another output=")
