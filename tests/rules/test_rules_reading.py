import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from radtune.rules.reading import reading_copy


@given(st.text())
def test_length_stays(text: str) -> None:
    assert len(reading_copy(text)) == len(text)


PIECES = (
    "Effusion", "No", "none", "small", "R", "left", "RUL", ":", " ", "-", "+", "+/-", "/", ",", ".", "\n", "[ ]", "[x]",
    "(-)", "-ve", "n", "Y", "not seen", "1)", "?", "\u2717", "|", "   ",
)  # fmt: skip


@given(st.lists(st.sampled_from(PIECES), max_size=40).map("".join))
def test_length_stays_in_forms(text: str) -> None:
    assert len(reading_copy(text)) == len(text)


@pytest.mark.parametrize(
    "text",
    [
        "Effusion/R: none, L: small",
        "Effusion/ R: none, L: small",
        "Effusion(R): none (L): small",
        "Lung-R: nil, L: mass",
        "Mass \u2717\nEffusion \u2713\nEdema:\u2717",
    ],
)
def test_length_stays_beside_narrow_signs(text: str) -> None:
    assert len(reading_copy(text)) == len(text)


SIDES = "Effusion: right none. Left: small. Heart normal"


@pytest.mark.parametrize(
    "text",
    [
        SIDES + " " * 20_000, SIDES + "\n" + "Effusion [ ] none " * 2_000, SIDES + " -" * 20_000,
        SIDES + "_" * 20_000, (SIDES + " " * 500) * 40,
    ],
    ids=lambda text: repr(text[-10:]),
)  # fmt: skip
def test_padded_reports_take_linear_time(text: str) -> None:
    started = time.process_time()
    reading_copy(text)
    # Measured 0.02 s at most; one quadratic pattern takes seconds, a cubic one hours.
    assert time.process_time() - started < 1


def sentences(text: str) -> list[str]:
    return [part.strip() for part in reading_copy(text).split("\n") if part.strip()]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("One. Two.", ["one", "two"]),
        ("Measures 1.5 cm. Two.", ["measures 1.5 cm", "two"]),
        ("Atelectasis vs. pneumonia.", ["atelectasis vs. pneumonia"]),
        ("Clear.No effusion.", ["clear", "no effusion"]),
        ("No evidence of\neffusion or\nedema.", ["no evidence of effusion or edema"]),
        ("No evidence\r\nof effusion.", ["no evidence  of effusion"]),
        ("Small effusion\n\nno edema", ["small effusion", "no edema"]),
        ("No effusion\nSmall nodule", ["no effusion", "small nodule"]),
        ("No focal\nPneumonia or\nEffusion", ["no focal pneumonia or effusion"]),
        ("1. Effusion\n2. Edema", ["1", "effusion", "2", "edema"]),
        ("- Effusion\n* Edema", ["- effusion", "edema"]),
        ("Lungs: clear\nHeart: normal", ["lungs: clear", "heart: normal"]),
        ("IMPRESSION: No effusion", ["impression", "no effusion"]),
        ("Edema; effusion", ["edema", "effusion"]),
        ("Edema - effusion", ["edema", "effusion"]),
        ("Pneumonia? Edema", ["pneumonia?", "edema"]),
        ("? pneumonia", ["? pneumonia"]),
        ("can\u2019t exclude", ["can't exclude"]),
    ],
)
def test_sentences(text: str, expected: list[str]) -> None:
    assert sentences(text) == expected
