"""Phrases and codes read from a teacher's answer, and the seed examples it is shown."""

import re

import pytest
import simple_icd_10_cm as icd
from hypothesis import given
from hypothesis import strategies as st

from radtune.config import InputError
from radtune.labels import Phrase, Status
from radtune.tasks import load_task
from radtune.tasks.phrase_list import locate
from radtune.tasks.rendering import read_examples

OPEN = load_task("open_ended")
EXAMPLES = read_examples(OPEN.files[1])

TEXT = "Findings: Small\n left effusion. Old T12 fracture. No massive edema, no mass.\nImpression: Small left effusion."


def test_phrases_come_with_their_place_and_code():
    response = (
        "Output: ['small left effusion', 'T12 fracture', 'cyst']\n"
        "1. **Small left effusion** (ICD-10-CM: J90)\n- T12 fracture of T12: S22.080A\n- cyst"
    )
    answer = OPEN.read(response, TEXT)
    assert answer.status == Status.OK
    assert answer.labels == ("small left effusion", "T12 fracture", "cyst")
    assert list(answer.phrases) == [
        Phrase("small left effusion", "J90", 10, 30),
        Phrase("T12 fracture", "S22.080A", 36, 48),
        Phrase("cyst", None, None, None),
    ]


def test_a_line_that_opens_with_the_phrase_is_its_own():
    response = "['acute pulmonary edema', 'edema']\n- acute pulmonary edema: J81.0\n- 'edema': R60.9"
    assert [phrase.icd10 for phrase in OPEN.read(response, TEXT).phrases] == ["J81.0", "R60.9"]


@pytest.mark.parametrize("written", ["effusion (J90)", "effusion: J90", "effusion - ICD-10: J90", "effusion [J90]"])
def test_a_code_inside_the_list_is_taken_out_of_its_phrase(written):
    phrases = OPEN.read(f"['small left {written}', 'cyst (N28.1)']", TEXT).phrases
    assert phrases[0] == Phrase("small left effusion", "J90", 10, 30)
    # The report has no cyst, so nothing says that the code is none of its name.
    assert phrases[1].phrase == "cyst (N28.1)"


def test_codes_without_dot_and_of_new_chapters_are_read():
    response = "['effusion', 'covid']\n- effusion: S2241XA\n- covid: U07.1"
    assert [phrase.icd10 for phrase in OPEN.read(response, TEXT).phrases] == ["S2241XA", "U07.1"]


def test_answers_that_cannot_be_read_have_no_phrases():
    for answer, status in (
        (OPEN.read("Effusion: J90", TEXT), Status.UNPARSED),
        (OPEN.read("['effu", TEXT, finished=False), Status.TRUNCATED),
    ):
        assert (answer.labels, answer.phrases, answer.status) == ((), (), status)


def test_whole_words_are_preferred_to_parts():
    assert TEXT[slice(*locate("mass", TEXT))] == "mass"
    assert locate("mass", TEXT)[0] == TEXT.index("no mass") + 3
    assert TEXT[slice(*locate("fract", TEXT))] == "fract"
    assert locate(" ", TEXT) == (None, None)


@given(st.text(), st.text(), st.booleans())
def test_any_answer_about_any_report_is_read(response, text, finished):
    answer = OPEN.read(f"['{response}']\n{response}", text, finished)
    assert answer.status in (Status.OK, Status.UNPARSED, Status.TRUNCATED)
    assert answer.labels == tuple(phrase.phrase for phrase in answer.phrases)
    for phrase in answer.phrases:
        assert (phrase.start is None) == (phrase.end is None)
        assert phrase.start is None or 0 <= phrase.start < phrase.end <= len(text)


# What some codes' descriptions call it.
OTHER_WORDS = {
    "right picc": "vascular implants", "right hydropneumothorax": "pleural", "cervical fusion hardware": "arthrodesis",
    "elevation of the right hemidiaphragm": "diaphragm", "aortic arch calcification": "atherosclerosis",
}  # fmt: skip


def test_the_phrases_of_eleven_examples_stand_in_their_reports_and_have_codes_that_mean_them():
    assert len({example.example_id for example in EXAMPLES}) == len(EXAMPLES) == 11
    named = [(example, phrase) for example in EXAMPLES for phrase in example.phrases]
    for example, phrase in named:
        assert locate(phrase.phrase, example.text) != (None, None), phrase
        assert icd.is_valid_item(phrase.icd10) and icd.is_leaf(phrase.icd10), phrase
        described, words = icd.get_description(phrase.icd10).lower(), OTHER_WORDS.get(phrase.phrase, phrase.phrase)
        assert any(word[:5] in described for word in words.split() if len(word) > 5), phrase
        assert not re.search(rf"\b(no|without|possible)\s+{phrase.phrase}", example.text, re.IGNORECASE)


def test_examples_are_drawn_per_report_and_again_alike():
    drawn = [OPEN.prompt("labelling", str(report_id), seed=1).example_ids for report_id in range(200)]
    assert all(len(set(ids)) == 3 for ids in drawn)
    assert {example_id for ids in drawn for example_id in ids} == {example.example_id for example in EXAMPLES}
    assert drawn[7] == OPEN.prompt("labelling", "7", seed=1).example_ids
    assert drawn[7] != OPEN.prompt("labelling", "7", seed=1, vote=1).example_ids
    assert drawn[:20] != [OPEN.prompt("labelling", str(i), seed=2).example_ids for i in range(20)]
    assert OPEN.wording.draws_examples("labelling") and not OPEN.wording.draws_examples("inference")


def test_a_broken_examples_file_is_named_with_its_line(tmp_path):
    (tmp_path / "seeds.jsonl").write_text('{"example_id": "s01", "text": "Clear.", "fixed": true}\n')
    with pytest.raises(InputError, match=r"seeds\.jsonl:1: "):
        read_examples(tmp_path / "seeds.jsonl")


@pytest.mark.parametrize(
    ("header", "cell", "labels"),
    [
        ("Present", "Yes", ("edema",)), ("Present", "No", ()), ("Status", "possible", ()), ("Negated", "True", ()),
        ("Absent findings", "cyst", ()), ("Laterality if present", "left", ("edema",)), ("Comment", "No", ("edema",)),
        ("Presentation", "acute", ("edema",)), ("Negated", "False", ("edema",)),
    ],
)  # fmt: skip
def test_a_table_that_says_of_a_row_that_it_is_absent_is_not_guessed_at(header, cell, labels):
    answer = load_task("radiograph").read(f"| Finding | {header} |\n| --- | --- |\n| edema | {cell} |")
    assert (answer.labels, answer.status) == (labels, Status.OK if labels else Status.UNPARSED)


def test_json_by_the_schema_is_read():
    answer = OPEN.read('{"phrases": [{"phrase": "Small left effusion", "icd10": "J90"}]}', TEXT, as_json=True)
    assert answer.phrases == (Phrase("Small left effusion", "J90", 10, 30),)
    assert OPEN.read('{"phrases": []}', TEXT, as_json=True).status == Status.OK
    assert OPEN.read('{"phrases": [{"phrase": "a"}]}', TEXT, as_json=True).status == Status.UNPARSED


@pytest.mark.parametrize("text", ["", "There is a small left pleural effusion."])
def test_wordings_of_one_finding_are_the_same_with_and_without_their_place(text):
    wordings = [
        OPEN.read(f"['{words}']", text).phrases[0]
        for words in ("Small left pleural effusion", "left pleural effusion", "pleural effusion")
    ]
    assert all(OPEN.same(a, b) for a in wordings for b in wordings)


def test_one_wording_in_two_places_is_two_findings_only_by_its_place():
    left, right = Phrase("rib fracture left", None, 0, 17), Phrase("rib fracture right", None, 30, 48)
    assert not OPEN.same(left, right)
    assert OPEN.same(Phrase("rib fracture left"), Phrase("rib fracture right"))
    assert not OPEN.same(Phrase("effusion", None, 30, 38), Phrase("a " * 30, None, 0, 60))
