"""Open ended: which phrases of the report name something that has an ICD-10-CM code? Asked with three examples."""

import hashlib
import random
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from radtune.config import InputError
from radtune.files import read_jsonl
from radtune.labels import Answer, Phrase, Status
from radtune.tasks.lists import fold_space, read_list, write_list

NAME = "open_ended"

SEED_EXAMPLES_FILE = Path(__file__).resolve().parents[2] / "data" / "seed_examples.jsonl"
# How many of the eleven seed examples a prompt shows (section 2.3).
EXAMPLES_PER_PROMPT = 3

# Quoted from Figure 1b of arXiv:2409.16563; an experimental setting, not our wording.
_TASK = (
    "You are a radiologist. Your task is to do entity recognition, which will extract phrases in the report that "
    "represent a potential ICD-10 code. Your result should be a list, i.e., [phrase 1, phrase 2, …]. The phrase should "
    "fully contain the indication of an ICD-10 code, but also should be as short as possible."
)
# Quoted from Table 2, the prompt that the labels were made with.
_LABELLING_TASK = (
    "You are a radiologist. Your tasks is to do disease detection, which will extract phrases in the report that "
    "represents a potential ICD-10 code. Your result should be a list, i.e. [phrase 1, phrase 2, …]. The phrase should "
    "fully contain the indication of a ICD-10 code, but also should be as short as possible."
)
# The same in both.
_GUIDELINES = (
    "Guidelines:\n"
    "* Extract phrases that directly correlate to an ICD-10 code.\n"
    "* Keep the phrases as concise as possible while retaining their full meaning.\n"
    "* Provide the reasoning behind each extracted phrase, including the corresponding ICD-10 code.\n"
    "* Include only the conditions that the patient has. For example, if the report states ‘No pneumothorax,’ do not "
    "include pneumothorax.\n"
    "* If there are no conditions or findings that correlate to an ICD-10 code, directly output ‘Output: []’"
)


@dataclass(frozen=True)
class SeedExample:
    """A report with its phrases, shown to a model as an example."""

    example_id: str
    text: str
    phrases: tuple[Phrase, ...]
    fixed: bool  # one of the three shown in training and inference


@cache
def seed_examples(path: Path = SEED_EXAMPLES_FILE) -> tuple[SeedExample, ...]:
    """The seed examples, in file order.

    Raises:
        InputError: The file is absent or a row is broken.
    """
    examples = []
    for number, row in read_jsonl(path):
        try:
            phrases = tuple(Phrase(p["phrase"], p["icd10"], *locate(p["phrase"], row["text"])) for p in row["phrases"])
            examples.append(SeedExample(row["example_id"], row["text"], phrases, row["fixed"]))
        except (KeyError, TypeError):
            raise InputError(f"{path}:{number}: expected example_id, text, phrases and fixed") from None
    return tuple(examples)


def fixed_examples() -> tuple[SeedExample, ...]:
    """The three examples of training and inference."""
    return tuple(example for example in seed_examples() if example.fixed)


def drawn_examples(seed: int, report_id: str, vote: int = 0) -> tuple[SeedExample, ...]:
    """The three examples drawn for labelling one report: random per report and vote, the same for the same seed."""
    drawn_for = f"{seed}:{report_id}:{vote}" if vote else f"{seed}:{report_id}"
    digest = hashlib.sha256(drawn_for.encode()).digest()
    return tuple(random.Random(digest).sample(seed_examples(), EXAMPLES_PER_PROMPT))  # noqa: S311  (no secret)


def training_instruction() -> str:
    """The instruction of training rows: few-shot, the same as in inference."""
    return prompt()


def prompt() -> str:
    """The instruction of inference: Figure 1b with the three fixed examples."""
    return _few_shot(_TASK, [_example(example) for example in fixed_examples()])


def labelling_prompt(examples: Sequence[SeedExample]) -> str:
    """The instruction that a teacher labels with: Table 2, its examples with the codes as reasoning."""
    return _few_shot(_LABELLING_TASK, [f"{_example(example)}\n{_reasoning(example)}" for example in examples])


def _few_shot(task: str, examples: Sequence[str]) -> str:
    numbered = "\n".join(f"{number}. {example}" for number, example in enumerate(examples, start=1))
    return f"{task}\n{_GUIDELINES}\nExample Reports and Outputs:\n{numbered}"


def _example(example: SeedExample) -> str:
    return f"{example.text}\nOutput: {encode([phrase.phrase for phrase in example.phrases])}"


def _reasoning(example: SeedExample) -> str:
    return "\n".join(f"- {phrase.phrase}: {phrase.icd10}" for phrase in example.phrases)


def encode(labels: Sequence[str]) -> str:
    """The answer for a list of phrases; ``[]`` for none."""
    return write_list(labels)


def decode(response: str, finished: bool = True) -> Answer:
    """Reads an answer's phrases."""
    return read_list(response, finished)


# A code beside a phrase in the reasoning. The dot is often left out; a leaf has three to seven letters and digits.
# T10, T11 and T12 are vertebrae: ICD-10-CM has no such codes.
_CODE = re.compile(r"\b(?!T1[0-2]\b)([A-Z]\d[0-9AB](?:\.?[0-9A-Z]{1,4})?)\b")
_CODE_BEHIND = re.compile(rf"\s*[(:-]\s*(?:ICD-10(?:-CM)?:?\s*)?{_CODE.pattern}\)?$")
# What may stand before the phrase on its line of reasoning: bullet, number, quote, emphasis.
_BEFORE_PHRASE = re.compile(r"[\s\d.)*•\-'\"‘’“”`]*")


def read_annotation(response: str, text: str, finished: bool = True) -> tuple[list[Phrase], Status]:
    """Reads a teacher's answer: phrases with their place in the report and the code its reasoning gives.

    A code that stands inside the list, ``'small effusion (J90)'``, is taken out of its phrase where the report has
    the phrase without it.

    Args:
        response: The teacher's text.
        text: The report it labelled.
        finished: False if it was cut off by its token limit.

    Returns:
        The phrases and the answer's status.
    """
    answer = decode(response, finished)
    lines = answer.rest.splitlines()
    phrases = []
    for label in answer.labels:
        place, code = locate(label, text), _reasoned_code(label, lines)
        inside = _CODE_BEHIND.search(label)
        if place == (None, None) and inside and locate(label[: inside.start()], text) != (None, None):
            label, code = label[: inside.start()], inside[1]
            place = locate(label, text)
        phrases.append(Phrase(label, code, *place))
    return phrases, answer.status


def _reasoned_code(phrase: str, lines: Sequence[str]) -> str | None:
    """The code behind a phrase: on the line that opens with it, else on the first that has it."""
    wanted = phrase.lower()
    opening = (line for line in lines if _BEFORE_PHRASE.sub("", line.lower(), count=1).startswith(wanted))
    line = next(opening, None) or next((line for line in lines if wanted in line.lower()), "")
    # Behind the phrase, since it may itself hold something that looks like a code.
    found = _CODE.search(line, line.lower().find(wanted) + len(wanted)) if line else None
    return found[1] if found else None


def locate(phrase: str, text: str) -> tuple[int | None, int | None]:
    """Where a phrase stands in a text, case and white space folded: as whole words if it can, else (None, None)."""
    words = fold_space(phrase).split(" ")
    if not words[0]:
        return None, None
    pattern = r"\s+".join(map(re.escape, words))
    found = re.search(rf"(?<!\w){pattern}(?!\w)", text, re.IGNORECASE) or re.search(pattern, text, re.IGNORECASE)
    return (found.start(), found.end()) if found else (None, None)
