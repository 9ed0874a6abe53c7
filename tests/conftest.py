"""For all tests: signals as a terminal gives them, and one thread a process."""

import os
import signal

from hypothesis import settings

# Several test processes share the cores, and each would start a thread for every one of them.
os.environ.setdefault("OMP_NUM_THREADS", "1")
# How long an example takes says more about the other process on the core.
settings.register_profile("radtune", deadline=None)
settings.load_profile("radtune")

pytest_plugins = ["chat_fixtures"]


def pytest_configure() -> None:
    """Started in the background or under nohup, a process hands its deaf ears on, and tests of Ctrl-C would hang."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGHUP, signal.SIG_DFL)
