"""Reading a teacher's answer: its labels, what is wrong with it, and what to tell the model about that."""

from dataclasses import dataclass
from typing import Any

from radtune.ask.questions import Labelling
from radtune.labels import Status
from radtune.tasks import open_ended
from radtune.tasks.codes import check_code
from radtune.tasks.legacy import TASKS
from radtune.tasks.lists import write_list
from radtune.tasks.open_ended import Phrase

# The paper's free text, or JSON by a schema where the server can be held to one.
RESPONSE_FORMATS = ("text", "json_schema")


@dataclass(frozen=True)
class Reading:
    """What one answer says.

    Attributes:
        status: Whether it could be read.
        labels: Classes or phrases; none unless the status is ok.
        phrases: Open ended: the labels with code and place.
        problems: What is wrong with it, for people; none of it quotes the report.
        complaint: The same for the model, which may quote the answer; None where asking again would not help.
    """

    status: Status
    labels: tuple[str, ...] = ()
    phrases: tuple[Phrase, ...] = ()
    problems: tuple[str, ...] = ()
    complaint: str | None = None


def answer_schema(labelling: Labelling) -> dict[str, Any] | None:
    """The value of ``response_format.json_schema`` that a run sends; None if it asks for free text."""
    if labelling.response_format == "text":
        return None
    # Imported here and below: pydantic takes as long to load as the rest of a short command.
    from radtune.tasks.schemas import json_schema

    return json_schema(labelling.task)


def read_answer(answer: dict[str, Any], task: str, report_text: str) -> Reading:
    """Reads an answer as the ledger holds it.

    Args:
        answer: With ``response``, ``finished``, ``refused``, ``finish_reason`` and ``as_json``.
        task: The task's name.
        report_text: The report that it is about.

    Returns:
        What it says. A phrase that is not in the report, or a code that ICD-10-CM does not have, is a problem but no
        reason to drop the label.
    """
    if answer["refused"]:
        filtered = answer["finish_reason"] == "content_filter"
        return Reading(Status.REFUSED, problems=("stopped by a content filter" if filtered else "refused",))
    labels, phrases, status = _read(answer, task, report_text)
    if status == Status.TRUNCATED:
        return Reading(
            status,
            problems=("cut off by the token limit before its list was complete",),
            complaint="Your earlier answer was too long. Give the list only, without reasoning.",
        )
    if status != Status.OK:
        return Reading(
            status,
            problems=("no list in the answer",),
            complaint="Your earlier answer held no list that could be read. Begin with: Output: [",
        )
    absent = [phrase.phrase for phrase in phrases if phrase.start is None]
    unknown = [phrase.icd10 for phrase in phrases if phrase.icd10 and not check_code(phrase.icd10).exists]
    problems, complaints = [], []
    if absent:
        problems.append(f"{len(absent)} of {len(phrases)} phrases not in the report")
        complaints.append(
            f"These phrases of your earlier answer do not stand in the report word for word: {write_list(absent)}."
        )
    if unknown:
        problems.append(f"{len(unknown)} codes that ICD-10-CM does not have")
        complaints.append(f"These codes of your earlier answer do not exist: {', '.join(unknown)}.")
    complaint = " ".join([*complaints, "Answer again."]) if complaints else None
    return Reading(status, labels, phrases, tuple(problems), complaint)


def _read(answer: dict[str, Any], task: str, report_text: str) -> tuple[tuple[str, ...], tuple[Phrase, ...], Status]:
    response, finished = answer["response"], answer["finished"]
    if answer["as_json"]:
        from radtune.tasks.schemas import read_json

        found = read_json(response, task, report_text)
        if found is not None:
            labels, phrases = found
            return labels, phrases, Status.OK
        # Not what the schema says: perhaps cut off, or a server that took the schema and went its own way.
    if task == open_ended.NAME:
        read_phrases, status = open_ended.read_annotation(response, report_text, finished)
        return tuple(phrase.phrase for phrase in read_phrases), tuple(read_phrases), status
    read = TASKS[task].decode(response, finished)
    return read.labels, (), read.status
