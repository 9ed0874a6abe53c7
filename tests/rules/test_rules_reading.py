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
