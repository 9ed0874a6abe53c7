"""A model server that a test starts: where it listens, and from when on it answers."""

import socket
import time
from collections.abc import Callable

import httpx2


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


def wait_until_healthy(port: int, is_alive: Callable[[], bool], seconds: float = 300) -> None:
    """Waits while its process lives, but not for ever: one may live and never answer."""
    ends = time.monotonic() + seconds
    while time.monotonic() < ends:
        try:
            if httpx2.get(f"http://127.0.0.1:{port}/health", trust_env=False).status_code == 200:
                return
        except httpx2.TransportError:
            assert is_alive()
        time.sleep(0.1)
    raise AssertionError(f"no answer in {seconds:.0f} s")
