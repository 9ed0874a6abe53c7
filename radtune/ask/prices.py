"""What models cost, by ``configs/prices.yaml``."""

import re
from dataclasses import dataclass, replace
from pathlib import Path

from radtune.config import InputError, from_mapping, key, read_yaml
from radtune.engines.guard import Endpoint

PRICES_FILE = Path(__file__).resolve().parents[2] / "configs" / "prices.yaml"

# gpt-4.1-2025-04-14 and gpt-4-0613 are gpt-4.1 and gpt-4; o1-pro is not o1, and costs ten times as much.
_DATED = re.compile(r"(.+?)-(?:\d{4}-\d{2}-\d{2}|\d{4})")
# More than anything will cost; a longer number is a slip, and could not be reckoned with.
_MOST = 10**9


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


@dataclass(frozen=True)
class Price:
    """What a model costs.

    Attributes:
        input: US dollars per million tokens of prompts.
        output: The same for answers.
        batch_factor: By which both are multiplied in a batch.
        date: The day for which the source gave it.
        source: Where it was read.
        model: The name that it is listed under; not the one asked for where that one has a date more.
    """

    input: float
    output: float
    batch_factor: float
    date: str
    source: str
    model: str

    @property
    def in_batch(self) -> "Price":
        """The price of the same model in a batch."""
        if self.batch_factor == 1:
            return self
        factor = self.batch_factor
        return replace(self, input=self.input * factor, output=self.output * factor, batch_factor=1.0)

    def cost(self, prompt_tokens: float, completion_tokens: float) -> float:
        """US dollars for so many tokens."""
        return (prompt_tokens * self.input + completion_tokens * self.output) / 1e6


FREE = Price(0.0, 0.0, 1.0, date="", source="a server on this machine", model="")


def find_price(model: str, path: Path = PRICES_FILE) -> Price | None:
    """The price of a model, or of the name before its date; None if neither is listed.

    Raises:
        InputError: The file cannot be read, or an entry in it is not of the expected form.
    """
    prices = _read_prices(path)
    dated = _DATED.fullmatch(model)
    return prices.get(model) or (prices.get(dated[1]) if dated else None)


def price_at(endpoint: Endpoint, model: str, path: Path = PRICES_FILE) -> Price | None:
    """The price of a model where it is asked.

    A server on this machine is free, unless its model is listed: a gateway on this machine to a paid service passes the
    service's names on.
    """
    price = find_price(model, path)
    return FREE if price is None and endpoint.is_loopback else price


def _read_prices(path: Path) -> dict[str, Price]:
    prices: dict[str, Price] = {}
    for number, values in enumerate(read_yaml(path, list), start=1):
        listed = from_mapping(_PriceList, values, f"{path}: list {number}")
        for model, cost in listed.models.items():
            if model in prices:
                raise InputError(f"{path}: {model} stands twice")
            prices[model] = Price(cost.input, cost.output, listed.batch_factor, listed.date, listed.source, model)
    return prices
