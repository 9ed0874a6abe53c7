"""Evidence: what a model quotes, found in the report, whatever the form it is quoted in."""

import random
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from radtune.ask.display import row_text
from radtune.ask.evidence import find_evidence
from radtune.findings import FINDINGS
from radtune.tasks.lists import fold_space

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


REPORT = (
    "Findings: Mild edema with small left pleural effusion. The patient's heart is\nmoderately enlarged; no change in "
    "the pleural effusion. There is no pneumothorax.\nImpression: Edema."
)
MILD, BOTH = "Mild edema", "Mild edema with small left pleural effusion"
LEFT, SMALL, BIG = "small left", "small left pleural effusion", "heart is\nmoderately enlarged"


# Answers with the words of the report that each label then rests on.
@pytest.mark.parametrize(
    ("rest", "edema", "effusion"),
    [
        # The label before its quotation.
        ('Edema: "Mild edema"\nPleural Effusion: "small left pleural effusion"', MILD, SMALL),
        ('- **Edema**: "mild edema"\n- **Pleural Effusion**: "small left pleural effusion"', MILD, SMALL),
        ('**Edema:** “Mild edema”; **Pleural Effusion:** “small left pleural effusion”', MILD, SMALL),
        ("1. Edema - ‘mild edema’\n2. Pleural Effusion - ‘small left pleural effusion’", MILD, SMALL),
        ("1) Edema (mild edema)\n2) Pleural Effusion (small left pleural effusion)", MILD, SMALL),
        ("* Edema => mild edema\n* Pleural Effusion => small left pleural effusion.", MILD, SMALL),
        ("Edema—mild edema\nPleural Effusion—small left pleural effusion", MILD, SMALL),
        ("### Edema\n> mild edema\n\n### Pleural Effusion\n> small left pleural effusion", MILD, SMALL),
        ('Evidence for Edema: "Mild edema"\nEvidence for Pleural Effusion: "small left pleural effusion"', MILD, SMALL),
        ("Evidence for the Edema:\n  - Mild edema\nEvidence for Pleural Effusion:\n  - small left\n", MILD, LEFT),
        ('For Edema, "mild edema"; for Pleural Effusion, "small left pleural effusion"', MILD, SMALL),
        ('Edema: Supported by the phrase "mild edema" in the findings.\nPleural Effusion: None.', MILD, None),
        ("Edema:\n1. mild edema\nPleural Effusion:\n1. small left pleural effusion\n2. no change", MILD, SMALL),
        ("- disease: Edema\n  evidence: mild edema\n- disease: Pleural Effusion\n  evidence: small left", MILD, LEFT),
        ("__Edema__: mild edema\n_Pleural Effusion_: small left", MILD, LEFT),
        ("EDEMA:   MILD   EDEMA\nPleural effusion:\tSmall Left Pleural\u00a0Effusion", MILD, SMALL),
        ("Edema: `mild edema`\r\nPleural_Effusion: `small left pleural effusion`\r\n", MILD, SMALL),
        ("Edema: mild edema, Pleural Effusion: small left pleural effusion", MILD, SMALL),
        # Tables, JSON, and what looks like Python.
        ('| Edema | "mild edema" |\n| Pleural Effusion | "small left pleural effusion" |', MILD, SMALL),
        ("| Disease | Evidence |\n|---|---|\n| Edema | mild edema |\n| Pleural Effusion | small left |", MILD, LEFT),
        ('| "mild edema" | Edema |\n| "small left pleural effusion" | Pleural Effusion |', MILD, SMALL),
        ("{'Edema': 'mild edema', 'Pleural Effusion': 'small left pleural effusion'}", MILD, SMALL),
        ('```json\n{"Edema": ["mild edema"],\n "Pleural Effusion": [\n  "small left"]}\n```', MILD, LEFT),
        ('[{"name": "Edema", "quote": "mild edema"}, {"name": "Pleural Effusion", "quote": "small left"}]', MILD, LEFT),
        ('[{"evidence": "mild edema", "disease": "Edema"}]', MILD, None),
        ("Edema,mild edema\nPleural Effusion,small left pleural effusion", MILD, SMALL),
        # The quotation before its label.
        ('"Mild edema": Edema\n"small left pleural effusion": Pleural Effusion', MILD, SMALL),
        ('"Mild edema" (Edema), "small left pleural effusion" (Pleural Effusion)', MILD, SMALL),
        ('"small left pleural effusion" - **Pleural Effusion**\n"mild edema" - **Edema**', MILD, SMALL),
        ("mild edema → Edema\nsmall left pleural effusion → Pleural Effusion", MILD, SMALL),
        ('The phrase "mild edema" indicates Edema. The phrase "small left" indicates Pleural Effusion.', MILD, LEFT),
        ('"mild edema" (Edema), see also "There is"', MILD, None),
        ('"Mild edema" - Edema: fluid in the lung\n"small left" - Pleural Effusion: fluid around it', MILD, LEFT),
        ('Both stand in the report:\n"mild edema" shows edema,\n"small left" shows pleural effusion.', MILD, LEFT),
        ('"edema": Edema', "edema", None),
        ('"enlarged": Edema\n{"quote": "small left", "label": "Pleural Effusion"}', "enlarged", LEFT),
        # Quotations that name a class.
        ('Edema: "Mild edema with small left pleural effusion"', BOTH, None),
        ("Edema: Mild edema with small left pleural effusion", BOTH, None),
        ("Edema\n- Mild edema with small left pleural effusion", BOTH, None),
        ('Pleural Effusion: "Mild edema with small left pleural effusion"', None, BOTH),
        ('"Mild edema with small left pleural effusion": Pleural Effusion', None, BOTH),
        ('Edema: "edema"\nPleural Effusion: "pleural effusion"', "edema", "pleural effusion"),
        ('{"Edema": "edema", "Pleural Effusion": "pleural effusion"}', "edema", "pleural effusion"),
        ('Pleural Effusion: "no change in the pleural effusion"', None, "no change in the pleural effusion"),
        # Prose, and classes that share a quotation.
        ("There is edema (“mild edema”) and pleural\neffusion; for Pleural Effusion see “small left”.", MILD, LEFT),
        ("The patient has edema (“mild edema”) and pleural effusion\n(“small left pleural effusion”).", MILD, SMALL),
        ('Edema and Pleural Effusion: "Mild edema with small left pleural effusion"', BOTH, BOTH),
        ('"Mild edema with small left pleural effusion": Edema, Pleural Effusion', BOTH, BOTH),
        ("Evidence:\n- Mild edema with small left pleural effusion", BOTH, BOTH),
        ('Edema: not the pleural effusion but, as reported, "mild edema"', MILD, None),
        ('Edema: "mild edema" and pleural effusion: "small left pleural effusion"', MILD, SMALL),
        # Another's quotation, a class that was not found, and what says nothing or is not in the report.
        ('Edema\nCardiomegaly: "heart is moderately enlarged"', None, None),
        ('Edema: "no"\nPleural Effusion: "There is"', None, None),
        ('Edema: "Impression"\nPleural Effusion: present', None, None),
        ('Edema: "severe edema"; "mild edema"\nPleural Effusion: large effusion', MILD, None),
        ('Edema: "heart is moderately enlarged"', BIG, None),
        ("Edema: The patient's heart is moderately enlarged", f"The patient's {BIG}", None),
        ("Edema, Pleural Effusion", None, None),
        ("Evidence:\n- Edema\n- Pleural Effusion", None, None),
        ('I also saw "mild edema" and "small left".', None, None),
        ("", None, None),
    ],
)  # fmt: skip
def test_evidence_belongs_to_its_label(rest, edema, effusion):
    found = find_evidence("multiple_choice", ["Edema", "Pleural Effusion"], rest, REPORT)
    assert [one.supported for one in found] == [edema is not None, effusion is not None]
    shown = [None if one.start is None else REPORT[one.start : one.end].casefold() for one in found]
    assert shown == [edema and edema.casefold(), effusion and effusion.casefold()]


@pytest.mark.parametrize(
    ("quote", "supported"),
    [
        *((quote, True) for quote in ("edema", "no pneumothorax", "no change", "left", "is\nmoderately")),
        *((quote, False) for quote in ("no", "No.", "is", "there is no", "in the", "a", "s", "findings:", "…", "7")),
    ],
)
def test_empty_words_support_nothing(quote, supported):
    for task, label, rest in (("multiple_choice", "Edema", f"Edema: “{quote}”"), ("open_ended", quote, "")):
        (found,) = find_evidence(task, [label], rest.replace("\n", " "), REPORT)
        assert found.supported == supported
        assert (found.start is None) == (found.end is None) == (not supported)


def test_a_quotation_without_support_is_kept_for_the_reader():
    (found,) = find_evidence("multiple_choice", ["Edema"], 'Edema: "no"', REPORT)
    assert (found.quote, found.start, found.end) == ("no", None, None)


PIECES = [
    *("Edema", "edema", "Pleural Effusion", "pleural effusion", "Pneumonia", "Cardiomegaly", "mild edema", LEFT),
    *("There is no", '"', "'", "“", "”", "‘", "’", "`", ":", "- ", "* ", "**", "|", "\n", " ", ", "),
    *(" and ", "{", "}", "=>", "\\", "\u2028", "Evidence for ", "1. ", "ﬁ", "İ", "ſ", "ß"),
]  # fmt: skip
ANSWERS = st.text() | st.lists(st.sampled_from(PIECES), max_size=40).map("".join)
LABELS = st.lists(st.sampled_from([*FINDINGS, "mild edema", "", "-", "İ (x"]), unique_by=str.casefold)


@settings(max_examples=300)
@given(st.sampled_from(["multiple_choice", "open_ended"]), LABELS, ANSWERS, ANSWERS)
def test_any_answer_gives_one_evidence_a_label(task, labels, rest, made):
    for report in (REPORT, made):
        found = find_evidence(task, labels, rest, report)
        assert [one.label for one in found] == labels
        for one in found:
            assert (one.start is None) == (one.end is None)
            if one.start is not None:
                assert 0 <= one.start < one.end <= len(report)
                assert fold_space(report[one.start : one.end]).casefold() == fold_space(one.quote).casefold()


@given(st.sampled_from(FINDINGS), st.sampled_from(FINDINGS), st.integers(1, 4), st.integers(1, 4))
def test_a_quotation_in_quotes_is_its_labels_whatever_it_names(label, other, before, behind):
    report = f"Findings: there was new {other.lower()} beside {label.lower()} and its like."
    head, _, tail = report.partition("beside")
    quote = " ".join([*head.split()[-before:], "beside", *tail.split()[:behind]]).rstrip(".")
    in_quotes = (
        f'{label}: "{quote}"',
        f'"{quote}": {label}',
        f'* **{label}**\n  "{quote}"',
        f'{{"{label}": "{quote}"}}',
    )
    for rest in (*in_quotes, f"{label}: {quote}"):
        found = find_evidence("multiple_choice", sorted({label, other}), rest, report)
        assert [one.label for one in found if one.supported] == [label]
        assert all(report[one.start : one.end] == quote for one in found if one.supported)


HARD = [
    *("Edema ", "edema: ", "'a ", "' ", '"a" ', '"', "a'b ", "*", "-", "- ", "(", "[", "\\'", "pleural "),
    *("Evidence for ", "Edema\n", "Edema: mild edema, ", '"mild edema": Edema\n', "mild edema\n"),
    *("'Edema': 'mild edema', ", "xx\n"),
    *("x", " ", "\n", "Edema and ", '"small left" ', '"no" Edema ', "Edema: '", "the the ", "and", "_"),
]  # fmt: skip


@pytest.mark.parametrize("piece", HARD)
def test_a_long_answer_is_read_in_no_time(piece):
    report = REPORT * 20
    seconds = []
    for length in (100_000, 100_000):  # the quicker of two, for a machine that is busy with something else
        began = time.process_time()
        find_evidence("multiple_choice", list(FINDINGS), piece * (length // len(piece)), report)
        seconds.append(time.process_time() - began)
    assert min(seconds) < 1


def test_many_quotations_of_the_report_are_read_in_no_time():
    draw = random.Random(1)  # noqa: S311  (no secret)
    words = [str(draw.random()) + "abc" for _ in range(2_000)]
    rest = "\n".join(f'{FINDINGS[n % 13]}: "{words[n]} {words[n + 1]}"' for n in range(1_900))
    began = time.process_time()
    found = find_evidence("multiple_choice", list(FINDINGS), rest, " ".join(words))
    assert all(one.supported for one in found)
    assert time.process_time() - began < 1


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
