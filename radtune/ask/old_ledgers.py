"""Answers that earlier versions kept, put under the keys of today, so that nothing in them is asked again.

A teacher's answers had keys of their own; inference.py kept whole rows, as asked and as verified.
"""

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

from radtune.ask.ledger import Ledger, Said
from radtune.ask.questions import Asking, Question, about_label, asked_again, questions_for
from radtune.ask.rows import read_answer, record
from radtune.engines.choose import Model
from radtune.engines.prompt import Response
from radtune.files import sha256_text
from radtune.labels import Status
from radtune.report import Report


@dataclass(frozen=True)
class _Sample:
    """One answer in a row of inference.py."""

    response: str
    status: str


@dataclass(frozen=True)
class _Row(_Sample):
    """A row of inference.py."""

    labels: tuple[str, ...]
    denied: tuple[str, ...] = ()
    votes: tuple[_Sample, ...] = ()
    scores: dict[str, float] | None = None
    cut_words: int = 0


def adopt(ledger: Ledger, reports: Iterable[Report], asking: Asking, model: Model) -> None:
    """Keeps what a ledger that was taken over knows of a run's reports by the keys of the run's questions."""
    for report in reports:
        questions = list(questions_for(report, asking, model))
        for found in (_of_teacher(ledger, questions, asking, model), _of_row(ledger, report, questions, asking, model)):
            for question, said in found:
                if question.key_sha256 not in ledger:
                    ledger.append(question.key_sha256, replace(said, seed=asking.seed))


def _of_teacher(
    ledger: Ledger, questions: Iterable[Question], asking: Asking, model: Model
) -> Iterator[tuple[Question, Said]]:
    """Answers of a teacher and second ones; it knew neither closed lists nor evidence."""
    for question in questions:
        sampling = question.sampling
        if model.settings["engine"] != "openai" or sampling.grammar or sampling.scores or sampling.go_on:
            return
        key = teacher_key(question, asking, model)
        if (said := ledger.get(key)) is not None:
            yield question, said
            complaint = read_answer(said, asking.task, question.prompt.report_text).complaint
            if complaint and (again := ledger.get(sha256_text(json.dumps([key, complaint])))):
                yield asked_again(question, complaint), again


def _of_row(
    ledger: Ledger, report: Report, questions: Iterable[Question], asking: Asking, model: Model
) -> Iterator[tuple[Question, Said]]:
    """What a row says of each sample, and of each label that was asked about once more."""
    asked_key, verified_key = row_keys(report, asking, model)
    if (row := ledger.get(asked_key, _Row)) is not None:
        for question, sample in zip(questions, row.votes or (row,), strict=False):
            status, as_json = sample.status, question.sampling.schema is not None
            said = _said(question, sample.response, status != Status.TRUNCATED, status == Status.REFUSED, asking, model)
            yield question, replace(said, as_json=as_json, scores=row.scores, cut_words=row.cut_words)
    if (row := ledger.get(verified_key, _Row)) is not None:
        for answer, labels in (("Yes.", row.labels), ("No.", row.denied)):
            for question in (about_label(report, label, asking, model) for label in labels):
                yield question, _said(question, answer, True, False, asking, model)


def _said(question: Question, response: str, finished: bool, refused: bool, asking: Asking, model: Model) -> Said:
    said = record(question, Response(response, finished, refused=refused), asking, model, None)
    return replace(said, created=None)  # nobody knows when


def teacher_key(question: Question, asking: Asking, model: Model) -> str:
    """By which a teacher's answer was kept."""
    sampling = question.sampling
    decides = [
        question.prompt.report_text, asking.task.name, question.prompt_sha256, question.example_ids, model.name,
        sampling.temperature, sampling.max_new_tokens, "json_schema" if sampling.schema else "text",
        *([question.sample] if question.sample else []),
    ]  # fmt: skip
    return sha256_text(json.dumps(decides))


def row_keys(report: Report, asking: Asking, model: Model) -> tuple[str, str]:
    """By which a report's row was kept, as asked and as verified."""
    sampling = asking.sampling
    request = {
        "max_new_tokens": sampling.max_new_tokens,
        "temperature": sampling.temperature,
        "task": asking.task.name if sampling.grammar else None,
        "go_on": sampling.go_on,
        "scores": sampling.scores,
    }
    named = {
        "task": asking.task.name,
        "instruction": asking.prompt(report, 0).instruction,
        "prompt_format": asking.prompt_format,
        "request": request,
        "seed": asking.seed,
        "samples": asking.samples,
        "vote": asking.vote,
        "evidence": asking.evidence,
    }
    made_with = json.dumps([model.settings, named], sort_keys=True)
    asked = f"{made_with}\n{report.report_id}\n{report.text}"
    return sha256_text(asked), sha256_text(f"verified {asked}")
