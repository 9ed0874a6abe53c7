"""Rate limits: no more requests and tokens a minute than the user grants, whichever minute the server looks at.

And limits of time, for calls that a server may never end.
"""

import email.utils
import math
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from concurrent.futures import Future, wait
from contextlib import suppress
from dataclasses import dataclass
from typing import TypeVar

Result = TypeVar("Result")

# The longest pause that a server is granted, whatever it asks for; Azure has been seen to ask for a day.
LONGEST_PAUSE_S = 120.0

# One minute, and a second for calls that reach the server nearer to one another than they were sent.
_WINDOW_S = 61.0
# How much a run may catch up after it was late, e.g. because the machine was busy.
_SLACK_S = 0.5
# English prose has four to five letters a token; what the server counts corrects this upwards.
_LEAST_TOKENS_PER_CHARACTER = 0.25


@dataclass(frozen=True)
class Limits:
    """How hard the server may be pressed, and how long it may take."""

    concurrency: int  # calls under way at once
    timeout_s: float  # of one attempt
    max_retries: int  # attempts after the first
    requests_per_minute: int | None = None  # attempts that may be sent in any minute; None for any number
    tokens_per_minute: int | None = None  # of prompts and answers, counted as RateLimiter says


@dataclass
class Spent:
    """What one call takes of a limit, and when it was sent."""

    at: float
    cost: int


class Window:
    """What was spent of one limit within the last minute, so that no minute exceeds it.

    It paces calls evenly besides: servers refuse a minute's worth that comes in a second.
    """

    def __init__(self, limit: int | None) -> None:
        self._limit = limit or math.inf
        self._log: deque[Spent] = deque()
        self._total = 0
        self._paced_until = -math.inf

    def wait_s(self, now: float, cost: int) -> float:
        """Seconds until so much may be spent; 0 if it may be now. More than the limit at once goes alone."""
        while self._log and self._log[0].at <= now - _WINDOW_S:
            self._total -= self._log.popleft().cost
        until = self._paced_until - _SLACK_S
        excess = self._total + cost - self._limit
        for spent in self._log:
            if excess <= 0:
                break
            excess -= spent.cost
            until = max(until, spent.at + _WINDOW_S)
        return max(0.0, until - now)

    def spend(self, now: float, cost: int) -> Spent:
        """Takes so much of the limit."""
        spent = Spent(now, 0)
        self._log.append(spent)
        self.correct(now, spent, cost)
        return spent

    def correct(self, now: float, spent: Spent, cost: int) -> None:
        """Sets right what a call was thought to take."""
        if spent.at > now - _WINDOW_S:
            more = cost - spent.cost
            self._total += more
            self._paced_until = max(self._paced_until, now) + more * _WINDOW_S / self._limit
            spent.cost = cost


class RateLimiter:
    """Says when the next call may be sent.

    A call counts as the services count it when it arrives: the tokens of its prompt, estimated from its length, and all
    that its answer may take (platform.openai.com/docs/guides/rate-limits,
    learn.microsoft.com/azure/ai-services/openai/how-to/quota). Without a limit on answers that is the longest so far.
    """

    def __init__(self, limits: Limits) -> None:
        self._requests = Window(limits.requests_per_minute)
        self._tokens = Window(limits.tokens_per_minute)
        self._longest_answer = 0
        self._tokens_per_character = _LEAST_TOKENS_PER_CHARACTER
        self._held_until = -math.inf

    def wait_s(self, now: float, characters: int, max_new_tokens: int | None) -> float:
        """Seconds until a prompt of that length may be sent, its answer cut off at so many tokens."""
        tokens = self._tokens.wait_s(now, self._estimate(characters, max_new_tokens))
        return max(0.0, self._held_until - now, self._requests.wait_s(now, 1), tokens)

    def enter(self, now: float, characters: int, max_new_tokens: int | None) -> Spent:
        """Counts a call that is sent now; its tokens are for :meth:`settle`, once the answer is there."""
        self._requests.spend(now, 1)
        return self._tokens.spend(now, self._estimate(characters, max_new_tokens))

    def settle(
        self, now: float, characters: int, max_new_tokens: int | None, spent: Spent, usage: Mapping[str, int] | None
    ) -> None:
        """Learns from what the server has counted for a call."""
        if not usage:
            return
        prompt, answer = usage.get("prompt_tokens", 0), usage.get("completion_tokens", 0)
        self._tokens_per_character = max(self._tokens_per_character, prompt / max(1, characters))
        self._longest_answer = max(self._longest_answer, answer)
        self._tokens.correct(now, spent, prompt + max(answer, max_new_tokens or 0))

    def hold(self, now: float, seconds: float) -> None:
        """Lets nothing through for a while."""
        self._held_until = max(self._held_until, now + seconds)

    def _estimate(self, characters: int, max_new_tokens: int | None) -> int:
        longest = self._longest_answer if max_new_tokens is None else max_new_tokens
        return math.ceil(characters * self._tokens_per_character) + longest


def asked_pause_s(headers: Mapping[str, str]) -> float | None:
    """The pause that a refusal's headers ask for, at most :data:`LONGEST_PAUSE_S`; None if they ask for none."""
    for name, unit_s in (("retry-after-ms", 0.001), ("retry-after", 1.0)):
        value, seconds = headers.get(name, ""), math.nan
        with suppress(TypeError, ValueError, OverflowError):
            # A header may also give a date.
            seconds = max(0.0, email.utils.parsedate_to_datetime(value).timestamp() - time.time())
        with suppress(ValueError):
            seconds = float(value) * unit_s
        if 0 <= seconds < math.inf:
            return min(seconds, LONGEST_PAUSE_S)
    return None


def in_thread(call: Callable[[], Result]) -> Future[Result]:
    """What a call will come to that a thread of its own makes, for which a process that ends does not wait."""
    future = Future[Result]()

    def run() -> None:
        try:
            future.set_result(call())
        except BaseException as error:
            future.set_exception(error)

    threading.Thread(target=run, daemon=True).start()
    return future


def within(seconds: float, call: Callable[[], Result]) -> Result:
    """What a call comes to; a TimeoutError where it takes longer in all, as where a response's head never ends."""
    done, ends = in_thread(call), time.monotonic() + seconds
    # A signal that comes just as a wait begins is noticed only when it ends.
    while not wait([done], min(ends - time.monotonic(), 0.5)).done:
        if time.monotonic() >= ends:
            raise TimeoutError
    return done.result()
