"""Instruction sets: labelled reports of any tasks, mixed, shuffled and split by patient (sections 2.3 and 2.4)."""

import hashlib
import random
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

from radtune.config import InputError
from radtune.files import jsonl_line, read_jsonl, write_whole
from radtune.label_files import read_labels
from radtune.labels import Status
from radtune.privacy import looks_like_name
from radtune.report import Report, read_reports
from radtune.sources.select import excluded_ids, priority
from radtune.tables import normal_id
from radtune.tasks import Task, load_task, text_of


@dataclass(frozen=True)
class LabelledReport:
    """A report and what its weak label says: classes or phrases; None where it has no label.

    One without a label is in no split, but may tell whose it is, and which text is excluded.
    """

    report: Report
    labels: Sequence[str] | None


@dataclass(frozen=True)
class Instruction:
    """One training row, with the Alpaca names that any trainer reads."""

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
        excluded: Left out by their id; ``same_text``: because they have the text of an excluded report.
        held_out: Those of patients who are validated on, taken or not.
        unknown: Left out because the task knows none of their labels: they would teach that there is nothing.
        unknown_labels: By name, how many labels that the task does not know were dropped; names that may be a report's
            words are counted together.
    """

    labelled: int
    excluded: int = 0
    same_text: int = 0
    held_out: int = 0
    unknown: int = 0
    unknown_labels: dict[str, int] = field(default_factory=dict)
    train: int = 0
    validation: int = 0

    def __str__(self) -> str:
        return (
            f"{self.labelled:,} labelled, {self.excluded:,} excluded, {self.same_text:,} with the text of an excluded "
            f"report, {self.unknown:,} of unknown labels alone, {self.held_out:,} held out with their patients"
        )


@dataclass
class Split:
    """Rows of two kinds, what became of the rest by task as given, and how many excluded ids no report has."""

    train: list[Instruction]
    validation: list[Instruction]
    counts: dict[str, Counts]
    unmatched_exclude_ids: int


def join(reports_path: Path, labels_path: Path, task: Task) -> list[LabelledReport]:
    """Every report with its weak label, or None; only answers of status ok are labels.

    Raises:
        InputError: No report has a label: the ids of the two files do not join.
    """
    answers = read_labels(labels_path, task).answers
    labels = {report_id: answer.labels for report_id, answer in answers.items() if answer.status == Status.OK}
    joined = [LabelledReport(report, labels.get(report.report_id)) for report in read_reports(reports_path)]
    if all(item.labels is None for item in joined):
        example = f"; e.g. {joined[0].report.report_id!r} has none" if joined else ""
        raise InputError(f"{labels_path}: no label for any of the {len(joined)} reports in {reports_path}{example}")
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
    reports are all in one split, over all tasks.

    Args:
        sources: Reports by task (a name, or a task file's path), those without a label among them.
        rows: Exact number of training rows by task.
        validation_rows: Exact number of validation rows of each task; may be 0.
        seed: Governs the choice, the split and the order.
        excluded: Ids of reports that are in no split, e.g. of curated test reports, in any form that
            :func:`radtune.tables.normal_id` knows. Nor is any report with the text of such a one.

    Raises:
        InputError: Too few reports, with the number there is, or a report is said to be of two patients.
    """
    # Whatever order they come in: those of phrases first, so that files are those of earlier versions.
    sources = {name: sources[name] for name in sorted(sources, key=lambda name: (bool(load_task(name).classes), name))}
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
            there = f"{len(for_training)} there ({counts[task]})"
            raise InputError(f"{task}: {rows[task]} training rows asked for, {there}")
        counts[task].train, counts[task].validation = rows[task], validation_rows
        split.train += _take(for_training, rows[task], seed, load_task(task))
        split.validation += _take(for_validation, validation_rows, seed, load_task(task))
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
    usable, counts = {}, {}
    for name, items in sources.items():
        task, found = load_task(name), Counts(0)
        usable[name], counts[name] = [], found
        unknown_labels: Counter[str] = Counter()
        for item in items:
            if item.labels is None:
                continue
            known, unknown = task.known(item.labels)
            found.labelled += 1
            unknown_labels.update(label if looks_like_name(label) else "(not shown)" for label in unknown)
            if item.report.report_id in by_id:
                found.excluded += 1
            elif item.report.report_id in by_text:
                found.same_text += 1
            elif unknown and not known:
                found.unknown += 1
            else:
                usable[name].append(LabelledReport(item.report, known))
        found.unknown_labels = dict(unknown_labels.most_common())
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


def _validation_patients(patients: Sequence[str], wanted: int, seed: int, too_few: str) -> set[str]:
    """Of the patients of reports, in an order that depends on the seed alone, as many as it takes for so many reports.

    ``too_few`` is what the message opens with if they are fewer.
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


def _take(items: Sequence[LabelledReport], wanted: int, seed: int, task: Task) -> Iterator[Instruction]:
    for item in sorted(items, key=lambda item: priority(seed, item.report.report_id))[:wanted]:
        report, output = item.report, task.encode(item.labels or ())
        instruction = task.prompt("training", report.report_id, seed).instruction
        yield Instruction(instruction, text_of(task, report), output, task.name, report.report_id, report.source)


def write_instructions(parts: Mapping[Path, Iterable[Instruction]]) -> None:
    """Writes files of rows, all of them or none."""
    with ExitStack() as stack:
        for path, rows in parts.items():
            stack.enter_context(write_whole(path)).writelines(map(jsonl_line, rows))


def read_instructions(path: Path) -> Iterator[Instruction]:
    """Reads ``instructions.jsonl``; an InputError names file and line."""
    names = tuple(Instruction.__dataclass_fields__)
    for number, row in read_jsonl(path):
        for name in names:
            if not isinstance(row.get(name), str):
                raise InputError(f"{path}:{number}: {name!r} is missing or no string")
        if not row["input"].strip() or not row["output"].strip():
            raise InputError(f"{path}:{number}: report {row['report_id']!r} has an empty input or output")
        yield Instruction(**{name: row[name] for name in names})


def rows_sha256(rows: Iterable[Instruction]) -> str:
    """A hash of which reports are in a set and in which order, without their text."""
    digest = hashlib.sha256()
    for row in rows:
        digest.update(f"{row.task}\t{row.report_id}\n".encode())
    return digest.hexdigest()
