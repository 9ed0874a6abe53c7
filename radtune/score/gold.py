"""Gold from several annotators: what any of them found, or only what all did."""

from collections.abc import Sequence
from itertools import chain
from pathlib import Path

from radtune.config import InputError
from radtune.labels import Status
from radtune.score.inputs import LabelledReports, read_labelled_reports
from radtune.tasks import multiple_choice
from radtune.tasks.lists import unique
from radtune.tasks.matching import phrases_match

UNION, INTERSECTION = "union", "intersection"
GOLD_RULES = (UNION, INTERSECTION)

# What is compared beside the annotators, who go by the names of their columns.
GOLD, PREDICTIONS, COMPARE = "gold", "predictions", "compare"


def read_gold(
    path: Path, task: str, column: str | None, columns: Sequence[str], rule: str | None, id_column: str | None
) -> dict[str, LabelledReports]:
    """Reads gold, and the annotators whose agreement is asked for.

    Args:
        path: The file.
        task: The task.
        column: The column that is gold, such as a consensus.
        columns: The annotators' columns; empty if there is one column only.
        rule: How gold is made of them, one of :data:`GOLD_RULES`; None if ``column`` is gold.
        id_column: As in :func:`radtune.score.inputs.read_labelled_reports`.

    Returns:
        Labels by column name, the annotators' in their order; and gold under :data:`GOLD` unless a rule is to make it.

    Raises:
        InputError: The three keys contradict one another, or as :func:`radtune.score.inputs.read_labelled_reports`.
    """
    if columns and (len(columns) < 2 or len(set(columns)) < len(columns)):
        raise InputError("gold_columns needs two or more different columns, one an annotator")
    if columns and (column is None) == (rule is None):
        raise InputError(f"gold_columns needs gold_rule={'|'.join(GOLD_RULES)} or the gold_column to score against")
    if rule and not columns:
        raise InputError("gold_rule needs the annotators' columns (gold_columns=[A,B])")
    if taken := {GOLD, PREDICTIONS, COMPARE} & set(columns):
        raise InputError(f"gold_columns: an annotator's column cannot be named {min(taken)!r}")
    sides = {name: read_labelled_reports(path, task, name, id_column) for name in columns}
    return sides if rule else {**sides, GOLD: read_labelled_reports(path, task, column, id_column)}


def combine(annotators: Sequence[LabelledReports], rule: str, task: str) -> LabelledReports:
    """Makes gold of what several annotators found in the same reports.

    Two phrases are the same finding if they match by the paper's rule; an intersection has the first annotator's
    wording.

    Args:
        annotators: Their labels, from columns of one file.
        rule: One of :data:`GOLD_RULES`.
        task: The task.

    Returns:
        The labels by report.

    Raises:
        InputError: An annotation has a status that is not ok.
    """
    first, *others = annotators
    for annotator in annotators:
        for report_id, status in annotator.statuses.items():
            if status != Status.OK:
                raise InputError(f"{annotator.path}: gold of report {report_id!r} has status {status}")
    combined = LabelledReports(first.path, {}, dict(first.statuses), None, dict(first.patient_ids))
    for report_id, labels in first.labels.items():
        theirs = [other.labels[report_id] for other in others]
        if rule == UNION:
            combined.labels[report_id] = unique(chain(labels, *theirs))
        else:
            combined.labels[report_id] = tuple(
                label for label in labels if all(_found(label, found, task) for found in theirs)
            )
    return combined


def _found(label: str, labels: Sequence[str], task: str) -> bool:
    if task == multiple_choice.NAME:
        return label in labels
    return any(phrases_match(label, other) for other in labels)
