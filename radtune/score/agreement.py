"""How far two annotators or label tables agree: share of equal labels, Cohen's kappa, and where they differ."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from radtune.config import InputError
from radtune.findings import FINDINGS, LABEL_COLUMNS, NEGATIVE, POSITIVE, LabelTable

# A label as tables have it: 1 positive, 0 negative, -1 uncertain, None not mentioned. Each is a category of its own.
Label = int | None

_IDS_SHOWN = 3


@dataclass(frozen=True)
class Disagreement:
    """One report that two tables label differently for a class."""

    report_id: str
    a: Label
    b: Label


@dataclass(frozen=True)
class ClassAgreement:
    """How far two tables agree about one class.

    Attributes:
        agreed: In how many reports the labels are equal, of the reports that both tables hold.
        agreement: The same as a share.
        kappa: Cohen's kappa over the four categories; None where either table gives every report the same label (a
            class that it never mentions, say), since there is no agreement beyond chance to speak of.
        disagreements: The reports whose labels differ, in the order of the first table.
    """

    agreed: int
    agreement: float
    kappa: float | None
    disagreements: tuple[Disagreement, ...]


@dataclass(frozen=True)
class TableAgreement:
    """How far two tables agree.

    Attributes:
        n_reports: Reports that both hold; only these are compared.
        only_in_a: How many reports only the first holds.
        only_in_b: How many only the second holds.
        per_class: By class, and ``No Finding``.
        kappa: Pooled: over the labels of all 13 classes; None as above.
        exact: Share of reports whose labels are all equal.
    """

    n_reports: int
    only_in_a: int
    only_in_b: int
    per_class: dict[str, ClassAgreement]
    kappa: float | None
    exact: float


def cohen_kappa(pairs: Mapping[tuple[Label, Label], int]) -> float | None:
    """Cohen's kappa (Educational and Psychological Measurement 20, 1960), unweighted.

    Args:
        pairs: How often each pair of labels occurs.

    Returns:
        Observed agreement beyond chance over what is possible, at most 1; None where either side never varies.
    """
    first: Counter[Label] = Counter()
    second: Counter[Label] = Counter()
    for (a, b), count in pairs.items():
        if count:
            first[a] += count
            second[b] += count
    if len(first) < 2 or len(second) < 2:
        return None
    total = first.total()
    observed = sum(count for (a, b), count in pairs.items() if a == b) / total
    by_chance = sum(first[label] * second[label] for label in first) / total**2
    return (observed - by_chance) / (1 - by_chance)


def compare_tables(a: LabelTable, b: LabelTable) -> TableAgreement:
    """Compares two label tables over the reports that both hold.

    Raises:
        InputError: They have no report in common.
    """
    shared = [report_id for report_id in a.rows if report_id in b.rows]
    if not shared:
        raise InputError("the two tables have no report in common; do their ids mean the same?")
    per_class = {}
    pooled: Counter[tuple[Label, Label]] = Counter()
    for column, name in enumerate(LABEL_COLUMNS):
        labels = [(report_id, a.rows[report_id][column], b.rows[report_id][column]) for report_id in shared]
        differing = tuple(Disagreement(*label) for label in labels if label[1] != label[2])
        agreed = len(shared) - len(differing)
        pairs = Counter((first, second) for _, first, second in labels)
        per_class[name] = ClassAgreement(agreed, agreed / len(shared), cohen_kappa(pairs), differing)
        if name in FINDINGS:
            pooled += pairs
    exact = sum(a.rows[report_id] == b.rows[report_id] for report_id in shared) / len(shared)
    only_in_a, only_in_b = len(a.rows) - len(shared), len(b.rows) - len(shared)
    return TableAgreement(len(shared), only_in_a, only_in_b, per_class, cohen_kappa(pooled), exact)


@dataclass(frozen=True)
class SetAgreement:
    """How far two annotators agree about which of the 13 classes reports have.

    Attributes:
        a: The one: a column or file.
        b: The other.
        n_reports: Reports compared.
        kappa: Cohen's kappa, pooled over all reports and classes; None where either never varies.
        agreement: Share of (report, class) pairs about which they agree; None if none is compared.
        exact: Share of reports for which they give the same classes.
        per_class_kappa: By class; None as above, for instance where a class is absent.
        per_class_agreement: By class.
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
    a: str, first: np.ndarray, b: str, second: np.ndarray, judged: np.ndarray | None = None
) -> SetAgreement:
    """Compares two annotators' classes.

    Args:
        a: Name of the one.
        first: Whether it gives a report a class, boolean, shape (reports, 13).
        b: Name of the other.
        second: The same of it.
        judged: Which of these count, likewise; all if None.
    """
    judged = np.ones_like(first) if judged is None else judged
    tables = [_two_by_two(first[:, column], second[:, column], judged[:, column]) for column in range(len(FINDINGS))]
    pooled = _two_by_two(first, second, judged)
    return SetAgreement(
        a,
        b,
        n_reports=len(first),
        kappa=cohen_kappa(pooled),
        agreement=_equal(pooled),
        exact=float(((first == second) | ~judged).all(axis=1).mean()),
        per_class_kappa={name: cohen_kappa(table) for name, table in zip(FINDINGS, tables, strict=True)},
        per_class_agreement={name: _equal(table) for name, table in zip(FINDINGS, tables, strict=True)},
    )


def _two_by_two(first: np.ndarray, second: np.ndarray, judged: np.ndarray) -> dict[tuple[Label, Label], int]:
    return {
        (a, b): int(((first == bool(a)) & (second == bool(b)) & judged).sum())
        for a in (POSITIVE, NEGATIVE)
        for b in (POSITIVE, NEGATIVE)
    }


def _equal(pairs: Mapping[tuple[Label, Label], int]) -> float | None:
    total = sum(pairs.values())
    return sum(count for (a, b), count in pairs.items() if a == b) / total if total else None


def agreement_text(found: TableAgreement) -> str:
    """A table of the classes, to read; the first few disagreeing reports by id."""
    lines = [f"{'':<28}{'agreement':>10}{'kappa':>8}{'differ':>9}  reports that differ"]
    for name, part in found.per_class.items():
        kappa = "n/a" if part.kappa is None else f"{part.kappa:.3f}"
        ids = [difference.report_id for difference in part.disagreements[:_IDS_SHOWN]]
        more = len(part.disagreements) - len(ids)
        shown = ", ".join(ids) + (f" and {more:,} more" if more else "")
        differ = len(part.disagreements)
        lines.append(f"{name:<28}{part.agreement:>10.3f}{kappa:>8}{differ:>9,}  {shown}".rstrip())
    pooled = "n/a" if found.kappa is None else f"{found.kappa:.3f}"
    lines.append(f"all 13 classes pooled: kappa {pooled}; all labels equal in {found.exact:.1%} of the reports")
    lines.append(
        f"{found.n_reports:,} reports compared; left out: {found.only_in_a:,} only in a, {found.only_in_b:,} only in b"
    )
    return "\n".join(lines)
