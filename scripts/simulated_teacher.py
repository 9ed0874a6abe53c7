r"""Answers like a chat model would, from known truth and with stated noise, on this machine alone.

    python scripts/simulated_teacher.py reports=reports.jsonl gold_phrases=gold.jsonl command="\
        python gpt_data_generate.py reports=reports.jsonl output=annotations.jsonl"
    python scripts/simulated_teacher.py reports=reports.jsonl gold_labels=labels.csv port=8000

The first runs the command with OPENAI_BASE_URL and OPENAI_API_KEY set, and ends with its exit code; the second prints
its URL and serves until it is stopped.
"""

import ctypes
import os
import shlex
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from radtune.ask.simulated import Noise, make_app, read_truths, serving
from radtune.config import InputError, key, run_command

# Time that a command has to end by itself before it is killed.
_GRACE_S = 10.0
# Of linux/prctl.h.
_PR_SET_PDEATHSIG = 1


@dataclass
class SimulatedTeacherConfig:
    """Keys of this command."""

    reports: Path = key("Reports that it will be asked about.")
    gold_labels: Path | None = key("Label table that its multiple-choice answers come from.", None)
    gold_phrases: Path | None = key("JSONL with report_id and phrases that its open-ended answers come from.", None)
    port: int = key("Its port; 0 takes a free one.", 0)
    seed: int = key("Decides its errors, with the report and the task.", 0)
    drop: float = key("Probability that a true label is left out.", 0.05)
    add: float = key("Probability that an answer holds a wrong label more.", 0.05)
    garble: float = key("Probability that an answer cannot be read.", 0.0)
    command: str | None = key("What to run with it, without a shell; null serves until stopped.", None)


def main(config: SimulatedTeacherConfig) -> None:
    """Serves, alone or for a command."""
    if not all(0 <= share <= 1 for share in (config.drop, config.add, config.garble)):
        raise InputError("drop, add and garble are probabilities, from 0 to 1")
    noise = Noise(config.drop, config.add, config.garble, config.seed)
    app = make_app(read_truths(config.reports, config.gold_labels, config.gold_phrases), noise)
    with serving(app, config.port) as url:
        if config.command is not None:
            sys.exit(_run(config.command, url))
        print(url, flush=True)
        threading.Event().wait()


def _run(command: str, url: str) -> int:
    """Runs a command against the server and returns its exit code; whatever happens, nothing of it is left running."""
    environment = {**os.environ, "OPENAI_BASE_URL": url, "OPENAI_API_KEY": "simulated"}
    try:
        # A session of its own, so that what the command starts can be stopped with it.
        child = subprocess.Popen(
            shlex.split(command), env=environment, start_new_session=True, preexec_fn=_die_with_parent()
        )
    except (OSError, ValueError, IndexError) as error:
        raise InputError(f"command: {getattr(error, 'strerror', None) or error}") from None
    try:
        code = child.wait()
    except KeyboardInterrupt:
        os.killpg(child.pid, signal.SIGTERM)
        with suppress(subprocess.TimeoutExpired):
            child.wait(_GRACE_S)
        raise
    finally:
        with suppress(ProcessLookupError):
            os.killpg(child.pid, signal.SIGKILL)
        child.wait()
    # As a shell reports a death by signal.
    return code if code >= 0 else 128 - code


def _die_with_parent() -> Callable[[], None] | None:
    """What a child does first so that it ends even where this process is killed outright; only Linux knows how.

    Left alone it would hold its output's lock, and the next start would be refused.
    """
    if sys.platform != "linux":
        return None
    libc, parent = ctypes.CDLL(None), os.getpid()

    def ask() -> None:
        libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:
            os._exit(128 + signal.SIGKILL)

    return ask


if __name__ == "__main__":
    run_command(main, SimulatedTeacherConfig)
