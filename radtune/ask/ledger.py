"""The ledger of a run: every answer that was ever paid for, in SQLite beside the output, so that a kill loses none.

An answer is committed as soon as it has come. Nothing is ever removed: after a change of model, prompt or parameters
the old answers stay, and asking as before costs nothing. ``sqlite3 OUTPUT.ledger 'SELECT * FROM answers'`` shows it,
also while a run writes it. The ledgers of earlier versions, JSON lines under the same name, are taken over when opened.
"""

import json
import os
import sqlite3
import sys
import time
import typing
from collections.abc import Iterator
from contextlib import ExitStack, closing, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, BinaryIO, TypeVar

import msgspec

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
# Blank lines, and the zeros that a power cut leaves where a file system has not come to write.
_NOTHING = b"\0 \t\r\n"
# How long answers that are paid for wait for room on the disk.
MOST_PATIENCE_S, _PAUSE_S = 600.0, 1.0

Kept = TypeVar("Kept")
_Tokens = Annotated[int, msgspec.Meta(ge=0, le=10**9)]


@dataclass(frozen=True)
class Said:
    """An answer as it is kept: all that a reader or a reviewer may want to know of how it came to be.

    Among it is what MI-CLEAR-LLM (Park et al., Korean J Radiol 25, 2024) asks authors to state: the model and version
    that answered, the date, the parameters, the prompt, and how the answer was come by.
    """

    response: str
    finished: bool
    refused: bool
    report_id: str = ""
    task: str = ""
    vote: int = 0  # which of the report's samples
    asked_again: bool = False
    finish_reason: str | None = None
    as_json: bool = False
    cut_words: int = 0
    scores: dict[str, float] | None = None  # by class
    usage: dict[str, _Tokens] | None = None
    model: str | None = None
    adapter: str | None = None
    model_returned: str | None = None
    fingerprint: str | None = None
    temperature: float | None = None
    max_tokens: int | None = None
    seed: int | None = None
    prompt_sha256: str | None = None
    seed_example_ids: tuple[str, ...] = ()
    images: tuple[str, ...] = ()  # SHA-256 of what was shown, as radtune.images names it
    endpoint: str | None = None  # the server's host; None for a model in the process
    created: str | None = None


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
                if head and _LINE_BEGINS.startswith(head.strip(_NOTHING)):
                    held.enter_context(_take_over(path))
                elif head not in (b"", _SQLITE_BEGINS):
                    raise InputError(f"{path}:1: not an answer written here; give another output=")
            try:
                self._db = _connect(path or ":memory:", "WAL", _NEW)
                self.taken_over = self._db.execute("PRAGMA user_version").fetchone()[0] == _TAKEN_OVER
                self._keys = {key for (key,) in self._db.execute("SELECT key_sha256 FROM answers")}
            except sqlite3.Error as error:
                raise _unreadable(path, error) from None
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

    def get(self, key_sha256: str, kind: type[Kept] = Said) -> Kept | None:  # type: ignore[assignment]
        """The latest answer to a question; None if there is none. Earlier versions kept another ``kind``."""
        if key_sha256 not in self._keys:
            return None
        try:
            (text,) = self._db.execute("SELECT answer FROM answers WHERE key_sha256 = ?", [key_sha256]).fetchone()
            return _read(text, kind)
        except sqlite3.Error as error:
            raise _unreadable(self.path, error) from None
        except (ValueError, RecursionError, TypeError):
            # The decoder's own message may quote the answer, and the answer may hold a patient's text.
            remove = f"delete from answers where key_sha256 = '{key_sha256}'"  # noqa: S608  (words for people)
            raise InputError(
                f'{self.path}: a damaged answer; to ask its report alone again: sqlite3 {self.path} "{remove}"'
            ) from None

    def append(self, key_sha256: str, said: Said) -> None:
        """Keeps an answer; it is in the file on return.

        It is paid for. So where the disk is full, it is waited for that somebody makes room, as long as
        :data:`MOST_PATIENCE_S`; what comes from a server meanwhile waits with it.
        """
        row = key_sha256, said.report_id, msgspec.json.encode(said).decode()
        began, told = time.monotonic(), False
        while True:
            try:
                self._db.execute(_INSERT, row)
                break
            except sqlite3.Error as error:
                may_pass = isinstance(error, sqlite3.OperationalError)
                if not may_pass or time.monotonic() - began >= MOST_PATIENCE_S:
                    raise InputError(f"{self.path}: cannot write: {error}; the last answers are lost") from None
                if not told:
                    told = True
                    print(f"{self.path}: cannot write: {error}; waiting for room, answers are kept", file=sys.stderr)
                time.sleep(_PAUSE_S)
        self._keys.add(key_sha256)


def _unreadable(path: Path | None, error: sqlite3.Error) -> InputError:
    return InputError(f"{path}: cannot read: {error}; for what is left of it: sqlite3 {path} .recover | sqlite3 NEW")


def _read(text: str, kind: type[Kept]) -> Kept:
    """An answer from its JSON; a value of another type counts as not given, where there need be none."""
    try:
        return msgspec.json.decode(text, type=kind)
    except msgspec.ValidationError:
        given, hints = msgspec.json.decode(text, type=dict), typing.get_type_hints(kind, include_extras=True)
        for name in hints.keys() & given.keys():
            try:
                msgspec.convert(given[name], hints[name])
            except msgspec.ValidationError:
                del given[name]
        return msgspec.convert(given, kind)


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
    ours = False
    with open(path, "rb") as stream:
        for number, line in enumerate(stream, start=1):
            if not line.strip(_NOTHING):
                continue
            try:
                # The last answer's newline may be lost, and zeros stand in its place.
                answer = json.loads(line.strip(_NOTHING))
                key = bytes.fromhex(answer.pop("key_sha256")).hex()
                if len(key) != 64:
                    raise ValueError
            except (ValueError, RecursionError, KeyError, TypeError, AttributeError):
                if not line.endswith(b"\n") and _LINE_BEGINS.startswith(line[: len(_LINE_BEGINS)].rstrip(b"\0")):
                    # Cut short by a kill; what it was about is asked again.
                    return
                if not ours:
                    raise InputError(f"{path}:{number}: not an answer written here; give another output=") from None
                raise InputError(
                    f"{path}:{number}: a damaged answer; remove this line, and its report alone is asked again"
                ) from None
            ours, report_id = True, answer.get("report_id")
            yield key, report_id if isinstance(report_id, str) else None, jsonl_line(answer).rstrip("\n")
