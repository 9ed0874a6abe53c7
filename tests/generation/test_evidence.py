"""Evidence: what a model quotes, found in the report, whatever the form it is quoted in."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from radtune.generation.display import row_text
from radtune.generation.evidence import find_evidence

TEXT = "Findings: Heart size is mildly\nenlarged. Small left pleural effusion, no change. The patient's tube is fine."


@pytest.mark.parametrize(
    "rest",
    [
        'Evidence:\n* Cardiomegaly: "heart size is mildly enlarged"\n* Pleural Effusion: "small left pleural effusion"',
        "Cardiomegaly - Heart size is mildly enlarged.\nPleural Effusion - Small left pleural effusion",
        "1. **Cardiomegaly**: ‘Heart size is mildly enlarged’\n2. **Pleural Effusion**: ‘Small left pleural effusion’",
        "Cardiomegaly: 'heart size is mildly enlarged'; Pleural Effusion: 'Small left pleural effusion'",
        "The patient has cardiomegaly (“Heart size is mildly enlarged.”) and pleural effusion\n(“Small left pleural "
        "effusion”).",
        "Cardiomegaly:\nHeart size is mildly enlarged\nPleural Effusion:\nSmall left pleural effusion",
    ],
)
def test_evidence_is_found_in_every_form(rest):
    found = find_evidence("multiple_choice", ["Cardiomegaly", "Pleural Effusion"], rest, TEXT)
    assert [TEXT[one.start : one.end] for one in found] == [
        "Heart size is mildly\nenlarged",
        "Small left pleural effusion",
    ]


def test_what_is_not_in_the_report_is_no_support():
    rest = 'Edema: "interstitial edema"\nPneumonia'
    made_up, none = find_evidence("multiple_choice", ["Edema", "Pneumonia"], rest, TEXT)
    assert (made_up.quote, made_up.start, made_up.supported) == ("interstitial edema", None, False)
    assert (none.quote, none.supported) == (None, False)


def test_open_ended_phrases_are_their_own_evidence():
    found = find_evidence("open_ended", ["small left pleural effusion", "edema"], "", TEXT)
    assert [(one.supported, one.quote) for one in found] == [(True, "small left pleural effusion"), (False, "edema")]


@given(st.lists(st.sampled_from(["Edema", "Pneumonia", "Lung Opacity"]), unique=True), st.text())
def test_any_answer_gives_one_evidence_a_label(labels, rest):
    found = find_evidence("multiple_choice", labels, rest, TEXT)
    assert [one.label for one in found] == labels
    for one in found:
        assert one.start is None or TEXT[one.start : one.end].split() == one.quote.split() or one.quote


def test_a_row_is_shown_in_words():
    row = {
        "labels": ["Edema"],
        "status": "ok",
        "evidence": [{"label": "Edema", "quote": "edema", "start": 3, "end": 8}],
        "scores": {"Edema": 0.75, "Fracture": 0.25},
        "denied": ["Fracture"],
    }
    assert row_text(row) == "Edema  0.75  “edema” (at 3-8)\ndenied: Fracture\nothers: Fracture 0.25"
    assert row_text({"labels": [], "status": "ok"}) == "Normal: no label"
    assert "unparsed" in row_text({"labels": [], "status": "unparsed", "response": "?"})
