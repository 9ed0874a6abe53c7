"""From the ledger's answers to the rows of ``annotations.jsonl``, and to the rows that somebody should look at."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from radtune.ask.labelling import best_answer
from radtune.ask.ledger import Ledger
from radtune.ask.questions import Labelling, Question, questions_for
from radtune.ask.teacher_answers import Reading
from radtune.ask.teacher_votes import count_votes
from radtune.files import jsonl_line, write_whole
from radtune.labels import Status
from radtune.report import Report
from radtune.tasks.codes import check_code
from radtune.tasks.open_ended import Phrase


def annotation_rows(
    reports: Sequence[Report], labelling: Labelling, ledger: Ledger, failures: Mapping[str, str]
) -> Iterator[dict[str, Any]]:
    """One row for each report whose questions are all answered or have failed, in the order of the reports.

    Args:
        reports: The reports.
        labelling: What was asked.
        ledger: The answers.
        failures: Error codes of calls that got none, by the hash of their question.

    Yields:
        Rows of ``annotations.jsonl``. Reports that nobody has asked about yet have none.
    """
    for report in reports:
        questions = list(questions_for(report, labelling))
        answers = [best_answer(question, labelling, ledger) for question in questions]
        known = [answer for answer in answers if answer is not None]
        if len(known) == len(questions):
            yield _row(questions, labelling, known)
        elif failed := [question for question in questions if question.key_sha256 in failures]:
            yield _failed_row(failed[0], labelling, failures[failed[0].key_sha256])


def _row(questions: Sequence[Question], labelling: Labelling, answers: Sequence[tuple[dict[str, Any], Reading]]) -> Any:
    verdict = count_votes([reading for _, reading in answers])
    usage: Counter[str] = Counter()
    for answer, _ in answers:
        usage.update(answer["usage"] or {})
    first, _ = answers[0]
    row = {
        "report_id": questions[0].report.report_id,
        "task": labelling.task,
        "labels": list(verdict.labels),
        "phrases": [_phrase(phrase, verdict.agreement) for phrase in verdict.phrases],
        "response": first["response"],
        "status": str(verdict.status),
        "error": None,
        "problems": list(dict.fromkeys(problem for _, reading in answers for problem in reading.problems)),
        "asked_again": any(answer["asked_again"] for answer, _ in answers),
        **{name: first[name] for name in _PROVENANCE},
        "usage": dict(usage) or None,
    }
    if len(answers) > 1:
        row["agreement"] = verdict.agreement
        row["votes"] = [
            {
                "labels": list(reading.labels),
                "status": str(reading.status),
                "response": answer["response"],
                "seed_example_ids": answer["seed_example_ids"],
            }
            for answer, reading in answers
        ]
    return row


# What a row says of its (first) answer besides the answer.
_PROVENANCE = (
    "finish_reason",
    "model",
    "model_returned",
    "fingerprint",
    "temperature",
    "prompt_sha256",
    "seed_example_ids",
    "endpoint",
    "created",
)


def _phrase(phrase: Phrase, agreement: Mapping[str, float]) -> dict[str, Any]:
    row = asdict(phrase)
    if phrase.icd10:
        code = check_code(phrase.icd10)
        row |= {
            "icd10": code.code,
            "code_exists": code.exists,
            "code_is_leaf": code.is_leaf,
            "code_description": code.description,
        }
    if agreement:
        row["agreement"] = agreement[phrase.phrase]
    return row


def _failed_row(question: Question, labelling: Labelling, error: str) -> dict[str, Any]:
    return {
        "report_id": question.report.report_id,
        "task": labelling.task,
        "labels": [],
        "phrases": [],
        "response": "",
        "status": str(Status.FAILED),
        "error": error,
        "problems": [f"no answer: {error}"],
        "asked_again": False,
        **dict.fromkeys(_PROVENANCE),
        "model": labelling.sampling.model,
        "prompt_sha256": question.prompt_sha256,
        "seed_example_ids": question.seed_example_ids,
        "usage": None,
    }


@dataclass(frozen=True)
class Summary:
    """What was written.

    Attributes:
        rows: Rows of annotations.
        status_counts: By status.
        problems: Rows with problems, which stand in the quarantine file, too.
        tokens: Tokens of prompts and answers that these rows took.
        models: Models that answered, as their servers name them, with the number of rows.
    """

    rows: int
    status_counts: dict[str, int]
    problems: int
    tokens: int
    models: dict[str, int]


def write_annotations(output: Path, rows: Iterable[dict[str, Any]]) -> Summary:
    """Writes the rows, and those with problems once more to :func:`quarantine_path`, which is absent if none has any.

    Raises:
        InputError: A file cannot be written.
    """
    statuses: Counter[str] = Counter()
    models: Counter[str] = Counter()
    tokens = problems = 0
    with write_whole(output) as stream, write_whole(quarantine_path(output)) as aside:
        for row in rows:
            stream.write(jsonl_line(row))
            statuses[row["status"]] += 1
            models[row["model_returned"] or "unknown"] += row["status"] != Status.FAILED
            tokens += sum((row["usage"] or {}).values())
            if row["problems"]:
                aside.write(jsonl_line(_quarantine_row(row)))
                problems += 1
    if not problems:
        quarantine_path(output).unlink()
    return Summary(statuses.total(), dict(statuses), problems, tokens, dict(+models))


def summary_text(summary: Summary) -> str:
    """What was written, in one line."""
    statuses = ", ".join(f"{count:,} {status}" for status, count in sorted(summary.status_counts.items()))
    return f"{statuses or 'no rows'}; {summary.tokens:,} tokens"


def quarantine_path(output: Path) -> Path:
    """Where rows with problems go: ``annotations.jsonl`` -> ``annotations.jsonl.quarantine.jsonl``."""
    return Path(output).with_name(f"{Path(output).name}.quarantine.jsonl")


def _quarantine_row(row: Mapping[str, Any]) -> dict[str, Any]:
    """Which problems a row has, and the answer to judge them by."""
    kept = ("report_id", "task", "status", "problems", "labels", "phrases", "response")
    return {name: row[name] for name in kept}
