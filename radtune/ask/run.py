"""A run over reports that can be stopped at any moment and goes on where it was, whatever the engine.

Each answer is kept and read once as it comes. What is asked for again the same way is taken from the ledger: a file
that has grown costs only its new reports, a killed run only the calls that were under way.
"""

import time
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence, Set
from contextlib import closing, nullcontext
from dataclasses import asdict, dataclass, field, replace
from functools import cache
from itertools import zip_longest
from pathlib import Path
from typing import Any

from radtune.ask.costs import Budget
from radtune.ask.ledger import Ledger, Said
from radtune.ask.old_ledgers import adopt
from radtune.ask.questions import Asking, Question, about_label, asked_again, questions_for
from radtune.ask.rows import EMPTY_REPORT, QUARANTINED, Reading, failed_row, make_row, read_answer, record, verified_row
from radtune.ask.verify import denies
from radtune.config import InputError
from radtune.engines.choose import Model
from radtune.engines.prompt import Prompt, PromptTooLong, Response
from radtune.files import jsonl_line, manifest_path, write_whole
from radtune.label_files import LABELS_SHA256, edited_rows, labels_sha256
from radtune.labels import Status
from radtune.progress import progress
from radtune.report import Report
from radtune.rules import label_report, rules_for
from radtune.tasks import is_empty

# Prompts that a local engine gets at once: enough to sort by length, few enough to hold a million reports' run.
_WINDOW = 4_096
# What is asked after what, in the words of progress: each depends on the answers before it.
_FIRST, _SECOND, _LABELS = "answers", "second answers", "labels verified"


@dataclass
class Outcome:
    """What a run did: questions that were answered now or failed, and the rows in its output."""

    asked: int = 0
    asked_again: int = 0  # of these, with a complaint
    kept: int = 0  # that earlier starts had answered
    seconds: float = 0.0
    loading_seconds: float = 0.0  # of these, until the model was ready
    interrupted: bool = False
    stopped_by_cost: bool = False
    rows: int = 0
    status_counts: Counter[str] = field(default_factory=Counter)
    empty: int = 0  # rows of reports without text
    problems: int = 0  # rows with problems
    no_majority: int = 0  # rows with labels that at most half of several answers have, with no others
    tokens: int = 0  # of prompts and answers of all rows
    models: Counter[str] = field(default_factory=Counter)  # as their servers name them, with the number of rows

    @property
    def failed(self) -> int:
        """Rows without an answer; the same command asks for them again."""
        return self.status_counts[Status.FAILED] - self.empty

    def count(self, row: dict[str, Any]) -> None:
        """Counts a row of the output."""
        self.rows += 1
        self.status_counts[row["status"]] += 1
        self.empty += row.get("error") == EMPTY_REPORT
        self.problems += bool(row.get("problems"))
        self.no_majority += row.get("report_agreement", 1.0) <= 0.5
        self.tokens += sum((row.get("usage") or {}).values())
        if row.get("endpoint"):
            self.models[row["model_returned"] or "unknown"] += 1

    def text(self) -> str:
        """It in one line."""
        rate = self.asked / self.seconds if self.seconds else 0.0
        statuses = ", ".join(f"{count:,} {status}" for status, count in sorted(self.status_counts.items()))
        tokens = f"; {self.tokens:,} tokens" if self.tokens else ""
        return f"{self.asked:,} answers in {self.seconds:.1f} s ({rate:.1f} a second): {statuses or 'no rows'}{tokens}"

    def facts(self) -> dict[str, Any]:
        """It for a manifest."""
        return asdict(self) | {"status_counts": dict(self.status_counts), "models": dict(self.models)}


@dataclass(eq=False, repr=False)  # which would show the reports
class Run:
    """Reports, what is asked of them by a model, and what has been answered so far."""

    reports: Sequence[Report]
    asking: Asking
    model: Model  # is loaded only if there is something to ask
    ledger: Ledger
    budget: Budget = field(default_factory=Budget)
    host: str | None = None  # the server that questions go to; None for a model in this process
    waiting: Set[str] = frozenset()  # hashes of questions that batches have still to answer, and nobody else is asked
    outcome: Outcome = field(default_factory=Outcome, init=False)
    _readings: dict[str, Reading] = field(default_factory=dict, init=False)
    _failures: dict[str, str] = field(default_factory=dict, init=False)

    def __post_init__(self) -> None:
        """Takes over what an earlier version has kept."""
        if self.ledger.taken_over:
            adopt(self.ledger, self._with_text(), self.asking, self.model)

    def begin(self, what: str) -> list[Question]:
        """The questions of a stage that have no answer yet; counts those that have."""
        asked = self._asked(what)
        self.outcome.kept += sum(key in self.ledger for key in asked)
        return [] if self.outcome.stopped_by_cost else self._left(asked)

    def missing(self) -> list[Question]:
        """What would be asked now, as far as it is known before what is missing has been answered."""
        return [question for what in self.stages() for question in self._left(self._asked(what))]

    def questions(self) -> dict[str, Question]:
        """Each question that this run asks, by its key."""
        stages = dict.fromkeys([_FIRST, _SECOND, *self.stages()])
        return {key: question for what in stages for key, question in self._asked(what).items()}

    def take(self, question: Question, response: Response) -> str:
        """Keeps and reads what came back; returns the status of the answer."""
        self.outcome.asked += 1
        self.outcome.asked_again += question.prompt.complaint is not None
        if response.error is not None:
            self._failures[question.key_sha256] = response.error
            return Status.FAILED
        said = record(question, response, self.asking, self.model, self.host)
        self.ledger.append(question.key_sha256, said)
        return self._read(question, said).answer.status

    def rows(self) -> Iterator[dict[str, Any]]:
        """A row for each report whose questions are all answered, or that failed, in the order of the reports."""
        return (row for report in self.reports if (row := self.row(report)) is not None)

    def stages(self) -> list[str]:
        """What is asked after what."""
        return [_FIRST, *([_SECOND] if self.asking.reask else []), *([_LABELS] if self.asking.verify else [])]

    def _with_text(self) -> Iterator[Report]:
        return (report for report in self.reports if not is_empty(self.asking.task, report))

    def _asked(self, what: str) -> dict[str, Question]:
        # Two reports may have the same words, and so the same question.
        return {q.key_sha256: q for report in self._with_text() for q in self._of_stage(what, report)}

    def _left(self, asked: Mapping[str, Question]) -> list[Question]:
        had = (self.ledger, self._failures, self.waiting)
        return [question for key, question in asked.items() if not any(key in answers for answers in had)]

    def _of_stage(self, what: str, report: Report) -> Iterator[Question]:
        if what == _LABELS:
            row = self._unverified_row(report) or {"labels": ()}
            yield from (about_label(report, label, self.asking, self.model) for label in row["labels"])
            return
        for question in questions_for(report, self.asking, self.model):
            if what == _FIRST:
                yield question
            elif (found := self._answer(question)) and found.complaint:
                yield asked_again(question, found.complaint)

    def _read(self, question: Question, said: Said) -> Reading:
        reading = read_answer(said, self.asking.task, "" if said.images else question.prompt.report_text)
        if not self.asking.evidence:
            # Of a hundred thousand answers, only what is needed later.
            reading = replace(reading, answer=replace(reading.answer, rest=""))
        self._readings[question.key_sha256] = reading
        return reading

    def _answer(self, question: Question) -> Reading | None:
        """What an answer says; read from the ledger where it did not come in this run."""
        if question.key_sha256 not in self._readings and (said := self.ledger.get(question.key_sha256)):
            self._read(question, said)
        return self._readings.get(question.key_sha256)

    def _best(self, question: Question) -> tuple[Question, Reading] | None:
        """The question with its answer: the second one where that is asked for and has fewer problems."""
        if (first := self._answer(question)) is None:
            return None
        again = asked_again(question, first.complaint) if self.asking.reask and first.complaint else question
        second = self._answer(again)
        return (again, second) if second and second.badness < first.badness else (question, first)

    def row(self, report: Report) -> dict[str, Any] | None:
        """Its row; None where not all of its questions have been answered, and none has failed."""
        row = self._unverified_row(report)
        return self._verified(report, row) if row and self.asking.verify else row

    def _unverified_row(self, report: Report) -> dict[str, Any] | None:
        if is_empty(self.asking.task, report):
            return failed_row(report, self.asking, self.model, EMPTY_REPORT)
        questions = list(questions_for(report, self.asking, self.model))
        best = [found for question in questions if (found := self._best(question))]
        if len(best) < len(questions):
            return self._failed(report, questions)
        said = [self.ledger.get(question.key_sha256) for question, _ in best]
        return make_row(report, self.asking, [one for one in said if one], [reading for _, reading in best])

    def _verified(self, report: Report, row: dict[str, Any]) -> dict[str, Any] | None:
        questions = {label: about_label(report, label, self.asking, self.model) for label in row["labels"]}
        denied = []
        for label, question in questions.items():
            if (said := self.ledger.get(question.key_sha256)) is None:
                # The row must not pass for verified.
                return self._failed(report, questions.values())
            if not said.refused and denies(self.asking.task, said.response, label, said.finished):
                denied.append(label)
        return verified_row(row, denied)

    def _failed(self, report: Report, questions: Iterable[Question]) -> dict[str, Any] | None:
        """A row that says why there is no answer; None where nobody has asked yet."""
        errors = [self._failures[q.key_sha256] for q in questions if q.key_sha256 in self._failures]
        return failed_row(report, self.asking, self.model, errors[0]) if errors else None


# A question, and the run that it is of.
Asked = tuple[Run, Question]


def ask_together(runs: Sequence[Run]) -> None:
    """Asks every question of a run that has no answer yet: first all, then second ones, then about each label.

    Several runs ask the adapters of one model the same, each answered by its own. However this ends, the ledgers hold
    every answer that came. A signal sets ``outcome.interrupted``.
    """
    asking, began = runs[0].asking, time.monotonic()
    try:
        for what in runs[0].stages():
            # Report by report, so that what is computed once for all adapters is kept no longer than for one window.
            turns = zip_longest(*([(run, question) for question in run.begin(what)] for run in runs))
            if asked := [one for turn in turns for one in turn if one]:
                _ask(asked, what)
    except PromptTooLong as error:
        raise InputError(f"{asking.task.files[0]}: prompts.{asking.use}: {error}") from None
    except KeyboardInterrupt:
        for run in runs:
            run.outcome.interrupted = True
    finally:
        for run in runs:
            run.outcome.seconds = time.monotonic() - began


def _ask(asked: Sequence[Asked], what: str) -> None:
    failed = tokens = 0
    budget = asked[0][0].budget

    def figures() -> str:
        used = f", {tokens:,} tokens" if tokens else ""
        return f"{failed:,} failed{used}{budget.shown()}"

    with closing(_responses(asked)) as responses:
        for (run, question), response in progress(responses, what, len(asked), figures):
            budget.settle(question.prompt, response)
            tokens += sum((response.usage or {}).values())
            failed += run.take(question, response) == Status.FAILED


def _responses(asked: Sequence[Asked]) -> Iterator[tuple[Asked, Response]]:
    """Asks until no question is left or the next one might cost too much."""
    run, question = asked[0]
    began = time.monotonic()
    engine = run.model.load()
    for other in {other for other, _ in asked}:
        other.outcome.loading_seconds += time.monotonic() - began
    left, sampling, draft = deque(asked), question.sampling, _drafting(run)
    before = len(left) + 1
    # Once the calls under way have turned out cheaper than they might have been, there may be money for more.
    while 0 < len(left) < before:
        before, sent = len(left), list[Asked]()

        def prompts(sent: list[Asked] = sent) -> Iterator[Prompt]:
            while left and (run.host or len(sent) < _WINDOW) and run.budget.admit(left[0][1].prompt, sampling):
                sent.append(left.popleft())
                prompt = sent[-1][1].prompt
                yield replace(prompt, draft=draft(prompt.report_text)) if sampling.grammar else prompt

        with closing(engine.generate(prompts(), sampling)) as responses:  # type: ignore[type-var]
            for index, response in responses:
                yield sent[index], response
    run.outcome.stopped_by_cost |= bool(left)


def _drafting(run: Run) -> Callable[[str], tuple[str, ...]]:
    """What finds the classes that a report's answer will likely name, once for all adapters; none at a server."""
    task = run.asking.task
    if run.host or task.rules is None or len(run.reports) == 1:
        return lambda text: ()
    return cache(lambda text: tuple(task.labels_of(label_report(text, rules_for(task)).labels)))


def write_rows(run: Run, output: Path, quarantine: Path | None = None) -> None:
    """Writes a run's rows, and those with problems once more to ``quarantine``, which is absent if none has any.

    Where a run was stopped before it has any answer, what an earlier one has written stays; and always the rows that a
    reader has edited since.
    """
    if run.outcome.interrupted and not any(row["status"] != Status.FAILED for row in run.rows()):
        return
    edited = edited_rows(output)
    with write_whole(output) as stream, write_whole(quarantine) if quarantine else nullcontext() as aside:
        for report in run.reports:
            row, by_hand = run.row(report), edited.get(report.report_id)
            if row is not None:
                run.outcome.count(row)
            if written := by_hand or (row and row | {LABELS_SHA256: labels_sha256(row["labels"])}):
                stream.write(jsonl_line(written))
            if aside is not None and row and row.get("problems") and not by_hand:
                aside.write(jsonl_line({name: row[name] for name in QUARANTINED}))
        stream.flush()
        # That of an earlier start describes another file from here on.
        manifest_path(output).unlink(missing_ok=True)
    if quarantine and not run.outcome.problems:
        quarantine.unlink()
