"""Servers of models, started on this machine's loopback, and ended with whoever started them, killed or not.

``python -m radtune.engines.launch COMMAND ...`` runs a command for as long as its own standard input is open. So a
server goes when :func:`serving` is left, and when the process that waits there is gone.
"""

import importlib.util
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from select import select

from radtune.config import InputError

KINDS = LLAMA_CPP, TRANSFORMERS, VLLM = ("llama.cpp", "transformers", "vllm")
# A prompt with three examples, a long report and its answer; more is more memory for each of the slots.
_POSITIONS, _SLOTS = 4_096, 4
# Some gigabytes are read from a slow disk, and compiled.
_MOST_SECONDS, _SECONDS_TO_END = 1_800, 10


@dataclass
class Server:
    """A server that answers: where, and by which name its model goes there."""

    base_url: str
    model: str
    peak_bytes: int = 0  # of its largest process, known once it has ended


def why_not(kind: str) -> str | None:
    """Why a kind of server cannot be started here; None if it can."""
    if kind == LLAMA_CPP:
        return None if importlib.util.find_spec("xllamacpp") else "xllamacpp is not installed (pip install '.[gguf]')"
    if kind == VLLM:
        return None if shutil.which("vllm") else "no vllm on the PATH"
    served = _transformers().is_file() and importlib.util.find_spec("uvicorn")
    return None if served else "transformers[serving] is not installed"


def _transformers() -> Path:
    return Path(sys.executable).with_name("transformers")


def _words(kind: str, model: Path, positions: int, port: int, cuda: bool) -> list[str]:
    at = ["--host", "127.0.0.1", "--port", str(port)]
    if kind == LLAMA_CPP:
        return [sys.executable, "-m", "radtune.engines.launch", LLAMA_CPP, str(model), str(positions), str(port)]
    if kind == VLLM:
        # Eager: compiling takes longer than a few hundred answers.
        on_cpu = [] if cuda else ["--dtype", "float32", "--enforce-eager"]
        return ["vllm", "serve", str(model), "--max-model-len", str(positions), *on_cpu, *at]
    device = ["--device", "cuda"] if cuda else ["--device", "cpu", "--dtype", "float32"]
    return [str(_transformers()), "serve", str(model), *device, *at]


@contextmanager
def serving(kind: str, model: Path, max_positions: int, log: Path, cuda: bool = False) -> Iterator[Server]:
    """Runs a server of :data:`KINDS` with a model folder or, llama.cpp, a GGUF file; it writes to ``log``.

    Raises:
        InputError: It ended, or does not answer in half an hour.
    """
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    words = _words(kind, model, min(max_positions, _POSITIONS), port, cuda)
    with open(log, "wb", opener=lambda path, flags: os.open(path, flags, 0o600)) as stream:
        process = subprocess.Popen(
            [sys.executable, "-m", "radtune.engines.launch", *words], stdin=subprocess.PIPE, stdout=stream,
            stderr=stream, env=os.environ | {"HF_HUB_OFFLINE": "1"}, start_new_session=True,
        )  # fmt: skip
    server = Server(f"http://127.0.0.1:{port}/v1", str(model))
    try:
        _wait(process, port, f"{kind} with {model}", log)
        yield server
    finally:
        process.stdin.close()  # type: ignore[union-attr]
        if process.returncode is None:
            _, status, usage = os.wait4(process.pid, 0)
            process.returncode = os.waitstatus_to_exitcode(status)
            # Linux counts in KiB, macOS in bytes.
            server.peak_bytes = usage.ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def _wait(process: "subprocess.Popen[bytes]", port: int, what: str, log: Path) -> None:
    # Whatever proxy the environment names is not asked for this machine.
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    until = time.monotonic() + _MOST_SECONDS
    while time.monotonic() < until:
        with suppress(OSError), opener.open(f"http://127.0.0.1:{port}/health", timeout=5) as answer:
            if answer.status == 200:
                return
        if process.poll() is not None:
            raise InputError(f"{what} ended before it answered; see {log}")
        time.sleep(0.2)
    raise InputError(f"{what} does not answer after {_MOST_SECONDS // 60} minutes; see {log}")


def _supervise(words: list[str]) -> int:
    """Runs a command until it ends or standard input is closed; then nothing of its session is left."""
    child = subprocess.Popen(words, stdin=subprocess.DEVNULL, start_new_session=True)
    while child.poll() is None and not select([sys.stdin], [], [], 0.2)[0]:
        pass
    for number in (signal.SIGTERM, signal.SIGKILL):
        with suppress(ProcessLookupError):
            os.killpg(child.pid, number)
        with suppress(subprocess.TimeoutExpired):
            child.wait(_SECONDS_TO_END)
    return child.returncode


def _run_llama_cpp(model: str, positions: int, port: int) -> None:
    import xllamacpp

    params = xllamacpp.CommonParams()
    params.model.path, params.hostnames, params.port, params.ui = model, ["127.0.0.1"], port, False
    params.n_parallel, params.n_ctx = _SLOTS, _SLOTS * positions
    # Left to itself it runs with none, and never answers.
    threads = int(os.environ.get("OMP_NUM_THREADS") or os.cpu_count() or 1)
    params.cpuparams.n_threads = params.cpuparams_batch.n_threads = threads
    server = xllamacpp.Server(params)
    print(f"listening at {server.listening_address}", flush=True)
    signal.pause()


if __name__ == "__main__":
    if sys.argv[1:2] == [LLAMA_CPP]:
        _, _, model, *numbers = sys.argv if len(sys.argv) == 5 else sys.exit("give MODEL.gguf POSITIONS PORT")
        if not os.path.isfile(model):
            sys.exit(f"{model}: no such file")
        _run_llama_cpp(model, *map(int, numbers))
    else:
        sys.exit(_supervise(sys.argv[1:]))
