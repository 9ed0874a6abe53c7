"""Checkpoints: the whole state of a run in one file, written to a temporary name and renamed, the last few kept."""

import io
import re
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from radtune.config import InputError
from radtune.files import write_bytes

_NAME = re.compile(r"step_(\d{8})\.pt")


def checkpoint_files(folder: Path) -> list[Path]:
    """The checkpoints of a folder, the newest first; files that are being written are none."""
    return sorted((path for path in folder.glob("step_*.pt") if _NAME.fullmatch(path.name)), reverse=True)


def save_checkpoint(folder: Path, state: dict[str, Any], keep: int) -> Path:
    """Saves a run's state, under its ``step``, and removes all but the newest checkpoints.

    Those of later steps go, too: they are of another past. Where it cannot be written (an InputError), all stay.
    """
    content = io.BytesIO()
    torch.save(state, content)
    path = folder / f"step_{state['step']:08d}.pt"
    write_bytes(path, content.getvalue())
    found = checkpoint_files(folder)
    at = found.index(path)
    for other in found[:at] + found[at + keep :]:
        other.unlink(missing_ok=True)
    return path


def load_checkpoint(path: Path) -> dict[str, Any]:
    """Reads a run's state, on the CPU; an InputError if the file is absent, cut off or damaged."""
    try:
        # torch reads on over a wrong byte in a tensor, but each file of its archive has a checksum.
        with zipfile.ZipFile(path) as archive:
            # torch packs none of them: a small file that is packed may hold gigabytes.
            if any(item.compress_type for item in archive.infolist()) or archive.testzip() is not None:
                raise zipfile.BadZipFile
        return torch.load(path, map_location="cpu", weights_only=True)
    except OSError as error:
        raise InputError(f"{path}: {error.strerror or error}") from None
    except Exception:
        # Torch's reader of pickles fails at odd ones in any way.
        raise InputError(f"{path}: truncated or damaged checkpoint") from None


def newest_whole(folder: Path, say: Callable[[str], None]) -> tuple[Path | None, dict[str, Any]]:
    """The newest checkpoint that can be read and its state; None where there is none. Damaged ones are told of."""
    for path in checkpoint_files(folder):
        try:
            return path, load_checkpoint(path)
        except InputError as error:
            say(f"warning: {error}; passed over")
    return None, {}


def resume_state(
    folder: Path, resume: str | None, decides: dict[str, Any], say: Callable[[str], None]
) -> dict[str, Any]:
    """The state that a run goes on from, nothing where it starts anew; an InputError where it cannot go on.

    Args:
        folder: The run's ``checkpoints`` folder.
        resume: ``auto`` for the newest whole checkpoint there, or a checkpoint file; None for a new run.
        decides: What decides the numbers of a run, by key; a state has it as ``decides``.
        say: Gets what is to be told.
    """
    if resume is None:
        if checkpoint_files(folder):
            raise InputError(f"{folder} holds another run: resume=auto to go on with it, or another output_dir")
        return {}
    if resume == "auto":
        path, state = newest_whole(folder, say)
    else:
        path, state = Path(resume), load_checkpoint(Path(resume))
    if path is None:
        say(f"{folder}: no checkpoint yet, starting anew")
        return {}
    if not isinstance(state, dict) or [type(state.get(name)) for name in ("decides", "step")] != [dict, int]:
        raise InputError(f"{path}: no checkpoint of this recipe")
    for name in sorted({*decides, *state["decides"]}, key=str):
        was, now = state["decides"].get(name), decides.get(name)
        if was != now:
            shown = "" if str(name).endswith(("data_files", "checkpoint_dir")) else f" ({was}, now {now})"
            raise InputError(f"{path}: made with another {name}{shown}; it cannot be gone on with")
    say(f"going on after step {state['step']:,} from {path}")
    return state
