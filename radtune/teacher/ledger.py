"""The ledger of a labelling run: ``annotations.jsonl`` itself, appended to row by row, so that a kill loses nothing.

A row stands in the file, whole, as soon as its answer has come. A process that dies while it writes leaves at most
one unfinished line at the end, which the next one takes away. When a run ends, the file is rewritten once: one row a
report, in the order of the reports.
"""

import dataclasses
import fcntl
import glob
import json
import os
import stat
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

from radtune.config import InputError
from radtune.files import jsonl_line, write_whole

# How every row begins; tells a line that a kill cut short from a file that is none of ours.
_ROW_BEGINS = b'{"report_id": "'


@dataclass(frozen=True)
class Entry:
    """What the ledger knows of its latest row about a report.

    Attributes:
        key_sha256: What was asked: report, prompt and parameters.
        status: What became of it.
        tokens: Tokens of its prompt and its answer together.
        start: Offset of its line in the file, in bytes.
        length: Length of its line, with the newline.
    """

    key_sha256: str
    status: str
    tokens: int
    start: int
    length: int


class Ledger:
    """A file of rows that one process at a time appends to. Use as a context manager.

    Attributes:
        entries: By report id, the latest row.
    """

    def __init__(self, path: Path) -> None:
        """Opens or makes the file, locks it and reads what it holds.

        Raises:
            InputError: Another process has it, it cannot be written, or it holds something else than annotations.
        """
        self.path = Path(path)
        self.entries: dict[str, Entry] = {}
        self._size = 0
        self._file = _open_locked(self.path)
        try:
            # What a kill in the middle of a rewrite left behind is a second copy of patients' reports.
            for left in self.path.parent.glob(f".{glob.escape(self.path.name)}.*.tmp"):
                left.unlink()
            self._read()
        except BaseException:
            os.close(self._file)
            raise

    def __enter__(self) -> "Ledger":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._size == 0:
            self.path.unlink(missing_ok=True)
        os.close(self._file)

    def append(self, row: dict[str, Any]) -> None:
        """Writes a row of annotations; it is in the file on return.

        Raises:
            InputError: The file cannot be written, e.g. because the disk is full.
        """
        line = jsonl_line(row).encode("utf-8")
        try:
            self._write(line)
        except OSError as error:
            # The size counts whole rows only.
            os.ftruncate(self._file, self._size)
            raise InputError(f"{self.path}: cannot write: {error.strerror}") from None
        self._enter(row["report_id"], _entry(row, self._size, len(line)))

    def finish(self, report_ids: Iterable[str]) -> None:
        """Rewrites the file, whole or not at all: the latest row of each report, in the order of their ids.

        Raises:
            InputError: It cannot be written.
        """
        try:
            with write_whole(self.path) as stream:
                # The new file is locked before it has its name, and stays open: at no moment can another process
                # find the file free while this one still works on it.
                fcntl.flock(stream.fileno(), fcntl.LOCK_EX)
                held = os.dup(stream.fileno())
                for report_id in report_ids:
                    if entry := self.entries.get(report_id):
                        stream.write(os.pread(self._file, entry.length, entry.start).decode("utf-8"))
        except OSError as error:
            raise InputError(f"{self.path}: cannot write: {error.strerror}") from None
        os.close(self._file)
        self._file = held
        self._read()

    def _write(self, line: bytes) -> None:
        written = 0
        while written < len(line):
            written += os.pwrite(self._file, line[written:], self._size + written)

    def _read(self) -> None:
        self.entries.clear()
        self._size = 0
        with open(self.path, "rb") as stream:
            for number, line in enumerate(stream, start=1):
                try:
                    row = json.loads(line)
                    entry = _entry(row, self._size, len(line))
                except (ValueError, RecursionError):
                    if line.endswith(b"\n") or not (line.startswith(_ROW_BEGINS) or _ROW_BEGINS.startswith(line)):
                        raise self._foreign(number) from None
                    # Cut short by a kill; what it was about is asked again.
                    os.ftruncate(self._file, self._size)
                    return
                except (KeyError, TypeError, AttributeError):
                    raise self._foreign(number) from None
                if line.endswith(b"\n"):
                    self._enter(row["report_id"], entry)
                    continue
                # Only the newline was cut off.
                self._write(line + b"\n")
                self._enter(row["report_id"], dataclasses.replace(entry, length=len(line) + 1))
                return

    def _enter(self, report_id: str, entry: Entry) -> None:
        self.entries[report_id] = entry
        self._size += entry.length

    def _foreign(self, number: int) -> InputError:
        return InputError(f"{self.path}:{number}: not a row of annotations written here; give another output=")


def _entry(row: dict[str, Any], start: int, length: int) -> Entry:
    if not isinstance(row["report_id"], str):
        raise TypeError
    return Entry(row["key_sha256"], row["status"], sum((row["usage"] or {}).values()), start, length)


def _open_locked(path: Path) -> int:
    """A handle on the file at ``path``, which no other process holds."""
    while True:
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            file = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
        except OSError as error:
            raise InputError(f"{path}: cannot write: {error.strerror}") from None
        if not stat.S_ISREG(os.fstat(file).st_mode):
            os.close(file)
            raise InputError(f"{path}: not a plain file, which the answers of a run are kept in")
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            # Whoever had it may have put a new file in its place between our opening and our locking it.
            if os.path.samestat(os.fstat(file), os.stat(path)):
                return file
        except FileNotFoundError:
            pass
        except BlockingIOError:
            os.close(file)
            raise InputError(f"{path}: another process is writing it") from None
        except OSError as error:
            os.close(file)
            raise InputError(f"{path}: cannot lock: {error.strerror}") from None
        os.close(file)
