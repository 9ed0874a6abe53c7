"""For all tests: signals as a terminal gives them, one thread a process, and commands run in this one."""

import io
import os
import runpy
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest
from hypothesis import HealthCheck, settings
from xdist.scheduler import LoadScopeScheduling

# Several test processes share the cores, and each would start a thread for every one of them.
os.environ.setdefault("OMP_NUM_THREADS", "1")
# How long an example takes says more about the other process on the core. The same examples in every run: a change is
# judged by what it changes. `--hypothesis-profile=search` draws others.
settings.register_profile("search", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("radtune", settings.get_profile("search"), derandomize=True)
settings.load_profile("radtune")

pytest_plugins = ["chat_fixtures"]


# The modules that take longest, so that none of them is left for the end, when one process has nothing to do.
LONGEST = (
    "test_study_run", "test_model_server", "test_lora_finetune", "test_closed", "test_engines", "test_families",
    "test_transformers_engine", "test_gpt_data_generate",
)  # fmt: skip
# Modules that share what is dear to make.
TOGETHER = ("test_study_tables", "test_study_report", "test_study_browser")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begins with :data:`LONGEST`; the rest keep their order."""
    rank = {name: number for number, name in enumerate(LONGEST)}
    items.sort(key=lambda item: rank.get(item.path.stem, len(LONGEST)))


class ByModule(LoadScopeScheduling):
    """Gives a module to one process, and those of :data:`TOGETHER` to the same one."""

    def _split_scope(self, nodeid: str) -> str:
        module = Path(nodeid.partition("::")[0]).stem
        return TOGETHER[0] if module in TOGETHER else module


def pytest_xdist_make_scheduler(config: pytest.Config, log: object) -> ByModule:
    return ByModule(config, log)


def pytest_configure() -> None:
    """Started in the background or under nohup, a process hands its deaf ears on, and tests of Ctrl-C would hang."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGHUP, signal.SIG_DFL)


@pytest.fixture(scope="session")
def run_here() -> Callable[..., SimpleNamespace]:
    """Runs a command's file in this process, as from a shell: its exit code and what it printed."""

    def run(command: object, *words: object, given: str | None = "") -> SimpleNamespace:
        handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
        mask = os.umask(0o022)
        out, err = (io.TextIOWrapper(io.BytesIO(), encoding="utf-8", write_through=True) for _ in range(2))
        code = 0
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(sys, "argv", [str(command), *map(str, words)])
            patch.setattr(sys, "stdin", None if given is None else io.StringIO(given))
            patch.setattr(sys, "stdout", out)
            patch.setattr(sys, "stderr", err)
            try:
                runpy.run_path(str(command), run_name="__main__")
            except SystemExit as ended:
                code = ended.code
        os.umask(mask)
        for number, handler in handlers.items():
            signal.signal(number, handler)
        stdout, stderr = (stream.buffer.getvalue().decode() for stream in (out, err))
        return SimpleNamespace(returncode=code, stdout=stdout, stderr=stderr)

    return run


@pytest.fixture(scope="session")
def succeeds(run_here) -> Callable[..., SimpleNamespace]:
    """The same of a command that must succeed."""

    def run(command: object, *words: object) -> SimpleNamespace:
        ended = run_here(command, *words)
        assert not ended.returncode, ended.stderr
        return ended

    return run


@pytest.fixture
def command(run_here, monkeypatch) -> Callable[..., tuple[int, str, str]]:
    """:func:`run_here` where no server is named in the environment: exit code, what was printed, what was said."""
    for name in [name for name in os.environ if "OPENAI" in name]:
        monkeypatch.delenv(name)

    def run(script: str, *arguments: object, given: str | None = "") -> tuple[int, str, str]:
        ended = run_here(script, *arguments, given=given)
        return ended.returncode or 0, ended.stdout, ended.stderr

    return run
