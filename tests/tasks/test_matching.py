from itertools import pairwise, permutations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from radtune.tasks.matching import (
    count_any,
    count_exact,
    count_one_to_one,
    count_tokens,
    match_matrix,
    phrase_words,
    phrases_match,
)

# Few words, so that phrases often share some.
PHRASES = st.lists(
    st.lists(st.sampled_from(["Small", "pleural", "effusion,", "left", "basal", "opacity"]), max_size=4).map(" ".join),
    max_size=5,
)


@pytest.mark.parametrize(
    ("first", "second", "expected"),
    [
        ("bilateral peribronchial cuffing", "peribronchial cuffing", True),
        ("Peribronchial Cuffing.", "(peribronchial   cuffing)", True),
        ("left PICC", "PICC line in superior vena cava", False),
        ("effusion small pleural", "pleural effusion", False),
        ("cardiomegaly", "Cardiomegaly.", True),
        ("cardiomegaly", "mild cardiomegaly", False),
        ("effusion, pleural", "effusion pleural", True),
        ("right-sided effusion", "right sided effusion", False),
        ("hyperexpanded and hyperlucent lungs", "hyperlucent lungs", True),
        ("--", "--", True),
        ("--", "?", False),
        ("", "cardiomegaly", False),
    ],
)
def test_examples(first: str, second: str, expected: bool) -> None:
    assert phrases_match(first, second) is expected


def test_words_lose_outer_punctuation_only() -> None:
    assert phrase_words("“Right-sided” effusion, (small).") == ("right-sided", "effusion", "small")


@given(st.text(max_size=30))
def test_a_phrase_matches_itself_in_any_case(phrase: str) -> None:
    assert phrases_match(phrase, phrase)
    assert phrases_match(phrase, f"  {phrase}\t")


@given(st.text(max_size=30), st.text(max_size=30))
def test_matching_is_symmetric(first: str, second: str) -> None:
    assert phrases_match(first, second) == phrases_match(second, first)


def shares_two_words(first: str, second: str) -> bool:
    """The rule in other words: some two neighbours of one phrase stand side by side in the other."""
    a, b = (f" {' '.join(phrase_words(phrase))} " for phrase in (first, second))
    words = phrase_words(first)
    return a == b or any(f" {x} {y} " in b for x, y in pairwise(words))


@given(PHRASES, PHRASES)
def test_counts_equal_brute_force(predictions: list[str], gold: list[str]) -> None:
    matches = match_matrix(predictions, gold)
    assert matches.shape == (len(predictions), len(gold))
    expected = [[shares_two_words(p, g) for g in gold] for p in predictions]
    assert matches.tolist() == expected
    assert count_any(matches) == (
        sum(any(row) for row in expected),
        sum(any(row[j] for row in expected) for j in range(len(gold))),
    )
    longer, shorter = (matches, matches.T) if matches.shape[0] >= matches.shape[1] else (matches.T, matches)
    best = max(
        sum(longer[i, j] for j, i in enumerate(order)) for order in permutations(range(len(longer)), len(shorter))
    )
    assert count_one_to_one(matches) == best


def test_one_to_one_finds_what_greed_misses_and_tells_shapes_of_the_same_cells_apart() -> None:
    assert count_one_to_one(np.array([[True, True], [True, False]])) == 2
    cells = np.array([True, True, True, False, False, True])
    assert [count_one_to_one(cells.reshape(shape)) for shape in ((2, 3), (3, 2), (1, 6), (6, 1))] == [2, 2, 1, 1]


def pairings(first: list, second: list) -> int:
    """The most equal pairs, by trying every order of the longer side."""
    longer, shorter = (first, second) if len(first) >= len(second) else (second, first)
    return max(sum(a == b for a, b in zip(order, shorter, strict=False)) for order in permutations(longer))


@given(PHRASES, PHRASES)
def test_exact_and_token_counts_equal_brute_force(predictions: list[str], gold: list[str]) -> None:
    words = [[phrase_words(phrase) for phrase in side] for side in (predictions, gold)]
    assert count_exact(predictions, gold) == pairings(*words)
    remaining = [word for phrase in words[1] for word in phrase]
    common = 0
    for word in [word for phrase in words[0] for word in phrase]:
        if word in remaining:
            remaining.remove(word)
            common += 1
    assert count_tokens(predictions, gold) == (common, *(sum(map(len, side)) for side in words))
