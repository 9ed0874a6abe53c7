"""Instruction sets: labelled reports of both tasks, mixed, shuffled and split by patient (sections 2.3 and 2.4)."""

import hashlib
import random
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from radtune.config import InputError
from radtune.files import jsonl_line, read_jsonl, write_whole
from radtune.findings import NORMAL, canonical_finding
from radtune.report import Report
from radtune.sources.select import excluded_ids, normal_id, priority
from radtune.tasks import multiple_choice
from radtune.tasks.legacy import TASK_NAMES, TASKS
from radtune.tasks.lists import shown_name
from radtune.weak_labels import LabelledReport


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


@dataclass
class Counts:
    """What became of the labelled reports of one task.

    Attributes:
        labelled: How many there are.
        excluded: Those left out by their id.
        same_text: Those left out because they have the text of an excluded report.
        held_out: Those of patients who are validated on, taken or not.
        unknown_labels: How many names that are none of the 13 classes were dropped from the labels.
        train: Training rows.
        validation: Validation rows.
    """

    labelled: int
    excluded: int = 0
    same_text: int = 0
    held_out: int = 0
    unknown_labels: int = 0
    train: int = 0
    validation: int = 0

    def __str__(self) -> str:
        return (
            f"{self.labelled:,} labelled, {self.excluded:,} excluded, {self.same_text:,} with the text of an excluded "
            f"report, {self.held_out:,} held out with their patients"
        )


@dataclass
class Split:
    """Training and validation rows, what became of the rest by task, and how many excluded ids no report has."""

    train: list[Instruction]
    validation: list[Instruction]
    counts: dict[str, Counts]
    unmatched_exclude_ids: int


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
        sources: Reports by task, those without a label among them.
        rows: Exact number of training rows by task.
        validation_rows: Exact number of validation rows of each task; may be 0.
        seed: Governs the choice, the split and the order.
        excluded: Ids of reports that are in no split, e.g. of curated test reports, in any form that
            :func:`radtune.sources.select.normal_id` knows. Nor is any report with the text of such a one.

    Returns:
        Rows of all tasks, merged and shuffled.

    Raises:
        InputError: Too few reports, with the number there is, or a report is said to be of two patients.
    """
    patients = _patients([item.report for items in sources.values() for item in items])
    usable, counts, unmatched = _usable(sources, list(excluded))
    held_out: set[str] = set()
    for task, items in usable.items():
        theirs = [patients[item.report.report_id] for item in items]
        held_out |= _validation_patients(theirs, validation_rows, seed, f"{task}: too few reports ({counts[task]})")
    split = Split([], [], counts, unmatched)
    for task, items in usable.items():
        for_validation = [item for item in items if patients[item.report.report_id] in held_out]
        for_training = [item for item in items if patients[item.report.report_id] not in held_out]
        counts[task].held_out = len(for_validation)
        if len(for_training) < rows[task]:
            raise InputError(
                f"{task}: {rows[task]} training rows asked for, {len(for_training)} there ({counts[task]})"
            )
        counts[task].train, counts[task].validation = rows[task], validation_rows
        split.train += _take(for_training, rows[task], seed, task)
        split.validation += _take(for_validation, validation_rows, seed, task)
    for part in (split.train, split.validation):
        random.Random(seed).shuffle(part)  # noqa: S311  (no secret)
    return split


def _usable(
    sources: Mapping[str, Sequence[LabelledReport]], excluded: Sequence[str]
) -> tuple[dict[str, list[LabelledReport]], dict[str, Counts], int]:
    """Labelled reports that may be in a split and counts of the others, by task; and how many ids no report has."""
    reports = [item.report for items in sources.values() for item in items]
    by_id = excluded_ids((report.report_id for report in reports), excluded)
    texts = {report.text for report in reports if report.report_id in by_id}
    by_text = {report.report_id for report in reports if report.text in texts} - by_id
    left_out = by_id | by_text
    usable, counts = {}, {}
    for task, items in sources.items():
        labelled = [_with_known_labels(item, task) for item in items if item.labels is not None]
        ids = [item.report.report_id for item, _ in labelled]
        counts[task] = Counts(
            labelled=len(ids),
            excluded=sum(report_id in by_id for report_id in ids),
            same_text=sum(report_id in by_text for report_id in ids),
            unknown_labels=sum(unknown for _, unknown in labelled),
        )
        usable[task] = [item for item, _ in labelled if item.report.report_id not in left_out]
    return usable, counts, len(set(map(normal_id, excluded)) - set(map(normal_id, by_id)))


def _patients(reports: Iterable[Report]) -> dict[str, str]:
    """By report id, what a split may not cut: the patient, where any file knows it, or else the report itself."""
    known: dict[str, str] = {}
    groups: dict[str, str] = {}
    for report in reports:
        report_id, patient_id = report.report_id, report.patient_id
        if patient_id is not None and known.setdefault(report_id, patient_id) != patient_id:
            raise InputError(f"report {report_id!r} is of one patient_id in one file of reports, of another in another")
        groups[report_id] = f"patient {known[report_id]}" if report_id in known else f"report {report_id}"
    return groups


def _with_known_labels(item: LabelledReport, task: str) -> tuple[LabelledReport, int]:
    """The report with the labels that its task knows, and how many others it had."""
    if task != multiple_choice.NAME:
        return item, 0
    names = [label for label in item.labels or () if label.strip().lower() != NORMAL.lower()]
    known = [name for name in names if canonical_finding(name)]
    return LabelledReport(item.report, known), len(names) - len(known)


def _validation_patients(patients: Sequence[str], wanted: int, seed: int, too_few: str) -> set[str]:
    """As many patients, in an order that depends on the seed alone, as it takes for the wanted rows.

    Args:
        patients: The patient of each report that may be taken.
        wanted: How many reports.
        seed: Of the order.
        too_few: What the message opens with if they are fewer.
    """
    reports_of = Counter(patients)
    chosen: set[str] = set()
    for patient in sorted(reports_of, key=lambda patient: priority(seed, f"validation {patient}")):
        if wanted <= 0:
            break
        chosen.add(patient)
        wanted -= reports_of[patient]
    if wanted > 0:
        raise InputError(f"{too_few}: {len(patients)} there for validation, {wanted} more needed")
    return chosen


def _take(items: Sequence[LabelledReport], wanted: int, seed: int, task: str) -> list[Instruction]:
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


def write_instructions(parts: Mapping[Path, Iterable[Instruction]]) -> None:
    """Writes files of rows, all of them or none."""
    with ExitStack() as stack:
        for path, rows in parts.items():
            stack.enter_context(write_whole(path)).writelines(map(jsonl_line, rows))


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
            raise InputError(f"{path}:{number}: task {shown_name(row['task'])} is not one of {', '.join(TASK_NAMES)}")
        if not row["input"].strip() or not row["output"].strip():
            raise InputError(f"{path}:{number}: report {row['report_id']!r} has an empty input or output")
        yield Instruction(**{name: row[name] for name in names})


def rows_sha256(rows: Iterable[Instruction]) -> str:
    """A hash of which reports are in a set and in which order, without their text."""
    digest = hashlib.sha256()
    for row in rows:
        digest.update(f"{row.task}\t{row.report_id}\n".encode())
    return digest.hexdigest()
