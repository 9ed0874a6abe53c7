"""Whether one system is better than another on the same reports: paired bootstrap and approximate randomization."""

from dataclasses import dataclass

import numpy as np

from radtune.score.scores import RESAMPLES, batches, ratios, resampled_totals, sum_by_unit


@dataclass(frozen=True)
class Difference:
    """By how much a measure of the first system exceeds that of the second; p-values are two-sided.

    ``p_bootstrap`` is twice the share of resamples on the far side of 0, ties counted in full; ``p_randomization`` how
    often swapping the systems' outputs at random gives as large a difference.
    """

    value: float
    ci95: tuple[float, float]
    p_bootstrap: float
    p_randomization: float


@dataclass(frozen=True)
class Comparison:
    """Two systems on the same reports, by micro-averaged measures; ``other`` is the second's file of predictions."""

    other: str
    precision: Difference
    recall: Difference
    f1: Difference


def compare_counts(
    other: str, first: np.ndarray, second: np.ndarray, units: np.ndarray | None = None, seed: int = 0
) -> Comparison:
    """Compares two systems by their counts of the same reports, shape (reports, 4), columns as in ``scores``.

    With :data:`RESAMPLES` resamples and as many swaps; ``units``, where given, are drawn and swapped as a whole.
    """
    first, second = sum_by_unit(first, units), sum_by_unit(second, units)
    observed = ratios(first.sum(axis=0)) - ratios(second.sum(axis=0))
    totals = resampled_totals(np.hstack([first, second]), seed)
    drawn = ratios(totals[:, :4]) - ratios(totals[:, 4:])
    low, high = np.quantile(drawn, [0.025, 0.975], axis=0)
    # A draw more on either side, as in approximate randomization, keeps a p-value from being 0.
    tails = np.minimum((drawn <= 0).sum(axis=0), (drawn >= 0).sum(axis=0))
    p_bootstrap = np.minimum(1, 2 * (tails + 1) / (RESAMPLES + 1))
    p_randomization = _randomization(first, second, observed, seed)
    columns = zip(*(part.tolist() for part in (observed, low, high, p_bootstrap, p_randomization)), strict=True)
    return Comparison(other, *(Difference(value, (low, high), *p_values) for value, low, high, *p_values in columns))


def _randomization(first: np.ndarray, second: np.ndarray, observed: np.ndarray, seed: int) -> np.ndarray:
    """Two-sided p-values of approximate randomization (Noreen 1989; Yeh, COLING 2000), shape (3,).

    Swapping a report's outputs moves the same counts from one system to the other wherever the two differ alike, so
    how many of such reports are swapped is one binomial draw.
    """
    moved, frequency = np.unique(second - first, axis=0, return_counts=True)
    chance = np.random.default_rng(seed)
    draws = (chance.binomial(frequency, 0.5, size=(n, len(moved))) for n in batches(RESAMPLES, len(moved)))
    swapped = np.concatenate([drawn @ moved.astype(float) for drawn in draws])
    difference = ratios(first.sum(axis=0) + swapped) - ratios(second.sum(axis=0) - swapped)
    # What equals the observed difference but for rounding is as large.
    as_large = np.abs(difference) >= np.abs(observed) - 1e-12
    return (as_large.sum(axis=0) + 1) / (RESAMPLES + 1)
