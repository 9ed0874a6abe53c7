"""The ledger of a labelling run: every answer that was ever paid for, appended line by line, so that a kill loses none.

A line stands in the file, whole, as soon as its answer has come. A process that dies while it writes leaves at most
one unfinished line at the end, which the next one takes away. Nothing else is ever changed or removed: after a change
of model, prompt or parameters the old answers stay, and asking as before costs nothing.
"""

import json
import os
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any

from radtune.config import InputError
from radtune.files import jsonl_line, lock

# How every line begins; tells one that a kill cut short from a file that is none of ours.
_BEGINS = b'{"key_sha256": "'
_KEY_LENGTH = 64
_KEY_END = len(_BEGINS) + _KEY_LENGTH


def ledger_path(output: Path) -> Path:
    """Where the ledger of an output file stands: ``annotations.jsonl`` -> ``annotations.jsonl.ledger``."""
    return Path(output).with_name(f"{Path(output).name}.ledger")


class Ledger:
    """A file of answers that one process at a time appends to, by the hash of what was asked.

    Use as a context manager. In memory it holds two numbers an answer, not the answers.
    """

    def __init__(self, path: Path) -> None:
        """Opens or makes the file, locks it and reads which answers it holds.

        Raises:
            InputError: Another process has it, it cannot be written, or it holds something else than answers.
        """
        self.path = Path(path)
        # By key, where its line begins and how long it is, newline included.
        self._places: dict[bytes, tuple[int, int]] = {}
        self._size = 0
        self._made_folders = [folder for folder in self.path.parents if not os.path.lexists(folder)]
        self._lock = lock(self.path)
        self._file = self._lock.fileno()
        try:
            self._read()
        except BaseException:
            self._lock.close()
            raise

    def __enter__(self) -> "Ledger":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._size == 0:
            self.path.unlink(missing_ok=True)
        self._lock.close()
        for folder in self._made_folders:
            # Only where nothing has come to stand in it: a dry run leaves nothing behind.
            with suppress(OSError):
                folder.rmdir()

    def __len__(self) -> int:
        return len(self._places)

    def __contains__(self, key_sha256: str) -> bool:
        return bytes.fromhex(key_sha256) in self._places

    def get(self, key_sha256: str) -> dict[str, Any] | None:
        """The latest answer to a question, as it was appended; None if there is none.

        Raises:
            InputError: Its line is damaged.
        """
        place = self._places.get(bytes.fromhex(key_sha256))
        if place is None:
            return None
        try:
            return json.loads(os.pread(self._file, place[1], place[0]))
        except (ValueError, RecursionError):
            # The decoder's own message may quote the line, and the line may hold a patient's text.
            raise InputError(f"{self.path}: the line at byte {place[0]:,} is damaged; remove it to go on") from None

    def append(self, key_sha256: str, answer: dict[str, Any]) -> None:
        """Writes an answer; it is in the file on return.

        Args:
            key_sha256: Hash of all that was asked.
            answer: What came back.

        Raises:
            InputError: The file cannot be written, e.g. because the disk is full.
        """
        line = jsonl_line({"key_sha256": key_sha256, **answer}).encode("utf-8")
        try:
            written = 0
            while written < len(line):
                written += os.pwrite(self._file, line[written:], self._size + written)
        except OSError as error:
            # The size counts whole lines only.
            os.ftruncate(self._file, self._size)
            raise InputError(f"{self.path}: cannot write: {error.strerror}") from None
        self._enter(line)

    def _read(self) -> None:
        with open(self.path, "rb") as stream:
            for number, line in enumerate(stream, start=1):
                if line.endswith(b"\n") and line.startswith(_BEGINS):
                    try:
                        self._enter(line)
                    except ValueError:
                        raise self._foreign(number) from None
                elif line.endswith(b"\n") or not (line.startswith(_BEGINS) or _BEGINS.startswith(line)):
                    raise self._foreign(number)
                elif _is_whole(line):
                    # Only the newline was cut off.
                    os.pwrite(self._file, b"\n", self._size + len(line))
                    self._enter(line + b"\n")
                    return
                else:
                    # Cut short by a kill; what it was about is asked again.
                    os.ftruncate(self._file, self._size)
                    return

    def _enter(self, line: bytes) -> None:
        # The key is cut out of the line: reading a hundred thousand answers as JSON would take seconds.
        key = bytes.fromhex(line[len(_BEGINS) : _KEY_END].decode("ascii"))
        if len(key) * 2 != _KEY_LENGTH:
            raise ValueError
        self._places[key] = (self._size, len(line))
        self._size += len(line)

    def _foreign(self, number: int) -> InputError:
        return InputError(f"{self.path}:{number}: not an answer written here; give another output=")


def _is_whole(line: bytes) -> bool:
    try:
        return isinstance(json.loads(line), dict)
    except (ValueError, RecursionError):
        return False
