import subprocess
import sys
import time

import pytest
from chest import CHEST, RULES
from hypothesis import given, settings
from hypothesis import strategies as st

from radtune.label_files import NO_FINDING
from radtune.report import Report
from radtune.rules import OTHER, label_report, label_reports
from radtune.rules.labeling import POOL_FROM

WORDS = (
    "no", "without", "possible", "cannot be excluded", "has resolved", "versus", "but", "and", "or", "with", "is",
    "not", "seen", "pneumothorax", "effusion", "heart", "enlarged", "normal", "lungs", "clear", "PICC", "removed",
    "nodule", "İ", "ß", "ﬁ", "___", "XXXX", "1.", "\n", "\r\n", "\t", ",", ".", ":", ";", "?", "-", "(", ")", "\u2019",
    "\u00a0", "history of", "in the", "12.5 cm", "é",
)  # fmt: skip
DICTATION = st.lists(st.sampled_from(WORDS), max_size=40).map(" ".join)
STATUSES = {"positive", "negative", "uncertain", "ignored"}


@settings(max_examples=200, deadline=None)
@given(st.one_of(st.text(), DICTATION))
def test_any_text_gives_labels_with_evidence_inside_it(text: str) -> None:
    found = label_report(text, RULES)
    assert found == label_report(text, RULES)
    assert set(found.labels) <= {*CHEST.classes, NO_FINDING}
    for mention in found.mentions:
        assert mention.finding in (*CHEST.classes, OTHER)
        assert mention.status in STATUSES
        assert 0 <= mention.start < mention.end <= len(text)
        assert text[mention.start : mention.end].strip()
        assert (mention.cue_start is None) == (mention.cue_end is None)
        if mention.cue_start is not None:
            assert 0 <= mention.cue_start < mention.cue_end <= len(text)
    assert list(found.mentions) == sorted(found.mentions, key=lambda m: (m.start, m.end))


@settings(max_examples=100, deadline=None)
@given(DICTATION)
def test_labels_follow_from_the_mentions(text: str) -> None:
    found = label_report(text, RULES)
    strength = {"positive": 1, "uncertain": -1, "negative": 0}
    for finding in CHEST.classes:
        statuses = {m.status for m in found.mentions if m.finding == finding}
        expected = next((value for status, value in strength.items() if status in statuses), None)
        assert found.labels.get(finding) == expected
    abnormal = {m.finding for m in found.mentions if m.status in ("positive", "uncertain")} - {"Support Devices"}
    assert found.labels.get(NO_FINDING) == (None if abnormal or not text.strip() else 1)


@settings(max_examples=100, deadline=None)
@given(DICTATION, DICTATION)
def test_sentences_do_not_reach_into_each_other(one: str, other: str) -> None:
    apart = [(m.finding, m.status) for text in (one, other) for m in label_report(f"{text}.\n\n", RULES).mentions]
    together = [(m.finding, m.status) for m in label_report(f"{one}.\n\n{other}.\n\n", RULES).mentions]
    assert together == apart


def test_mention_and_cue_are_the_words_of_the_report() -> None:
    text = "Findings: Lungs clear.\nNo definite\npneumothorax."
    mention = label_report(text, RULES).mentions[-1]
    assert text[mention.start : mention.end] == "pneumothorax"
    assert text[mention.cue_start : mention.cue_end] == "No"
    assert (mention.finding, mention.status, mention.rule) == ("Pneumothorax", "negative", "absent_before")
    assert label_report(" \n", RULES).labels == {}


@pytest.mark.parametrize(
    "part",
    [
        "heart ",
        "heart/",
        "no effusion ",
        "not ",
        "? ",
        "a.b",
        "edema no ",
        "tip the ",
        "e",
        "\n",
        " ",
        "effusion and ",
        "effusion or ",
        "edema: none, ",
        "edema, ",
        "no\n",
        "| a ",
        "[ ] ",
        "it is no longer seen. ",
        "effusion? no edema. ",
        "\n?effusion\nnone",
    ],
)
def test_time_grows_with_length_not_faster(part: str) -> None:
    started = time.process_time()
    label_report(f"No {part * (100_000 // len(part))}effusion.", RULES)
    # Quadratic behaviour takes minutes here.
    assert time.process_time() - started < 5


@pytest.mark.parametrize("evidence", [True, False])
@pytest.mark.parametrize("count", [3, POOL_FROM + 1_234])
def test_order_is_kept_over_processes(count: int, evidence: bool) -> None:
    sentences = ["No effusion.", "Small effusion.", "Possible effusion.", "Clear lungs."]
    reports = [Report(str(i), None, "", "", sentences[i * 7 % 4], "test") for i in range(count)]
    labelled = list(label_reports(iter(reports), CHEST, processes=2, evidence=evidence))
    assert [report for report, _ in labelled] == reports
    by_text = {text: label_report(text, RULES) for text in sentences}
    for report, found in labelled:
        assert found.labels == by_text[report.text].labels
        assert found.mentions == (by_text[report.text].mentions if evidence else ())


def test_no_process_outlives_one_that_is_killed() -> None:
    code = """
from itertools import count
from radtune.report import Report
from radtune.rules import label_reports
from radtune.tasks import DEFAULT_RULES_TASK, load_task
endless = (Report(str(i), None, "", "", "No effusion.", "test") for i in count())
for number, _ in enumerate(label_reports(endless, load_task(DEFAULT_RULES_TASK), processes=2)):
    if number == 0:
        print("started", flush=True)
"""
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "started\n"
        process.kill()
        # Every process holds the other end of this pipe, so it closes with the last of them.
        assert process.communicate(timeout=120)[0] == ""


def test_a_remembered_sentence_is_found_where_it_stands() -> None:
    once, twice = "No effusion.", "Small nodule.  No effusion. No effusion."
    RULES.remembered.clear()
    first = label_report(once, RULES).mentions
    assert [m._replace(start=m.start + 15, end=m.end + 15, cue_start=15, cue_end=17) for m in first] == [
        label_report(twice, RULES).mentions[1]
    ]
    for mention in label_report(twice, RULES).mentions[1:]:
        assert twice[mention.start : mention.end] == "effusion"
        assert twice[mention.cue_start : mention.cue_end] == "No"
    assert label_report(once, RULES).mentions == first


def test_sentences_too_long_to_remember_are_labelled_alike() -> None:
    short, padding = "no effusion", " and the patient is rotated" * 20
    mention = label_report(f"{short}{padding}", RULES).mentions[0]
    assert mention == label_report(short, RULES).mentions[0]
