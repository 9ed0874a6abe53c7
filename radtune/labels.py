"""What is said of a report: the one row for labels, whoever gave them."""

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


@dataclass(frozen=True)
class Phrase:
    """A phrase of a report that names a codable condition.

    Attributes:
        phrase: As it stands in the report.
        icd10: Its ICD-10-CM code; None where not given.
        start: Its offset in the report's text, in characters; None where it is not in the text.
        end: The offset after it.
    """

    phrase: str
    icd10: str | None = None
    start: int | None = None
    end: int | None = None


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
