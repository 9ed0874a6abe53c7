"""Calls to a chat model, many at a time, through the openai package.

The package retries what may pass (429, 5xx, time-outs, dropped connections) with growing pauses, or the pause that the
server asks for. What it cannot get is an error, recorded by a short code: a server's own message may quote the report.
"""

import asyncio
import json
import logging
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

from radtune.config import InputError
from radtune.teacher.endpoint import Endpoint

if TYPE_CHECKING:
    from openai import APIStatusError, AsyncOpenAI

# So many calls in a row that fail alike mean that the next will, too: a bad key, a wrong model, a server gone.
MOST_FAILURES_IN_A_ROW = 5
# The longest pause that the openai package grants a server (openai._constants.MAX_RETRY_AFTER_DELAY).
_LONGEST_PAUSE_S = 120.0

# A host that does not answer the door is not there, however long its answers may take.
_LONGEST_CONNECT_S = 10.0
# A server's error code is kept if it looks like one (model_not_found, BadRequestError), not like a word of a report.
_CODE = re.compile(r"[a-z]+(?:_[a-z0-9]+)+|(?:[A-Z][a-z]+){2,}")

# Errors that are the fault of one report and say nothing about the next.
_OF_ONE_REPORT = {"400 context_length_exceeded", "400 string_above_max_length", "400 invalid_prompt"}
_TIMEOUT, _NO_CONNECTION, _MALFORMED = "timeout", "connection_failed", "malformed_answer"

Question = TypeVar("Question")


@dataclass(frozen=True)
class Sampling:
    """What is asked for besides the message; None leaves it to the server."""

    model: str
    temperature: float | None
    max_tokens: int | None


@dataclass(frozen=True)
class Limits:
    """How hard the server may be pressed, and how long it may take.

    Attributes:
        concurrency: Calls under way at once.
        timeout_s: Seconds one attempt may take.
        max_retries: Attempts after the first.
    """

    concurrency: int
    timeout_s: float
    max_retries: int


@dataclass(frozen=True)
class Reply:
    """What came of one call.

    Attributes:
        text: The model's answer; empty if there is none.
        finished: Whether the model came to an end by itself, not by the token limit.
        refused: Whether the model or its provider declined to answer.
        error: A short code if no answer came, e.g. ``401 invalid_api_key``.
        usage: Tokens of prompt and answer, where the server counts them.
    """

    text: str = ""
    finished: bool = True
    refused: bool = False
    error: str | None = None
    usage: dict[str, int] | None = None


def ask_all(
    endpoint: Endpoint,
    api_key: str,
    sampling: Sampling,
    limits: Limits,
    questions: Iterable[Question],
    message: Callable[[Question], str],
) -> Iterator[tuple[Question, Reply]]:
    """Asks all questions, ``limits.concurrency`` at a time.

    Args:
        endpoint: Where; already checked by its guard.
        api_key: Its key.
        sampling: Model and parameters.
        limits: Concurrency, time-out and retries.
        questions: What to ask; taken one by one, as calls become free.
        message: The user's message of a question.

    Yields:
        Each question with its reply, as they come.

    Raises:
        InputError: :data:`MOST_FAILURES_IN_A_ROW` calls failed alike. Their questions are not yielded: nothing is
            known about them.
    """
    waiting = iter(questions)
    running: dict[asyncio.Task[Reply], Question] = {}
    failed: list[tuple[Question, Reply]] = []
    # Never in debug mode, where asyncio logs what its callbacks are called with.
    with asyncio.Runner(debug=False) as runner:
        client = _open_client(endpoint, api_key, limits)
        try:
            while True:
                while len(running) < limits.concurrency and (question := next(waiting, None)) is not None:
                    call = _ask(client, endpoint, sampling, limits, message(question))
                    running[runner.get_loop().create_task(call)] = question
                if not running:
                    break
                done, _ = runner.run(asyncio.wait(running, return_when=asyncio.FIRST_COMPLETED))
                for task in done:
                    question, reply = running.pop(task), task.result()
                    if failed and reply.error != failed[0][1].error:
                        yield from failed
                        failed.clear()
                    if reply.error is None or reply.error in _OF_ONE_REPORT:
                        yield question, reply
                        continue
                    failed.append((question, reply))
                    if len(failed) == MOST_FAILURES_IN_A_ROW:
                        raise InputError(_why(endpoint, sampling, limits, reply.error))
            yield from failed
        finally:
            runner.run(_close(client, running))


def _open_client(endpoint: Endpoint, api_key: str, limits: Limits) -> "AsyncOpenAI":
    # Imported here: it takes as long as the rest of a short command.
    import openai

    for name in ("openai", "httpx2", "httpcore2"):
        # Whatever OPENAI_LOG asks for: a log is no place for a report.
        logging.getLogger(name).setLevel(logging.CRITICAL)
    common: dict[str, Any] = {
        "api_key": api_key,
        "max_retries": limits.max_retries,
        "timeout": openai.Timeout(limits.timeout_s, connect=min(limits.timeout_s, _LONGEST_CONNECT_S)),
        # A redirect, or a proxy from the environment, would take reports elsewhere than the guard has looked.
        "http_client": openai.DefaultAsyncHttpxClient(follow_redirects=False, trust_env=not endpoint.is_loopback),
    }
    if endpoint.is_azure:
        return openai.AsyncAzureOpenAI(azure_endpoint=endpoint.url, api_version=endpoint.azure_api_version, **common)
    return openai.AsyncOpenAI(base_url=endpoint.url, **common)


async def _close(client: "AsyncOpenAI", running: Iterable[asyncio.Task[Reply]]) -> None:
    for task in running:
        task.cancel()
    await asyncio.gather(*running, return_exceptions=True)
    await client.close()


async def _ask(client: "AsyncOpenAI", endpoint: Endpoint, sampling: Sampling, limits: Limits, message: str) -> Reply:
    import openai

    request: dict[str, Any] = {"model": sampling.model, "messages": [{"role": "user", "content": _utf8(message)}]}
    if sampling.temperature is not None:
        request["temperature"] = sampling.temperature
    if sampling.max_tokens is not None:
        request["max_tokens"] = sampling.max_tokens
    if endpoint.may_store:
        request["store"] = False
    # The client's own time-out is about silence; a server that drips bytes would keep a call open for ever.
    longest = (limits.max_retries + 1) * (limits.timeout_s + _LONGEST_PAUSE_S)
    try:
        async with asyncio.timeout(longest):
            # The raw answer: the package's own reading is lenient where this one must not be.
            response = await client.chat.completions.with_raw_response.create(**request)
        return _read_reply(response.http_response.content)
    except (openai.APITimeoutError, TimeoutError):
        return Reply(error=_TIMEOUT)
    except openai.APIConnectionError:
        return Reply(error=_NO_CONNECTION)
    except openai.APIStatusError as error:
        return _refusal_or_error(error)


def _read_reply(content: bytes) -> Reply:
    """The reply in a chat completion, as its server sent it."""
    try:
        body = json.loads(content)
        choice = body["choices"][0]
        text, refusal = choice["message"].get("content"), choice["message"].get("refusal")
        reason = choice.get("finish_reason")
    except (ValueError, RecursionError, KeyError, IndexError, TypeError, AttributeError):
        return Reply(error=_MALFORMED)
    if not isinstance(text, str | None):
        return Reply(error=_MALFORMED)
    return Reply(
        text=_utf8(text or ""),
        finished=reason != "length",
        refused=bool(refusal) or reason == "content_filter",
        usage=_usage(body.get("usage")),
    )


def _usage(usage: Any) -> dict[str, int] | None:
    if not isinstance(usage, dict):
        return None
    counts = {name: usage.get(name) for name in ("prompt_tokens", "completion_tokens")}
    return {name: count for name, count in counts.items() if isinstance(count, int)} or None


def _utf8(text: str) -> str:
    # JSON can carry half a surrogate pair, which no UTF-8 file can.
    return text.encode("utf-8", "replace").decode("utf-8")


def _refusal_or_error(error: "APIStatusError") -> Reply:
    if error.status_code == 400 and error.code == "content_filter":
        # How Azure declines a prompt.
        return Reply(refused=True)
    code = next((word for word in (error.code, error.type) if isinstance(word, str) and _CODE.fullmatch(word)), "")
    return Reply(error=f"{error.status_code} {code}".strip())


def _why(endpoint: Endpoint, sampling: Sampling, limits: Limits, error: str) -> str:
    meanings = {
        _TIMEOUT: f"no answer within timeout_s={limits.timeout_s:g}",
        _NO_CONNECTION: "no connection",
        _MALFORMED: "the answers are no chat completions",
        "400 unsupported": "it does not know a parameter; temperature=null and max_tokens=null leave theirs out",
        "401": f"the key in {endpoint.key_variable} is not accepted",
        "403": f"the key in {endpoint.key_variable} may not use it",
        "404": f"no model {sampling.model!r} there, or no such path",
        "429": "over a rate limit or quota",
        "5": "the server fails",
    }
    meaning = next((meaning for begin, meaning in meanings.items() if error.startswith(begin)), "refused")
    return (
        f"{endpoint.url}: {MOST_FAILURES_IN_A_ROW} calls in a row failed alike ({error}): {meaning}. Stopped; run the "
        "same command again to go on"
    )
