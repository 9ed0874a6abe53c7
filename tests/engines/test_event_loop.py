"""Signals stop what an event loop runs in order, however many come and whatever moment they come at."""

import asyncio
import signal
import subprocess
import sys
import threading
import time

import pytest

from radtune.engines import event_loop

# Hands itself a task's wake-up as often as it can, tidies up, and says so.
BUSY = """
import asyncio, signal
from radtune.engines import event_loop

def interrupt(number, frame):
    raise KeyboardInterrupt

async def busy():
    while True:
        await asyncio.gather(*(asyncio.sleep(0) for _ in range(9)))

async def tidy():
    for _ in range(50):
        await asyncio.sleep(0.001)
    print("tidy", flush=True)

for number in (signal.SIGTERM, signal.SIGHUP):
    signal.signal(number, interrupt)
runner = asyncio.Runner()
print("ready", flush=True)
try:
    event_loop.run(runner, busy())
except KeyboardInterrupt:
    try:
        event_loop.run_last(runner, tidy())
    except KeyboardInterrupt:
        print("told", flush=True)
"""


@pytest.mark.parametrize("gap_s", [0.0, 0.001, 0.004])
def test_many_signals_stop_it_once_and_in_order(gap_s):
    with subprocess.Popen([sys.executable, "-c", BUSY], stdout=-1, stderr=-1, text=True) as process:
        assert process.stdout is not None and process.stdout.readline() == "ready\n"
        time.sleep(0.05)
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGTERM):
            process.send_signal(number)
            time.sleep(gap_s)
        out, err = process.communicate(timeout=20)
    assert "Traceback" not in err and "never" not in err
    assert out in ("tidy\n", "tidy\ntold\n")


def test_what_ends_by_itself_gives_its_result_and_leaves_the_handlers_alone():
    async def answer():
        return 42

    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)]
    runner = asyncio.Runner()
    assert event_loop.run(runner, answer()) == 42
    event_loop.run_last(runner, asyncio.sleep(0))
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)] == before


def test_a_cancellation_that_no_signal_has_asked_for_is_one():
    async def cancelled():
        raise asyncio.CancelledError

    with asyncio.Runner() as runner, pytest.raises(asyncio.CancelledError):
        event_loop.run(runner, cancelled())


def test_other_threads_which_no_signal_reaches_can_run_it():
    found = []

    async def answer():
        found.append(42)

    def work():
        with asyncio.Runner() as runner:
            event_loop.run(runner, answer())

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert found == [42]
