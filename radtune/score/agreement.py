"""How far two annotators or label tables agree: share of equal labels, Cohen's kappa, and where they differ."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from radtune.config import InputError
from radtune.label_files import LabelFile, label_columns
from radtune.labels import State
from radtune.tasks import Task

# None where a class is not mentioned. Each state is a category of its own, and so is None.
Label = State | None

_IDS_SHOWN = 3


@dataclass(frozen=True)
class Disagreement:
    """A report that two tables label differently for a class."""

    report_id: str
    a: Label
    b: Label


@dataclass(frozen=True)
class ClassAgreement:
    """In how many of the reports that two tables hold, and what share of them, the labels of a class are equal."""

    agreed: int
    agreement: float
    kappa: float | None
    disagreements: tuple[Disagreement, ...]


@dataclass(frozen=True)
class TableAgreement:
    """How far two tables agree about reports that both hold; ``exact`` is the share whose labels are all equal."""

    n_reports: int
    only_in_a: int
    only_in_b: int
    per_class: dict[str, ClassAgreement]
    kappa: float | None
    exact: float


def cohen_kappa(pairs: Mapping[tuple[Label, Label], int]) -> float | None:
    """Cohen's kappa (Educational and Psychological Measurement 20, 1960), unweighted, from counts of pairs of labels.

    None where either side never varies: there is no agreement beyond chance to speak of.
    """
    first: Counter[Label] = Counter()
    second: Counter[Label] = Counter()
    for (a, b), count in pairs.items():
        first[a] += count
        second[b] += count
    if len(+first) < 2 or len(+second) < 2:
        return None
    observed = sum(count for (a, b), count in pairs.items() if a == b) / first.total()
    by_chance = sum(first[label] * second[label] for label in first) / first.total() ** 2
    return (observed - by_chance) / (1 - by_chance)


def compare_tables(task: Task, a: LabelFile, b: LabelFile) -> TableAgreement:
    """Compares two label tables over the reports that both hold; an InputError where there are none."""
    for file in (a, b):
        if not file.has_states:
            raise InputError(f"{file.path}: no label table: none of its columns is a class of {task.name}")
    shared = [report_id for report_id in a.answers if report_id in b.answers]
    if not shared:
        raise InputError("the two tables have no report in common; do their ids mean the same?")
    states = [(report_id, a.answers[report_id].states or {}, b.answers[report_id].states or {}) for report_id in shared]
    per_class = {}
    pooled: Counter[tuple[Label, Label]] = Counter()
    for name in label_columns(task):
        labels = [Disagreement(report_id, first.get(name), second.get(name)) for report_id, first, second in states]
        differing = tuple(label for label in labels if label.a != label.b)
        agreed = len(shared) - len(differing)
        pairs = Counter((label.a, label.b) for label in labels)
        per_class[name] = ClassAgreement(agreed, agreed / len(shared), cohen_kappa(pairs), differing)
        if name in task.classes:
            pooled += pairs
    exact = sum(first == second for _, first, second in states) / len(shared)
    only_in_a, only_in_b = len(a.answers) - len(shared), len(b.answers) - len(shared)
    return TableAgreement(len(shared), only_in_a, only_in_b, per_class, cohen_kappa(pooled), exact)


@dataclass(frozen=True)
class SetAgreement:
    """How far two annotators (columns or files) agree about which classes reports have.

    ``agreement`` is the share of (report, class) pairs, None if none is compared; ``exact`` that of reports for which
    they give the same classes. ``kappa`` is pooled over all pairs.
    """

    a: str
    b: str
    n_reports: int
    kappa: float | None
    agreement: float | None
    exact: float
    per_class_kappa: dict[str, float | None]
    per_class_agreement: dict[str, float | None]


def compare_sets(
    classes: Sequence[str], a: str, first: np.ndarray, b: str, second: np.ndarray, judged: np.ndarray
) -> SetAgreement:
    """Compares two annotators by whether each gives a report a class, boolean, shape (reports, classes).

    ``judged`` says likewise which of these count.
    """
    kappa, agreement = _figures(first, second, judged)
    exact = float(((first == second) | ~judged).all(axis=1).mean())
    by_class = {name: _figures(first[:, i], second[:, i], judged[:, i]) for i, name in enumerate(classes)}
    kappas, agreements = ({name: figures[which] for name, figures in by_class.items()} for which in (0, 1))
    return SetAgreement(a, b, len(first), kappa, agreement, exact, kappas, agreements)


def _figures(first: np.ndarray, second: np.ndarray, judged: np.ndarray) -> tuple[float | None, float | None]:
    """Kappa and the share of equal labels."""
    states = (State.PRESENT, State.ABSENT)
    pairs = {(a, b): int(((first == bool(a)) & (second == bool(b)) & judged).sum()) for a in states for b in states}
    total, equal = sum(pairs.values()), sum(count for (a, b), count in pairs.items() if a == b)
    return cohen_kappa(pairs), equal / total if total else None


def agreement_text(found: TableAgreement) -> str:
    """A table of the classes to read."""
    width = max(28, *(len(name) + 2 for name in found.per_class))
    lines = [f"{'':<{width}}{'agreement':>10}{'kappa':>8}{'differ':>9}  reports that differ"]
    for name, part in found.per_class.items():
        ids = [difference.report_id for difference in part.disagreements[:_IDS_SHOWN]]
        differ = len(part.disagreements)
        shown = ", ".join(ids) + (f" and {differ - len(ids):,} more" if differ > len(ids) else "")
        kappa = kappa_text(part.kappa)
        lines.append(f"{name:<{width}}{part.agreement:>10.3f}{kappa:>8}{differ:>9,}  {shown}".rstrip())
    lines += [
        f"all {len(found.per_class) - 1} classes pooled: kappa {kappa_text(found.kappa)}; all labels equal in "
        f"{found.exact:.1%} of the reports",
        f"{found.n_reports:,} reports compared; left out: {found.only_in_a:,} only in a, {found.only_in_b:,} only in b",
    ]
    return "\n".join(lines)


def kappa_text(kappa: float | None) -> str:
    """A kappa to read."""
    return "n/a" if kappa is None else f"{kappa:.3f}"
