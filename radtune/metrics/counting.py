"""Counts, report by report, of what was predicted, what is gold, and what of each is matched."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from radtune.findings import FINDINGS
from radtune.metrics.inputs import LabelledReports
from radtune.metrics.matching import count_any, count_one_to_one, match_matrix


@dataclass(frozen=True)
class ClassCounts:
    """Multiple choice, by report and class.

    Attributes:
        predicted: Whether a class is predicted, boolean, shape (reports, 13).
        gold: Whether it is gold, likewise.
        other_predictions: How many predicted names are none of the 13, shape (reports,).
        other_gold: The same of gold.
    """

    predicted: np.ndarray
    gold: np.ndarray
    other_predictions: np.ndarray
    other_gold: np.ndarray

    def by_report(self) -> np.ndarray:
        """Counts as :func:`radtune.metrics.scores.ratios` takes them, shape (reports, 4).

        A name that is none of the 13 is a false positive where predicted and a false negative where gold, even if
        both sides have it.
        """
        matched = (self.predicted & self.gold).sum(axis=1)
        predictions = self.predicted.sum(axis=1) + self.other_predictions
        gold = self.gold.sum(axis=1) + self.other_gold
        return np.stack([matched, predictions, matched, gold], axis=1)

    def by_class(self) -> np.ndarray:
        """The same four counts by class, shape (13, 4); names that are none of the 13 have no part in it."""
        matched = (self.predicted & self.gold).sum(axis=0)
        return np.stack([matched, self.predicted.sum(axis=0), matched, self.gold.sum(axis=0)], axis=1)


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
    predicted, other_predictions = _indicators(predictions, report_ids)
    positive, other_gold = _indicators(gold, report_ids)
    if ignore_blank and gold.judged is not None:
        judged = np.array([[name in gold.judged[report_id] for name in FINDINGS] for report_id in report_ids])
        predicted, positive = predicted & judged, positive & judged
    return ClassCounts(predicted, positive, other_predictions, other_gold)


def _indicators(reports: LabelledReports, report_ids: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
    rows = [set(reports.labels[report_id]) for report_id in report_ids]
    indicators = np.array([[name in row for name in FINDINGS] for row in rows], dtype=bool)
    return indicators, np.array([len(row) for row in rows]) - indicators.sum(axis=1)


def count_phrases(
    predictions: LabelledReports, gold: LabelledReports, report_ids: Sequence[str]
) -> tuple[np.ndarray, np.ndarray]:
    """Counts open-ended predictions by both rules.

    Args:
        predictions: What was predicted.
        gold: What is right.
        report_ids: The reports to count, in the order of the result's rows.

    Returns:
        Counts where a phrase may match several (the paper's rule), and where each is used once; each of shape
        (reports, 4).
    """
    several, once = [], []
    for report_id in report_ids:
        matches = match_matrix(predictions.labels[report_id], gold.labels[report_id])
        matched_predictions, matched_gold = count_any(matches)
        pairs = count_one_to_one(matches)
        several.append((matched_predictions, matches.shape[0], matched_gold, matches.shape[1]))
        once.append((pairs, matches.shape[0], pairs, matches.shape[1]))
    return np.array(several), np.array(once)
