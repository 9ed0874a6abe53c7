"""Servers and reports for the tests of labelling."""

import math
from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest
from batch_server import BatchServer, running_batches
from chat_server import Answer, Server, running
from forks import Fork, Forks


@pytest.fixture(scope="session")
def start_server() -> Iterator[Callable[[], Server]]:
    with ExitStack() as stack:
        yield lambda: stack.enter_context(running())


@pytest.fixture(scope="session")
def idle_servers() -> list[Server]:
    return []


@pytest.fixture
def serve(start_server, idle_servers, request) -> Iterator[Callable[[Answer], Server]]:
    """Gives a server that answers as a function says, for as long as the test lasts.

    In a module with FRAME_ASIDE it answers the known prompt that tells its frame by itself: requests are reports then.
    """
    aside = getattr(request.module, "FRAME_ASIDE", False)
    used: list[Server] = []

    def serve(answer: Answer) -> Server:
        server = idle_servers.pop() if idle_servers else start_server()
        server.requests, server.answer, server.frame_aside, server.most = [], answer, aside, math.inf
        used.append(server)
        return server

    yield serve
    idle_servers.extend(used)


@pytest.fixture(scope="session")
def running_batch_server() -> Iterator[BatchServer]:
    with running_batches() as server:
        yield server


@pytest.fixture
def batch_server(running_batch_server) -> BatchServer:
    """A provider of batches that has been asked nothing yet."""
    running_batch_server.clear()
    return running_batch_server


@pytest.fixture(scope="session")
def start_fork() -> Iterator[Callable[..., Fork]]:
    """Starts a command as a process of its own, without a word in its environment of where to ask."""
    forks = Forks()
    yield forks.start
    forks.close()
