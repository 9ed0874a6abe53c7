"""Rate limits: no more requests and tokens a minute than a server grants, whichever minute it looks at.

Limits are given, or learned from what the server says in its headers; the narrower counts.
"""

import asyncio
import email.utils
import math
import re
import time
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass

from radtune.config import InputError

# The longest pause that a server is granted, whatever it asks for; Azure has been seen to ask for a day.
LONGEST_PAUSE_S = 120.0

# More than any service grants, and few enough to reckon with; a header that states more states no limit.
MOST_A_MINUTE = 10**12
_SHORTEST_PERIOD_S = 0.001
# Each call under way is a connection, and processes may have 1,024 files open unless told otherwise.
MOST_CONCURRENT = 1000

# One minute, and a second for calls that reach the server nearer to one another than they were sent.
_WINDOW_S = 61.0
# How much a run may catch up after it was late, e.g. because the machine was busy.
_SLACK_S = 0.5
# English prose has four to five letters a token; what the server counts corrects this upwards.
_LEAST_TOKENS_PER_CHARACTER = 0.25

# 6m0s, 8.64s, 20ms (OpenAI); 55 (Azure).
_DURATION = re.compile(r"(?:\d+(?:\.\d+)?(?:ms|[smhd]))+")
_UNITS_S = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
# Azure says this instead of Retry-After at times (github.com/openai/openai-python/issues/937).
_AZURE_RESET = "x-rate-limit-reset-tokens"


@dataclass(frozen=True)
class Limits:
    """How hard the server may be pressed, and how long it may take.

    Attributes:
        concurrency: Calls under way at once.
        timeout_s: Seconds one attempt may take.
        max_retries: Attempts after the first.
        requests_per_minute: Attempts that may be sent in any minute; None if the server's headers alone decide.
        tokens_per_minute: Tokens of prompts and answers in any minute, counted as :meth:`RateLimiter.enter` says; None
            if the server's headers alone decide.
    """

    concurrency: int
    timeout_s: float
    max_retries: int
    requests_per_minute: int | None = None
    tokens_per_minute: int | None = None


def check_limits(limits: Limits) -> None:
    """Refuses limits under which nothing could be asked.

    Raises:
        InputError: Naming the key.
    """
    if not 1 <= limits.concurrency <= MOST_CONCURRENT:
        raise InputError(f"concurrency must be from 1 to {MOST_CONCURRENT:,}")
    if not 0 < limits.timeout_s < math.inf:
        raise InputError("timeout_s must be above 0, and finite")
    if limits.max_retries < 0:
        raise InputError("max_retries must be 0 or more")
    for name in ("requests_per_minute", "tokens_per_minute"):
        if (limit := getattr(limits, name)) is not None and not 1 <= limit <= MOST_A_MINUTE:
            raise InputError(f"{name} must be from 1 to {MOST_A_MINUTE:,}, or null")


@dataclass
class Spent:
    """What one call takes of a limit, and when it was sent."""

    at: float
    cost: int


class Window:
    """What was spent of one limit within the last minute, and when there is room for more.

    A leaky bucket (aiolimiter's, say) starts full and refills, so its first minute lets nearly twice the limit pass.
    This one remembers what it has let pass, so no minute exceeds the limit, and paces calls evenly besides: servers
    look at shorter spans, too, and refuse a minute's worth that comes in a second.
    """

    def __init__(self, given: int | None) -> None:
        """Begins with nothing spent and the limit that was given, if any."""
        self.limit = given
        self._given = given
        self._log: deque[Spent] = deque()
        self._total = 0
        self._paced_until = -math.inf
        self._short_until = -math.inf

    def wait_s(self, now: float, cost: int) -> float:
        """Seconds until so much may be spent; 0 if it may be now. More than the limit at once goes alone."""
        while self._log and self._log[0].at <= now - _WINDOW_S:
            self._total -= self._log.popleft().cost
        if self.limit is None:
            return max(0.0, self._short_until - now)
        until = max(self._short_until, self._paced_until - _SLACK_S)
        excess = self._total + cost - self.limit
        for spent in self._log:
            if excess <= 0:
                break
            excess -= spent.cost
            until = max(until, spent.at + _WINDOW_S)
        return max(0.0, until - now)

    def spend(self, now: float, cost: int) -> Spent:
        """Takes so much of the limit."""
        spent = Spent(now, cost)
        self._log.append(spent)
        self._total += cost
        self._pace(now, cost)
        return spent

    def correct(self, now: float, spent: Spent, cost: int) -> None:
        """Sets right what a call was thought to take."""
        if spent.at > now - _WINDOW_S:
            self._total += cost - spent.cost
            self._pace(now, cost - spent.cost)
            spent.cost = cost

    def _pace(self, now: float, cost: int) -> None:
        if self.limit is not None:
            self._paced_until = max(self._paced_until, now) + cost * _WINDOW_S / self.limit

    def learn(self, now: float, cost: int, headers: Mapping[str, str], kind: str) -> None:
        """Takes over what a server says about this limit.

        Args:
            now: The time.
            cost: What the next call may take.
            headers: Of an answer.
            kind: ``requests`` or ``tokens``.
        """
        limit, remaining = (_number(headers.get(f"x-ratelimit-{what}-{kind}")) for what in ("limit", "remaining"))
        # Azure's limits may hold for 10 s instead of a minute, and -1 or 0 where there is none.
        period = _number(headers.get(f"x-ratelimit-renewalperiod-{kind}")) or 60.0
        if limit is None or not 0 < limit < MOST_A_MINUTE or period < _SHORTEST_PERIOD_S:
            return
        per_minute = max(1, int(limit * 60 / period))
        self.limit = per_minute if self._given is None else min(self._given, per_minute)
        reset = _seconds(headers.get(f"x-ratelimit-reset-{kind}"))
        if reset is not None and remaining is not None and 0 <= remaining < cost:
            # The reset is when all of the limit is back; what is missing is back sooner.
            pause = min(reset * min(1.0, (cost - remaining) / limit), LONGEST_PAUSE_S)
            self._short_until = max(self._short_until, now + pause)


@dataclass
class Pass:
    """A call that was let through."""

    characters: int
    tokens: Spent


class RateLimiter:
    """Lets calls through one after another, as soon as the server has room for them."""

    def __init__(self, limits: Limits, max_tokens: int | None) -> None:
        """Begins a run.

        Args:
            limits: What was given.
            max_tokens: Where an answer is cut off; None if the server decides.
        """
        self._requests = Window(limits.requests_per_minute)
        self._tokens = Window(limits.tokens_per_minute)
        self._max_tokens = max_tokens
        self._longest_answer = 0
        self._tokens_per_character = _LEAST_TOKENS_PER_CHARACTER
        self._held_until = -math.inf
        self._turn = asyncio.Lock()

    async def enter(self, characters: int) -> Pass:
        """Waits for a call's turn.

        A call counts as the services count it when it arrives: the tokens of its prompt, estimated from its length, and
        all that its answer may take (platform.openai.com/docs/guides/rate-limits,
        learn.microsoft.com/azure/ai-services/openai/how-to/quota). Without ``max_tokens`` that is the longest answer so
        far.

        Args:
            characters: Length of the prompt.

        Returns:
            What to hand to :meth:`settle` once the answer is there.
        """
        # First come, first served: a long report is not overtaken for ever by short ones.
        async with self._turn:
            while True:
                now, tokens = time.monotonic(), self._estimate(characters)
                wait_s = max(self._held_until - now, self._requests.wait_s(now, 1), self._tokens.wait_s(now, tokens))
                if wait_s <= 0:
                    self._requests.spend(now, 1)
                    return Pass(characters, self._tokens.spend(now, tokens))
                await asyncio.sleep(wait_s)

    def settle(self, passed: Pass, usage: Mapping[str, int] | None) -> None:
        """Learns from what the server has counted for a call."""
        if not usage:
            return
        prompt, answer = usage.get("prompt_tokens", 0), usage.get("completion_tokens", 0)
        if prompt > 0:
            self._tokens_per_character = max(self._tokens_per_character, prompt / max(1, passed.characters))
        self._longest_answer = max(self._longest_answer, answer)
        self._tokens.correct(time.monotonic(), passed.tokens, prompt + max(answer, self._max_tokens or 0))

    def hold(self, seconds: float) -> None:
        """Lets nothing through for a while."""
        self._held_until = max(self._held_until, time.monotonic() + seconds)

    def learn(self, passed: Pass, headers: Mapping[str, str]) -> None:
        """Takes over the limits that a server states in the headers of an answer."""
        now = time.monotonic()
        self._requests.learn(now, 1, headers, "requests")
        self._tokens.learn(now, passed.tokens.cost, headers, "tokens")

    def _estimate(self, characters: int) -> int:
        longest = self._longest_answer if self._max_tokens is None else self._max_tokens
        return math.ceil(characters * self._tokens_per_character) + longest


def asked_pause_s(headers: Mapping[str, str]) -> float | None:
    """The pause that a server asks for, at most :data:`LONGEST_PAUSE_S`; None if it asks for none.

    Args:
        headers: Of its refusal: ``retry-after-ms``, or ``retry-after`` in seconds or as a date.
    """
    for name, unit_s in (("retry-after-ms", 0.001), ("retry-after", 1.0), (_AZURE_RESET, 1.0)):
        value = headers.get(name)
        seconds = _number(value)
        if seconds is not None:
            seconds *= unit_s
        elif value and name == "retry-after":
            seconds = _seconds_until(value)
        if seconds is not None and seconds >= 0:
            return min(seconds, LONGEST_PAUSE_S)
    return None


def _seconds_until(date: str) -> float | None:
    try:
        return max(0.0, email.utils.parsedate_to_datetime(date).timestamp() - time.time())
    except (TypeError, ValueError, OverflowError):
        return None


def _number(text: str | None) -> float | None:
    try:
        number = float(text or "")
    except ValueError:
        return None
    return number if math.isfinite(number) else None


def _seconds(text: str | None) -> float | None:
    """A duration like ``6m0s``, or a number of seconds."""
    if text and _DURATION.fullmatch(text):
        return sum(float(n) * _UNITS_S[unit] for n, unit in re.findall(r"([\d.]+)(ms|[smhd])", text))
    return _number(text)
