"""A chat completions server on the loopback address whose answers a test decides."""

import asyncio
import math
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from radtune.ask.ledger import ledger_path
from radtune.engines.guard import Endpoint
from scripts.simulated_teacher import serving

# Gets a request's body and its number, from 1; gives a body, a response, or a promise of either.
Answer = Callable[[dict[str, Any], int], Any]


def completion(text: str | None, finish_reason: str = "stop", **message: Any) -> dict[str, Any]:
    """A chat completion's body."""
    return {
        "choices": [{"message": {"role": "assistant", "content": text, **message}, "finish_reason": finish_reason}],
        "usage": {"prompt_tokens": 10, "completion_tokens": 2, "total_tokens": 12},
    }


def error(status: int, code: str | None = None, message: str = "no", **headers: str) -> JSONResponse:
    """An error as OpenAI's server words it."""
    return JSONResponse({"error": {"message": message, "type": "some_error", "code": code}}, status, headers)


def answered(output: Path) -> set[str]:
    """Which reports the ledger of an output has whole answers about, by what follows the first letter of their ids."""
    if not ledger_path(output).exists():
        return set()
    with closing(sqlite3.connect(ledger_path(output))) as db:
        if not db.execute("SELECT 1 FROM sqlite_master WHERE name = 'answers'").fetchone():
            return set()
        return {report_id[1:] for (report_id,) in db.execute("SELECT report_id FROM answers")}


class Server:
    """A running server: where it is, how it answers, what it got."""

    url = ""

    def __init__(self) -> None:
        self.requests: list[tuple[Request, dict[str, Any]]] = []
        self.answer: Answer = lambda body, number: completion("[]")
        # Whether the prompt by which its frame is known, and which is no report's, is answered aside.
        self.frame_aside = False
        # What is asked beyond the most waits for its answer.
        self.most = math.inf

    @property
    def endpoint(self) -> Endpoint:
        return Endpoint(self.url, "127.0.0.1")

    async def complete(self, request: Request) -> Response:
        body = await request.json()
        if self.frame_aside and body["messages"][0]["content"] == "edema":
            return JSONResponse(completion("x"))
        self.requests.append((request, body))
        answered = self.answer(body, len(self.requests))
        while len(self.requests) > self.most:
            await asyncio.sleep(0.01)
        if hasattr(answered, "__await__"):
            answered = await answered
        return answered if isinstance(answered, Response) else JSONResponse(answered)


@contextmanager
def running() -> Iterator[Server]:
    """Serves as long as the block lasts."""
    server = Server()
    app = Starlette(routes=[Route("/{path:path}", server.complete, methods=["GET", "POST"])])
    with serving(app) as server.url:
        yield server
