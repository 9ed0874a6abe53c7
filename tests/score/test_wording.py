import pytest
from hypothesis import given
from hypothesis import strategies as st

from radtune.score.statements import reading_rules
from radtune.score.wording import ErrorKind, difference, wording
from radtune.tasks import load_task

RULES = reading_rules(load_task("open_ended"))


@pytest.mark.parametrize(
    ("first", "second", "expected"),
    [
        ("right-sided effusion", "right sided effusion", ErrorKind.MISSPELLING),
        ("atelectasis", "atalectasis", ErrorKind.MISSPELLING),
        ("rib", "rub", None),
        ("pneumonia", "pneumothorax", None),
        ("effusions", "effusion", ErrorKind.PARAPHRASE),
        ("opacities", "opacification", ErrorKind.PARAPHRASE),
        ("left and right lung opacities", "opacity", ErrorKind.DESCRIPTION),
        ("nodule and scar", "scar", ErrorKind.CONJUNCTION),
        ("left effusion", "right effusion", None),
        ("upper lobe nodule", "lower lobe nodule", None),
        ("endotracheal tube", "chest tube", None),
        ("rib fracture", "clavicle fracture", None),
        ("hyperinflation", "hypoinflation", None),
        ("calcified granuloma", "calcified nipple", None),
        ("subcutaneous emphysema", "emphysema", None),
        ("COPD", "chronic obstructive pulmonary disease", ErrorKind.PARAPHRASE),
        ("pacemaker lead in right atrium", "left pacemaker", ErrorKind.DESCRIPTION),
        ("--", "effusion", None),
    ],
)
def test_differences(first: str, second: str, expected: ErrorKind | None) -> None:
    assert difference(first, second, RULES) == difference(second, first, RULES) == expected


def test_hedges_and_negations_are_seen() -> None:
    found = [wording(phrase, RULES) for phrase in ("possible pneumonia", "no effusion", "small effusion")]
    assert [(one.hedged, one.negated) for one in found] == [(True, False), (False, True), (False, False)]


@given(st.text(max_size=40), st.text(max_size=40))
def test_any_two_phrases_differ_alike_both_ways(first: str, second: str) -> None:
    assert difference(first, second, RULES) == difference(second, first, RULES)
