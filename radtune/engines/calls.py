"""Calls to a chat model, many at a time, through the openai package.

What may pass (429, 5xx, time-outs, dropped connections, broken or empty answers) is asked again with growing pauses, or
the pause that the server asks for. What cannot be got is an error, recorded by a short code.
"""

import asyncio
import itertools
import math
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, TypeVar

from radtune.config import InputError
from radtune.engines import event_loop
from radtune.engines.chat import (
    EMPTY,
    MALFORMED,
    NO_CONNECTION,
    TIMEOUT,
    Reply,
    Sampling,
    read_error,
    read_reply,
    refuses_schema,
    refuses_seed,
    request_body,
)
from radtune.engines.client import Credential, open_client
from radtune.engines.guard import Endpoint
from radtune.engines.limits import Limits, RateLimiter, asked_pause_s

if TYPE_CHECKING:
    from httpx2 import Response
    from openai import AsyncOpenAI
    from tenacity import RetryCallState

# A client looks through all its idle connections at every call, so one for all calls would cost the more the more there
# are: 0.5 ms a call at 64 (httpcore2 2.16, _assign_requests_to_connections).
_CALLS_A_CLIENT = 8

# So many calls in a row that fail alike mean that the next will, too: a bad key, a wrong model, a server gone.
MOST_FAILURES_IN_A_ROW = 5
# The same where they fail in different ways, after some have been answered.
MOST_MIXED_FAILURES_IN_A_ROW = 20

# Before the second, third, ... attempt, where the server asks for no pause: 0.5 s, 1, 2, 4, 8, 8, ... and up to half a
# second more, so that calls that failed together do not come back together.
_FIRST_PAUSE_S, _LAST_PAUSE_S = 0.5, 8.0
# What the openai package would try again, too.
_MAY_PASS = {408, 409, 429}
# Refusals that look like a rate limit and do not pass by waiting.
_OUT_OF_MONEY = {"429 insufficient_quota", "429 billing_hard_limit_reached"}

# Errors that are the fault of one report and say nothing about the next, as are those of messages that are too long.
_OF_ONE_REPORT = {"400 string_above_max_length", "400 invalid_prompt"}

# Parameters that some servers do not know, and what is said where they are left out.
_SCHEMA, _SEED = "response_format", "seed"
_LEFT_OUT = {
    _SCHEMA: "takes no JSON schema in response_format; asking for free text instead",
    _SEED: "takes no seed; asking without one, so the same command may draw other answers",
}

Question = TypeVar("Question")
PayAgain = Callable[[str, Reply], bool]


@dataclass(frozen=True)
class _Attempt:
    """One attempt at a call: what came of it, whether another may do better, and the pause that the server wants."""

    reply: Reply
    may_pass: bool = False
    pause_s: float | None = None


def ask_all(
    endpoint: Endpoint,
    credential: Credential,
    sampling: Sampling,
    limits: Limits,
    questions: Iterable[Question],
    message: Callable[[Question], str],
    schema: dict[str, Any] | None = None,
    pay_again: PayAgain = lambda message, reply: True,
    seed: Callable[[Question], int | None] = lambda question: None,
    refused: set[str] | None = None,
) -> Iterator[tuple[Question, Reply]]:
    """Asks all questions, up to ``limits.concurrency`` at a time.

    Args:
        endpoint: Where; already checked by its guard.
        credential: Its key, or a function that gives a token for each call.
        sampling: Model and parameters.
        limits: Concurrency, rate limits, time-out and retries.
        questions: What to ask; taken one by one, as calls become free.
        message: The user's message of a question.
        schema: Value of ``response_format.json_schema`` that answers are held to; left out, with one warning on
            stderr, once the server refuses it.
        pay_again: Whether a message whose attempt came to this may be sent once more, which may cost as much again.
        seed: What sampling draws the answer to a question from, from 0 to 2**31 - 1; None leaves it to the server. Left
            out like the schema, once the server refuses it.
        refused: Parameters that the server has refused before; those that it refuses now are added, so that further
            calls of this function neither send them nor warn again.

    Yields:
        Each question with its reply, as they come.

    Raises:
        InputError: :data:`MOST_FAILURES_IN_A_ROW` calls failed alike or before the first answer, or
            :data:`MOST_MIXED_FAILURES_IN_A_ROW` in any way. Their questions are not yielded: nothing is known about
            them.
    """
    waiting = iter(questions)
    running: dict[asyncio.Task[Reply], Question] = {}
    failed: list[tuple[Question, Reply]] = []
    answered = False
    caller = _Caller(endpoint, credential, sampling, limits, schema, pay_again, set() if refused is None else refused)
    done: asyncio.Queue[asyncio.Task[Reply]] = asyncio.Queue()
    # Never in debug mode, where asyncio logs what its callbacks are called with.
    runner = asyncio.Runner(debug=False)
    try:
        while True:
            # Until the first answer, no more calls than it takes to see that there will be none.
            room = limits.concurrency if answered else min(limits.concurrency, MOST_FAILURES_IN_A_ROW - len(failed))
            while len(running) < room and (question := next(waiting, None)) is not None:
                task = runner.get_loop().create_task(caller.ask(message(question), seed(question)))
                task.add_done_callback(done.put_nowait)
                running[task] = question
            if not running:
                break
            for task in event_loop.run(runner, _at_least_one(done)):
                question, reply = running.pop(task), task.result()
                if reply.error is None or reply.too_long or reply.error in _OF_ONE_REPORT:
                    answered = True
                    yield from failed
                    failed.clear()
                    yield question, reply
                    continue
                failed.append((question, reply))
                last = [reply.error or "" for _, reply in failed[-MOST_FAILURES_IN_A_ROW:]]
                alike = len(last) == MOST_FAILURES_IN_A_ROW and len(set(last)) == 1
                most = MOST_MIXED_FAILURES_IN_A_ROW if answered else MOST_FAILURES_IN_A_ROW
                if alike or len(failed) == most:
                    raise InputError(_why(endpoint, sampling, limits, last))
        yield from failed
    finally:
        event_loop.run_last(runner, _close(caller.clients, running))


class _Caller:
    """Asks one question at a time, any number of times at once; what they share is here."""

    def __init__(
        self,
        endpoint: Endpoint,
        credential: Credential,
        sampling: Sampling,
        limits: Limits,
        schema: dict[str, Any] | None,
        pay_again: PayAgain,
        refused: set[str],
    ) -> None:
        self.clients = [
            open_client(endpoint, credential, limits) for _ in range(math.ceil(limits.concurrency / _CALLS_A_CLIENT))
        ]
        self._next_client = itertools.cycle(self.clients)
        self._endpoint = endpoint
        self._sampling = sampling
        self._limits = limits
        self._schema = schema
        self._pay_again = pay_again
        self._refused = refused
        self._rate = RateLimiter(limits, sampling.max_tokens)

    async def ask(self, message: str, seed: int | None) -> Reply:
        """The reply to a message, after as many attempts as it takes and the limits grant."""
        import tenacity

        def again(state: "RetryCallState") -> bool:
            if state.outcome is None or state.outcome.failed:
                return False
            last: _Attempt = state.outcome.result()
            more = last.may_pass and state.attempt_number <= self._limits.max_retries
            return more and self._pay_again(message, last.reply)

        # One for each call: it keeps state.
        retrying = tenacity.AsyncRetrying(wait=_pause_s, retry=again)
        attempt: _Attempt = await retrying(self._attempt, message, seed)
        return attempt.reply

    async def _attempt(self, message: str, seed: int | None) -> _Attempt:
        import httpx2
        import openai

        schema = None if _SCHEMA in self._refused else self._schema
        seed = None if _SEED in self._refused else seed
        passed = await self._rate.enter(len(message))
        body = request_body(self._endpoint, self._sampling, message, schema, seed)
        try:
            # The client's own time-out is about silence; a server that drips bytes would keep a call open for ever.
            async with asyncio.timeout(self._limits.timeout_s):
                # The bare response: the package's own reading is lenient where ours must not be, and costs half as
                # much as all the rest of a call.
                response = await next(self._next_client).post("/chat/completions", cast_to=httpx2.Response, body=body)
        except (openai.APITimeoutError, TimeoutError):
            return _Attempt(Reply(error=TIMEOUT), may_pass=True)
        except openai.APIConnectionError:
            return _Attempt(Reply(error=NO_CONNECTION), may_pass=True)
        except openai.APIStatusError as error:
            response = error.response
        headers = _limit_headers(response)
        self._rate.learn(passed, headers)
        if response.is_success:
            reply = replace(read_reply(response.content), as_json=schema is not None)
            self._rate.settle(passed, reply.usage)
            return _Attempt(reply, may_pass=reply.error is not None)
        # The seed first: it is left out only where the error names it, the schema also where nothing is named.
        if seed is not None and refuses_seed(response.status_code, response.content):
            self._leave_out(_SEED)
        elif schema is not None and refuses_schema(response.status_code, response.content):
            self._leave_out(_SCHEMA)
        else:
            return self._failure(response, headers)
        return await self._attempt(message, seed)

    def _failure(self, response: "Response", headers: dict[str, str]) -> _Attempt:
        reply = read_error(response.status_code, response.content)
        may_pass = response.status_code in _MAY_PASS or response.status_code >= 500
        may_pass = {"true": True, "false": False}.get(headers.get("x-should-retry", ""), may_pass)
        if not may_pass or reply.too_long or reply.error in _OUT_OF_MONEY:
            return _Attempt(reply)
        pause_s = asked_pause_s(headers)
        if pause_s is not None:
            # What one call is told holds for all: the others would only be refused as well.
            self._rate.hold(pause_s)
        return _Attempt(reply, may_pass=True, pause_s=pause_s)

    def _leave_out(self, parameter: str) -> None:
        if parameter not in self._refused:
            self._refused.add(parameter)
            print(f"{self._endpoint.host} {_LEFT_OUT[parameter]}", file=sys.stderr)


def _pause_s(state: "RetryCallState") -> float:
    import tenacity

    attempt: _Attempt = state.outcome.result()  # type: ignore[union-attr]
    if attempt.pause_s is not None:
        return attempt.pause_s
    growing = tenacity.wait_exponential(multiplier=_FIRST_PAUSE_S, max=_LAST_PAUSE_S)
    return (growing + tenacity.wait_random(0, _FIRST_PAUSE_S))(state)


def _limit_headers(response: "Response") -> dict[str, str]:
    # Each look-up in the response's own headers goes through all of them.
    names = ((name.lower(), value) for name, value in response.headers.raw)
    return {name.decode(): value.decode("latin-1") for name, value in names if name.startswith((b"x-", b"retry-"))}


async def _at_least_one(done: asyncio.Queue[asyncio.Task[Reply]]) -> list[asyncio.Task[Reply]]:
    tasks = [await done.get()]
    while not done.empty():
        tasks.append(done.get_nowait())
    return tasks


async def _close(clients: Iterable["AsyncOpenAI"], running: Iterable[asyncio.Task[Reply]]) -> None:
    for task in running:
        task.cancel()
    await asyncio.gather(*running, return_exceptions=True)
    for client in clients:
        await client.close()


def _why(endpoint: Endpoint, sampling: Sampling, limits: Limits, errors: Sequence[str]) -> str:
    meanings = {
        TIMEOUT: f"no answer within timeout_s={limits.timeout_s:g}",
        NO_CONNECTION: "no connection",
        MALFORMED: "the answers are no chat completions",
        EMPTY: "the answers say nothing",
        "400 unsupported": "it does not know a parameter; temperature=null and max_tokens=null leave theirs out",
        "3": "it points elsewhere, where nothing is sent; give the URL that it means",
        "401": f"the key in {endpoint.key_variable} is not accepted",
        "403": f"the key in {endpoint.key_variable} may not use it",
        "404": f"no model {sampling.model!r} there, or no such path",
        "429": "over a rate limit or quota",
        "5": "the server fails",
    }
    meaning = next((meaning for begin, meaning in meanings.items() if errors[-1].startswith(begin)), "refused")
    kinds = list(dict.fromkeys(errors))
    failed = f"{len(errors)} calls in a row failed alike ({errors[-1]}): {meaning}"
    if len(kinds) > 1:
        failed = f"all calls fail now ({', '.join(kinds)})"
    return f"{endpoint.url}: {failed}. Stopped; run the same command again to go on"
