"""Evidence: what a model quotes on a label's line, found in the report."""

import random
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from radtune.ask.evidence import Evidence, find_evidence
from radtune.tasks import load_task
from radtune.tasks.lists import fold_space

PHRASES, CLASSES = load_task("open_ended"), load_task("multiple_choice")
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
        ('Edema: "Mild edema"\nPleural Effusion: "small left pleural effusion"', MILD, SMALL),
        ('- **Edema**: "mild edema"\n- **Pleural Effusion**: "small left pleural effusion"', MILD, SMALL),
        ("**Edema:** “Mild edema”\n**Pleural Effusion:** “small left pleural effusion”", MILD, SMALL),
        ("1. Edema - ‘mild edema’\n2. Pleural Effusion - ‘small left pleural effusion’", MILD, SMALL),
        ("1) Edema (mild edema)\n2) Pleural Effusion (small left pleural effusion)", MILD, SMALL),
        ("* Edema => mild edema\n* Pleural Effusion => small left pleural effusion.", MILD, SMALL),
        ("Edema—mild edema\nPleural Effusion—small left pleural effusion", MILD, SMALL),
        ("### Edema\n> mild edema\n\n### Pleural Effusion\n> small left pleural effusion", MILD, SMALL),
        ('Evidence for Edema: "Mild edema"\nEvidence for the Pleural Effusion:\n  - small left', MILD, LEFT),
        ('Edema: Supported by the phrase "mild edema" in the findings.\nPleural Effusion: None.', MILD, None),
        ("EDEMA:   MILD   EDEMA\nPleural_effusion:\tSmall Left Pleural\u00a0Effusion", MILD, SMALL),
        ('| Edema | "mild edema" |\n| Pleural Effusion | small left |', MILD, LEFT),
        ('{"Edema": "mild edema",\n"Pleural Effusion": ["small left"]}', MILD, LEFT),
        # Quotations that name a class, and several of one label.
        ('Edema: "Mild edema with small left pleural effusion"', BOTH, None),
        ('Pleural Effusion: "Mild edema with small left pleural effusion"', None, BOTH),
        ('Edema: "severe edema"; "mild edema"\nPleural Effusion: large effusion', MILD, None),
        # Another's quotation, and what says nothing, is not in the report, or stands on no label's line.
        ('Edema\nCardiomegaly: "heart is moderately enlarged"', None, None),
        ('Edema: "no"\nPleural Effusion: "There is"', None, None),
        ('Edema: "Impression"\nPleural Effusion: present', None, None),
        ("Edema, Pleural Effusion", None, None),
        ('I also saw "mild edema" and "small left".', None, None),
        ('"mild edema" shows the edema', None, None),
        ("", None, None),
    ],
)
def test_evidence_belongs_to_the_label_of_its_line(rest, edema, effusion):
    found = find_evidence(CLASSES, ["Edema", "Pleural Effusion"], rest, REPORT)
    shown = [None if one.start is None else REPORT[one.start : one.end].casefold() for one in found]
    assert shown == [edema and edema.casefold(), effusion and effusion.casefold()]


def test_a_quotation_without_support_is_kept_for_the_reader():
    rest = 'Edema: "interstitial edema"\nPneumonia'
    assert find_evidence(CLASSES, ["Edema", "Pneumonia"], rest, REPORT) == [
        Evidence("Edema", "interstitial edema"), Evidence("Pneumonia", None)
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("quote", "supported"),
    [
        *((quote, True) for quote in ("edema", "no pneumothorax", "no change", "left", "is\nmoderately")),
        *((quote, False) for quote in ("no", "No.", "is", "there is no", "in the", "a", "s", "findings:", "…", "7")),
    ],
)
def test_empty_words_support_nothing_and_phrases_are_their_own_evidence(quote, supported):
    for task, label, rest in ((CLASSES, "Edema", f"Edema: “{quote}”"), (PHRASES, quote, "")):
        (found,) = find_evidence(task, [label], rest.replace("\n", " "), REPORT)
        assert (found.start is not None) == (found.end is not None) == supported


PIECES = [
    *("Edema", "edema", "Pleural Effusion", "pleural effusion", "Pneumonia", "Cardiomegaly", "mild edema", LEFT),
    *("There is no", '"', "'", "“", "”", "‘", "’", "`", ":", "- ", "* ", "**", "|", "\n", " ", ", "),
    *(" and ", "{", "}", "=>", "\\", "\u2028", "Evidence for ", "1. ", "ﬁ", "İ", "ſ", "ß"),
]  # fmt: skip
ANSWERS = st.text() | st.lists(st.sampled_from(PIECES), max_size=40).map("".join)
LABELS = st.lists(st.sampled_from([*CLASSES.classes, "mild edema", "", "-", "İ (x"]), unique_by=str.casefold)


@settings(max_examples=200)
@given(st.sampled_from([CLASSES, PHRASES]), LABELS, ANSWERS, ANSWERS)
def test_any_answer_gives_one_evidence_a_label(task, labels, rest, made):
    for report in (REPORT, made):
        found = find_evidence(task, labels, rest, report)
        assert [one.label for one in found] == labels
        for one in found:
            assert (one.start is None) == (one.end is None)
            if one.start is not None:
                assert 0 <= one.start < one.end <= len(report)
                assert fold_space(report[one.start : one.end]).casefold() == fold_space(one.quote).casefold()


@pytest.mark.parametrize(
    "piece",
    [
        *("Edema ", "edema: ", "'a ", "' ", '"a" ', '"', "a'b ", "*", "- ", "(", "\\'", "Edema\n", "Edema: '", "_"),
        *('"mild edema": Edema\n', "mild edema\n", "'Edema': 'mild edema', ", "x", " ", "\n", "the the "),
    ],
)
def test_a_long_answer_is_read_in_no_time(piece):
    began = time.process_time()
    find_evidence(CLASSES, list(CLASSES.classes), piece * (100_000 // len(piece)), REPORT * 20)
    # Quadratic behaviour takes minutes here.
    assert time.process_time() - began < 6


def test_many_quotations_of_the_report_are_read_in_no_time():
    draw = random.Random(1)  # noqa: S311  (no secret)
    words = [str(draw.random()) + "abc" for _ in range(2_000)]
    rest = "\n".join(f'{CLASSES.classes[n % 13]}: "{words[n]} {words[n + 1]}"' for n in range(1_900))
    began = time.process_time()
    found = find_evidence(CLASSES, list(CLASSES.classes), rest, " ".join(words))
    assert all(one.start is not None for one in found)
    assert time.process_time() - began < 6
