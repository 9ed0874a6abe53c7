"""The copies of one fine-tuned model, each asked about the same reports by ``inference.py`` in a process of its own."""

import os
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from radtune import ROOT
from radtune.config import InputError
from radtune.engines.choose import QUANTIZATIONS
from radtune.engines.launch import KINDS, LLAMA_CPP, serving, why_not
from radtune.files import jsonl_line, manifest_path, read_json, sha256_file, write_whole

ADAPTER, MERGED = "adapter", "merged"
# Of this and a type, as in scripts/export_gguf.py.
GGUF = "gguf_"
# Calls to a server at once: more than it has slots, so that none waits for us.
_CONCURRENCY = 8


@dataclass(frozen=True)
class Tuned:
    """A fine-tuned model: its base with an adapter, either None where only the merged weights are there."""

    base: Path | None
    adapter: Path | None
    merged: Path
    max_positions: int
    revision: str  # of the merged weights


@dataclass(frozen=True)
class Cost:
    """What a copy takes: bytes of its weights on disk and of its largest process, reports a second once loaded."""

    disk_bytes: int
    peak_bytes: int | None = None
    reports_per_s: float | None = None


def why_left_out(name: str, tuned: Tuned) -> str | None:
    """Why a copy cannot be asked here; None if it can."""
    if name == ADAPTER and tuned.adapter is None:
        return "there is no adapter"
    if name in QUANTIZATIONS:
        from importlib.util import find_spec

        return None if find_spec("bitsandbytes") else "bitsandbytes is not installed (pip install '.[bitsandbytes]')"
    if name.startswith(GGUF):
        return why_not(LLAMA_CPP)
    return why_not(name) if name in KINDS else None


def ask_copy(
    name: str, tuned: Tuned, reports: Path, words: Sequence[str], read: Iterable[Path], cuda: bool
) -> tuple[Path, Cost]:
    """Asks a copy about reports, in whose folder its answers go; ``words`` are the keys that are alike for all copies.

    What an earlier start has answered is not asked again, nor is a copy that has answered all, unless what its task is
    ``read`` from has changed.

    Raises:
        InputError: It, or its server, ended before it had answered all.
    """
    output = reports.parent
    predictions, costs = output / f"{name}.jsonl", output / f"{name}.costs.json"
    model = output / f"{name}-{tuned.revision[:12]}.gguf" if name.startswith(GGUF) else tuned.merged
    if name.startswith(GGUF) and not model.is_file():
        from radtune.models.gguf_writing import write_gguf

        write_gguf(tuned.merged, model, name.removeprefix(GGUF))
    from radtune.models.checkpoint import ADAPTER_WEIGHTS

    weights = [tuned.adapter / ADAPTER_WEIGHTS] if name == ADAPTER and tuned.adapter else []
    files = [sha256_file(path) for path in (reports, *read, *weights)]
    asked = {"words": [*words], "revision": tuned.revision, "files": files}
    if costs.is_file() and predictions.is_file() and (known := read_json(costs)).pop("asked", None) == asked:
        return predictions, Cost(**known)
    with _way(name, tuned, model, output / f"{name}.log", cuda) as (server, keys):
        peak = _run([str(ROOT / "inference.py"), f"reports={reports}", f"output={predictions}", *words, *keys])
    facts = read_json(manifest_path(predictions))
    seconds = facts["seconds"] - facts["loading_seconds"]
    taken = {
        "disk_bytes": sum(
            _size(path) for path in ((tuned.base, tuned.adapter) if name == ADAPTER else (model,)) if path
        ),
        "peak_bytes": server.peak_bytes if server else peak,
        "reports_per_s": facts["asked"] / seconds if facts["asked"] else None,
    }
    with write_whole(costs) as stream:
        stream.write(jsonl_line({"asked": asked, **taken}))
    return predictions, Cost(**taken)


@contextmanager
def _way(name: str, tuned: Tuned, model: Path, log: Path, cuda: bool) -> Iterator[tuple[Any, list[str]]]:
    """The server that runs a copy, if one does, and the keys by which it is asked."""
    kind = LLAMA_CPP if name.startswith(GGUF) else name
    if kind not in KINDS:
        place = (tuned.base, f"adapter_dir={tuned.adapter}") if name == ADAPTER else (tuned.merged,)
        keys = [f"checkpoint_dir={place[0]}", *map(str, place[1:])]
        yield None, keys + (["engine=transformers", f"quantization={name}"] if name in QUANTIZATIONS else [])
        return
    with serving(kind, model, tuned.max_positions, log, cuda) as server:
        keys = [f"base_url={server.base_url}", f"model={server.model}", f"checkpoint_dir={tuned.merged}"]
        yield server, ["engine=openai", *keys, f"revision={tuned.revision}", f"concurrency={_CONCURRENCY}"]


def _run(words: list[str]) -> int:
    """Runs a command of ours; the peak of its memory in bytes."""
    clean = {name: value for name, value in os.environ.items() if "OPENAI" not in name}
    process = subprocess.Popen([sys.executable, *words], stdout=subprocess.DEVNULL, env=clean)
    try:
        ended = 0
        while not ended:
            # A signal that comes just as a wait without end begins would not be noticed.
            time.sleep(0.1)
            ended, status, usage = os.wait4(process.pid, os.WNOHANG)
        process.returncode = os.waitstatus_to_exitcode(status)
    finally:
        if process.returncode is None:
            process.terminate()
            process.wait()
    if process.returncode:
        raise InputError(f"{Path(words[0]).name} ended with exit code {process.returncode}")
    return usage.ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def _size(path: Path) -> int:
    return sum(file.stat().st_size for file in path.glob("*.safetensors")) if path.is_dir() else path.stat().st_size
