"""From reports to the rows of ``annotations.jsonl``: what a teacher is asked, and what its reply says."""

import json
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass
from functools import cache
from typing import Any

from radtune.config import InputError
from radtune.files import now, sha256_text
from radtune.progress import progress
from radtune.reports import Report
from radtune.tasks import TASKS, Status, open_ended
from radtune.tasks.open_ended import SeedExample
from radtune.tasks.rendering import prompt_sha256, user_message
from radtune.teacher.engine import Reply, Sampling
from radtune.teacher.ledger import Ledger

# Table 2 of the paper with drawn examples, or what a fine-tuned model is asked.
PROMPTS = ("labelling", "inference")


@dataclass(frozen=True)
class Labelling:
    """What every report of a run is asked.

    Attributes:
        task: The task's name.
        prompt: One of :data:`PROMPTS`; multiple choice has one prompt for both.
        seed: Draws the seed examples of each report's labelling prompt.
        sampling: Model and parameters.
    """

    task: str
    prompt: str
    seed: int
    sampling: Sampling


@dataclass(frozen=True)
class Question:
    """One report to label.

    Attributes:
        report: The report.
        instruction: The prompt without it.
        seed_example_ids: Of the examples in the prompt.
        prompt_sha256: Of the prompt without the report.
        key_sha256: Of all that may change the answer: two questions with the same key need one answer.
    """

    report: Report
    instruction: str
    seed_example_ids: tuple[str, ...]
    prompt_sha256: str
    key_sha256: str


def message(question: Question) -> str:
    """The user's message that asks it."""
    return user_message(question.instruction, question.report.text)


def question_for(report: Report, labelling: Labelling) -> Question:
    """What a run asks about a report."""
    examples: Sequence[SeedExample] = ()
    if labelling.task == open_ended.NAME:
        drawn = labelling.prompt == "labelling"
        examples = open_ended.drawn_examples(labelling.seed, report.report_id) if drawn else open_ended.fixed_examples()
    instruction, prompt_hash = _instruction(labelling.task, labelling.prompt, tuple(examples))
    ids = tuple(example.example_id for example in examples)
    sampling = labelling.sampling
    decides = [report.text, labelling.task, prompt_hash, ids, sampling.model, sampling.temperature, sampling.max_tokens]
    return Question(report, instruction, ids, prompt_hash, sha256_text(json.dumps(decides)))


@cache
def _instruction(task: str, prompt: str, examples: tuple[SeedExample, ...]) -> tuple[str, str]:
    # Cached: thousands of reports share the 990 prompts that three of eleven examples make.
    if task == open_ended.NAME and prompt == "labelling":
        instruction = open_ended.labelling_prompt(examples)
    else:
        instruction = TASKS[task].prompt()
    return instruction, prompt_sha256(instruction)


def annotation_row(question: Question, labelling: Labelling, reply: Reply) -> dict[str, Any]:
    """The row that records a reply; ``report_id`` comes first, which the ledger relies on."""
    phrases: list[open_ended.Phrase] = []
    labels: list[str] = []
    if reply.error is not None:
        status = Status.FAILED
    elif reply.refused:
        status = Status.REFUSED
    elif labelling.task == open_ended.NAME:
        phrases, status = open_ended.read_annotation(reply.text, question.report.text, reply.finished)
        labels = [phrase.phrase for phrase in phrases]
    else:
        answer = TASKS[labelling.task].decode(reply.text, reply.finished)
        labels, status = list(answer.labels), answer.status
    return {
        "report_id": question.report.report_id,
        "task": labelling.task,
        "labels": labels,
        "phrases": [asdict(phrase) for phrase in phrases],
        "response": reply.text,
        "status": str(status),
        "error": reply.error,
        "model": labelling.sampling.model,
        "prompt_sha256": question.prompt_sha256,
        "seed_example_ids": question.seed_example_ids,
        "usage": reply.usage,
        "key_sha256": question.key_sha256,
        "created": now(),
    }


def label_reports(
    reports: Sequence[Report],
    labelling: Labelling,
    ledger: Ledger,
    ask: Callable[[Iterable[Question]], Iterator[tuple[Question, Reply]]],
) -> int:
    """Asks about every report that the ledger has no answer to, and records what comes back.

    A row stands for its report if it answers the same question: after a change of model, prompt or parameters the
    report is asked again and the new row takes the old one's place. A row that failed stands for nothing. However this
    ends, the ledger is left with one row a report, in the order of the reports.

    Args:
        reports: The reports.
        labelling: What to ask about each.
        ledger: Where rows go.
        ask: Asks questions, e.g. :func:`radtune.teacher.engine.ask_all` with its endpoint.

    Returns:
        How many reports were asked about.

    Raises:
        InputError: The ledger has rows of other reports, which would be lost, or ``ask`` gives up.
    """
    report_ids = [report.report_id for report in reports]
    others = ledger.entries.keys() - set(report_ids)
    if others:
        raise InputError(
            f"{ledger.path}: holds {len(others):,} rows of reports that are not given, e.g. {min(others)!r}; "
            "give another output="
        )
    missing = [question for report in reports if not _answered(question := question_for(report, labelling), ledger)]
    seen: Counter[str] = Counter()

    def figures() -> str:
        return f"{seen['failed']:,} failed, {seen['tokens']:,} tokens"

    try:
        with closing(ask(missing)) as replies:
            for question, reply in progress(replies, "reports", len(missing), figures):
                row = annotation_row(question, labelling, reply)
                ledger.append(row)
                seen["failed"] += row["status"] == Status.FAILED
                seen["tokens"] += sum((reply.usage or {}).values())
    finally:
        ledger.finish(report_ids)
    return len(missing)


def _answered(question: Question, ledger: Ledger) -> bool:
    entry = ledger.entries.get(question.report.report_id)
    return entry is not None and entry.key_sha256 == question.key_sha256 and entry.status != Status.FAILED
