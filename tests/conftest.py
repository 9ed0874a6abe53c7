"""For all tests: signals as a terminal gives them."""

import signal


def pytest_configure() -> None:
    """Started in the background or under nohup, a process hands its deaf ears on, and tests of Ctrl-C would hang."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGHUP, signal.SIG_DFL)
