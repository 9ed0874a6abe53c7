"""Which predicted phrases are right: two consecutive words in common (section 2.4 of the paper)."""

import re
from collections.abc import Sequence
from itertools import pairwise

import numpy as np

_OUTER_PUNCTUATION = re.compile(r"^[\W_]+|[\W_]+$")


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
    first_words, second_words = phrase_words(first), phrase_words(second)
    return first_words == second_words or not _pairs(first_words).isdisjoint(_pairs(second_words))


def _pairs(words: Sequence[str]) -> set[tuple[str, str]]:
    return set(pairwise(words))


def match_matrix(predictions: Sequence[str], gold: Sequence[str]) -> np.ndarray:
    """Which predicted phrase matches which gold phrase of one report; boolean, shape (predictions, gold)."""
    cells = [[phrases_match(prediction, truth) for truth in gold] for prediction in predictions]
    return np.array(cells, dtype=bool).reshape(len(predictions), len(gold))


def count_any(matches: np.ndarray) -> tuple[int, int]:
    """Matched predictions and matched gold phrases, where a phrase may match several: the paper's rule.

    Args:
        matches: :func:`match_matrix` of one report.

    Returns:
        Predictions that match some gold phrase, and gold phrases that some prediction matches.
    """
    return int(matches.any(axis=1).sum()), int(matches.any(axis=0).sum())


def count_one_to_one(matches: np.ndarray) -> int:
    """The most pairs that can be made when each phrase may be used once: a maximum bipartite matching.

    Args:
        matches: :func:`match_matrix` of one report.

    Returns:
        The number of pairs.
    """
    if not matches.any():
        return 0
    # Half a second to import, and only the open-ended task needs it.
    from scipy.sparse import csr_array
    from scipy.sparse.csgraph import maximum_bipartite_matching

    return int((maximum_bipartite_matching(csr_array(matches)) >= 0).sum())
