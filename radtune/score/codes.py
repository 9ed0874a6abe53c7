"""Whether predictions and gold give the same ICD-10-CM codes, in full and by category (the first three characters)."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from radtune.score.inputs import LabelledReports
from radtune.score.scores import Score, micro_score
from radtune.tasks.matching import phrases_match

# A category is what stands before the dot (ICD-10-CM Official Guidelines for Coding and Reporting, section I.A.2).
CATEGORY_LENGTH = 3


@dataclass(frozen=True)
class CodeScores:
    """How far the codes of two sides agree.

    Attributes:
        code: Scores of each report's set of codes; a phrase without a code has no part in it.
        category: The same of their categories.
        n_matched: Predicted phrases that have a code and match, by the paper's rule, a gold phrase that has one.
        same_code: Share of these that have the code of such a gold phrase; None if there are none.
        same_category: The same of categories.
    """

    code: Score
    category: Score
    n_matched: int
    same_code: float | None
    same_category: float | None


def score_codes(
    predictions: LabelledReports,
    gold: LabelledReports,
    report_ids: Sequence[str],
    units: np.ndarray | None = None,
    seed: int = 0,
) -> CodeScores | None:
    """Scores the codes that stand beside the phrases.

    Args:
        predictions: What was predicted.
        gold: What is right.
        report_ids: The reports to score.
        units: As in :func:`radtune.score.scores.micro_score`.
        seed: Seed of the bootstrap.

    Returns:
        The scores; None if either side has no code at all.
    """
    if not any(map(predictions.codes.get, report_ids)) or not any(map(gold.codes.get, report_ids)):
        return None
    matched = [pair for report_id in report_ids for pair in _matched_codes(predictions, gold, report_id)]
    return CodeScores(
        code=micro_score(_count(predictions, gold, report_ids, None), units, seed),
        category=micro_score(_count(predictions, gold, report_ids, CATEGORY_LENGTH), units, seed),
        n_matched=len(matched),
        same_code=_share(code in right for code, right in matched),
        same_category=_share(
            code[:CATEGORY_LENGTH] in {other[:CATEGORY_LENGTH] for other in right} for code, right in matched
        ),
    )


def _count(
    predictions: LabelledReports, gold: LabelledReports, report_ids: Sequence[str], length: int | None
) -> np.ndarray:
    rows = []
    for report_id in report_ids:
        predicted, right = (
            {code[:length] for code in side.codes.get(report_id, {}).values()} for side in (predictions, gold)
        )
        matched = len(predicted & right)
        rows.append((matched, len(predicted), matched, len(right)))
    return np.array(rows)


def _matched_codes(
    predictions: LabelledReports, gold: LabelledReports, report_id: str
) -> Iterable[tuple[str, frozenset[str]]]:
    """Each predicted phrase's code with those of the gold phrases that it matches, where both have one."""
    for phrase, code in predictions.codes.get(report_id, {}).items():
        others = gold.codes.get(report_id, {}).items()
        right = frozenset(other_code for other, other_code in others if phrases_match(phrase, other))
        if right:
            yield code, right


def _share(hits: Iterable[bool]) -> float | None:
    values = list(hits)
    return sum(values) / len(values) if values else None
