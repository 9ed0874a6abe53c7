"""What is scored: predictions and gold of the same reports, gold from several annotators, misspelt names understood."""

from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from radtune.combine import RULES, combine
from radtune.config import InputError
from radtune.label_files import LabelFile, read_labels
from radtune.labels import Status
from radtune.tasks import Task

# What is compared beside the annotators, who go by the names of their columns.
GOLD, PREDICTIONS, COMPARE = "gold", "predictions", "compare"

# What is done with a name that is no class: counted as wrong, or taken for the class it all but spells.
LENIENT = "lenient"
SPELLING = ("strict", LENIENT)


@dataclass(frozen=True)
class Respelling:
    """What a misspelt name was taken for, and how often it stands."""

    finding: str
    count: int


def read_gold(
    path: Path, task: Task, column: str | None, columns: Sequence[str], rule: str | None, id_column: str | None
) -> dict[str, LabelFile]:
    """Reads the annotators whose agreement is asked for, by column, and :data:`GOLD` unless a rule is to make it.

    Raises:
        InputError: The three keys contradict one another, or as :func:`radtune.label_files.read_labels`.
    """
    if columns and (len(columns) < 2 or len(set(columns)) < len(columns)):
        raise InputError("gold_columns needs two or more different columns, one an annotator")
    if columns and (column is None) == (rule is None):
        raise InputError(f"gold_columns needs gold_rule={'|'.join(RULES)} or the gold_column to score against")
    if rule and not columns:
        raise InputError("gold_rule needs the annotators' columns (gold_columns=[A,B])")
    if taken := {GOLD, PREDICTIONS, COMPARE} & set(columns):
        raise InputError(f"gold_columns: an annotator's column cannot be named {min(taken)!r}")
    sides = {name: read_labels(path, task, name, id_column) for name in columns}
    return sides if rule else {**sides, GOLD: read_labels(path, task, column, id_column)}


def combine_gold(task: Task, annotators: Sequence[LabelFile], rule: str) -> LabelFile:
    """Makes gold of what several annotators found, which are columns of one file; an InputError if one is not ok."""
    for annotator in annotators:
        check_whole(annotator)
    ids = annotators[0].answers
    combined = {x: combine(task, [annotator.answers[x] for annotator in annotators], rule).answer for x in ids}
    return LabelFile(annotators[0].path, combined)


def respell(task: Task, file: LabelFile) -> tuple[LabelFile, dict[str, Respelling]]:
    """Takes misspelt names for the classes that they are nearest to; and tells which, the most frequent first."""
    classes = set(task.classes)
    unknown = Counter(name for answer in file.answers.values() for name in answer.labels if name not in classes)
    meant = {name: near for name in unknown if (near := task.nearest(name)) not in (None, name)}
    answers = dict(file.answers)
    for report_id, answer in file.answers.items():
        if not meant.keys().isdisjoint(answer.labels):
            labels = task.distinct(meant.get(name, name) for name in answer.labels)
            answers[report_id] = replace(answer, labels=labels)
    found = {name: Respelling(meant[name], count) for name, count in unknown.most_common() if name in meant}
    return replace(file, answers=answers), found


def keep_reports(file: LabelFile, report_ids: Collection[str]) -> tuple[LabelFile, int]:
    """What a file says of these reports alone, each of which must be there; and how many others it has."""
    check_present(f"{file.path}: nothing for", report_ids, "to score", file.answers)
    answers = {report_id: answer for report_id, answer in file.answers.items() if report_id in report_ids}
    return replace(file, answers=answers), len(file.answers) - len(answers)


def check_present(prefix: str, report_ids: Iterable[str], suffix: str, known: Collection[str]) -> None:
    """Raises an InputError ``prefix N reports suffix; first: ID`` if some report is not among the known ones."""
    strangers = [report_id for report_id in report_ids if report_id not in known]
    if strangers:
        noun = "report" if len(strangers) == 1 else "reports"
        raise InputError(f"{prefix} {len(strangers)} {noun} {suffix}; first: {strangers[0]!r}")


def check_whole(gold: LabelFile) -> None:
    """Raises an InputError if an answer of gold has a status that is not ok."""
    for report_id, answer in gold.answers.items():
        if answer.status != Status.OK:
            raise InputError(f"{gold.path}: gold of report {report_id!r} has status {answer.status}")
