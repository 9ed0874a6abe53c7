"""Rate limits: no more requests and tokens a minute than the user grants, whichever minute the server looks at."""

import email.utils
import math
import time
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass

from radtune.config import InputError

# The longest pause that a server is granted, whatever it asks for; Azure has been seen to ask for a day.
LONGEST_PAUSE_S = 120.0

# More than any service grants, and few enough to reckon with.
MOST_A_MINUTE = 10**12
# Each call under way is a connection, and processes may have 1,024 files open unless told otherwise.
MOST_CONCURRENT = 1000

# One minute, and a second for calls that reach the server nearer to one another than they were sent.
_WINDOW_S = 61.0
# How much a run may catch up after it was late, e.g. because the machine was busy.
_SLACK_S = 0.5
# English prose has four to five letters a token; what the server counts corrects this upwards.
_LEAST_TOKENS_PER_CHARACTER = 0.25


@dataclass(frozen=True)
class Limits:
    """How hard the server may be pressed, and how long it may take.

    Attributes:
        concurrency: Calls under way at once.
        timeout_s: Seconds one attempt may take.
        max_retries: Attempts after the first.
        requests_per_minute: Attempts that may be sent in any minute; None for any number.
        tokens_per_minute: Tokens of prompts and answers in any minute, counted as :class:`RateLimiter` says; None for
            any number.
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

    def __init__(self, limit: int | None) -> None:
        """Begins with nothing spent."""
        self._limit = limit
        self._log: deque[Spent] = deque()
        self._total = 0
        self._paced_until = -math.inf

    def wait_s(self, now: float, cost: int) -> float:
        """Seconds until so much may be spent; 0 if it may be now. More than the limit at once goes alone."""
        if self._limit is None:
            return 0.0
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
        spent = Spent(now, cost)
        if self._limit is not None:
            self._log.append(spent)
            self._take(now, cost, self._limit)
        return spent

    def correct(self, now: float, spent: Spent, cost: int) -> None:
        """Sets right what a call was thought to take."""
        if self._limit is not None and spent.at > now - _WINDOW_S:
            self._take(now, cost - spent.cost, self._limit)
            spent.cost = cost

    def _take(self, now: float, cost: int, limit: int) -> None:
        self._total += cost
        self._paced_until = max(self._paced_until, now) + cost * _WINDOW_S / limit


class RateLimiter:
    """Says when the next call may be sent.

    A call counts as the services count it when it arrives: the tokens of its prompt, estimated from its length, and all
    that its answer may take (platform.openai.com/docs/guides/rate-limits,
    learn.microsoft.com/azure/ai-services/openai/how-to/quota). Without a limit on answers that is the longest so far.
    """

    def __init__(self, limits: Limits) -> None:
        """Begins with nothing sent."""
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
        prompt, answer = (usage or {}).get("prompt_tokens", 0), (usage or {}).get("completion_tokens", 0)
        if prompt > 0:
            self._tokens_per_character = max(self._tokens_per_character, prompt / max(1, characters))
        self._longest_answer = max(self._longest_answer, answer)
        if usage:
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
