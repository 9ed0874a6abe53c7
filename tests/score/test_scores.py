import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score, roc_auc_score

from radtune.score import scores
from radtune.score.scores import auroc, average_precision, bootstrap_interval, micro_score, ratios, resampled_totals


def made_counts(reports: int = 100, seed: int = 0) -> np.ndarray:
    chance = np.random.default_rng(seed)
    predictions, gold = chance.integers(0, 6, (2, reports))
    matched = np.minimum(chance.integers(0, 6, reports), np.minimum(predictions, gold))
    return np.stack([matched, predictions, matched, gold], axis=1)


def test_ratios_use_each_side_s_own_matches_and_are_zero_of_nothing() -> None:
    assert ratios(np.array([[0, 0, 0, 0], [0, 3, 0, 0]])).tolist() == [[0, 0, 0]] * 2
    precision, recall, f1 = ratios(np.array([3, 4, 1, 2]))
    assert (precision, recall) == (0.75, 0.5)
    assert f1 == pytest.approx(0.6)


def test_interval_equals_the_plain_bootstrap() -> None:
    counts = made_counts()
    chance = np.random.default_rng(1)
    drawn = np.stack([counts[chance.integers(0, len(counts), len(counts))].sum(axis=0) for _ in range(10_000)])
    plain = np.quantile(ratios(drawn), [0.025, 0.975], axis=0)
    np.testing.assert_allclose(bootstrap_interval(counts), plain, atol=0.006)


def test_patients_with_many_like_reports_widen_the_interval() -> None:
    counts = np.repeat(made_counts(30), 10, axis=0)
    by_report = micro_score(counts).ci95["f1"]
    by_patient = micro_score(counts, units=np.repeat(np.arange(30), 10)).ci95["f1"]
    assert by_patient[1] - by_patient[0] > 2 * (by_report[1] - by_report[0])


@given(st.lists(st.tuples(st.sampled_from([0.0, 0.1, 0.5, 0.9, 1.0]), st.booleans()), min_size=1, max_size=30))
def test_auroc_and_average_precision_equal_scikit_learn(pairs: list[tuple[float, bool]]) -> None:
    values, gold = map(np.array, zip(*pairs, strict=True))
    expected = average_precision_score(gold, values) if gold.any() else None
    assert average_precision(values, gold) == pytest.approx(expected)
    expected = roc_auc_score(gold, values) if 0 < gold.sum() < len(gold) else None
    assert auroc(values, gold) == pytest.approx(expected)


def test_drawing_in_batches_draws_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    counts = made_counts()
    whole = resampled_totals(counts, seed=2, resamples=300)
    monkeypatch.setattr(scores, "_DRAWN_AT_ONCE", 1000)
    np.testing.assert_array_equal(resampled_totals(counts, seed=2, resamples=300), whole)
    assert sum(scores.batches(300, 7)) == 300
