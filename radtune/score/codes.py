"""Whether predictions and gold give the same ICD-10-CM codes, in full and by category (the first three characters)."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from radtune.labels import Answer
from radtune.score.scores import Score, micro_score
from radtune.tasks.lists import fold_space
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
    predicted: Sequence[Answer], gold: Sequence[Answer], units: np.ndarray | None = None, seed: int = 0
) -> CodeScores | None:
    """Scores the codes that stand beside the phrases of the same reports; None if either side has no code at all.

    ``units`` and ``seed`` as in :func:`radtune.score.scores.micro_score`.
    """
    pairs = [(_codes(answer), _codes(truth)) for answer, truth in zip(predicted, gold, strict=True)]
    if not any(found for found, _ in pairs) or not any(right for _, right in pairs):
        return None
    matched = [match for pair in pairs for match in _matched_codes(*pair)]
    return CodeScores(
        code=micro_score(_count(pairs, None), units, seed),
        category=micro_score(_count(pairs, CATEGORY_LENGTH), units, seed),
        n_matched=len(matched),
        same_code=_share(code in right for code, right in matched),
        same_category=_share(
            code[:CATEGORY_LENGTH] in {other[:CATEGORY_LENGTH] for other in right} for code, right in matched
        ),
    )


def _codes(answer: Answer) -> dict[str, str]:
    """By phrase, case folded, its first code, in upper case and without its dot, which is often left out."""
    codes: dict[str, str] = {}
    for phrase in answer.phrases:
        if phrase.icd10 is not None:
            code = phrase.icd10.replace(".", "").strip().upper()
            codes.setdefault(fold_space(phrase.phrase).casefold(), code)
    return {phrase: code for phrase, code in codes.items() if code}


def _count(pairs: Iterable[tuple[Mapping[str, str], Mapping[str, str]]], length: int | None) -> np.ndarray:
    rows = []
    for pair in pairs:
        predicted, right = ({code[:length] for code in codes.values()} for codes in pair)
        matched = len(predicted & right)
        rows.append((matched, len(predicted), matched, len(right)))
    return np.array(rows)


def _matched_codes(predicted: Mapping[str, str], gold: Mapping[str, str]) -> Iterable[tuple[str, frozenset[str]]]:
    """Each predicted phrase's code with those of the gold phrases that it matches, where both have one."""
    for phrase, code in predicted.items():
        right = frozenset(other_code for other, other_code in gold.items() if phrases_match(phrase, other))
        if right:
            yield code, right


def _share(hits: Iterable[bool]) -> float | None:
    values = list(hits)
    return sum(values) / len(values) if values else None
