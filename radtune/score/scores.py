"""Precision, recall and F1 from counts, with bootstrap intervals."""

from dataclasses import dataclass

import numpy as np

# The four columns of a count array, one row a report. For classes, and one-to-one, the two matched counts are equal;
# when a phrase may match several they need not be.
MATCHED_PREDICTIONS, PREDICTIONS, MATCHED_GOLD, GOLD = range(4)

RESAMPLES = 10_000
MEASURES = ("precision", "recall", "f1")

# Drawn frequencies held at once, so that memory stays flat however many distinct rows there are (128 MiB).
_DRAWN_AT_ONCE = 2**24


@dataclass(frozen=True)
class Score:
    """Micro-averaged scores; a ratio of nothing is 0, as in scikit-learn.

    Attributes:
        tp: Matched predictions; ``fp`` are the unmatched ones, ``fn`` unmatched gold labels.
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
    """:data:`MEASURES` of summed counts, shapes (..., 4) to (..., 3); 0 where a ratio has no denominator."""
    totals = np.asarray(totals, dtype=float)
    precision = _divide(totals[..., MATCHED_PREDICTIONS], totals[..., PREDICTIONS])
    recall = _divide(totals[..., MATCHED_GOLD], totals[..., GOLD])
    return np.stack([precision, recall, _divide(2 * precision * recall, precision + recall)], axis=-1)


def _divide(numerator: np.ndarray, denominator: np.ndarray) -> np.ndarray:
    return np.divide(numerator, denominator, out=np.zeros_like(numerator), where=denominator > 0)


def micro_score(counts: np.ndarray, units: np.ndarray | None = None, seed: int = 0) -> Score:
    """Micro-averaged scores of counts, shape (reports, 4), with their intervals.

    ``units`` are what is drawn: for each report the index of its patient, shape (reports,); None draws reports.
    """
    totals = counts.sum(axis=0)
    low, high = bootstrap_interval(sum_by_unit(counts, units), seed)
    return Score(
        *map(float, ratios(totals)),
        tp=int(totals[MATCHED_PREDICTIONS]),
        fp=int(totals[PREDICTIONS] - totals[MATCHED_PREDICTIONS]),
        fn=int(totals[GOLD] - totals[MATCHED_GOLD]),
        matched_gold=int(totals[MATCHED_GOLD]),
        ci95={name: (float(low[i]), float(high[i])) for i, name in enumerate(MEASURES)},
    )


@dataclass(frozen=True)
class MeanScore:
    """Scores of each report, averaged over reports, with their intervals as :class:`Score` has them.

    A report that has nothing on either side is right (1); one that has something on one side alone is 0 there.
    """

    precision: float
    recall: float
    f1: float
    ci95: dict[str, tuple[float, float]]


def mean_score(counts: np.ndarray, units: np.ndarray | None = None, seed: int = 0) -> MeanScore:
    """Averages over reports of counts, shape (reports, 4); ``units`` as for :func:`micro_score`."""
    each = ratios(counts)
    each[(counts[:, PREDICTIONS] == 0) & (counts[:, GOLD] == 0)] = 1
    values, intervals = mean_interval(each, units, seed)
    return MeanScore(*values, ci95=dict(zip(MEASURES, intervals, strict=True)))


def mean_interval(
    values: np.ndarray, units: np.ndarray | None = None, seed: int = 0
) -> tuple[list[float], list[tuple[float, float]]]:
    """Means of columns, shape (reports, columns), and their 95 % bootstrap intervals; ``units`` are what is drawn."""
    summed = sum_by_unit(np.column_stack([values, np.ones(len(values))]), units)
    drawn = resampled_totals(summed, seed)
    low, high = np.quantile(drawn[:, :-1] / drawn[:, -1:], [0.025, 0.975], axis=0)
    return values.mean(axis=0).tolist(), list(zip(low.tolist(), high.tolist(), strict=True))


def auroc(scores: np.ndarray, gold: np.ndarray) -> float | None:
    """How often a report that has a class scores higher than one that has not, ties half (Hanley and McNeil 1982).

    Both of shape (reports,), ``gold`` boolean; None where one of the two kinds is not there.
    """
    having, lacking = scores[gold], np.sort(scores[~gold])
    if not having.size or not lacking.size:
        return None
    below = np.searchsorted(lacking, having, "left") + np.searchsorted(lacking, having, "right")
    return float(below.mean() / 2 / lacking.size)


def average_precision(scores: np.ndarray, gold: np.ndarray) -> float | None:
    """The precision at each threshold, weighted by the recall gained there; None without a gold case."""
    if not gold.any():
        return None
    right = np.sort(scores[gold])
    thresholds, gained = np.unique(right, return_counts=True)
    found = right.size - np.searchsorted(right, thresholds, "left")
    named = scores.size - np.searchsorted(np.sort(scores), thresholds, "left")
    return float((gained * found / named).sum() / right.size)


def sum_by_unit(counts: np.ndarray, units: np.ndarray | None) -> np.ndarray:
    """Counts of what the bootstrap draws: of each patient, shape (patients, columns), or as they are for None."""
    if units is None:
        return counts
    summed = np.zeros((units.max() + 1, counts.shape[1]), dtype=counts.dtype)
    np.add.at(summed, units, counts)
    return summed


def bootstrap_interval(counts: np.ndarray, seed: int = 0) -> np.ndarray:
    """95 % percentile intervals of :data:`MEASURES`, rows drawn with replacement: lower and upper, shape (2, 3)."""
    return np.quantile(ratios(resampled_totals(counts, seed)), [0.025, 0.975], axis=0)


def resampled_totals(counts: np.ndarray, seed: int = 0, resamples: int = RESAMPLES) -> np.ndarray:
    """Column sums of as many rows as there are, drawn with replacement, again and again: shape (resamples, columns).

    Rows with equal counts are interchangeable, so how often each distinct row is drawn is one multinomial draw; this
    is the ordinary bootstrap, at a cost that hardly grows with the number of reports.
    """
    rows, frequency = np.unique(counts, axis=0, return_counts=True)
    chance = np.random.default_rng(seed)
    # As floats, which are exact up to 2**53 and many times quicker to multiply.
    weights = rows.astype(float)
    draws = (chance.multinomial(len(counts), frequency / len(counts), n) for n in batches(resamples, len(rows)))
    return np.concatenate([drawn @ weights for drawn in draws])


def batches(draws: int, width: int) -> list[int]:
    """Sizes that add up to ``draws`` and keep so many rows of ``width`` numbers within the memory set aside."""
    at_once = max(1, _DRAWN_AT_ONCE // max(width, 1))
    return [min(at_once, draws - start) for start in range(0, draws, at_once)]
