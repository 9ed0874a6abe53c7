"""One report's row on a terminal."""

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from radtune.ask.rows import row_text


def unread(response):
    return row_text({"labels": [], "status": "unparsed", "response": response})


@pytest.mark.parametrize(("cut", "words"), [(1, "1 word of"), (2_500, "2,500 words of")])
def test_a_cut_report_is_marked(cut, words):
    shown = row_text({"labels": [], "status": "ok", "cut_words": cut})
    assert shown.startswith(f"no label\n({words} the report's middle w") and shown.endswith(" not shown to the model)")


@pytest.mark.parametrize(
    ("given", "shown"),
    [
        ("\x1b[31mred\x1b[0m", r"\x1b[31mred\x1b[0m"),
        ("a\x00b\x07", r"a\x00b\x07"),
        ("\x9b2J\x85\x7f", r"\x9b2J\x85\x7f"),
        ("no\rYes\x08", r"no\rYes\x08"),
        ("\u202eamede\u2066\u200f", r"\u202eamede\u2066\u200f"),
        ("a\u2028b\u2029\ufeff", r"a\u2028b\u2029\ufeff"),
        ("\ud800", r"\ud800"),
        ("zwei\nZeilen\tÖdem, naïve “心臓” 5\u00a0mm", "zwei\nZeilen\tÖdem, naïve “心臓” 5\u00a0mm"),
    ],
)
def test_no_answer_steers_the_terminal(given, shown):
    assert unread(given) == f"no answer that can be read (unparsed): {shown}"
    row = {
        "labels": [given],
        "status": "ok",
        "evidence": [{"label": given, "quote": given, "start": None, "end": None}],
        "scores": {given: 0.5},
        "denied": [given],
    }
    assert row_text(row) == f"{shown}  0.50  “{shown}” (no support in the report)\ndenied: {shown}"
    failed = {"labels": [], "status": "failed", "response": "", "error": given}
    assert row_text(failed) == f"no answer that can be read (failed): {shown}"


@given(st.text())
def test_whatever_is_answered_stays_on_the_screen(response):
    shown = unread(response)
    assert all(c in "\n\t" or unicodedata.category(c) not in ("Cc", "Cf", "Cs", "Zl", "Zp") for c in shown)
    shown.encode()


def test_a_row_is_shown_in_words():
    row = {
        "labels": ["Edema"],
        "status": "ok",
        "evidence": [{"label": "Edema", "quote": "edema", "start": 3, "end": 8}],
        "scores": {"Edema": 0.75, "Fracture": 0.25},
        "denied": ["Fracture"],
    }
    assert row_text(row) == "Edema  0.75  “edema” (at 3-8)\ndenied: Fracture\nothers: Fracture 0.25"
