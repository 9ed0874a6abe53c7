"""What an ensemble is worth: members whose errors are their own cancel, those that err alike do not."""

import numpy as np
import pytest

from radtune.score.cancellation import Said, by_votes, calibrated, correlation, measured, threshold_of, together
from radtune.score.scores import micro_score


def said(seed: int, shared: float, members: int = 9, reports: int = 250) -> Said:
    """Members with noise in their scores, of which a part is the same for all."""
    chance = np.random.default_rng(seed)
    gold = chance.random((reports, 5)) < 0.2
    judged = chance.random(gold.shape) < 0.9
    noise = chance.normal(0, 1.5, (members, *gold.shape))
    odds = np.where(gold, 2.5, -1.0) + shared * noise[:1] + (1 - shared**2) ** 0.5 * noise
    scores = 1 / (1 + np.exp(-odds))
    return Said(scores, (scores > 0.5) & judged, gold & judged, judged, np.arange(reports) // 2)


def test_errors_of_ones_own_cancel_and_shared_ones_do_not() -> None:
    gained = {}
    for shared in (0.0, 0.95):
        validation, test = said(0, shared), said(1, shared)
        one, every = (together(validation, test, size) for size in (1, 9))
        (low, high), gained[shared] = every.interval(minus=one)[2], every.values[2] - one.values[2]
        assert low < gained[shared] < high
        for missed in (False, True):
            phi, (low, high) = correlation(test, missed)
            assert low < phi < high and (phi > 0.4 if shared else abs(phi) < 0.05)
        counts = by_votes(test)
        assert sum(map(sum, counts)) == test.judged.sum() and sum(right for right, _ in counts) == test.gold.sum()
        # What many name is more often right.
        shares = [right / max(1, right + wrong) for right, wrong in counts]
        assert shares[9] > 0.5 > shares[1]
    assert gained[0.0] > 0.15 > 0.05 > gained[0.95]


def test_scores_intervals_and_correlations_are_those_of_their_definitions() -> None:
    validation, test = said(2, 0.5, members=3), said(3, 0.5, members=3)
    least = threshold_of(validation)
    named = (test.scores.mean(axis=0) >= least) & test.judged
    right = (named & test.gold).sum(axis=1)
    expected = micro_score(np.stack([right, named.sum(axis=1), right, test.gold.sum(axis=1)], axis=1), test.units)
    found = together(validation, test, 3)
    assert found.values.tolist() == pytest.approx([expected.precision, expected.recall, expected.f1])
    assert found.interval()[2] == pytest.approx(expected.ci95["f1"], abs=0.01)
    assert measured(test, list(test.named)).values == pytest.approx(
        np.mean([measured(test, [each]).values for each in test.named], axis=0)
    )
    for missed in (False, True):
        cells = test.judged & (test.gold == missed)
        each = np.corrcoef([(named != missed)[cells] for named in test.named])
        assert correlation(test, missed)[0] == pytest.approx(each[np.triu_indices(3, 1)].mean())
    # A member that errs nowhere has nothing in common with another.
    perfect = Said(test.scores[:2], np.stack([test.gold, test.gold]), test.gold, test.judged, test.units)
    assert np.isnan(correlation(perfect, missed=True)[0])


def test_members_that_could_not_be_read_are_left_out_of_the_mean_and_calibration_mends_it() -> None:
    validation, test = said(4, 0.0), said(5, 0.0)
    before, after = calibrated(validation, test)
    assert after.error < before.error and after.minus_other_ci95[1] < 0
    assert after.minus_other == pytest.approx(after.error - before.error)
    scores = test.scores.copy()
    scores[2, 0] = scores[:, 1] = np.nan
    gone = Said(scores, test.named, test.gold, test.judged, test.units)
    assert gone.mean()[0] == pytest.approx(np.delete(test.scores[:, 0], 2, axis=0).mean(axis=0))
    assert not gone.mean()[1].any() and gone.scored
    scores[4] = np.nan
    assert not gone.scored
