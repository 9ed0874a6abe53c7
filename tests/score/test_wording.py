import pytest
from hypothesis import given
from hypothesis import strategies as st

from radtune.score.statements import reading_rules
from radtune.score.wording import ErrorKind, difference, same_word, stem, wording
from radtune.tasks import load_task

RULES = reading_rules(load_task("open_ended"))


@pytest.mark.parametrize(
    "words",
    [
        ("calcified", "calcification", "calcify"),
        ("granuloma", "granulomas", "granulomatous"),
        ("opacity", "opacities", "opacified", "opacification"),
        ("atelectasis", "atelectases", "atelectatic"),
        ("degenerative", "degeneration"),
        ("scar", "scars", "scarring"),
        ("thickening", "thickened"),
        ("spine", "spinal"),
    ],
)
def test_forms_of_a_word_have_one_stem(words: tuple[str, ...]) -> None:
    assert len({stem(word) for word in words}) == 1


def test_different_words_keep_apart() -> None:
    words = (
        "pneumonia", "pneumothorax", "edema", "effusion", "nodule", "hernia", "fracture", "fissure", "rib", "hilum"
    )  # fmt: skip
    assert len({stem(word) for word in words}) == len(words)


@pytest.mark.parametrize(
    ("first", "second", "expected"),
    [
        ("atelectasis", "atalectasis", True),
        ("pneumothorax", "pneumothroax", True),
        ("edema", "edma", True),
        ("hyperinflation", "hypoinflation", False),
        ("pneumonia", "pneumothorax", False),
        ("rib", "rub", False),
        ("lung", "lungs", True),
    ],
)
def test_slips_of_spelling(first: str, second: str, expected: bool) -> None:
    assert same_word(first, second) is same_word(second, first) is expected


@pytest.mark.parametrize(
    ("first", "second", "expected"),
    [
        ("right-sided effusion", "right sided effusion", ErrorKind.MISSPELLING),
        ("effusions", "effusion", ErrorKind.PARAPHRASE),
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


@given(st.text(max_size=40), st.text(max_size=40))
def test_any_two_phrases_differ_alike_both_ways(first: str, second: str) -> None:
    assert difference(first, second, RULES) == difference(second, first, RULES)


def test_hedges_and_negations_are_seen() -> None:
    assert wording("possible pneumonia", RULES).hedged
    assert wording("no effusion", RULES).negated
    plain = wording("small effusion", RULES)
    assert not plain.hedged
    assert not plain.negated
