"""A labelling run: asks what the ledger has no answer to, and asks once more where an answer cannot be used."""

import sys
from collections import deque
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from itertools import takewhile
from pathlib import Path
from typing import Any

from radtune.ask.batch_api import Collected, Submitted, batches_text
from radtune.ask.costs import Budget
from radtune.ask.ledger import Ledger
from radtune.ask.questions import Labelling, Question, asked_again, message, questions_for
from radtune.ask.teacher_answers import Reading, read_answer
from radtune.config import InputError
from radtune.engines.prompt import Response as Reply
from radtune.files import now
from radtune.progress import progress
from radtune.report import Report
from radtune.sources.table import read_any_reports

# Takes ``questions`` and ``pay_again``, and gives each question back with its reply, in any order.
Ask = Callable[..., Iterator[tuple[Question, Reply]]]


@dataclass
class Outcome:
    """What a run did.

    Attributes:
        asked: Calls that were answered, or failed.
        asked_again: How many of them were second questions.
        failures: Error codes of the calls that got no answer, by the hash of their question.
        stopped_by_cost: Whether the limit on cost left questions unasked.
    """

    asked: int = 0
    asked_again: int = 0
    failures: dict[str, str] = field(default_factory=dict)
    stopped_by_cost: bool = False


@dataclass(frozen=True)
class Run:
    """What a run works on.

    Attributes:
        reports: The reports.
        labelling: What to ask about each.
        ledger: Where answers go.
        host: Where the questions go; recorded with each answer.
        reask: Whether answers that cannot be used, or quote what is not in the report, are asked for once more.
        budget: What all of it may cost.
        waiting: Hashes of the questions that batches have still to answer, which are not asked otherwise.
    """

    reports: Sequence[Report]
    labelling: Labelling
    ledger: Ledger
    host: str
    reask: bool
    budget: Budget
    waiting: Collection[str] = ()


def read_reports_to_label(path: Path) -> list[Report]:
    """Reads reports from any file that holds some.

    Raises:
        InputError: There are none, or some have no text.
    """
    reports = list(read_any_reports(path))
    empty = [report.report_id for report in reports if not report.text.strip()]
    if empty:
        raise InputError(f"{path}: {len(empty):,} reports without text, e.g. {empty[0]!r}; leave them out")
    if not reports:
        raise InputError(f"{path}: no reports")
    return reports


def label_reports(run: Run, ask: Ask) -> Outcome:
    """Asks every question that the ledger has no answer to, and records what comes back.

    However this ends, the ledger holds every answer that came.

    Args:
        run: What to ask.
        ask: :func:`radtune.ask.teacher_calls.ask_all` with its endpoint, say.

    Raises:
        InputError: ``ask`` gives up, or the ledger cannot be written.
    """
    outcome = Outcome()
    try:
        _ask(run, _missing_first_questions(run), ask, outcome)
        if run.reask and not outcome.stopped_by_cost:
            _ask(run, _missing_second_questions(run), ask, outcome)
    except KeyboardInterrupt:
        kept = f"{len(run.ledger):,} answers are kept in {run.ledger.path}"
        print(f"{kept}; the same command goes on", file=sys.stderr)
        raise
    return outcome


def submit_missing(run: Run, submit: Callable[..., Submitted]) -> str:
    """Hands what :func:`label_reports` would ask to a Batch API instead.

    Args:
        run: What to ask.
        submit: :func:`radtune.ask.batch_api.submit` with its endpoint; takes ``questions``.

    Returns:
        What was done, in words.
    """
    asked = [(question.key_sha256, message(question)) for question in missing_questions(run)]
    longest = run.labelling.sampling.max_tokens
    affordable = list(takewhile(lambda question: run.budget.admit(question[1], longest), asked))
    submitted = submit(questions=affordable)
    lines = [
        f"{submitted.requests:,} questions in {len(submitted.batch_ids):,} new batches; batch=collect fetches them"
    ]
    if run.waiting:
        lines.append(f"{len(run.waiting):,} questions are in earlier batches")
    if left := len(asked) - len(affordable):
        lines.append(f"{left:,} questions left out: the most that they may cost is over max_cost")
    return "\n".join(lines)


def collect_answers(run: Run, collect: Callable[[], Collected]) -> tuple[str, Outcome]:
    """Records what batches have brought by now.

    Args:
        run: What was asked.
        collect: :func:`radtune.ask.batch_api.collect` with its endpoint.

    Returns:
        How the batches are doing, in words, and what was done.

    Raises:
        InputError: A batch answers questions that this run does not ask. They are paid for, and collecting them ends
            with deleting them at the provider.
    """
    questions = {q.key_sha256: q for report in run.reports for q in questions_for(report, run.labelling)}
    seconds = (second_questions(report, run.labelling, run.ledger) for report in run.reports)
    questions |= {question.key_sha256: question for asked in seconds for question in asked}
    if foreign := set(run.waiting) - questions.keys():
        raise InputError(
            f"{len(foreign):,} questions in the batches are none of this command's; collect them with the output, "
            "reports, task, model and parameters that they were submitted with"
        )
    collection = collect()
    outcome = Outcome()
    for key, reply in collection.replies:
        # A start that was killed within a batch has recorded some of its answers, and they come again.
        if key not in run.ledger:
            run.budget.add(reply)
            _record(run, questions[key], reply, outcome)
    return batches_text(collection.statuses), outcome


def missing_questions(run: Run) -> list[Question]:
    """What a run would ask now: questions that have no answer yet, and as far as is known those that reask adds."""
    return _missing_first_questions(run) + (_missing_second_questions(run) if run.reask else [])


def second_questions(report: Report, labelling: Labelling, ledger: Ledger) -> Iterator[Question]:
    """What is asked once more about a report, given its first answers."""
    for question in questions_for(report, labelling):
        answer = ledger.get(question.key_sha256)
        if answer is not None and (complaint := read_answer(answer, labelling.task, report.text).complaint):
            yield asked_again(question, complaint)


def best_answer(question: Question, labelling: Labelling, ledger: Ledger) -> tuple[dict[str, Any], Reading] | None:
    """The answer to a question and what it says: the second one where it was asked for and has fewer problems.

    Returns:
        None if there is no answer yet.
    """
    text = question.report.text
    answer = ledger.get(question.key_sha256)
    if answer is None:
        return None
    reading = read_answer(answer, labelling.task, text)
    if reading.complaint and (second := ledger.get(asked_again(question, reading.complaint).key_sha256)):
        mended = read_answer(second, labelling.task, text)
        if (mended.status != "ok", len(mended.problems)) < (reading.status != "ok", len(reading.problems)):
            return second, mended
    return answer, reading


def record(question: Question, labelling: Labelling, reply: Reply, host: str) -> dict[str, Any]:
    """An answer as the ledger keeps it: all that a reader or a reviewer may want to know of how it came to be.

    Among it is what MI-CLEAR-LLM (Park et al., Korean J Radiol 25, 2024) asks authors to state: the model and version
    that answered, the date, the parameters, the prompt, and how the answer was come by.
    """
    return {
        "report_id": question.report.report_id,
        "task": labelling.task,
        "vote": question.vote,
        "asked_again": question.complaint is not None,
        "response": reply.text,
        "finished": reply.finished,
        "refused": reply.refused,
        "finish_reason": reply.finish_reason,
        "as_json": reply.as_json,
        "usage": reply.usage,
        "model": labelling.sampling.model,
        "model_returned": reply.model,
        "fingerprint": reply.fingerprint,
        "temperature": labelling.sampling.temperature,
        "max_tokens": labelling.sampling.max_tokens,
        "prompt_sha256": question.prompt_sha256,
        "seed_example_ids": question.seed_example_ids,
        "endpoint": host,
        "created": now(),
    }


def _missing_first_questions(run: Run) -> list[Question]:
    return _missing(run, (q for report in run.reports for q in questions_for(report, run.labelling)))


def _missing_second_questions(run: Run) -> list[Question]:
    return _missing(run, (q for report in run.reports for q in second_questions(report, run.labelling, run.ledger)))


def _missing(run: Run, questions: Iterable[Question]) -> list[Question]:
    # Two reports may have the same words, and so the same question.
    by_key = {question.key_sha256: question for question in questions}
    return [q for key, q in by_key.items() if key not in run.ledger and key not in run.waiting]


def _ask(run: Run, questions: Sequence[Question], ask: Ask, outcome: Outcome) -> None:
    tokens = 0
    failed = len(outcome.failures)

    def figures() -> str:
        return f"{len(outcome.failures) - failed:,} failed, {tokens:,} tokens{run.budget.shown()}"

    left = deque(questions)
    with closing(_within_budget(run, left, ask)) as replies:
        for question, reply in progress(replies, "answers", len(questions), figures):
            run.budget.settle(message(question), reply)
            tokens += sum((reply.usage or {}).values())
            _record(run, question, reply, outcome)
    outcome.stopped_by_cost |= bool(left)


def _record(run: Run, question: Question, reply: Reply, outcome: Outcome) -> None:
    outcome.asked += 1
    outcome.asked_again += question.complaint is not None
    if reply.error is None:
        run.ledger.append(question.key_sha256, record(question, run.labelling, reply, run.host))
    else:
        outcome.failures[question.key_sha256] = reply.error


def _within_budget(run: Run, left: deque[Question], ask: Ask) -> Iterator[tuple[Question, Reply]]:
    """Asks until no question is left or the next one might cost too much."""

    def affordable() -> Iterator[Question]:
        while left and run.budget.admit(message(left[0]), run.labelling.sampling.max_tokens):
            yield left.popleft()

    before = len(left) + 1
    # Once the calls under way have turned out cheaper than they might have been, there may be money for more.
    while 0 < len(left) < before:
        before = len(left)
        with closing(ask(questions=affordable(), pay_again=run.budget.pay_again)) as replies:
            yield from replies
