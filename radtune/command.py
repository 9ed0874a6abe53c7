"""How a command runs: what it begins with, what signals do to it, how it ends where a user can mend what is wrong."""

import os
import signal
import sys
import types
import typing
from collections.abc import Callable, Sequence

from radtune import end_at_once
from radtune.config import Config, InputError, help_text, parse_config
from radtune.files import DISK_FULL
from radtune.privacy import ToPeople, say

EXIT_INPUT_ERROR = 2
# Of linux/prctl.h.
_PR_SET_PDEATHSIG = 1
# The extra that brings a package, where it is not the one that brings torch.
_EXTRAS = {
    "bitsandbytes": "bitsandbytes", "gguf": "gguf", "xllamacpp": "gguf", "sklearn": "study", "snakemake": "study",
    "starlette": "teacher", "uvicorn": "teacher",
}  # fmt: skip


class Interrupt:
    """Ends a command in order at a signal; remembers it, since native code may make another error of it."""

    came = False

    def __call__(self, number: int, frame: types.FrameType | None) -> None:
        """Handles a signal."""
        self.came = True
        raise KeyboardInterrupt


def begin_command(interrupt: Interrupt) -> None:
    """What every command begins with: its files are their owner's, what it prints steers no terminal, signals end it.

    One that is stopped by a scheduler, or whose terminal goes away, unwinds like one stopped with Ctrl-C, so that
    temporary files go with it. Under nohup it was told to ignore the terminal.
    """
    os.umask(0o077)
    # Where they are closed, as some schedulers start commands, Python has none.
    sys.stdout, sys.stderr = (
        stream or open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115  (as long as the process)
        for stream in (sys.stdout, sys.stderr)
    )
    # Without this, a report with an accented letter could not be printed on a terminal with an ASCII locale.
    sys.stdout.reconfigure(errors="replace")  # type: ignore[union-attr]
    sys.stdout = typing.cast(typing.TextIO, ToPeople(sys.stdout))
    handle_signals(interrupt)


def handle_signals(handler: Callable[[int, types.FrameType | None], None]) -> None:
    """Lets a function handle what would end this process, but for what it was started to ignore."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) != signal.SIG_IGN:
            signal.signal(number, handler)


def end_with_parent(parent: int, number: int) -> Callable[[], None]:
    """What a process does so that it gets a signal when its parent goes, also where that is killed outright.

    Only Linux knows how; elsewhere it does nothing.
    """
    if sys.platform != "linux":
        return lambda: None
    import ctypes  # few commands start others

    libc = ctypes.CDLL(None)

    def ask() -> None:
        libc.prctl(_PR_SET_PDEATHSIG, number)
        if os.getppid() != parent:
            os._exit(128 + number)

    return ask


def run_command(main: Callable[[Config], None], schema: type[Config], arguments: Sequence[str] | None = None) -> None:
    """Runs a command: parses its config and calls it. What the user can mend is one line and exit code 2.

    The docstring of ``main``'s module opens ``--help``.
    """
    arguments = sys.argv[1:] if arguments is None else arguments
    interrupt = Interrupt()
    try:
        begin_command(interrupt)
        if any(argument in ("-h", "--help") for argument in arguments):
            print(help_text(schema, sys.modules[main.__module__].__doc__ or ""))
        else:
            main(parse_config(schema, arguments))
        sys.stdout.flush()
    except BrokenPipeError:
        # The reader of our output went away (`... | head`): nothing is wrong, and nobody listens.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except (Exception, KeyboardInterrupt) as error:
        program = os.path.basename(sys.argv[0])
        if interrupt.came or isinstance(error, KeyboardInterrupt):
            say(f"{program}: interrupted")
            sys.exit(128 + signal.SIGINT)
        if not (line := mendable(error)):
            raise
        say(f"{program}: error: {line}")
        sys.exit(EXIT_INPUT_ERROR)
    finally:
        handle_signals(end_at_once)


def mendable(error: BaseException) -> str:
    """What the user can do about an error, in one line; empty where it is none of theirs."""
    if isinstance(error, InputError):
        return " ".join(str(error).split())
    if isinstance(error, OSError) and error.errno in DISK_FULL:
        return f"{error.filename or 'a file'}: cannot write: {error.strerror}"
    if isinstance(error, ModuleNotFoundError) and (package := str(error.name).partition(".")[0]) != "radtune":
        extra = _EXTRAS.get(package, "train")
        return f"needs {package}: install radtune with its extra {extra} (pip install '.[{extra}]')"
    return ""
