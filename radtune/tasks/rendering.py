"""From a task's wording to what a model sees: one renderer for training, labelling and inference."""

import hashlib
import random
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from radtune.config import InputError, nearest
from radtune.files import read_jsonl, sha256_text
from radtune.labels import Phrase

PROMPT_FORMATS = ("llama3_chat", "alpaca")
# Where a prompt stands: in training rows, before a model that was trained on them, before a teacher.
USES = ("training", "inference", "labelling")

_PIECE = re.compile(r"\{(\w+)\}")


@dataclass(frozen=True)
class Example:
    """A report with its labels, shown to a model; ``fixed`` where training and inference show it."""

    example_id: str
    text: str
    phrases: tuple[Phrase, ...]
    fixed: bool
    images: tuple[Path, ...] = ()


@dataclass(frozen=True)
class TaskPrompt:
    """An instruction, and which examples it shows, with which images."""

    instruction: str
    example_ids: tuple[str, ...] = ()
    images: tuple[Path, ...] = ()


@dataclass(frozen=True)
class Wording:
    """What a task file says of its prompts.

    Attributes:
        texts: Pieces by name, which prompts and one another name in braces: ``{guidelines}``.
        prompts: By use, what is asked; those of training and labelling are that of inference unless given.
        shown: How many of the examples a prompt shows.
        drawn_for: Uses for which they are drawn anew for each report and vote; the others show the fixed ones.
    """

    where: str
    texts: Mapping[str, str]
    prompts: Mapping[str, str]
    examples: tuple[Example, ...] = ()
    shown: int = 0
    drawn_for: tuple[str, ...] = ()

    def draws_examples(self, use: str) -> bool:
        """Whether each report and vote has examples of its own."""
        return self.shown > 0 and use in self.drawn_for

    def prompt(
        self, use: str, report_id: str, seed: int, vote: int, encode: Callable[[Sequence[Phrase]], str], **pieces: str
    ) -> TaskPrompt:
        """The prompt of a use, with its pieces and its examples, whose answers are as ``encode`` writes them.

        It shows the fixed examples, or those that the seed draws for a report and vote.
        """
        examples = tuple(example for example in self.examples if example.fixed)
        if self.draws_examples(use):
            drawn_for = f"{seed}:{report_id}:{vote}" if vote else f"{seed}:{report_id}"
            chance = random.Random(hashlib.sha256(drawn_for.encode()).digest())  # noqa: S311  (no secret)
            examples = tuple(chance.sample(self.examples, self.shown))
        answers = [encode(example.phrases) for example in examples]
        instruction = self.render(use, pieces | example_pieces(examples, answers))
        images = tuple(image for example in examples for image in example.images)
        return TaskPrompt(instruction, tuple(example.example_id for example in examples), images)

    def render(self, use: str, pieces: Mapping[str, str]) -> str:
        """The prompt of a use, with its pieces put in.

        Raises:
            InputError: It names a piece that there is none of, or one that names itself.
        """
        known = {**self.texts, **pieces}

        def fill(text: str, where: str, inside: tuple[str, ...]) -> str:
            def piece(found: re.Match[str]) -> str:
                name = found[1]
                if name not in known:
                    hint = "; a report stands below its prompt" if "report" in name else nearest(name, list(known))
                    raise InputError(f"{self.where}: {where}: no piece {{{name}}}{hint}")
                if pieces.get(name) == "":
                    raise InputError(f"{self.where}: {where}: {{{name}}} is empty: the file gives none")
                if name in inside:
                    raise InputError(f"{self.where}: {where}: {{{name}}} stands in itself")
                # What the library puts in is data: braces in an example are no piece.
                return pieces[name] if name in pieces else fill(known[name], f"texts.{name}", (*inside, name))

            return _PIECE.sub(piece, text)

        used = use if use in self.prompts else "inference"
        return fill(self.prompts[used], f"prompts.{used}", ())


@cache
def read_examples(path: Path) -> tuple[Example, ...]:
    """Examples in file order: ``example_id``, ``text``, ``fixed``, and ``labels`` or ``phrases`` with their codes.

    ``images`` are files, seen from the folder of the examples; an example that has some needs no text.

    Raises:
        InputError: The file is absent or a row is broken.
    """
    examples = []
    for number, row in read_jsonl(path):
        try:
            given = row["labels"] if "labels" in row else row["phrases"]
            phrases = tuple(Phrase(**{"phrase": item} if isinstance(item, str) else item) for item in given)
            images = tuple(path.parent / image for image in row.get("images") or ())
            text = row.get("text", "") if images else row["text"]
            example = Example(row["example_id"], text, phrases, row.get("fixed", False), images)
            texts = (example.example_id, example.text, *(phrase.phrase for phrase in phrases))
            if type(given) is not list or type(example.fixed) is not bool or {*map(type, texts)} != {str}:
                raise TypeError
            examples.append(example)
        except (KeyError, TypeError, AttributeError):
            raise InputError(f"{path}:{number}: expected example_id, text, fixed, and labels or phrases") from None
    return tuple(examples)


def example_pieces(examples: Sequence[Example], answers: Sequence[str]) -> dict[str, str]:
    """The pieces ``{examples}`` and ``{reasoned_examples}``: numbered reports, each with its answer, and the codes."""
    plain, reasoned, before = [], [], 0
    for number, (example, answer) in enumerate(zip(examples, answers, strict=True), start=1):
        text = "\n".join(filter(None, (images_named(before, len(example.images)), example.text)))
        reasons = "\n".join(f"- {item.phrase}: {item.icd10}" for item in example.phrases if item.icd10)
        plain.append(f"{number}. {text}\nOutput: {answer}")
        reasoned.append(f"{plain[-1]}\n{reasons}")
        before += len(example.images)
    return {"examples": "\n".join(plain), "reasoned_examples": "\n".join(reasoned)}


def images_named(before: int, count: int) -> str:
    """What a message calls so many of the images that are sent with it, behind others: ``Images 3 and 4``."""
    numbers = [str(before + number) for number in range(1, count + 1)]
    return f"Image{'s' * (count > 1)} {' and '.join(numbers)}" if numbers else ""


def user_message(instruction: str, report_text: str, prompt_format: str = "llama3_chat") -> str:
    """The user's message of a chat with the model; the tokenizer puts its family's header tokens around it.

    ``llama3_chat`` frames the report as the paper's prompts do; ``alpaca`` uses the template of torchtune's Alpaca
    dataset, which the paper's repository trained with.
    """
    if prompt_format == "alpaca":
        # Imported here because torchtune brings torch, and labelling through a server needs neither.
        from torchtune.data import AlpacaToMessages

        template = AlpacaToMessages().template["prompt_input"]
        return template.format(instruction=instruction, input=report_text)
    return f"{instruction}\n\nReport to Analyze:\n{report_text}\n\nOutput:"


def prompt_sha256(instruction: str, prompt_format: str = "llama3_chat") -> str:
    """Names a prompt in files and manifests: SHA-256 of its message without a report, so the same for every report."""
    return sha256_text(user_message(instruction, "", prompt_format))
