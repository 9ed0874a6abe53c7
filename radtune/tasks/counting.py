"""Counts, report by report, of what was predicted, what is gold, and what of each is matched."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from radtune.labels import Answer
from radtune.tasks.matching import count_any, count_exact, count_one_to_one, count_tokens, match_matrix


@dataclass(frozen=True)
class ClassCounts:
    """By report and class, boolean, shape (reports, classes).

    Attributes:
        predicted: Whether a class is predicted.
        gold: Whether it is gold.
        judged: Whether the class counts for that report; where it does not, it is neither predicted nor gold.
    """

    predicted: np.ndarray
    gold: np.ndarray
    judged: np.ndarray

    def of_class(self, column: int) -> np.ndarray:
        """Counts of one class by report, shape (reports, 4), as those of :class:`Counts`."""
        predicted, gold = self.predicted[:, column], self.gold[:, column]
        matched = predicted & gold
        return np.stack([matched, predicted, matched, gold], axis=1).astype(int)


@dataclass(frozen=True)
class Counts:
    """Counts of a task.

    Attributes:
        rules: By rule, shape (reports, 4), as :func:`radtune.score.scores.ratios` takes them. The first is ``micro``,
            by the task's own rule.
        classes: By class, where the task has classes.
    """

    rules: dict[str, np.ndarray]
    classes: ClassCounts | None = None


def indicators(answers: Sequence[Answer], classes: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
    """Which classes reports have, boolean, shape (reports, classes), and how many other names each has."""
    rows = [set(answer.labels) for answer in answers]
    found = np.array([[name in row for name in classes] for row in rows], dtype=bool).reshape(-1, len(classes))
    return found, np.array([len(row) for row in rows], dtype=int) - found.sum(axis=1)


def count_classes(
    predicted: Sequence[Answer], gold: Sequence[Answer], classes: Sequence[str], judged: np.ndarray | None
) -> Counts:
    """Counts classes, those alone that are ``judged`` (all if None): boolean, shape (reports, classes).

    A name that is no class is a false positive where predicted and a false negative where gold, even if both sides have
    it.
    """
    named, other_predictions = indicators(predicted, classes)
    right, other_gold = indicators(gold, classes)
    judged = np.ones_like(right) if judged is None else judged
    named, right = named & judged, right & judged
    matched = (named & right).sum(axis=1)
    rows = [matched, named.sum(axis=1) + other_predictions, matched, right.sum(axis=1) + other_gold]
    return Counts({"micro": np.stack(rows, axis=1)}, ClassCounts(named, right, judged))


def count_phrases(predicted: Sequence[Answer], gold: Sequence[Answer]) -> Counts:
    """Counts phrases: by the paper's rule, each used once, the same words, and over their words."""
    rows: dict[str, list[tuple[int, int, int, int]]] = {"micro": [], "one_to_one": [], "exact": [], "tokens": []}
    for answer, truth in zip(predicted, gold, strict=True):
        found, right = answer.labels, truth.labels
        matches = match_matrix(found, right)
        matched, matched_gold = count_any(matches)
        rows["micro"].append((matched, len(found), matched_gold, len(right)))
        pairs, same = count_one_to_one(matches), count_exact(found, right)
        rows["one_to_one"].append((pairs, len(found), pairs, len(right)))
        rows["exact"].append((same, len(found), same, len(right)))
        common, words, gold_words = count_tokens(found, right)
        rows["tokens"].append((common, words, common, gold_words))
    return Counts({rule: np.array(counts, dtype=int).reshape(-1, 4) for rule, counts in rows.items()})
