"""Scores as probabilities, and thresholds."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import precision_recall_fscore_support

from radtune.config import InputError
from radtune.score.calibration import METHODS, PLATT, calibration_of, choose, fit_map, thresholds
from radtune.score.scores import micro_score


def measured(
    scores: np.ndarray,
    gold: np.ndarray,
    units: np.ndarray | None = None,
    other: np.ndarray | None = None,
    read: np.ndarray | bool = True,
):
    judged, read = np.ones_like(gold), np.full(len(gold), read)
    return calibration_of(
        scores, scores >= 0.5, gold, judged, read, units, lambda rows, among: micro_score(rows[among]), other=other
    )


def drawn(reports: int, sharpness: float = 1.0, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Scores of three classes, and gold drawn with the probability that they mean; a sharpness of 1 tells it."""
    chance = np.random.default_rng(seed)
    truth = chance.uniform(0.02, 0.98, (reports, 3))
    odds = (truth / (1 - truth)) ** sharpness
    return odds / (1 + odds), chance.random((reports, 3)) < truth


def test_the_error_is_that_of_the_definition() -> None:
    scores = np.array([[0.95, 0.05], [0.92, 0.31], [0.35, 0.08]])
    gold = np.array([[True, False], [False, True], [False, False]])
    found = measured(scores, gold)
    # Bins: .95 and .92, one right; .31 and .35, one right; .05 and .08, none right.
    expected = (2 * abs(0.935 - 0.5) + 2 * abs(0.33 - 0.5) + 2 * abs(0.065 - 0)) / 6
    assert found.error == pytest.approx(expected)
    assert [(one.count, round(one.score, 3), one.share) for one in found.bins] == [
        (2, 0.065, 0.0), (2, 0.33, 0.5), (2, 0.935, 0.5)
    ]  # fmt: skip
    # The most doubtful report, the second, goes first.
    assert (found.curve[0].f1, found.curve[-1].f1) == (0.5, 1.0)


def test_intervals_hold_the_error_of_many_reports() -> None:
    def both(reports: int, seed: int):
        sure, gold = drawn(reports, sharpness=2, seed=seed)
        return measured(drawn(reports, seed=seed)[0], gold, other=sure)

    whole, held = both(50_000, 0), []
    for seed in range(1, 21):
        found = both(100, seed)
        pairs = (whole.error, found.ci95), (whole.minus_other, found.minus_other_ci95)
        held.append([low <= true + 0.01 and true - 0.01 <= high for true, (low, high) in pairs])
    # Of scores that are probabilities nearly all of the error is chance: quantiles of the draws hold it never.
    assert (np.mean(held, axis=0) > 0.7).all()


@pytest.mark.parametrize("method", METHODS)
def test_a_map_mends_scores_that_are_too_sure_on_reports_that_it_was_not_fitted_on(method: str) -> None:
    scores, gold = drawn(600, sharpness=3)
    held_out, truth = drawn(400, sharpness=3, seed=1)
    mended = fit_map(method, scores.ravel(), gold.ravel())(held_out)
    found = measured(mended, truth, other=held_out)
    assert found.minus_other == pytest.approx(found.error - measured(held_out, truth).error)
    assert found.error < 0.07 and found.minus_other_ci95[1] < 0
    assert found.ci95[0] <= found.error <= found.ci95[1]
    # A map turns no order around.
    ranked = np.sort(held_out.ravel())
    assert (np.diff(fit_map(method, scores.ravel(), gold.ravel())(ranked)) >= 0).all()


def test_platts_curve_is_the_log_odds_that_made_the_truth() -> None:
    scores, gold = drawn(20_000, sharpness=2)
    ((slope, intercept),) = fit_map(PLATT, scores.ravel(), gold.ravel()).points
    assert (slope, intercept) == (pytest.approx(0.5, abs=0.02), pytest.approx(0, abs=0.03))
    with pytest.raises(InputError, match="cases of one kind alone"):
        fit_map(PLATT, scores[0], np.zeros(3, dtype=bool))


def test_a_reader_who_takes_the_doubtful_reports_leaves_the_model_what_it_can_do() -> None:
    scores, gold = drawn(450)
    found = measured(scores, gold, units=np.arange(450) // 3)
    f1s = [point.f1 for point in found.curve]
    assert [point.share for point in found.curve] == pytest.approx(np.arange(0, 0.55, 0.05))
    assert f1s[-1] > f1s[0] + 0.02
    # What could not be read has no score that is doubted, and is the first that a reader takes.
    read = np.arange(450) >= 45
    unread = measured(np.where(read[:, None], scores, 0.0), gold, read=read)
    assert unread.curve[2].f1 == measured(scores[45:], gold[45:]).curve[0].f1
    # Patients' reports go together, and intervals are theirs; what is measured is the same.
    assert measured(scores, gold).error == found.error


@settings(max_examples=25)
@given(
    st.lists(st.tuples(st.sampled_from([0.0, 0.1, 0.2, 0.5, 0.9, 1.0]), st.booleans()), min_size=1, max_size=12),
    st.sampled_from([{}, {"recall": 0.7}, {"precision": 0.7}]),
)
def test_no_threshold_is_better_than_the_one_chosen(cells: list, wanted: dict[str, float]) -> None:
    scores, gold = np.array([s for s, _ in cells]), np.array([g for _, g in cells])
    if wanted and not gold.any():
        return
    every = {}
    for level in (0, 0.05, 0.15, 0.3, 0.7, 0.95, 1.1):
        measures = precision_recall_fscore_support(gold, scores >= level, average="binary", zero_division=0)[:3]
        every[level] = dict(zip(("precision", "recall", "f1"), measures, strict=True))
    good = [one for one in every.values() if all(one[name] >= least for name, least in wanted.items())]
    try:
        least, measures = choose(thresholds(scores, gold), wanted)
    except InputError:
        assert not good
        return
    again = precision_recall_fscore_support(gold, scores >= least, average="binary", zero_division=0)[:3]
    assert list(measures.values()) == pytest.approx(again)
    by = {(): "f1", ("recall",): "precision", ("precision",): "recall"}[tuple(wanted)]
    assert measures[by] == pytest.approx(max(one[by] for one in good))
