"""What every engine takes and gives: prompts, how to answer them, and responses."""

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

from radtune.config import InputError
from radtune.images import Picture
from radtune.tasks.lists import ClosedList
from radtune.tasks.rendering import user_message


class PromptTooLong(InputError):
    """A prompt leaves a model no room for any report."""


@dataclass(frozen=True)
class Prompt:
    """One question about one report."""

    report_id: str
    instruction: str
    report_text: str
    prompt_format: str  # how the two are framed, one of radtune.tasks.rendering.PROMPT_FORMATS
    seed: str  # sampling draws from it alone; a server is told it, and does with it what it does
    # The classes that a closed answer will likely name. What is answered does not depend on it, only how fast.
    draft: tuple[str, ...] = ()
    complaint: str | None = None  # what was wrong with an earlier answer, where this asks once more
    pictures: tuple[Picture, ...] = ()  # shown before the message, which names them by their numbers
    adapter: int = 0  # which of the model's adapters answers, where it has several

    @property
    def message(self) -> str:
        """The user's message."""
        asked = user_message(self.instruction, self.report_text, self.prompt_format)
        return f"{asked}\n\n{self.complaint}" if self.complaint else asked


# An image at most: 2,833 tokens and 5,667 for each of four tiles (OpenAI's "Images and vision", GPT-4o mini; 85 and 170
# with GPT-4o, which is taken for the usual).
MOST_TOKENS_OF_PICTURE, TOKENS_OF_PICTURE = 2_833 + 4 * 5_667, 85 + 4 * 170


@dataclass(frozen=True)
class Sampling:
    """How prompts are to be answered."""

    temperature: float | None  # 0 takes the likeliest token, None leaves it to a server
    max_new_tokens: int | None  # where a response is cut off; None leaves it to a server
    grammar: ClosedList | None = None  # the closed lists that alone may be answered; None for free text
    go_on: bool = False  # the model writes on after a closed answer, as it does where it gives evidence
    scores: bool = False  # each name of the grammar gets a probability
    schema: dict[str, Any] | None = None  # the value of response_format.json_schema, which a server holds answers to
    end_bias: float = 0.0  # taken from the logits of ending a closed list that could go on; scores know nothing of it


def limits_of(sampling: Sampling) -> tuple[float, int]:
    """Temperature and token limit, which only a server can do without; an InputError where one is not given."""
    if sampling.temperature is None or sampling.max_new_tokens is None:
        raise InputError("a model in this process needs temperature= and max_new_tokens=")
    return sampling.temperature, sampling.max_new_tokens


@dataclass(frozen=True)
class Response:
    """What a model wrote."""

    text: str  # without special tokens
    finished: bool  # by itself, and not at the token limit
    scores: tuple[float, ...] | None = None  # a probability for each name of the grammar, in its order
    cut_words: int = 0  # words of the report's middle that the model had no room for
    refused: bool = False  # the model's provider declined to answer
    error: str | None = None  # a short code where no answer came
    usage: dict[str, int] | None = None  # prompt_tokens and completion_tokens, where a server counts them
    model: str | None = None  # as a server names it, often with its version
    fingerprint: str | None = None  # the system_fingerprint of what ran it
    finish_reason: str | None = None  # in the server's word; of a model here, closed.CLOSED_EARLY or none
    as_json: bool = False  # the server was held to a JSON schema for this answer


class Engine(Protocol):
    """Answers prompts."""

    def generate(self, prompts: Iterable[Prompt], sampling: Sampling) -> Iterator[tuple[int, Response]]:
        """Yields the index of each prompt with its response, as they come."""
        ...


# What stands in the place of the words that were left out.
_GAP = " … "
# A word with the white space behind it. What is longer is no word, and may be cut anywhere.
_WORD = re.compile(r"\S{1,64}\s{0,64}|\s{1,64}")


def fit_prompt(
    prompt: Prompt, tokens_of: Callable[[Prompt], list[int]], max_positions: int, max_new_tokens: int
) -> tuple[list[int], int]:
    """Tokens of a prompt that leaves room for its answer, and how many words were left out of its report for that.

    They are left out of its middle, because findings stand at the beginning of a report and the impression at its end.

    Raises:
        InputError: There is no room even without a report.
    """
    room = max_positions - max_new_tokens
    whole = tokens_of(prompt)
    if len(whole) <= room:
        return whole, 0
    words = split_words(prompt.report_text)

    def keeping(count: int) -> list[int]:
        return tokens_of(replace(prompt, report_text=keep_words(words, count)))

    fits, too_many = 0, len(words)
    best = keeping(0)
    if len(best) > room:
        raise PromptTooLong(
            f"report {prompt.report_id!r} needs {len(best) + max_new_tokens} positions with {max_new_tokens} new "
            f"tokens even without its words, the model has {max_positions}"
        )
    while too_many - fits > 1:
        middle = (fits + too_many) // 2
        if len(tokens := keeping(middle)) <= room:
            fits, best = middle, tokens
        else:
            too_many = middle
    return best, len(words) - fits


def split_words(text: str) -> list[str]:
    """A report's words, each with the white space behind it."""
    return _WORD.findall(text)


def keep_words(words: Sequence[str], count: int) -> str:
    """A report of which only so many words are kept, half of them at either end, with a mark where the others were."""
    head, tail = (count + 1) // 2, count // 2
    return "".join(words[:head]).rstrip() + _GAP + "".join(words[len(words) - tail :])
