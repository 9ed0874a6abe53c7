"""Scores as probabilities: how wrong they are, maps that mend them, thresholds, and what a reader's help is worth."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from radtune.config import InputError
from radtune.score.scores import MEASURES, Score, ratios, resampled_totals, sum_by_unit

# Equal bins between 0 and 1 that scores are compared in (Naeini et al., AAAI 2015; Guo et al., ICML 2017).
_BINS = 10
# Shares of the reports that are handed over to a reader, in the curve of what that is worth.
_SHARES = tuple(percent / 100 for percent in range(0, 55, 5))
ISOTONIC, PLATT = METHODS = ("isotonic", "platt")
# Draws of the bootstrap: hardly two reports have the same sums of scores, so each costs as much as all that it draws.
_RESAMPLES = 2_000
# What a threshold is chosen for.
RECALL, PRECISION = WANTED = ("recall", "precision")
# Beyond these a score's log-odds are not told apart.
_NEARLY = 1e-6


@dataclass(frozen=True)
class Bin:
    """Scores that fall together: their mean, the share of them whose class is there, and how many they are."""

    score: float
    share: float
    count: int


@dataclass(frozen=True)
class HandedOver:
    """F1, and its interval, of the reports that are left where a share of them, the most doubtful, has gone."""

    share: float
    f1: float
    ci95: tuple[float, float]


@dataclass(frozen=True)
class Calibration:
    """How far scores are probabilities.

    Attributes:
        error: The expected calibration error: the mean distance of score and share over the bins, by their counts.
        minus_other: By how much it exceeds the second system's, where that has scores, with its interval.
        curve: What is left to the model if a reader takes the most doubtful reports.
    """

    error: float
    ci95: tuple[float, float]
    bins: list[Bin]
    curve: list[HandedOver]
    minus_other: float | None = None
    minus_other_ci95: tuple[float, float] | None = None


def calibration_of(
    scores: np.ndarray,
    named: np.ndarray,
    gold: np.ndarray,
    judged: np.ndarray,
    read: np.ndarray,
    units: np.ndarray | None,
    score: Callable[..., Score],
    seed: int = 0,
    other: np.ndarray | None = None,
) -> Calibration:
    """Measures scores against gold, over the cells that are judged.

    ``scores``, what the answers have ``named``, ``gold`` and ``judged`` have the shape (reports, classes), as have a
    second system's scores (``other``). ``read`` says which reports have an answer, boolean, shape (reports,): a reader
    takes the others first. ``units`` are by report the index of what the bootstrap draws; None draws reports.
    ``score(counts, among)`` scores some of the reports.
    """
    rows = _by_bin(scores, gold, judged)
    both = rows if other is None else np.hstack([rows, _by_bin(other, gold, judged)])
    width = rows.shape[1]
    totals = both.sum(axis=0)
    drawn = resampled_totals(sum_by_unit(both, units), seed, _RESAMPLES)
    errors, drawn_errors = (_error(numbers[..., :width]) for numbers in (totals, drawn))
    count, mean, share = totals[:width].reshape(3, _BINS)
    bins = [Bin(float(s / n), float(y / n), int(n)) for n, s, y in zip(count, mean, share, strict=True) if n]
    # How many of a report's classes are expected to be wrong, if its scores are probabilities.
    doubt = np.where(read, (np.where(named, 1 - scores, scores) * judged).sum(axis=1), np.inf)
    matched = (named & gold).sum(axis=1)
    counts = np.stack([matched, named.sum(axis=1), matched, gold.sum(axis=1)], axis=1)
    # Of equally doubtful reports, the first.
    order, curve = np.argsort(-doubt, kind="stable"), []
    for part in _SHARES:
        left = np.sort(order[round(part * len(order)) :])
        if left.size:
            found = score(counts, left)
            curve.append(HandedOver(part, found.f1, found.ci95["f1"]))
    minus = minus_ci95 = None
    if other is not None:
        theirs, drawn_theirs = (_error(numbers[..., width:]) for numbers in (totals, drawn))
        minus = float(errors - theirs)
        minus_ci95 = _interval(minus, drawn_errors - drawn_theirs)
    low, high = _interval(float(errors), drawn_errors)
    return Calibration(float(errors), (max(0.0, low), high), bins, curve, minus, minus_ci95)


def _by_bin(scores: np.ndarray, gold: np.ndarray, judged: np.ndarray) -> np.ndarray:
    """By report: of each bin the number of scores, their sum, and the number of gold cases, side by side."""
    bins = np.minimum((scores * _BINS).astype(int), _BINS - 1)
    inside = (bins[..., None] == np.arange(_BINS)) & judged[..., None]
    return np.concatenate([(inside * each[..., None]).sum(axis=1) for each in (np.ones_like(scores), scores, gold)], 1)


def _error(totals: np.ndarray) -> np.ndarray:
    count, scores, gold = np.moveaxis(totals.reshape(*totals.shape[:-1], 3, _BINS), -2, 0)
    return np.abs(scores - gold).sum(axis=-1) / np.maximum(count.sum(axis=-1), 1)


def _interval(value: float, drawn: np.ndarray) -> tuple[float, float]:
    """The basic bootstrap interval (Davison and Hinkley 1997, section 5.2), widened to what was measured.

    Chance adds to a distance: errors of draws lie above the one measured as that lies above the true one, and their
    quantiles would leave the true one out.
    """
    low, high = np.quantile(drawn, [0.025, 0.975])
    return min(value, float(2 * value - high)), max(value, float(2 * value - low))


@dataclass(frozen=True)
class ScoreMap:
    """What makes probabilities of scores: straight lines between points, or Platt's curve through log-odds.

    Attributes:
        points: Of an isotonic map, scores and probabilities; of Platt's, slope and intercept.
    """

    method: str
    points: list[tuple[float, float]]

    def __call__(self, scores: np.ndarray) -> np.ndarray:
        """The probabilities of scores of any shape."""
        if self.method == ISOTONIC:
            return np.interp(scores, *np.array(self.points).T)
        ((slope, intercept),) = self.points
        return 1 / (1 + np.exp(-(slope * _log_odds(scores) + intercept)))


def fit_map(method: str, scores: np.ndarray, gold: np.ndarray) -> ScoreMap:
    """Fits one map for all classes on judged scores of validation reports, both of shape (cells,).

    Isotonic regression (Zadrozny and Elkan, KDD 2002), or a logistic curve (Platt 1999) through the scores' log-odds.

    Raises:
        InputError: Gold has no case, or nothing else.
    """
    if gold.all() or not gold.any():
        raise InputError("validation has cases of one kind alone: no calibration can be learned of them")
    if method == ISOTONIC:
        from sklearn.isotonic import IsotonicRegression

        found = IsotonicRegression(y_min=0, y_max=1).fit(scores, gold)
        points = zip(found.X_thresholds_.tolist(), found.y_thresholds_.tolist(), strict=True)
        return ScoreMap(method, list(points))
    from sklearn.linear_model import LogisticRegression

    curve = LogisticRegression(C=np.inf).fit(_log_odds(scores)[:, None], gold)
    return ScoreMap(method, [(float(curve.coef_[0, 0]), float(curve.intercept_[0]))])


def _log_odds(scores: np.ndarray) -> np.ndarray:
    inside = np.clip(scores, _NEARLY, 1 - _NEARLY)
    return np.log(inside / (1 - inside))


def thresholds(scores: np.ndarray, gold: np.ndarray, given: float | None = None) -> list[tuple[float, np.ndarray]]:
    """Every threshold that names other classes, the highest first, with the counts of what it names; or a given one's.

    Of judged scores and gold, shape (cells,). A threshold lies half way between two scores; the last names all.
    """
    ranked, cases = np.sort(scores), np.sort(scores[gold])
    levels = np.unique(scores)[::-1]
    found = (levels + np.append(levels[1:], 0.0)) / 2 if given is None else np.array([given])
    named, right = (len(each) - np.searchsorted(each, found) for each in (ranked, cases))
    counts = np.stack([right, named, right, np.full_like(right, len(cases))], axis=1)
    return list(zip(found.tolist(), counts, strict=True))


def choose(found: Sequence[tuple[float, np.ndarray]], wanted: Mapping[str, float]) -> tuple[float, Mapping[str, float]]:
    """The best of settings, the strictest first, by their counts; and its precision, recall and F1.

    Best is the highest F1; or of those with the wanted recall or precision, the one with most of the other.

    Raises:
        InputError: None has what is wanted.
    """
    measures = ratios(np.stack([totals for _, totals in found]))
    good = np.ones(len(found), dtype=bool)
    for name, least in wanted.items():
        found_of, left = measures[:, MEASURES.index(name)], good
        good = good & (found_of >= least)
        if not good.any():
            most = found_of[left].max()
            raise InputError(f"no setting has a {name} of {least} on the validation reports; the most is {most:.3f}")
    by = {RECALL: PRECISION, PRECISION: RECALL}[next(iter(wanted))] if len(wanted) == 1 else "f1"
    # Of equally good ones, the strictest.
    rows = np.flatnonzero(good)
    best = rows[np.lexsort((-rows, measures[rows, MEASURES.index("f1")], measures[rows, MEASURES.index(by)]))[-1]]
    return found[best][0], dict(zip(MEASURES, measures[best].tolist(), strict=True))
