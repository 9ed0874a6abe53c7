"""How far two annotators, files or label tables agree: share of equal labels, Cohen's kappa, and where they differ."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from radtune.config import InputError
from radtune.label_files import LabelFile, joined_to, label_columns
from radtune.labels import NO_FINDING
from radtune.tasks import Task

# Stands among states for a class that a table leaves blank, which is a category of its own.
NOT_MENTIONED = 9
_IDS_SHOWN = 3


@dataclass(frozen=True)
class Agreement:
    """How far two of them agree about the labels of the same reports.

    ``agreement`` is the share of equal labels, None where none is compared; ``exact`` that of reports whose labels are
    all equal. ``kappa`` is pooled over all classes.
    """

    a: str
    b: str
    n_reports: int
    kappa: float | None
    agreement: float | None
    exact: float
    per_class_kappa: dict[str, float | None]
    per_class_agreement: dict[str, float | None]


@dataclass(frozen=True)
class TableAgreement:
    """How far two tables agree about reports that both hold; by class, the reports on which they ``differ``."""

    figures: Agreement
    only_in_a: int
    only_in_b: int
    differ: dict[str, list[dict[str, Any]]]


def cohen_kappa(pairs: Mapping[tuple[Any, Any], int]) -> float | None:
    """Cohen's kappa (Educational and Psychological Measurement 20, 1960), unweighted, from counts of pairs of labels.

    None where either side never varies: there is no agreement beyond chance to speak of.
    """
    first: Counter[Any] = Counter()
    second: Counter[Any] = Counter()
    for (a, b), count in pairs.items():
        first[a] += count
        second[b] += count
    if len(+first) < 2 or len(+second) < 2:
        return None
    by_chance = sum(first[label] * second[label] for label in first) / first.total() ** 2
    return (_equal(pairs) / first.total() - by_chance) / (1 - by_chance)


def compare(
    classes: Sequence[str], a: str, first: np.ndarray, b: str, second: np.ndarray, judged: np.ndarray
) -> Agreement:
    """Compares the labels that two give to reports, shape (reports, classes); ``judged`` says which of them count."""
    pairs = {
        name: Counter(zip(first[judged[:, i], i].tolist(), second[judged[:, i], i].tolist(), strict=True))
        for i, name in enumerate(classes)
    }
    # No Finding says again what the classes say.
    pooled = sum((counts for name, counts in pairs.items() if name != NO_FINDING), Counter())
    rows = judged.any(axis=1)
    exact = float(((first == second) | ~judged)[rows].all(axis=1).mean()) if rows.any() else 0.0
    kappas, shares = ({name: of(counts) for name, counts in pairs.items()} for of in (cohen_kappa, _share))
    return Agreement(a, b, int(rows.sum()), cohen_kappa(pooled), _share(pooled), exact, kappas, shares)


def _equal(pairs: Mapping[tuple[Any, Any], int]) -> int:
    return sum(count for (a, b), count in pairs.items() if a == b)


def _share(pairs: Counter[tuple[Any, Any]]) -> float | None:
    return _equal(pairs) / pairs.total() if pairs else None


def compare_tables(task: Task, a: LabelFile, b: LabelFile) -> TableAgreement:
    """Compares two label tables over the reports and classes that both hold; an InputError where there are none."""
    for file in (a, b):
        if not file.has_states:
            raise InputError(f"{file.path}: no label table: none of its columns is a class of {task.name}")
    b, _ = joined_to(b, a.answers)
    shared = [report_id for report_id in a.answers if report_id in b.answers]
    if not shared:
        raise InputError("the two tables have no report in common; do their ids mean the same?")
    # A class without a column has no label there, not even a blank one.
    columns = [name for name in label_columns(task) if name not in {*a.missing, *b.missing}]
    if not all(any(NO_FINDING in (said.states or ()) for said in file.answers.values()) for file in (a, b)):
        columns = [name for name in columns if name != NO_FINDING]
    first, second = (_states(file, shared, columns) for file in (a, b))
    figures = compare(columns, str(a.path), first, str(b.path), second, np.ones_like(first, dtype=bool))
    differ = {
        name: [
            {"report_id": shared[row], "a": _cell(first[row, i]), "b": _cell(second[row, i])}
            for row in np.flatnonzero(first[:, i] != second[:, i])
        ]
        for i, name in enumerate(columns)
    }
    return TableAgreement(figures, len(a.answers) - len(shared), len(b.answers) - len(shared), differ)


def _states(file: LabelFile, report_ids: Sequence[str], columns: Sequence[str]) -> np.ndarray:
    rows = [file.answers[report_id].states or {} for report_id in report_ids]
    return np.array([[row.get(name, NOT_MENTIONED) for name in columns] for row in rows], dtype=int)


def _cell(state: int) -> int | None:
    return None if state == NOT_MENTIONED else int(state)


def agreement_text(found: TableAgreement) -> str:
    """A table of the classes to read."""
    figures = found.figures
    width = max(28, *(len(name) + 2 for name in found.differ))
    lines = [f"{'':<{width}}{'agreement':>10}{'kappa':>8}{'differ':>9}  reports that differ"]
    for name, rows in found.differ.items():
        ids = [row["report_id"] for row in rows[:_IDS_SHOWN]]
        shown = ", ".join(ids) + (f" and {len(rows) - len(ids):,} more" if len(rows) > len(ids) else "")
        share, kappa = figures.per_class_agreement[name], kappa_text(figures.per_class_kappa[name])
        lines.append(f"{name:<{width}}{share:>10.3f}{kappa:>8}{len(rows):>9,}  {shown}".rstrip())
    n_classes = len(found.differ.keys() - {NO_FINDING})
    lines += [
        f"all {n_classes} classes pooled: kappa {kappa_text(figures.kappa)}; all labels equal in "
        f"{figures.exact:.1%} of the reports",
        f"{figures.n_reports:,} reports compared; left out: {found.only_in_a:,} only in a, {found.only_in_b:,} only in "
        "b",
    ]
    return "\n".join(lines)


def kappa_text(kappa: float | None) -> str:
    """A kappa to read."""
    return "n/a" if kappa is None else f"{kappa:.3f}"
