"""Running coroutines so that a signal never tears the event loop: it stops them in order, any number of times."""

import asyncio
import signal
import threading
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any, TypeVar

Result = TypeVar("Result")

# What :func:`radtune.config.run_command` turns into KeyboardInterrupt, and Python itself.
_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def run(runner: asyncio.Runner, coroutine: Coroutine[Any, Any, Result]) -> Result:
    """Runs a coroutine to its end, or cancels it where a signal asks the process to stop.

    The runner itself takes care of one Ctrl-C only. A second one, or a SIGTERM, is raised in the middle of the loop's
    own work, which may lose the wake-up of a task and wait for it for ever.

    Raises:
        KeyboardInterrupt: A signal came; the coroutine has ended before.
    """
    loop = runner.get_loop()
    task = loop.create_task(coroutine)
    with _interrupts_after(lambda: loop.call_soon_threadsafe(task.cancel)):
        return loop.run_until_complete(task)


def run_last(runner: asyncio.Runner, coroutine: Coroutine[Any, Any, None]) -> None:
    """Runs what tidies up, whatever signals come, and closes the loop.

    Raises:
        KeyboardInterrupt: A signal came meanwhile.
    """
    with _interrupts_after(lambda: None), runner:
        runner.run(coroutine)


@contextmanager
def _interrupts_after(told: Callable[[], object]) -> Iterator[None]:
    """Lets signals that would raise KeyboardInterrupt call ``told``, and raises it behind the block."""
    came = False

    def tell(number: int, frame: FrameType | None) -> None:
        nonlocal came
        came = True
        told()

    # No signal reaches any other thread; and one that is ignored, as under nohup, raises nothing.
    reached = _SIGNALS if threading.current_thread() is threading.main_thread() else ()
    handlers = {number: handler for number in reached if callable(handler := signal.getsignal(number))}
    for number in handlers:
        signal.signal(number, tell)
    try:
        yield
    except asyncio.CancelledError:
        if not came:
            raise
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
    if came:
        raise KeyboardInterrupt
