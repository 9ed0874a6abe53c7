"""Whether predictions and gold give the same ICD-10-CM codes: in full, by category, and with their sides."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from radtune.labels import BILATERAL, LEFT, RIGHT, Answer, side_of
from radtune.score.scores import MeanScore, Score, mean_interval, mean_score, micro_score
from radtune.tasks.lists import fold_space
from radtune.tasks.matching import phrases_match


@dataclass(frozen=True)
class CodeScores:
    """How far each report's sets of codes agree; phrases without a code have no part in them.

    Attributes:
        code: By the code in full; ``category`` by its first three characters, ``code_side`` with the phrase's side.
        n_matched: How many predicted phrases with a code match, by the paper's rule, a gold phrase that has one.
        same_code: The share of these that have its code, None if there are none; ``same_category`` likewise.
        per_report: The same averaged over reports, and for ``name`` the names by the paper's rule.
        hallucinated: How many findings a report are predicted whose name matches none of gold, and whose code is in no
            category of gold; with its interval.
    """

    code: Score
    category: Score
    n_matched: int
    same_code: float | None
    same_category: float | None
    code_side: Score | None = None
    per_report: dict[str, MeanScore] = field(default_factory=dict)
    hallucinated: float | None = None
    hallucinated_ci95: tuple[float, float] | None = None


# By phrase, case folded, its first code and its side.
_Codes = Mapping[str, tuple[str, str]]


def score_codes(
    predicted: Sequence[Answer],
    gold: Sequence[Answer],
    units: np.ndarray | None = None,
    seed: int = 0,
    names: np.ndarray | None = None,
) -> CodeScores | None:
    """Scores the codes beside the phrases of the same reports; None if gold has none, or the phrases predicted none.

    ``names`` are the counts of names, shape (reports, 4).
    """
    pairs = [(_codes(answer), _codes(truth)) for answer, truth in zip(predicted, gold, strict=True)]
    coded = any(found for found, _ in pairs) or not any(answer.labels for answer in predicted)
    if not coded or not any(right for _, right in pairs):
        return None
    matched = [match for pair in pairs for match in _matched_codes(*pair)]
    counts = {
        "code": _count((_full(a), _full(b)) for a, b in pairs),
        "category": _count((map(_category, _full(a)), map(_category, _full(b))) for a, b in pairs),
        "code_side": _count((_sided(a), _sided(b)) for a, b in pairs),
    }
    made_up = [_made_up(answer, truth) for answer, truth in zip(predicted, gold, strict=True)]
    (mean,), (interval,) = mean_interval(np.array(made_up, dtype=float).reshape(-1, 1), units, seed)
    means = counts if names is None else {"name": names, **counts}
    return CodeScores(
        **{rule: micro_score(rows, units, seed) for rule, rows in counts.items()},
        n_matched=len(matched),
        same_code=_share(code in right for code, right in matched),
        same_category=_share(any(_category(code) == _category(x) for x in right) for code, right in matched),
        per_report={rule: mean_score(rows, units, seed) for rule, rows in means.items()},
        hallucinated=mean,
        hallucinated_ci95=interval,
    )


def _codes(answer: Answer) -> _Codes:
    """Codes are in upper case and without their dot, which is often left out."""
    codes: dict[str, tuple[str, str]] = {}
    for phrase in answer.phrases:
        if code := (phrase.icd10 or "").replace(".", "").strip().upper():
            codes.setdefault(fold_space(phrase.phrase).casefold(), (code, side_of(phrase)))
    return codes


def _full(codes: _Codes) -> list[str]:
    return [code for code, _ in codes.values()]


def _sided(codes: _Codes) -> set[tuple[str, str]]:
    """Codes with their sides; one on the left and on the right is bilateral, whichever way it is said."""
    found = set(codes.values())
    for code in {code for code, _ in found}:
        if {(code, LEFT), (code, RIGHT)} <= found:
            found = found - {(code, LEFT), (code, RIGHT)} | {(code, BILATERAL)}
    return found


def _category(code: str) -> str:
    """What stands before the dot (ICD-10-CM Official Guidelines for Coding and Reporting, section I.A.2)."""
    return code[:3]


def _count(pairs: Iterable[tuple[Iterable[object], Iterable[object]]]) -> np.ndarray:
    sets = [(set(predicted), set(right)) for predicted, right in pairs]
    return np.array([(len(a & b), len(a), len(a & b), len(b)) for a, b in sets])


def _made_up(answer: Answer, truth: Answer) -> int:
    """How many findings of an answer nothing in gold is meant by."""
    codes, right = _codes(answer), {*map(_category, _full(_codes(truth)))}
    return sum(
        not any(phrases_match(label, other) for other in truth.labels)
        and _category(codes.get(fold_space(label).casefold(), ("", ""))[0]) not in right
        for label in answer.labels
    )


def _matched_codes(predicted: _Codes, gold: _Codes) -> Iterable[tuple[str, list[str]]]:
    """Each predicted phrase's code with those of the gold phrases that it matches, where both have one."""
    for phrase, (code, _) in predicted.items():
        if right := [other_code for other, (other_code, _) in gold.items() if phrases_match(phrase, other)]:
            yield code, right


def _share(hits: Iterable[bool]) -> float | None:
    values = list(hits)
    return sum(values) / len(values) if values else None
