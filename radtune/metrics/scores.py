"""Precision, recall and F1 from counts, with bootstrap intervals."""

from dataclasses import dataclass

import numpy as np

# The four columns of a count array, one row a report. In multiple choice, and one-to-one, the two matched counts are
# equal; when a phrase may match several they need not be.
MATCHED_PREDICTIONS, PREDICTIONS, MATCHED_GOLD, GOLD = range(4)

RESAMPLES = 10_000
MEASURES = ("precision", "recall", "f1")


@dataclass(frozen=True)
class Score:
    """Micro-averaged scores.

    Attributes:
        precision: Matched predictions / predictions; 0 if there are none, as in scikit-learn.
        recall: Matched gold / gold; 0 if there is none.
        f1: Their harmonic mean; 0 if both are 0.
        tp: Matched predictions.
        fp: Unmatched predictions.
        fn: Unmatched gold labels.
        matched_gold: Matched gold labels; differs from ``tp`` only where a phrase may match several.
        ci95: By measure, the 2.5 % and 97.5 % quantiles of its bootstrap distribution.
    """

    precision: float
    recall: float
    f1: float
    tp: int
    fp: int
    fn: int
    matched_gold: int
    ci95: dict[str, tuple[float, float]]


def ratios(totals: np.ndarray) -> np.ndarray:
    """Precision, recall and F1 of summed counts.

    Args:
        totals: Counts, shape (..., 4), columns as named above.

    Returns:
        Shape (..., 3), in the order of :data:`MEASURES`; 0 where a ratio has no denominator.
    """
    totals = np.asarray(totals, dtype=float)
    precision = _divide(totals[..., MATCHED_PREDICTIONS], totals[..., PREDICTIONS])
    recall = _divide(totals[..., MATCHED_GOLD], totals[..., GOLD])
    return np.stack([precision, recall, _divide(2 * precision * recall, precision + recall)], axis=-1)


def _divide(numerator: np.ndarray, denominator: np.ndarray) -> np.ndarray:
    return np.divide(numerator, denominator, out=np.zeros_like(numerator), where=denominator > 0)


def micro_score(counts: np.ndarray, units: np.ndarray | None = None, seed: int = 0) -> Score:
    """Micro-averaged scores of many reports.

    Args:
        counts: One row a report, shape (reports, 4).
        units: What the bootstrap draws: for each report the index of its patient, shape (reports,); None draws
            reports.
        seed: Seed of the bootstrap.

    Returns:
        The scores with their intervals.
    """
    totals = counts.sum(axis=0)
    low, high = bootstrap_interval(counts if units is None else _sum_by(units, counts), seed)
    return Score(
        *map(float, ratios(totals)),
        tp=int(totals[MATCHED_PREDICTIONS]),
        fp=int(totals[PREDICTIONS] - totals[MATCHED_PREDICTIONS]),
        fn=int(totals[GOLD] - totals[MATCHED_GOLD]),
        matched_gold=int(totals[MATCHED_GOLD]),
        ci95={name: (float(low[i]), float(high[i])) for i, name in enumerate(MEASURES)},
    )


def _sum_by(units: np.ndarray, counts: np.ndarray) -> np.ndarray:
    summed = np.zeros((units.max() + 1, counts.shape[1]), dtype=counts.dtype)
    np.add.at(summed, units, counts)
    return summed


def bootstrap_interval(counts: np.ndarray, seed: int = 0, resamples: int = RESAMPLES) -> np.ndarray:
    """95 % percentile intervals of precision, recall and F1, drawing the rows of ``counts`` with replacement.

    Rows with equal counts are interchangeable, so how often each distinct row is drawn is one multinomial draw; this
    is the ordinary bootstrap, at a cost that hardly grows with the number of reports.

    Args:
        counts: One row a report or patient, shape (n, 4).
        seed: Seed of the draws.
        resamples: How many times n rows are drawn.

    Returns:
        Lower and upper bounds, shape (2, 3), in the order of :data:`MEASURES`.
    """
    rows, frequency = np.unique(counts, axis=0, return_counts=True)
    drawn = np.random.default_rng(seed).multinomial(len(counts), frequency / len(counts), size=resamples)
    return np.quantile(ratios(drawn @ rows), [0.025, 0.975], axis=0)
