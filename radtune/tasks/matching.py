"""Which predicted phrases are right: two consecutive words in common (section 2.4 of the paper), or stricter rules."""

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from functools import lru_cache
from itertools import pairwise

import numpy as np

_OUTER_PUNCTUATION = re.compile(r"^[\W_]+|[\W_]+$")


# Phrases repeat: a hundred thousand reports have a few thousand.
@lru_cache(maxsize=100_000)
def phrase_words(phrase: str) -> tuple[str, ...]:
    """The words of a phrase: split at white space, lower-cased, punctuation stripped from both ends.

    Punctuation inside a word stays (``right-sided`` is one word). A phrase of nothing but punctuation is its own only
    word, so that it still equals itself.
    """
    words = (_OUTER_PUNCTUATION.sub("", word) for word in phrase.lower().split())
    return tuple(word for word in words if word) or (phrase.lower().strip(),)


def phrases_match(first: str, second: str) -> bool:
    """Whether two phrases name the same thing: they share two consecutive words, or are the same words.

    The second half is ours, where the paper is silent: without it ``cardiomegaly`` could never match ``Cardiomegaly``.
    """
    return phrase_words(first) == phrase_words(second) or not _pairs(first).isdisjoint(_pairs(second))


@lru_cache(maxsize=100_000)
def _pairs(phrase: str) -> frozenset[tuple[str, str]]:
    return frozenset(pairwise(phrase_words(phrase)))


def match_matrix(predictions: Sequence[str], gold: Sequence[str]) -> np.ndarray:
    """Which predicted phrase matches which gold phrase of one report; boolean, shape (predictions, gold)."""
    cells = [[phrases_match(prediction, truth) for truth in gold] for prediction in predictions]
    return np.array(cells, dtype=bool).reshape(len(predictions), len(gold))


def count_any(matches: np.ndarray) -> tuple[int, int]:
    """How many predictions match some gold phrase, and how many gold phrases some prediction: the paper's rule.

    ``matches`` is the :func:`match_matrix` of one report.
    """
    return np.count_nonzero(matches.any(axis=1)), np.count_nonzero(matches.any(axis=0))


def count_one_to_one(matches: np.ndarray) -> int:
    """The most pairs that can be made when each phrase may be used once: a maximum bipartite matching."""
    total = np.count_nonzero(matches)
    rows, columns = (np.count_nonzero(matches.any(axis=axis)) for axis in (1, 0))
    if total in (rows, columns):
        # No phrase of one side has a choice, so each of the other side's that matches at all gets one.
        return min(rows, columns)
    return _most_pairs(matches.tobytes(), matches.shape)


# Few patterns of matches occur, each many times.
@lru_cache(maxsize=10_000)
def _most_pairs(cells: bytes, shape: tuple[int, int]) -> int:
    # Slow to import, and only the open-ended task needs it.
    from scipy.sparse import csr_array
    from scipy.sparse.csgraph import maximum_bipartite_matching

    matches = np.frombuffer(cells, dtype=bool).reshape(shape)
    return int((maximum_bipartite_matching(csr_array(matches)) >= 0).sum())


def count_exact(predictions: Sequence[str], gold: Sequence[str]) -> int:
    """How many phrases have the same words on both sides, each used once."""
    return _common(map(phrase_words, predictions), map(phrase_words, gold))


def count_tokens(predictions: Sequence[str], gold: Sequence[str]) -> tuple[int, int, int]:
    """For token F1 of one report: words in common, predicted and in gold, as often as they stand in any phrase."""
    predicted, right = ([word for phrase in side for word in phrase_words(phrase)] for side in (predictions, gold))
    return _common(predicted, right), len(predicted), len(right)


def _common(first: Iterable[object], second: Iterable[object]) -> int:
    return (Counter(first) & Counter(second)).total()
