"""Counts, report by report, of what was predicted, what is gold, and what of each is matched."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from radtune.findings import FINDINGS
from radtune.score.inputs import LabelledReports
from radtune.tasks.matching import count_any, count_exact, count_one_to_one, count_tokens, match_matrix


@dataclass(frozen=True)
class ClassCounts:
    """Multiple choice, by report and class.

    Attributes:
        predicted: Whether a class is predicted, boolean, shape (reports, 13).
        gold: Whether it is gold, likewise.
        judged: Whether the class counts for that report, likewise; where it does not, it is neither predicted nor gold.
        other_predictions: How many predicted names are none of the 13, shape (reports,).
        other_gold: The same of gold.
    """

    predicted: np.ndarray
    gold: np.ndarray
    judged: np.ndarray
    other_predictions: np.ndarray
    other_gold: np.ndarray

    def by_report(self) -> np.ndarray:
        """Counts as :func:`radtune.score.scores.ratios` takes them, shape (reports, 4).

        A name that is none of the 13 is a false positive where predicted and a false negative where gold, even if
        both sides have it.
        """
        matched = (self.predicted & self.gold).sum(axis=1)
        predictions = self.predicted.sum(axis=1) + self.other_predictions
        gold = self.gold.sum(axis=1) + self.other_gold
        return np.stack([matched, predictions, matched, gold], axis=1)

    def of_class(self, column: int) -> np.ndarray:
        """The same four counts of one class by report, shape (reports, 4); other names have no part in it."""
        predicted, gold = self.predicted[:, column], self.gold[:, column]
        matched = predicted & gold
        return np.stack([matched, predicted, matched, gold], axis=1).astype(int)


def count_classes(
    predictions: LabelledReports, gold: LabelledReports, report_ids: Sequence[str], ignore_blank: bool = False
) -> ClassCounts:
    """Counts multiple-choice predictions.

    Args:
        predictions: What was predicted.
        gold: What is right.
        report_ids: The reports to count, in the order of the result's rows.
        ignore_blank: Whether a class that the gold table leaves blank is left out, predicted or not, for that report.

    Returns:
        The counts.
    """
    predicted, other_predictions = class_indicators(predictions, report_ids)
    positive, other_gold = class_indicators(gold, report_ids)
    judged = np.ones_like(positive)
    if ignore_blank and gold.judged is not None:
        judged = np.array([[name in gold.judged[report_id] for name in FINDINGS] for report_id in report_ids])
    return ClassCounts(predicted & judged, positive & judged, judged, other_predictions, other_gold)


def class_indicators(reports: LabelledReports, report_ids: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
    """Which of the 13 classes reports have, boolean, shape (reports, 13), and how many other names each has."""
    rows = [set(reports.labels[report_id]) for report_id in report_ids]
    indicators = np.array([[name in row for name in FINDINGS] for row in rows], dtype=bool)
    return indicators, np.array([len(row) for row in rows]) - indicators.sum(axis=1)


@dataclass(frozen=True)
class PhraseCounts:
    """Open ended, by report; each of shape (reports, 4), as :func:`radtune.score.scores.ratios` takes it.

    Attributes:
        several: By the paper's rule, where a phrase may match several.
        once: The same where each phrase is used once.
        exact: Where only phrases of the same words match, each used once.
        tokens: Of the phrases' words rather than the phrases.
    """

    several: np.ndarray
    once: np.ndarray
    exact: np.ndarray
    tokens: np.ndarray


def count_phrases(predictions: LabelledReports, gold: LabelledReports, report_ids: Sequence[str]) -> PhraseCounts:
    """Counts open-ended predictions by all rules.

    Args:
        predictions: What was predicted.
        gold: What is right.
        report_ids: The reports to count, in the order of the result's rows.
    """
    several, once, exact, tokens = [], [], [], []
    for report_id in report_ids:
        predicted, right = predictions.labels[report_id], gold.labels[report_id]
        matches = match_matrix(predicted, right)
        matched_predictions, matched_gold = count_any(matches)
        several.append((matched_predictions, len(predicted), matched_gold, len(right)))
        pairs, same = count_one_to_one(matches), count_exact(predicted, right)
        once.append((pairs, len(predicted), pairs, len(right)))
        exact.append((same, len(predicted), same, len(right)))
        common, words, gold_words = count_tokens(predicted, right)
        tokens.append((common, words, common, gold_words))
    return PhraseCounts(*map(np.array, (several, once, exact, tokens)))
