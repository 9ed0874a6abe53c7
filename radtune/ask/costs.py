"""What a run costs: prices by ``configs/prices.yaml``, an estimate before anything is sent, a budget that is kept."""

import json
import math
import re
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path

from radtune import ROOT
from radtune.config import InputError, from_mapping, key, read_yaml
from radtune.engines.guard import Endpoint
from radtune.engines.prompt import MOST_TOKENS_OF_PICTURE, TOKENS_OF_PICTURE, Prompt, Response, Sampling

PRICES_FILE = ROOT / "configs" / "prices.yaml"
# OpenAI's rule of thumb for English, "What are tokens and how to count them?" (help.openai.com/articles/4936856).
CHARACTERS_PER_TOKEN = 4
# The answers to the seed examples take 50 at most; models explain more than they are asked to.
TYPICAL_ANSWER_TOKENS = 200
# Around a message stand about seven tokens that are not its text (OpenAI Cookbook, "How to count tokens with
# tiktoken"); other services may need a few more.
_TOKENS_AROUND = 16
# gpt-4.1-2025-04-14 and gpt-4-0613 are gpt-4.1 and gpt-4; o1-pro is not o1, and costs ten times as much.
_DATED = re.compile(r"(.+?)-(?:\d{4}-\d{2}-\d{2}|\d{4})")
# More than anything will cost; a longer number is a slip, and could not be reckoned with.
_MOST = 10**9


@dataclass(frozen=True)
class Price:
    """What a model costs, in US dollars per million tokens of prompts and of answers."""

    input: float
    output: float
    batch_factor: float  # by which both are multiplied in a batch
    date: str  # the day for which the source gave it
    source: str
    model: str  # the name that it is listed under; the one asked for may have a date more

    @property
    def in_batch(self) -> "Price":
        """The price of the same model in a batch."""
        return replace(self, input=self.input * self.batch_factor, output=self.output * self.batch_factor)

    def cost(self, prompt_tokens: float, completion_tokens: float) -> float:
        """US dollars for so many tokens."""
        return (prompt_tokens * self.input + completion_tokens * self.output) / 1e6


# Of a model in this process, or at a server on this machine.
FREE = Price(0.0, 0.0, 1.0, "", "", "")


@dataclass
class _Cost:
    input: float = key(ge=0, le=_MOST)
    output: float = key(ge=0, le=_MOST)


@dataclass
class _PriceList:
    source: str
    date: str
    models: dict[str, _Cost]
    batch_factor: float = key(ge=0, le=_MOST)


def find_price(model: str, path: Path = PRICES_FILE) -> Price | None:
    """The price of a model, or of the name before its date; None if neither is listed.

    Raises:
        InputError: The file cannot be read, or an entry in it is not of the expected form.
    """
    prices: dict[str, Price] = {}
    for number, values in enumerate(read_yaml(path, list), start=1):
        entry = from_mapping(_PriceList, values, f"{path}: list {number}")
        for name, cost in entry.models.items():
            if name in prices:
                raise InputError(f"{path}: {name} stands twice")
            prices[name] = Price(cost.input, cost.output, entry.batch_factor, entry.date, entry.source, name)
    dated = _DATED.fullmatch(model)
    return prices.get(model) or (prices.get(dated[1]) if dated else None)


def price_at(endpoint: Endpoint | None, model: str, path: Path = PRICES_FILE) -> Price | None:
    """The price of a model where it is asked; ``endpoint`` None for a model that runs in this process.

    A server on this machine is free, unless its model is listed: a gateway on this machine to a paid service passes the
    service's names on.
    """
    if endpoint is None:
        return FREE
    price = find_price(model, path)
    return FREE if price is None and endpoint.is_loopback else price


def check_budget(max_cost: float | None, price: Price | None, model: str, sampling: Sampling, path: Path) -> None:
    """Refuses a limit on cost that could not be kept: the model has no price, or its answers no length."""
    if max_cost is None:
        return
    if price is None:
        raise InputError(
            f"max_cost needs the price of {model!r}, which is not listed; add to {path}, under models: "
            f"{model}: {{input: 2.50, output: 10.00}} (US dollars per million tokens)"
        )
    if sampling.max_new_tokens is None and price.output > 0:
        raise InputError("max_cost needs max_tokens: an answer without a limit may cost any amount")


def estimate(
    prompts: Iterable[Prompt], sampling: Sampling, price: Price | None, model: str, endpoint: Endpoint | None
) -> str:
    """What some prompts would take, in words; nothing is sent and no tokenizer needed.

    The most is what they would cost if every byte were a token and every answer as long as it may be.
    """
    prompts = list(prompts)
    calls, longest = len(prompts), sampling.max_new_tokens
    tokens = sum(math.ceil(len(p.message) / CHARACTERS_PER_TOKEN) for p in prompts)
    tokens += sum(len(p.pictures) for p in prompts) * TOKENS_OF_PICTURE
    answers = calls * min(TYPICAL_ANSWER_TOKENS, longest or TYPICAL_ANSWER_TOKENS)
    said = (
        f"{calls:,} calls to {model} at {endpoint.host if endpoint else 'this machine'}\n"
        f"about {tokens:,} tokens of prompts and {answers:,} of answers "
        f"({CHARACTERS_PER_TOKEN} characters a token, {TYPICAL_ANSWER_TOKENS} tokens an answer or max_tokens assumed)\n"
    )
    if price is None:
        return f"{said}no price known for {model}; {PRICES_FILE.name} says how to add one"
    if price == FREE:
        return f"{said}no cost: {'a server' if endpoint else 'a model'} on this machine"
    most = "without max_tokens no limit"
    if longest is not None:
        most = f"{dollars(price.cost(sum(map(_most_tokens, prompts)), calls * longest))} at the very most"
    listed = "" if price.model == model else f"listed as {price.model}, "
    return (
        f"{said}price: ${price.input:g} and ${price.output:g} per million tokens of prompts and answers "
        f"({listed}{price.date}, {price.source})\nabout {dollars(price.cost(tokens, answers))}, {most}"
    )


def most_tokens_of(text: str) -> int:
    """More tokens than a message can have: tokens are made of bytes, and none is empty."""
    return len(text.encode("utf-8", "replace")) + _TOKENS_AROUND


def _most_tokens(prompt: Prompt) -> int:
    return most_tokens_of(prompt.message) + len(prompt.pictures) * MOST_TOKENS_OF_PICTURE


def dollars(amount: float) -> str:
    """An amount for people, to the cent where it is not less than one."""
    return f"${amount:,.2f}" if amount >= 0.1 or amount == 0 else f"${amount:.4f}"


@dataclass
class Budget:
    """Keeps what is spent, and may be spent by calls under way, within a limit.

    A call reserves the most that it can cost before it is sent; its response replaces that by what the server has
    counted. So the limit holds with any number of calls in flight, and a run stops short of it by what these have
    reserved. An attempt that is made again may have been paid for, so it is counted and has to fit as well.
    """

    max_cost: float | None = None
    price: Price | None = None
    spent: float = 0.0  # US dollars for the calls that have been settled; 0 where the price is not known
    _reserved: float = 0.0
    # By prompt, the most tokens that it and its answer may have.
    _under_way: dict[Prompt, tuple[int, float]] = field(default_factory=dict)

    def admit(self, prompt: Prompt, sampling: Sampling) -> bool:
        """Whether a prompt may be sent now; reserves the most that it can cost if so.

        One that may not be sent now may be later, when others have turned out cheaper than they could have been.
        """
        # The schema is sent with each call, and the server counts it as part of the prompt.
        schema = most_tokens_of(json.dumps(sampling.schema)) if sampling.schema else 0
        most = _most_tokens(prompt) + schema, sampling.max_new_tokens or 0
        # check_budget has seen to it that answers without a limit cost nothing, or have no limit on their cost.
        if not self._affords(self._cost(*most)):
            return False
        self._reserved += self._cost(*most)
        self._under_way[prompt] = most
        return True

    def settle(self, prompt: Prompt, response: Response) -> None:
        """Replaces what an admitted prompt had reserved by what it cost.

        A call that the server refused costs nothing. One whose answer was lost, or was not counted, costs what it had
        reserved: the server may have done the work.
        """
        most = self._under_way.pop(prompt)
        # Sums of many small amounts drift; below nothing they would let too much through.
        self._reserved = max(0.0, self._reserved - self._cost(*most)) if self._under_way else 0.0
        self.spent += self._cost_of(response, *most)

    def pay_again(self, prompt: Prompt, response: Response) -> bool:
        """Whether an admitted prompt whose attempt came to this may be sent once more; counts that attempt if so."""
        cost = self._cost_of(response, *self._under_way[prompt])
        if not self._affords(cost):
            return False
        self.spent += cost
        return True

    def add(self, response: Response) -> None:
        """Counts a response to what an earlier start has admitted, as those of a batch are."""
        self.spent += self._cost_of(response, 0, 0)

    def shown(self) -> str:
        """What is spent, to stand behind other figures; empty where there is no price."""
        if self.price in (None, FREE):
            return ""
        limit = f" of {dollars(self.max_cost)}" if self.max_cost is not None else ""
        return f", {dollars(self.spent)}{limit} spent"

    def _affords(self, cost: float) -> bool:
        return self.max_cost is None or self.spent + self._reserved + cost <= self.max_cost

    def _cost(self, prompt_tokens: float, completion_tokens: float) -> float:
        return self.price.cost(prompt_tokens, completion_tokens) if self.price else 0.0

    def _cost_of(self, response: Response, most_prompt: int, most_answer: float) -> float:
        # An error that begins with an HTTP status is a refusal, or work that the server has not managed to do.
        if response.error is not None and response.error[:1].isdigit():
            return 0.0
        usage = response.usage or {}
        return self._cost(usage.get("prompt_tokens", most_prompt), usage.get("completion_tokens", most_answer))
