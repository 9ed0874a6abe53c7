"""What a run has left with a Batch API: a small file beside its output, so that nothing is asked twice or forgotten.

It is written before and after each step at the provider. It holds ids and hashes, no report.
"""

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from radtune.config import InputError
from radtune.files import open_text, write_whole


@dataclass
class Part:
    """One batch, from the intent to make it until its last file at the provider is deleted.

    Attributes:
        part_id: Names it at the provider, in the batch's metadata and the file's name.
        keys: Hashes of the questions that wait for its answers.
        as_json: Whether its answers are held to a JSON schema.
        file_id: Of the file of requests, once the provider has it.
        batch_id: Of the batch, once the provider has made it.
        leftover: Files to delete, once all answers have been handed over; None before that.
    """

    part_id: str
    keys: list[str]
    as_json: bool
    file_id: str | None = None
    batch_id: str | None = None
    leftover: list[str] | None = None


@dataclass
class BatchState:
    """The batches of a run.

    Attributes:
        path: The file.
        endpoint: Base URL of their provider.
        parts: The batches, oldest first.
    """

    path: Path
    endpoint: str
    parts: list[Part] = field(default_factory=list)

    def save(self) -> None:
        """Writes the file, whole or not at all; takes it away when no batch is left.

        Raises:
            InputError: It cannot be written.
        """
        if not self.parts:
            self.path.unlink(missing_ok=True)
            return
        with write_whole(self.path) as stream:
            json.dump({"endpoint": self.endpoint, "parts": [asdict(part) for part in self.parts]}, stream)

    def pending_keys(self) -> set[str]:
        """Hashes of the questions that wait for an answer."""
        return {key for part in self.parts for key in part.keys}


def read_state(path: Path, endpoint: str) -> BatchState:
    """Reads the batches of a run; none if the file is absent.

    Args:
        path: The file.
        endpoint: Base URL of the provider that the caller means.

    Raises:
        InputError: It is no such file, or its batches are somewhere else.
    """
    state = _read(path)
    if state is None:
        return BatchState(path, endpoint)
    if state.endpoint != endpoint:
        raise InputError(f"{path}: holds batches at {state.endpoint}, not at {endpoint}; collect them there first")
    return state


def pending_keys(path: Path) -> set[str]:
    """Hashes of the questions that batches have been given and not yet answered.

    Raises:
        InputError: The file is not one of batches.
    """
    state = _read(path)
    return state.pending_keys() if state else set()


def _read(path: Path) -> BatchState | None:
    if not path.exists():
        return None
    with open_text(path) as stream:
        try:
            content = json.load(stream)
            return BatchState(path, _text(content["endpoint"]), [_part(item) for item in content["parts"]])
        except (ValueError, RecursionError, KeyError, TypeError, AttributeError):
            raise InputError(f"{path}: not a file of batches written here") from None


def _part(item: dict[str, Any]) -> Part:
    part = Part(**item)
    ids = [part.file_id, part.batch_id, *(part.leftover or [])]
    for text in (part.part_id, *part.keys, *(item for item in ids if item is not None)):
        _text(text)
    return part


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError
    return value
