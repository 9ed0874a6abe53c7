"""Multiple choice: which of the 13 chest findings does the patient have? Asked zero-shot."""

import re
from collections.abc import Sequence

from radtune.findings import FINDINGS, NORMAL, canonical_finding
from radtune.tasks.lists import Answer, Status, read_list, unique, write_list

NAME = "multiple_choice"

_LIST = f"({', '.join(f'‘{name}’' for name in FINDINGS)})"

# Quoted from Figure 1a of arXiv:2409.16563 (line breaks as shown there); an experimental setting, not our wording.
_TASK = (
    "You are given a clinical report. Your task is to identify the diseases that the patient have and list them. "
    "The result list should be formatted exactly as [disease1, disease2, …] and be on a single line.\n"
    f"Only use diseases from this list:\n{_LIST}"
)
_GUIDELINES = (
    "Guidelines:\n"
    "* Be careful about negation. E.g., do not include Pneumonia if the text says ”no Pneumonia”\n"
    "* Only include diseases that are certain. Entities that are ’likely’, ’possibly’ should not be returned.\n"
    "* After output the list, provide the evidence in the text for each disease."
)


def training_instruction() -> str:
    """The instruction of training rows: the simple form, without the guidelines (section 2.3)."""
    return _TASK


def prompt() -> str:
    """The instruction of inference: the whole of Figure 1a."""
    return f"{_TASK}\n{_GUIDELINES}"


def encode(labels: Sequence[str]) -> str:
    """The answer for a set of classes: their list in the fixed order, or ``['Normal']`` for none.

    Raises:
        ValueError: A label is none of the 13.
    """
    names = {canonical_finding(label) for label in labels}
    if None in names:
        raise ValueError(f"not one of the 13 findings: {[x for x in labels if canonical_finding(x) is None]}")
    return write_list([name for name in FINDINGS if name in names] or [NORMAL])


def decode(response: str, finished: bool = True) -> Answer:
    """Reads an answer: each name in its canonical spelling where it is one of the 13, else as written.

    ``Normal`` says that there is nothing and is no class, so it is dropped, also where a model puts it beside classes.
    An answer that opens with lines of nothing but class names is read without its brackets too.
    """
    answer = read_list(response, finished)
    if answer.status == Status.UNPARSED and "[" not in response:
        answer = _read_names(response) or answer
    names = (canonical_finding(name) or name for name in answer.labels if name.lower() != NORMAL.lower())
    return Answer(unique(names), status=answer.status, rest=answer.rest)


_BULLET = re.compile(r"\s*(?:[-*•]|\d+[.)])?\s*(?:Output:|The diseases are:)?", re.IGNORECASE)


def _read_names(response: str) -> Answer | None:
    """Class names in the first lines of an answer, bulleted or separated by commas; None if it opens otherwise."""
    names: list[str] = []
    lines = response.strip().splitlines()
    for number, line in enumerate(lines):
        parts = [part.strip(" .*") for part in _BULLET.sub("", line, count=1).split(",")]
        if not all(part == "" or part.lower() == NORMAL.lower() or canonical_finding(part) for part in parts):
            return Answer(tuple(names), rest="\n".join(lines[number:])) if names else None
        names += filter(None, parts)
    return Answer(tuple(names)) if names else None
