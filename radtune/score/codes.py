"""Whether predictions and gold give the same ICD-10-CM codes, in full and by category (the first three characters)."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from radtune.labels import Answer
from radtune.score.scores import Score, micro_score
from radtune.tasks.lists import fold_space
from radtune.tasks.matching import phrases_match


@dataclass(frozen=True)
class CodeScores:
    """How far each report's sets of codes agree; phrases without a code have no part in them.

    ``n_matched`` predicted phrases with a code match, by the paper's rule, a gold phrase that has one. ``same_code`` is
    the share of these that have its code, None if there are none; ``same_category`` likewise.
    """

    code: Score
    category: Score
    n_matched: int
    same_code: float | None
    same_category: float | None


def score_codes(
    predicted: Sequence[Answer], gold: Sequence[Answer], units: np.ndarray | None = None, seed: int = 0
) -> CodeScores | None:
    """Scores the codes beside the phrases of the same reports; None if either side has no code at all."""
    pairs = [(_codes(answer), _codes(truth)) for answer, truth in zip(predicted, gold, strict=True)]
    if not any(found for found, _ in pairs) or not any(right for _, right in pairs):
        return None
    matched = [match for pair in pairs for match in _matched_codes(*pair)]
    codes = _count((a.values(), b.values()) for a, b in pairs)
    categories = _count((map(_category, a.values()), map(_category, b.values())) for a, b in pairs)
    return CodeScores(
        code=micro_score(codes, units, seed),
        category=micro_score(categories, units, seed),
        n_matched=len(matched),
        same_code=_share(code in right for code, right in matched),
        same_category=_share(any(_category(code) == _category(x) for x in right) for code, right in matched),
    )


def _codes(answer: Answer) -> dict[str, str]:
    """By phrase, case folded, its first code, in upper case and without its dot, which is often left out."""
    codes: dict[str, str] = {}
    for phrase in answer.phrases:
        if phrase.icd10 is not None:
            code = phrase.icd10.replace(".", "").strip().upper()
            codes.setdefault(fold_space(phrase.phrase).casefold(), code)
    return {phrase: code for phrase, code in codes.items() if code}


def _category(code: str) -> str:
    """What stands before the dot (ICD-10-CM Official Guidelines for Coding and Reporting, section I.A.2)."""
    return code[:3]


def _count(pairs: Iterable[tuple[Iterable[str], Iterable[str]]]) -> np.ndarray:
    sets = [(set(predicted), set(right)) for predicted, right in pairs]
    return np.array([(len(a & b), len(a), len(a & b), len(b)) for a, b in sets])


def _matched_codes(predicted: Mapping[str, str], gold: Mapping[str, str]) -> Iterable[tuple[str, list[str]]]:
    """Each predicted phrase's code with those of the gold phrases that it matches, where both have one."""
    for phrase, code in predicted.items():
        if right := [other_code for other, other_code in gold.items() if phrases_match(phrase, other)]:
            yield code, right


def _share(hits: Iterable[bool]) -> float | None:
    values = list(hits)
    return sum(values) / len(values) if values else None
