"""Any server that speaks OpenAI's chat completions (vLLM, ``transformers serve``, OpenAI), or Azure's.

What may pass (429, 5xx, time-outs, dropped connections, broken or empty answers) is asked again with growing pauses, or
the pause that the server asks for. One thread decides what is asked and when: the one that reads the responses. Others
wait for an answer each. So budgets and limits need no locks, and a signal, which reaches the main thread alone, tears
no call apart.
"""

import itertools
import math
import queue
import random
import signal
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from heapq import heappop, heappush
from types import FrameType
from typing import TYPE_CHECKING, Any
from urllib.request import getproxies_environment

from radtune.config import InputError
from radtune.engines import chat
from radtune.engines.frame import KnownPrompt
from radtune.engines.guard import Credential, Endpoint
from radtune.engines.limits import Limits, RateLimiter, Spent, asked_pause_s, in_thread
from radtune.engines.prompt import TOKENS_OF_PICTURE, Prompt, Response, Sampling, keep_words, split_words
from radtune.privacy import say

if TYPE_CHECKING:
    import httpx2
    import openai

# So many calls in a row that fail alike mean that the next will, too: a bad key, a wrong model, a server gone.
MOST_FAILURES_IN_A_ROW = 5
# The same where they fail in different ways, after some have been answered.
MOST_MIXED_FAILURES_IN_A_ROW = 20

# Before the second, third, ... attempt, where the server asks for no pause: 0.5 s, 1, 2, 4, 8, 8, ... and up to half a
# second more, so that calls that failed together do not come back together.
_FIRST_PAUSE_S, _LAST_PAUSE_S = 0.5, 8.0
# A signal that comes just as the wait begins is noticed only when it ends.
_LONGEST_WAIT_S = 0.5
# What the openai package would try again, too.
_MAY_PASS = {408, 409, 429}
# Refusals that look like a rate limit and do not pass by waiting.
_OUT_OF_MONEY = {"429 insufficient_quota", "429 billing_hard_limit_reached"}
# Errors that are the fault of one report and say nothing about the next, as are those of messages that are too long.
_OF_ONE_REPORT = {"400 string_above_max_length", "400 invalid_prompt"}

# What servers say of an image that they cannot read, as of a fault that passes: it is asked once more, not five times.
_BARE, _MOST_RETRIES_OF_PICTURE = "500", 1

# What a picture counts before the limits have learned better.
_CHARACTERS_OF_PICTURE = 4 * TOKENS_OF_PICTURE

# Of a report that the server has no room for, this share of the words is tried next, in percent: few rounds, and at
# most three words in ten left out for nothing.
_KEPT_PERCENT = 70

_LEFT_OUT = {
    chat.SCHEMA: "takes no JSON schema in response_format; asking for free text instead",
    chat.SEED: "takes no seed; asking without one, so the same command may draw other answers",
}
_BROKEN_SCHEMA = "does not keep to the JSON schema that it takes; answers may be unreadable"
# What ends a process in order; see :func:`radtune.command.run_command`.
_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@dataclass
class _Call:
    """A prompt on its way."""

    index: int
    prompt: Prompt  # as it was given
    message: str  # what is sent of its text
    cut_words: int = 0  # words of the report that are left out of the message
    failed_attempts: int = 0
    sent: tuple[str, ...] = ()  # the parameters of the last attempt that a server may refuse
    spent: Spent = field(default_factory=lambda: Spent(0.0, 0))  # of the limit on tokens, by the last attempt

    @property
    def characters(self) -> int:
        """How long a text of as many tokens is thought to be."""
        return len(self.message) + _CHARACTERS_OF_PICTURE * len(self.prompt.pictures)


@dataclass(eq=False, repr=False)  # which would show the key
class ServerEngine:
    """Answers prompts through a server, whose own chat template frames each message.

    Attributes:
        endpoint: The server, which its guard has checked; ``model`` is the model's name there.
        pay_again: Says whether a prompt whose attempt came to this may be sent once more, which may cost as much again.
        check_response: Says whether a whole answer keeps to the schema that it was asked to.
        known: Is asked before all others, once.
    """

    endpoint: Endpoint
    credential: Credential
    model: str
    limits: Limits
    pay_again: Callable[[Prompt, Response], bool] | None = None
    check_response: Callable[[str], bool] | None = None
    known: KnownPrompt | None = None
    # Parameters that the server does not take.
    _refused: set[str] = field(default_factory=set, init=False)
    _warned: set[str] = field(default_factory=set, init=False)

    def __post_init__(self) -> None:
        # For all that is asked: a second round begins within the first one's minute.
        self._rate = RateLimiter(self.limits)

    def generate(self, prompts: Iterable[Prompt], sampling: Sampling) -> Iterator[tuple[int, Response]]:
        """Yields the index of each prompt with its response, as they come; prompts are taken as calls become free.

        Where a report is too long for the server's model, its prompt is asked again without words of its middle, until
        the server takes it; if it never does, the response has the server's error. Seed and schema are left out, with
        one warning each, once the server refuses them; how far it heeds a seed is its own affair.

        A signal to stop lets no further call begin; those under way are waited for, no longer than the time-out, and
        given. A second signal drops them.

        Raises:
            InputError: :data:`MOST_FAILURES_IN_A_ROW` calls failed alike or before the first answer, or
                :data:`MOST_MIXED_FAILURES_IN_A_ROW` in any way. Their prompts are not given: nothing is known about
                them.
            KeyboardInterrupt: By a signal, once all is given.
        """
        from radtune.engines.client import open_client

        timeout_s = self.limits.timeout_s
        with open_client(self.endpoint, self.credential, timeout_s) as client:
            calls = _Calls(client, timeout_s)
            with _first_signal(calls.stop):
                yield from self._answer(calls, enumerate(prompts), sampling)

    def _answer(
        self, calls: "_Calls", prompts: Iterator[tuple[int, Prompt]], sampling: Sampling
    ) -> Iterator[tuple[int, Response]]:
        waiting: list[tuple[float, int, _Call]] = []
        number = itertools.count()
        failed: list[tuple[int, Response]] = []
        answered, reason, told = False, "", ""
        if known := self.known:
            # Nothing waits for what comes of it.
            self.known = None
            self._rate.enter(time.monotonic(), len(known.message), 1)
            calls.start(None, chat.request_body(self.endpoint, self.model, known.message, Sampling(0.0, 1)))
        while True:
            # Until the first answer, no more calls than it takes to see that there will be none.
            room = self.limits.concurrency
            room = room if answered else min(room, MOST_FAILURES_IN_A_ROW - len(failed))
            while not calls.stopping and len(calls.running) + len(waiting) < room and (taken := next(prompts, None)):
                heappush(waiting, (time.monotonic(), next(number), _Call(*taken, taken[1].message)))
            if calls.stopping:
                waiting.clear()
                if calls.running and not reason and not told:
                    told = f"{len(calls.running):,} calls under way are waited for; once more drops them"
                    say(f"stopping: {told}")
            pause_s = self._send(calls, waiting, sampling)
            if not calls.running and not waiting:
                break
            if (done := calls.wait(pause_s)) is None:
                continue
            call, result = done
            if call is None:
                self._tell_frame(known, result)
                continue
            response, again_s = self._read(call, result, sampling.max_new_tokens)
            if again_s is not None:
                heappush(waiting, (time.monotonic() + again_s, next(number), call))
            elif response.error is None or _is_too_long(response) or response.error in _OF_ONE_REPORT:
                answered = True
                if not reason:
                    yield from failed
                    failed.clear()
                yield call.index, response
            else:
                failed.append((call.index, response))
                last = [response.error or "" for _, response in failed[-MOST_FAILURES_IN_A_ROW:]]
                alike = len(last) == MOST_FAILURES_IN_A_ROW and len(set(last)) == 1
                most = MOST_MIXED_FAILURES_IN_A_ROW if answered else MOST_FAILURES_IN_A_ROW
                if not reason and (alike or len(failed) >= most):
                    reason = self._why(last)
                    calls.stop()
        if reason:
            raise InputError(reason)
        if not calls.stopping:
            yield from failed

    def _send(self, calls: "_Calls", waiting: list[tuple[float, int, _Call]], sampling: Sampling) -> float | None:
        """Sends the calls whose time has come, in order; gives the seconds until the next one's, None without one."""
        while waiting:
            now, (due, _, call) = time.monotonic(), waiting[0]
            pause_s = max(due - now, self._rate.wait_s(now, call.characters, sampling.max_new_tokens))
            if pause_s > 0:
                return pause_s
            heappop(waiting)
            asked = {chat.SCHEMA: bool(sampling.schema), chat.SEED: bool(sampling.temperature)}
            call.sent = tuple(name for name, wanted in asked.items() if wanted and name not in self._refused)
            call.spent = self._rate.enter(now, call.characters, sampling.max_new_tokens)
            sent = sampling if chat.SCHEMA in call.sent else replace(sampling, schema=None)
            seed = chat.seed_number(call.prompt.seed) if chat.SEED in call.sent else None
            pictures = call.prompt.pictures
            calls.start(call, chat.request_body(self.endpoint, self.model, call.message, sent, seed, pictures))
        return None

    def _read(
        self, call: _Call, result: "httpx2.Response | str", max_new_tokens: int | None
    ) -> tuple[Response, float | None]:
        """What came of an attempt, and in how many seconds the call is to be sent again; None if that is its end."""
        now, pause_s, most = time.monotonic(), None, self.limits.max_retries
        if isinstance(result, str):
            response, may_pass = chat.failure(result), True
        elif result.is_success:
            response = replace(chat.read_reply(result.content), as_json=chat.SCHEMA in call.sent)
            self._rate.settle(now, call.characters, max_new_tokens, call.spent, response.usage)
            may_pass = response.error is not None
        elif name := chat.refused_parameter(result.status_code, result.content, call.sent):
            self._refused.add(name)
            self._warn_once(_LEFT_OUT[name])
            return chat.failure(str(result.status_code)), 0.0
        else:
            response = chat.read_error(result.status_code, result.content)
            if _is_too_long(response) and _shorten(call):
                return response, 0.0
            may_pass = result.status_code in _MAY_PASS or result.status_code >= 500
            may_pass = {"true": True, "false": False}.get(result.headers.get("x-should-retry", ""), may_pass)
            may_pass &= not _is_too_long(response) and response.error not in _OUT_OF_MONEY
            pause_s = asked_pause_s(result.headers) if may_pass else None
            if pause_s is not None:
                # What one call is told holds for all: the others would only be refused as well.
                self._rate.hold(now, pause_s)
            if response.error == _BARE and call.prompt.pictures:
                # Mostly a model that takes no images, or not this one.
                most = min(most, _MOST_RETRIES_OF_PICTURE)
        call.failed_attempts += 1
        paid = self.pay_again or (lambda prompt, response: True)
        if may_pass and call.failed_attempts <= most and paid(call.prompt, response):
            if pause_s is None:
                pause_s = min(_FIRST_PAUSE_S * 2.0 ** (call.failed_attempts - 1), _LAST_PAUSE_S)
                pause_s += random.uniform(0, _FIRST_PAUSE_S)  # noqa: S311  (no secret)
            return response, pause_s
        if response.error is not None:
            return response, None
        # An answer that was cut off or declined says nothing about how the server keeps to the schema.
        whole = response.as_json and response.finished and not response.refused
        if whole and self.check_response and not self.check_response(response.text):
            self._warn_once(_BROKEN_SCHEMA)
        return replace(response, cut_words=call.cut_words), None

    def _tell_frame(self, known: KnownPrompt | None, result: "httpx2.Response | str") -> None:
        usage = None if isinstance(result, str) or not result.is_success else chat.read_reply(result.content).usage
        counted = (usage or {}).get("prompt_tokens")
        if known and counted and (said := known.said_of(counted)):
            self._warn_once(said)

    def _warn_once(self, said: str) -> None:
        if said not in self._warned:
            self._warned.add(said)
            say(f"{self.endpoint.host} {said}")

    def _why(self, errors: Sequence[str]) -> str:
        proxied = not self.endpoint.is_loopback and getproxies_environment().keys() & {"https", "all"}
        proxy = " by the proxy that the environment names (HTTPS_PROXY, ALL_PROXY)" if proxied else ""
        refused = f"the key in {self.endpoint.key_variable} is not accepted, or not for this"
        if self.endpoint.is_loopback and not self.endpoint.gets_key:
            named = f"allow_endpoint={self.endpoint.host}"
            refused = f"it wants a key: {named} sends it the one in {self.endpoint.key_variable}"
        meanings = {
            chat.TIMEOUT: f"no answer within timeout_s={self.limits.timeout_s:g}",
            chat.NO_CONNECTION: f"no connection{proxy}",
            chat.MALFORMED: "the answers are no chat completions",
            chat.EMPTY: "the answers say nothing",
            chat.BROKEN_OFF: "the server breaks the answers off",
            "400 unsupported": "it does not know a parameter; temperature=null and max_tokens=null leave theirs out",
            "400": f"it refuses what is asked; has it a model {self.model!r}?",
            "3": "it points elsewhere, where nothing is sent; give the URL that it means",
            chat.CERTIFICATE: "its certificate is not trusted; SSL_CERT_FILE names a file with your own authority's",
            chat.PROXY: f"it is not let through{proxy}",
            "401": refused,
            "403": refused,
            "404": f"no model {self.model!r} there, or no such path",
            "429": "over a rate limit or quota",
            "5": "the server fails",
        }
        meaning = next((meaning for begin, meaning in meanings.items() if errors[-1].startswith(begin)), "refused")
        failed = f"{len(errors)} calls in a row failed alike ({errors[-1]}): {meaning}"
        if len(kinds := dict.fromkeys(errors)) > 1:
            failed = f"all calls fail now ({', '.join(kinds)})"
        return f"{self.endpoint.url}: {failed}. Stopped; run the same command again to go on"


def _is_too_long(response: Response) -> bool:
    return response.error is not None and response.error.endswith(chat.TOO_LONG)


def _shorten(call: _Call) -> bool:
    """Leaves more words of a call's report out; False if none are left."""
    words = split_words(call.prompt.report_text)
    if call.cut_words == len(words):
        return False
    kept = (len(words) - call.cut_words) * _KEPT_PERCENT // 100
    call.message = replace(call.prompt, report_text=keep_words(words, kept)).message
    call.cut_words = len(words) - kept
    return True


class _Calls:
    """Calls under way; a thread waits for the answer to each."""

    def __init__(self, client: "openai.OpenAI", timeout_s: float) -> None:
        # With when their time is up, oldest first.
        self.running: dict[Future[Any], tuple[_Call | None, float]] = {}
        # Whether no further call is to begin.
        self.stopping = False
        self._client, self._timeout_s = client, timeout_s
        self._done: queue.SimpleQueue[Future[Any] | None] = queue.SimpleQueue()

    def start(self, call: _Call | None, body: dict[str, Any]) -> None:
        future = in_thread(partial(_post, self._client, body))
        self.running[future] = call, time.monotonic() + self._timeout_s
        future.add_done_callback(self._done.put)

    def wait(self, pause_s: float | None) -> "tuple[_Call | None, httpx2.Response | str] | None":
        """The next call that has ended, with the server's response or the code of an error; None after a pause."""
        now = time.monotonic()
        oldest, due = next(iter(self.running.values()), (None, math.inf))
        pause_s = min(due - now, _LONGEST_WAIT_S if pause_s is None else pause_s, _LONGEST_WAIT_S)
        try:
            ended = self._done.get(timeout=max(0.0, pause_s))
        except queue.Empty:
            if due > time.monotonic():
                return None
            # A server that drips bytes would keep a call open for ever.
            del self.running[next(iter(self.running))]
            return oldest, chat.TIMEOUT
        if ended is None or (under_way := self.running.pop(ended, None)) is None:
            return None
        # Or its error, where a token cannot be had, say.
        return under_way[0], ended.result()

    def stop(self) -> None:
        """Lets no further call begin; may come from a signal handler."""
        self.stopping = True
        self._done.put(None)


def _post(client: "openai.OpenAI", body: dict[str, Any]) -> "httpx2.Response | str":
    import httpx2
    import openai

    try:
        # The bare response: the package's own reading is lenient where ours must not be, and costs half as much as all
        # the rest of a call.
        return client.post("/chat/completions", cast_to=httpx2.Response, body=body)
    except openai.APITimeoutError:
        return chat.TIMEOUT
    except openai.APIConnectionError as error:
        if isinstance(error.__cause__, httpx2.ProxyError):
            return chat.PROXY
        return chat.CERTIFICATE if "CERTIFICATE_VERIFY_FAILED" in str(error.__cause__) else chat.NO_CONNECTION
    except openai.APIStatusError as error:
        return error.response


@contextmanager
def _first_signal(told: Callable[[], None]) -> Iterator[None]:
    """Lets the first signal that would stop the process call ``told`` instead, and passes it on behind the block."""
    came: list[int] = []

    def tell(number: int, frame: FrameType | None) -> None:
        restore()
        if came:
            # It came while this one was let in, and was the first; this is the second.
            raise KeyboardInterrupt
        came.append(number)
        told()

    def restore() -> None:
        for number, handler in handlers.items():
            signal.signal(number, handler)

    # No signal reaches any other thread; and one that is ignored, as under nohup, stops nothing.
    reached = _SIGNALS if threading.current_thread() is threading.main_thread() else ()
    handlers = {number: handler for number in reached if callable(handler := signal.getsignal(number))}
    for number in handlers:
        signal.signal(number, tell)
    try:
        yield
    finally:
        restore()
        if came:
            signal.raise_signal(came[0])
