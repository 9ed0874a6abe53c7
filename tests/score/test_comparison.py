from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from radtune.score.comparison import compare_counts
from radtune.score.scores import RESAMPLES, ratios


def two_systems(reports: int = 60, seed: int = 0, better: float = 0.2) -> tuple[np.ndarray, np.ndarray]:
    """Counts of two systems with the same gold, the first right more often by ``better``."""
    chance = np.random.default_rng(seed)
    gold, systems = chance.integers(1, 5, reports), []
    for accuracy in (0.6 + better, 0.6):
        matched = chance.binomial(gold, accuracy)
        predicted = matched + chance.integers(0, 2, reports)
        systems.append(np.stack([matched, predicted, matched, gold], axis=1))
    return systems[0], systems[1]


def f1s(first: np.ndarray, second: np.ndarray) -> float:
    return float(ratios(first.sum(axis=0))[2] - ratios(second.sum(axis=0))[2])


def test_equals_the_plain_paired_bootstrap() -> None:
    first, second = two_systems()
    chance = np.random.default_rng(5)
    draws = [chance.integers(0, len(first), len(first)) for _ in range(RESAMPLES)]
    plain = np.array([f1s(first[drawn], second[drawn]) for drawn in draws])
    found = compare_counts("x", first, second).f1
    assert found.value == pytest.approx(f1s(first, second))
    assert found.ci95 == pytest.approx(np.quantile(plain, [0.025, 0.975]), abs=0.01)


@settings(max_examples=8, deadline=None)
@given(st.integers(0, 1000), st.floats(-0.3, 0.3))
def test_randomization_is_near_all_swaps(seed: int, better: float) -> None:
    first, second = two_systems(10, seed, better)
    observed = abs(f1s(first, second))
    as_large = 0
    for swaps in product([False, True], repeat=len(first)):
        swapped = np.array(swaps)[:, None]
        difference = f1s(np.where(swapped, second, first), np.where(swapped, first, second))
        as_large += abs(difference) >= observed - 1e-12
    assert compare_counts("x", first, second).f1.p_randomization == pytest.approx(as_large / 2**10, abs=0.025)


def test_a_system_does_not_differ_from_itself() -> None:
    first, _ = two_systems()
    for part in (compare_counts("x", first, first).f1, compare_counts("x", first, first).precision):
        assert (part.value, part.ci95, part.p_bootstrap, part.p_randomization) == (0, (0, 0), 1, 1)


def test_a_clear_difference_is_seen_and_has_a_sign() -> None:
    first, second = two_systems(200)
    forth, back = compare_counts("x", first, second), compare_counts("x", second, first)
    for measure in ("recall", "f1"):
        part, mirrored = getattr(forth, measure), getattr(back, measure)
        assert part.ci95[0] > 0 > mirrored.ci95[1]
        assert max(part.p_bootstrap, part.p_randomization) < 0.01
        assert part.value == pytest.approx(-mirrored.value)


def test_patients_are_drawn_and_swapped_whole() -> None:
    first, second = (np.repeat(counts, 10, axis=0) for counts in two_systems(30, better=0.1))
    patients = np.repeat(np.arange(30), 10)
    by_report, by_patient = compare_counts("x", first, second).f1, compare_counts("x", first, second, patients).f1
    assert by_patient.value == pytest.approx(by_report.value)
    assert np.ptp(by_patient.ci95) > 2 * np.ptp(by_report.ci95)
    assert by_patient.p_randomization > by_report.p_randomization
