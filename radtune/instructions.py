"""Instruction sets: labelled reports of both tasks, mixed, shuffled and split by patient (sections 2.3 and 2.4)."""

import hashlib
import random
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from radtune.config import InputError
from radtune.files import read_jsonl
from radtune.findings import read_label_table
from radtune.reports import Report, read_reports
from radtune.sources.select import priority
from radtune.tasks import TASK_NAMES, TASKS, Status, multiple_choice


@dataclass(frozen=True)
class Instruction:
    """One training row, with the Alpaca names that any trainer reads.

    Attributes:
        instruction: The task's training instruction.
        input: The report.
        output: The answer to learn, from the weak label.
        task: ``multiple_choice`` or ``open_ended``.
        report_id: The report's id.
        source: The report's source.
    """

    instruction: str
    input: str
    output: str
    task: str
    report_id: str
    source: str


@dataclass(frozen=True)
class LabelledReport:
    """A report and what its weak label says: classes or phrases."""

    report: Report
    labels: Sequence[str]

    @property
    def patient(self) -> str:
        """What a split may not cut: the patient, or the report itself where the patient is unknown."""
        return f"patient {self.report.patient_id}" if self.report.patient_id else f"report {self.report.report_id}"


@dataclass
class Split:
    """Training and validation rows, and what became of the rest, by task."""

    train: list[Instruction]
    validation: list[Instruction]
    counts: dict[str, dict[str, int]]


def read_labels(path: Path, task: str) -> dict[str, Sequence[str]]:
    """Reads weak labels of one task: a label table, or ``annotations.jsonl``.

    Args:
        path: The file; a table for multiple choice if it is a CSV.
        task: Multiple choice takes the classes marked 1; open ended the phrases of rows with status ok.

    Returns:
        Labels by report id; reports whose annotation has another status are left out.

    Raises:
        InputError: Naming file and line.
    """
    if task == multiple_choice.NAME and ".csv" in Path(path).suffixes:
        table = read_label_table(path)
        return {report_id: table.positives(report_id) for report_id in table.rows}
    labels: dict[str, Sequence[str]] = {}
    seen: set[str] = set()
    for number, row in read_jsonl(path):
        report_id, answers = row.get("report_id"), row.get("labels")
        if not isinstance(report_id, str) or not isinstance(row.get("status"), str):
            raise InputError(f"{path}:{number}: expected an annotation with report_id and status")
        if row.get("task", task) != task:
            raise InputError(f"{path}:{number}: task is {str(row['task'])[:40]!r}, expected {task!r}")
        if answers is None:
            phrases = row.get("phrases")
            well_formed = isinstance(phrases, list) and all(isinstance(p, dict) and "phrase" in p for p in phrases)
            answers = [phrase["phrase"] for phrase in phrases] if well_formed else None
        if not isinstance(answers, list) or not all(isinstance(answer, str) for answer in answers):
            raise InputError(f"{path}:{number}: report {report_id!r} has neither labels nor phrases")
        if report_id in seen:
            raise InputError(f"{path}:{number}: report_id {report_id!r} stands twice")
        seen.add(report_id)
        if row["status"] == Status.OK:
            labels[report_id] = answers
    return labels


def join(reports_path: Path, labels_path: Path, task: str) -> list[LabelledReport]:
    """Puts reports and their weak labels together; reports without a label are left out.

    Raises:
        InputError: No report has a label: the ids of the two files do not join.
    """
    labels = read_labels(labels_path, task)
    reports = list(read_reports(reports_path))
    joined = [LabelledReport(r, labels[r.report_id]) for r in reports if r.report_id in labels]
    if not joined:
        example = f"; e.g. {reports[0].report_id!r} has none" if reports else ""
        raise InputError(f"{labels_path}: no label for any of the {len(reports)} reports in {reports_path}{example}")
    return joined


def build(
    sources: Mapping[str, Sequence[LabelledReport]],
    rows: Mapping[str, int],
    validation_rows: int,
    seed: int,
    excluded: Iterable[str] = (),
) -> Split:
    """Builds the training and validation rows of one run.

    Which rows are taken depends on seed and report id alone, so that a smaller set is inside a larger one. A patient's
    reports are all in one split, over both tasks.

    Args:
        sources: Labelled reports by task.
        rows: Exact number of training rows by task.
        validation_rows: Exact number of validation rows of each task; may be 0.
        seed: Governs the choice, the split and the order.
        excluded: Report ids that are in no split, e.g. those of curated test reports.

    Returns:
        Rows of all tasks, merged and shuffled.

    Raises:
        InputError: Too few reports, with the number there is.
    """
    excluded = set(excluded)
    usable = {
        task: [item for item in items if item.report.report_id not in excluded] for task, items in sources.items()
    }
    held_out: set[str] = set()
    for task, items in usable.items():
        held_out |= _validation_patients(items, validation_rows, seed, task)
    split = Split([], [], {})
    for task, items in usable.items():
        for_training = [item for item in items if item.patient not in held_out]
        for_validation = [item for item in items if item.patient in held_out]
        split.train += _take(for_training, rows[task], seed, task, "training", len(items))
        split.validation += _take(for_validation, validation_rows, seed, task, "validation", len(items))
        split.counts[task] = {
            "labelled": len(sources[task]),
            "excluded": len(sources[task]) - len(items),
            "train": rows[task],
            "validation": validation_rows,
        }
    for part in (split.train, split.validation):
        random.Random(seed).shuffle(part)  # noqa: S311  (no secret)
    return split


def _validation_patients(items: Sequence[LabelledReport], wanted: int, seed: int, task: str) -> set[str]:
    """As many patients, in an order that depends on the seed alone, as it takes for the wanted rows."""
    reports_of: dict[str, int] = {}
    for item in items:
        reports_of[item.patient] = reports_of.get(item.patient, 0) + 1
    chosen: set[str] = set()
    for patient in sorted(reports_of, key=lambda patient: priority(seed, f"validation {patient}")):
        if wanted <= 0:
            break
        chosen.add(patient)
        wanted -= reports_of[patient]
    if wanted > 0:
        raise InputError(f"{task}: too few labelled reports for validation: {len(items)} there, {wanted} more needed")
    return chosen


def _take(
    items: Sequence[LabelledReport], wanted: int, seed: int, task: str, part: str, labelled: int
) -> list[Instruction]:
    if len(items) < wanted:
        raise InputError(
            f"{task}: {wanted} {part} rows asked for, {len(items)} there ({labelled} labelled reports, the rest held "
            "out with their patients)"
        )
    chosen = sorted(items, key=lambda item: priority(seed, item.report.report_id))[:wanted]
    return [_instruction(item, task) for item in chosen]


def _instruction(item: LabelledReport, name: str) -> Instruction:
    task, report = TASKS[name], item.report
    return Instruction(
        instruction=task.training_instruction(),
        input=report.text,
        output=task.encode(item.labels),
        task=name,
        report_id=report.report_id,
        source=report.source,
    )


def read_instructions(path: Path) -> Iterator[Instruction]:
    """Reads ``instructions.jsonl``.

    Raises:
        InputError: Naming file and line: a field missing or no string, or an unknown task.
    """
    names = tuple(Instruction.__dataclass_fields__)
    for number, row in read_jsonl(path):
        for name in names:
            if not isinstance(row.get(name), str):
                raise InputError(f"{path}:{number}: {name!r} is missing or no string")
        if row["task"] not in TASK_NAMES:
            raise InputError(f"{path}:{number}: task {row['task'][:40]!r} is not one of {', '.join(TASK_NAMES)}")
        if not row["input"].strip() or not row["output"].strip():
            raise InputError(f"{path}:{number}: report {row['report_id']!r} has an empty input or output")
        yield Instruction(**{name: row[name] for name in names})


def rows_sha256(rows: Iterable[Instruction]) -> str:
    """A hash of which reports are in a set and in which order, without their text."""
    digest = hashlib.sha256()
    for row in rows:
        digest.update(f"{row.task}\t{row.report_id}\n".encode())
    return digest.hexdigest()
