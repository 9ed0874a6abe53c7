"""Servers and reports for the tests of labelling."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest
from chat_server import Answer, Server, running

from radtune.report import Report, report_from_sections


@pytest.fixture(scope="session")
def start_server() -> Iterator[Callable[[], Server]]:
    with ExitStack() as stack:
        yield lambda: stack.enter_context(running())


@pytest.fixture(scope="session")
def idle_servers() -> list[Server]:
    return []


@pytest.fixture
def serve(start_server, idle_servers) -> Iterator[Callable[[Answer], Server]]:
    """Gives a server that answers as a function says, for as long as the test lasts."""
    used: list[Server] = []

    def serve(answer: Answer) -> Server:
        server = idle_servers.pop() if idle_servers else start_server()
        server.requests, server.answer = [], answer
        used.append(server)
        return server

    yield serve
    idle_servers.extend(used)


@pytest.fixture
def reports() -> list[Report]:
    """Ten reports."""
    return [report_from_sections(f"r{i}", None, f"Zebra effusion number {i}.", "Effusion.", "made") for i in range(10)]
