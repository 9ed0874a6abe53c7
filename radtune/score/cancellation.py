"""What an ensemble is worth: whether its members' errors cancel, and what many of them score beside one."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import combinations
from math import comb

import numpy as np

from radtune.label_files import LabelFile
from radtune.labels import Status
from radtune.score.calibration import ISOTONIC, Calibration, calibration_of, choose, fit_map, thresholds
from radtune.score.inputs import judged_cells, scores_of
from radtune.score.members import beside_gold
from radtune.score.scores import Score, micro_score, ratios, sum_by_unit
from radtune.tasks import Task
from radtune.tasks.counting import indicators

# Draws of the bootstrap, and choices of members of one number that are looked at.
_RESAMPLES, _CHOICES = 2_000, 20
# The threshold of a score that is taken for a probability.
HALF = 0.5


@dataclass(frozen=True)
class Said:
    """What members say of reports that have gold.

    Attributes:
        scores: Shape (members, reports, classes); NaN where a member could not be read, or gives none.
        named: What each names by itself, boolean, of the same shape.
        gold: Boolean, shape (reports, classes).
        judged: Which classes count for which reports, of the shape of gold; others are neither named nor gold.
        units: By report, the index of what the bootstrap draws: its patient, or itself.
    """

    scores: np.ndarray
    named: np.ndarray
    gold: np.ndarray
    judged: np.ndarray
    units: np.ndarray

    @property
    def members(self) -> int:
        """How many they are."""
        return len(self.scores)

    @property
    def scored(self) -> bool:
        """Whether each gives scores."""
        return not np.isnan(self.scores).all(axis=(1, 2)).any()

    def mean(self, among: Sequence[int] | None = None) -> np.ndarray:
        """The mean score of some members, or all, that could be read; 0 where none could."""
        scores = self.scores if among is None else self.scores[list(among)]
        return np.nansum(scores, axis=0) / np.maximum((~np.isnan(scores)).sum(axis=0), 1)


def said_of(
    task: Task,
    members: Sequence[LabelFile],
    gold: LabelFile,
    gold_blank: str | None,
    patients: Mapping[str, str | None],
) -> Said:
    """What members of classes say beside gold; ``patients`` are the reports'.

    Raises:
        InputError: As :func:`radtune.score.members.beside_gold`.
    """
    own, gold = beside_gold(task, members, gold, gold_blank)
    judged, right = judged_cells(task, gold, gold_blank), [*gold.answers.values()]
    scores, named = [], []
    for member in own:
        rows = [*member.answers.values()]
        found = scores_of(task, member.path, rows)
        read = np.array([found is not None and row.status == Status.OK for row in rows])[:, None]
        scores.append(np.where(read, np.nan if found is None else found, np.nan) + np.zeros(judged.shape))
        named.append(indicators(rows, task.classes)[0] & judged)
    ids = [patients.get(x) for x in gold.answers]
    units = np.arange(len(right)) if None in ids else np.unique(ids, return_inverse=True)[1]
    return Said(np.stack(scores), np.stack(named), indicators(right, task.classes)[0] & judged, judged, units)


@dataclass(frozen=True)
class Measured:
    """Precision, recall and F1: shape (3,), and of each draw of the bootstrap, shape (draws, 3)."""

    values: np.ndarray
    drawn: np.ndarray

    def interval(self, minus: "Measured | None" = None) -> list[tuple[float, float]]:
        """Of each the 95 % interval, or that of the difference to another's on the same reports."""
        return _intervals(self.drawn - (0 if minus is None else minus.drawn))


def _intervals(drawn: np.ndarray) -> list[tuple[float, float]]:
    return list(zip(*np.nanquantile(drawn, [0.025, 0.975], axis=0).tolist(), strict=True))


@cache
def _drawn(units: int) -> np.ndarray:
    """How often each is drawn, shape (draws, units): alike for all that is measured on the same reports."""
    return np.random.default_rng(0).multinomial(units, np.full(units, 1 / units), size=_RESAMPLES).astype(float)


def _totals(by_report: np.ndarray, units: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Sums of columns, shape (columns,), and of each draw, shape (draws, columns)."""
    rows = sum_by_unit(by_report, units)
    return rows.sum(axis=0), _drawn(len(rows)) @ rows


def measured(said: Said, systems: Sequence[np.ndarray]) -> Measured:
    """Micro-averaged scores of what each of several systems names, their mean."""
    counts = []
    for named in systems:
        right = (named & said.gold).sum(axis=1)
        counts.append(np.stack([right, (named & said.judged).sum(axis=1), right, said.gold.sum(axis=1)], axis=1))
    total, drawn = (each.reshape(*each.shape[:-1], -1, 4) for each in _totals(np.hstack(counts), said.units))
    return Measured(ratios(total).mean(axis=-2), ratios(drawn).mean(axis=-2))


def threshold_of(said: Said, among: Sequence[int] | None = None) -> float:
    """The threshold of the mean score of some members, or all, that has the best F1."""
    return choose(thresholds(said.mean(among)[said.judged], said.gold[said.judged]), {})[0]


def together(validation: Said, test: Said, size: int, tuned: bool = True) -> Measured:
    """What so many of the members score by their mean score: the mean over different choices of them.

    The threshold of each choice is its best on validation, or a half.
    """
    choices = _choices(test.members, size)
    return measured(test, [test.mean(some) >= (threshold_of(validation, some) if tuned else HALF) for some in choices])


def _choices(members: int, size: int) -> list[tuple[int, ...]]:
    if comb(members, size) <= _CHOICES:
        return list(combinations(range(members), size))
    chance, found = np.random.default_rng(0), set[tuple[int, ...]]()
    while len(found) < _CHOICES:
        found.add(tuple(sorted(chance.choice(members, size, replace=False).tolist())))
    return sorted(found)


def by_votes(said: Said) -> list[tuple[int, int]]:
    """By the number of members that name a label, from none to all: how many such labels are gold, and how many not."""
    votes, gold = said.named.sum(axis=0)[said.judged], said.gold[said.judged]
    return [(int((gold & (votes == n)).sum()), int((~gold & (votes == n)).sum())) for n in range(said.members + 1)]


def correlation(said: Said, missed: bool) -> tuple[float, tuple[float, float]]:
    """The mean over pairs of members of phi, the correlation of their errors; and its interval.

    Errors are what is ``missed`` of gold, or named of what is not gold. NaN where no pair has any.
    """
    among = said.judged & (said.gold if missed else ~said.gold)
    errors = ((~said.named if missed else said.named) & among).astype(float)
    both = np.einsum("arc,brc->rab", errors, errors).reshape(len(among), -1)
    found = _totals(np.hstack([both, among.sum(axis=1)[:, None]]), said.units)
    value, drawn = (_mean_phi(each, said.members) for each in found)
    return float(value), (np.nan, np.nan) if np.isnan(value) else _intervals(drawn[:, None])[0]


def _mean_phi(totals: np.ndarray, members: int) -> np.ndarray:
    both, count = totals[..., :-1].reshape(*totals.shape[:-1], members, members), totals[..., -1:, None]
    each = np.diagonal(both, axis1=-2, axis2=-1)
    one, other = each[..., :, None], each[..., None, :]
    spread = one * (count - one) * other * (count - other)
    with np.errstate(invalid="ignore", divide="ignore"):
        phi = np.where(spread > 0, (count * both - one * other) / np.sqrt(spread), np.nan)
    pairs = phi[..., *np.triu_indices(members, 1)]
    known = ~np.isnan(pairs)
    return np.where(known.any(axis=-1), np.nansum(pairs, axis=-1) / np.maximum(known.sum(axis=-1), 1), np.nan)


def calibrated(validation: Said, test: Said) -> tuple[Calibration, Calibration]:
    """How far mean scores are probabilities as they are, and by isotonic regression on validation, beside the first."""
    judged, scores = validation.judged, test.mean()
    to_chance = fit_map(ISOTONIC, validation.mean()[judged], validation.gold[judged])
    named = (scores >= threshold_of(validation)) & test.judged

    def score(counts: np.ndarray, among: np.ndarray) -> Score:
        return micro_score(counts[among], np.unique(test.units[among], return_inverse=True)[1])

    read = ~np.isnan(test.scores).all(axis=(0, 2))
    cells = named, test.gold, test.judged, read, test.units, score
    return calibration_of(scores, *cells), calibration_of(to_chance(scores), *cells, other=scores)
