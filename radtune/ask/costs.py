"""What a run costs: an estimate before anything is sent, and a budget that it keeps to."""

import json
import math
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from radtune.ask.prices import FREE, PRICES_FILE, Price
from radtune.ask.teacher_calls import Sampling
from radtune.config import InputError
from radtune.engines.guard import Endpoint
from radtune.engines.prompt import Response as Reply

# OpenAI's rule of thumb for English, "What are tokens and how to count them?" (help.openai.com/articles/4936856).
CHARACTERS_PER_TOKEN = 4
# The answers to the seed examples take 50 at most; models explain more than they are asked to.
TYPICAL_ANSWER_TOKENS = 200
# Around a message stand about seven tokens that are not its text (OpenAI Cookbook, "How to count tokens with
# tiktoken"); other services may need a few more.
_TOKENS_AROUND = 16


def check_budget(max_cost: float | None, price: Price | None, sampling: Sampling, path: Path = PRICES_FILE) -> None:
    """Refuses a limit on cost that could not be kept.

    Raises:
        InputError: It is no amount, the model has no price, or its answers no length.
    """
    if max_cost is None:
        return
    if not 0 < max_cost < math.inf:
        raise InputError("max_cost must be above 0, in US dollars, or null")
    if price is None:
        raise InputError(
            f"max_cost needs the price of {sampling.model!r}, which is not listed; add to {path}, under models: "
            f"{sampling.model}: {{input: 2.50, output: 10.00}} (US dollars per million tokens)"
        )
    if sampling.max_tokens is None and price.output > 0:
        raise InputError("max_cost needs max_tokens: an answer without a limit may cost any amount")


@dataclass(frozen=True)
class Estimate:
    """What a run is expected to take.

    Attributes:
        calls: Their number.
        prompt_tokens: At :data:`CHARACTERS_PER_TOKEN`.
        completion_tokens: At :data:`TYPICAL_ANSWER_TOKENS` an answer, or ``max_tokens`` where that is less.
        cost: In US dollars; None where the price is not known.
        most: The same if every character were a token and every answer as long as it may be; None where the price is
            not known or the answers have no limit.
    """

    calls: int
    prompt_tokens: int
    completion_tokens: int
    cost: float | None
    most: float | None


def estimate(messages: Iterable[str], sampling: Sampling, price: Price | None) -> Estimate:
    """What some questions would take; nothing is sent and no tokenizer needed.

    Args:
        messages: The user's message of each.
        sampling: Model and parameters.
        price: Of the model, if known.
    """
    calls = prompt_tokens = most_prompt_tokens = 0
    for message in messages:
        calls += 1
        prompt_tokens += math.ceil(len(message) / CHARACTERS_PER_TOKEN)
        most_prompt_tokens += most_tokens(message)
    longest = sampling.max_tokens
    completion_tokens = calls * min(TYPICAL_ANSWER_TOKENS, longest or TYPICAL_ANSWER_TOKENS)
    cost = price.cost(prompt_tokens, completion_tokens) if price else None
    most = price.cost(most_prompt_tokens, calls * longest) if price and longest is not None else None
    return Estimate(calls, prompt_tokens, completion_tokens, cost, most)


def estimate_text(estimate: Estimate, price: Price | None, sampling: Sampling, endpoint: Endpoint, leaving: str) -> str:
    """The estimate in words, with what would leave the machine and where to.

    Args:
        estimate: The estimate.
        price: That it was made with.
        sampling: The same.
        endpoint: Where the questions would go.
        leaving: What they hold of the reports, e.g. from :func:`radtune.engines.guard.what_leaves`.
    """
    lines = [
        f"{estimate.calls:,} calls to {sampling.model} at {endpoint.host}",
        f"about {estimate.prompt_tokens:,} tokens of prompts and {estimate.completion_tokens:,} of answers "
        f"({CHARACTERS_PER_TOKEN} characters a token, {TYPICAL_ANSWER_TOKENS} tokens an answer or max_tokens assumed)",
    ]
    if price is None:
        lines.append(f"no price known for {sampling.model}; {PRICES_FILE.name} says how to add one")
    elif price is FREE:
        lines.append("no cost: a server on this machine")
    else:
        listed = "" if price.model == sampling.model else f"listed as {price.model}, "
        most = "without max_tokens no limit" if estimate.most is None else f"{dollars(estimate.most)} at the very most"
        lines += [
            f"price: ${price.input:g} and ${price.output:g} per million tokens of prompts and answers "
            f"({listed}{price.date}, {price.source})",
            f"about {dollars(estimate.cost or 0.0)}, {most}",
        ]
    stays = "nothing would leave this machine" if endpoint.is_loopback else f"{leaving} would leave this machine"
    lines.append(f"{stays}, for {endpoint.url}; nothing has been sent")
    return "\n".join(lines)


def most_tokens(text: str) -> int:
    """More tokens than a message can have: tokens are made of bytes, and none is empty."""
    return len(text.encode("utf-8", "replace")) + _TOKENS_AROUND


def dollars(amount: float) -> str:
    """An amount for people, to the cent where it is not less than one."""
    return f"${amount:,.2f}" if amount >= 0.1 or amount == 0 else f"${amount:.4f}"


class Budget:
    """Keeps what is spent, and may be spent by calls under way, within a limit.

    A call reserves the most that it can cost before it is sent; its reply replaces that by what the server has counted.
    So the limit holds with any number of calls in flight, and a run stops short of it by what these have reserved. An
    attempt that is made again may have been paid for, so it is counted and has to fit as well.

    Attributes:
        spent: US dollars for the calls that have been settled; 0 where the price is not known.
    """

    def __init__(
        self, max_cost: float | None, price: Price | None, schema: dict[str, Any] | None = None, spent: float = 0.0
    ) -> None:
        """Begins a run.

        Args:
            max_cost: US dollars; None if there is no limit.
            price: Of the model; may be None only if there is no limit (see :func:`check_budget`).
            schema: What each call carries besides its message, and the server counts as part of the prompt.
            spent: By earlier starts, where they count.
        """
        if max_cost is not None and price is None:
            raise InputError("max_cost needs the price of the model")
        self.max_cost = max_cost
        self.price = price
        self.spent = spent
        self._schema_tokens = most_tokens(json.dumps(schema)) if schema else 0
        self._reserved = 0.0
        # The same message may be under way several times, once for each vote.
        self._under_way: dict[str, list[tuple[int, int | None]]] = {}

    def admit(self, message: str, max_tokens: int | None) -> bool:
        """Whether a call may be sent now; reserves the most that it can cost if so.

        A call that may not be sent now may be later, when others have turned out cheaper than they could have been.

        Args:
            message: The user's message.
            max_tokens: Where its answer is cut off.
        """
        most = most_tokens(message) + self._schema_tokens
        cost = self._most(most, max_tokens)
        if self.max_cost is not None and self.spent + self._reserved + cost > self.max_cost:
            return False
        self._reserved += cost
        self._under_way.setdefault(message, []).append((most, max_tokens))
        return True

    def settle(self, message: str, reply: Reply) -> None:
        """Replaces what a call had reserved by what it cost.

        A call that the server refused costs nothing. One whose answer was lost, or was not counted, costs what it had
        reserved: the server may have done the work.

        Args:
            message: Of a call that was admitted.
            reply: What came of it.
        """
        reservations = self._under_way[message]
        most, max_tokens = reservations.pop()
        if not reservations:
            del self._under_way[message]
        reserved = self._most(most, max_tokens)
        # Sums of many small amounts drift; below nothing they would let too much through.
        self._reserved = max(0.0, self._reserved - reserved) if self._under_way else 0.0
        self.spent += self._cost(most, max_tokens, reply)

    def pay_again(self, message: str, reply: Reply) -> bool:
        """Whether a call whose attempt came to nothing may be made once more; counts what that attempt cost if so.

        Args:
            message: Of a call that was admitted; what it has reserved is for its next attempt.
            reply: What came of the last one.
        """
        cost = self._cost(*self._under_way[message][-1], reply)
        if self.max_cost is not None and self.spent + self._reserved + cost > self.max_cost:
            return False
        self.spent += cost
        return True

    def add(self, reply: Reply) -> None:
        """Counts a reply that was admitted by an earlier start, as those of a batch are."""
        if self.price is not None and reply.usage:
            used = reply.usage
            self.spent += self.price.cost(used.get("prompt_tokens", 0), used.get("completion_tokens", 0))

    def shown(self) -> str:
        """What is spent, to stand behind other figures; empty where the price is not known."""
        if self.price is None or self.price is FREE:
            return ""
        limit = f" of {dollars(self.max_cost)}" if self.max_cost is not None else ""
        return f", {dollars(self.spent)}{limit} spent"

    def _cost(self, most: int, max_tokens: int | None, reply: Reply) -> float:
        # An error that begins with an HTTP status is a refusal, or work that the server has not managed to do.
        if self.price is None or (reply.error is not None and reply.error[:1].isdigit()):
            return 0.0
        usage = reply.usage or {}
        longest = max_tokens if max_tokens is not None else 0
        return self.price.cost(usage.get("prompt_tokens", most), usage.get("completion_tokens", longest))

    def _most(self, prompt_tokens: int, max_tokens: int | None) -> float:
        if self.price is None:
            return 0.0
        if max_tokens is None:
            return math.inf if self.max_cost is not None and self.price.output > 0 else 0.0
        return self.price.cost(prompt_tokens, max_tokens)
