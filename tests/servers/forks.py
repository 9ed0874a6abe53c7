"""Commands as processes of their own that start at once: forks of a process that has imported what they need."""

import json
import os
import re
import select
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

ROOT = Path(__file__).parents[2]
# Reads a command's words, its further environment and where its output goes; says its process id, and how it ended.
MOTHER = """
import json, os, runpy, sys
import openai, radtune.ask.command, radtune.engines.client, radtune.engines.server
from radtune.tasks.codes import check_code
check_code("J90")
for line in sys.stdin:
    words, environment, *paths = json.loads(line)
    pid = os.fork()
    if not pid:
        for stream, path in enumerate(paths):
            os.dup2(os.open(path, os.O_RDWR | os.O_CREAT), stream)
        os.environ.update(environment)
        sys.argv = words
        runpy.run_path(words[0], run_name="__main__")
        sys.exit()
    print(pid, flush=True)
    print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), flush=True)
"""


class Forks:
    """Starts one process at a time."""

    def __init__(self) -> None:
        clean = {name: value for name, value in os.environ.items() if "OPENAI" not in name}
        self._mother = subprocess.Popen(
            [sys.executable, "-c", MOTHER], cwd=ROOT, env=clean | {"PYTHONPATH": str(ROOT)}, bufsize=0,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        )  # fmt: skip

    def start(self, *words: object, **environment: str) -> "Fork":
        return Fork(self._mother, list(map(str, words)), environment)

    def close(self) -> None:
        self._mother.kill()
        self._mother.communicate()


class Fork:
    """One process, with what :class:`subprocess.Popen` has of its kind."""

    def __init__(self, mother: "subprocess.Popen[bytes]", words: list[str], environment: dict[str, str]) -> None:
        self.returncode: int | None = None
        self._mother = mother
        self._said = [tempfile.NamedTemporaryFile() for _ in range(2)]  # noqa: SIM115  (read when the process has ended)
        asked = [words, environment, os.devnull, *(file.name for file in self._said)]
        mother.stdin.write(json.dumps(asked).encode() + b"\n")
        self.pid = int(mother.stdout.readline())

    def poll(self) -> int | None:
        if self.returncode is None and select.select([self._mother.stdout], [], [], 0)[0]:
            self.returncode = int(self._mother.stdout.readline())
        return self.returncode

    def send_signal(self, number: int) -> None:
        if self.poll() is None:
            # It may end meanwhile.
            with suppress(ProcessLookupError):
                os.kill(self.pid, number)

    def wait_until(self, condition: Callable[[], bool]) -> None:
        """Waits while it runs."""
        while not condition():
            assert self.poll() is None, self.communicate()
            time.sleep(0.005)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)

    def out(self, stream: int = 0) -> str:
        """Standard output so far; 1 for errors."""
        return Path(self._said[stream].name).read_text(encoding="utf-8")

    def communicate(self, timeout: float = 600) -> tuple[str, str]:
        """Standard output and errors, once it has ended."""
        if self.returncode is None:
            assert select.select([self._mother.stdout], [], [], timeout)[0], "it does not end"
            self.poll()
        out, err = (Path(file.name).read_text(encoding="utf-8", errors="replace") for file in self._said)
        return besides_look(out), err


def besides_look(out: str) -> str:
    """What a command has printed besides the line on what its file of reports holds."""
    return re.sub(r"^.*: JSON lines; [\d,]+ reports.*\n", "", out, flags=re.MULTILINE)
