"""What is said of a report: the one row for labels, whoever gave them."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import IntEnum, StrEnum
from typing import Any


class State(IntEnum):
    """What is said of a class, with the numbers of MIMIC-CXR's label tables; a class that has none is not mentioned."""

    PRESENT = 1
    ABSENT = 0
    UNCERTAIN = -1


# Beside the classes of a label table: 1 where a report has none of them but devices.
NO_FINDING = "No Finding"


class Status(StrEnum):
    """What became of one question to a model."""

    OK = "ok"
    TRUNCATED = "truncated"  # stopped by the token limit before its list was complete
    REFUSED = "refused"  # the model or its provider declined
    UNPARSED = "unparsed"  # complete, but without a list
    FAILED = "failed"  # no answer came


def doubt_of(name: str) -> str:
    """The label that says that a class is uncertain, where doubt is a label of its own."""
    return f"{name} (uncertain)"


# On which side of the patient a finding is; the last where it has none, or none is said.
SIDES = LEFT, RIGHT, BILATERAL, NO_SIDE = ("left", "right", "bilateral", "none")
# Abbreviations are those of lobes and of wards. A chamber of the heart is no side, nor is what leads to one or lies
# beside it; "left shift" is of blood counts.
_HEART = r"(?![ -]+(?:sided[ -]+)?(?:\w+ )?(?:atri|ventric|heart|cardiac|auric|coronar|shift))"
# "R effusion", "(L)"; no litres, no "R/O", no "L spine", "L 5" or "R wave".
_LETTER = r"(?<![\d/-])(?<!\d )(?-i:{})(?![/'’-]| ?\d| spine| wave| vertebr)"


def _on(side: str, lobes: str) -> re.Pattern[str]:
    word = rf"{side}(?:[ -]?(?:sided|ward))?|{side[0]}-sided|{side[0]}t|{lobes}|{_LETTER.format(side[0].upper())}"
    return re.compile(rf"\b(?:{word})\b{_HEART}", re.IGNORECASE)


_ON_SIDE = {LEFT: _on(LEFT, r"l[ul]l|lingul\w*"), RIGHT: _on(RIGHT, "r[uml]l")}
_BOTH = re.compile(
    r"\b(?:bi-?lateral\w*|bilat|b/l|both|bi-?(?:basal|basilar|apical|hilar|lobar)\w*|[lr] ?[>/] ?[lr])\b", re.IGNORECASE
)


@dataclass(frozen=True)
class Phrase:
    """A phrase of a report that names a codable condition.

    Attributes:
        phrase: As it stands in the report.
        icd10: Its ICD-10-CM code; None where not given.
        start: Its offset in the report's text, in characters; None where it is not in the text.
        end: The offset after it.
        side: Which of :data:`SIDES` it is said to be on; None where its words alone tell (:func:`side_of`).
    """

    phrase: str
    icd10: str | None = None
    start: int | None = None
    end: int | None = None
    side: str | None = None


def side_of(phrase: Phrase) -> str:
    """Which of :data:`SIDES` a phrase is on: as is said of it, else by its words, of which left and right are both."""
    if phrase.side is not None:
        return phrase.side
    sides = [side for side, pattern in _ON_SIDE.items() if pattern.search(phrase.phrase)]
    if len(sides) == 2 or _BOTH.search(phrase.phrase):
        return BILATERAL
    return sides[0] if sides else NO_SIDE


@dataclass(frozen=True)
class Answer:
    """What one labeler says of one report.

    Attributes:
        labels: What counts as its labels: classes in their fixed order, or phrases as they came, without repeats; names
            that are no class as they were written. Empty unless the status is ok.
        report_id: The report; empty while an answer is only being read.
        by: Who says so: ``rules``, a model's name, a column of annotators.
        status: Whether it could be read.
        states: By class, what a label table decides; a class without one is not mentioned. None for a list, which
            decides every class: those it does not name are absent.
        phrases: Of a task of phrases, the labels with their places and codes.
        rest: What follows the list in a model's answer: the evidence or reasoning that prompts ask for.
        patient_id: The patient, where the file says.
        provenance: What else its row says of how it came to be.
    """

    labels: tuple[str, ...]
    report_id: str = ""
    by: str = ""
    status: Status = Status.OK
    states: Mapping[str, State] | None = None
    phrases: tuple[Phrase, ...] = ()
    rest: str = ""
    patient_id: str | None = None
    provenance: Mapping[str, Any] = field(default_factory=dict)
