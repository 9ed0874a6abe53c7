"""Phrases and codes read from a teacher's answer, and the seed examples it is shown."""

import re

import pytest
import simple_icd_10_cm as icd
from hypothesis import given
from hypothesis import strategies as st

from radtune.config import InputError
from radtune.labels import Status
from radtune.tasks import open_ended
from radtune.tasks.open_ended import Phrase, locate, read_annotation

TEXT = "Findings: Small\n left effusion. Old T12 fracture. No massive edema, no mass.\nImpression: Small left effusion."


def test_phrases_come_with_their_place_and_code():
    response = (
        "Output: ['small left effusion', 'T12 fracture', 'cyst']\n"
        "1. **Small left effusion** (ICD-10-CM: J90)\n- T12 fracture of T12: S22.080A\n- cyst"
    )
    phrases, status = read_annotation(response, TEXT)
    assert status == Status.OK
    assert phrases == [
        Phrase("small left effusion", "J90", 10, 30),
        Phrase("T12 fracture", "S22.080A", 36, 48),
        Phrase("cyst", None, None, None),
    ]


def test_a_line_that_opens_with_the_phrase_is_its_own():
    response = "['acute pulmonary edema', 'edema']\n- acute pulmonary edema: J81.0\n- 'edema': R60.9"
    assert [phrase.icd10 for phrase in read_annotation(response, TEXT)[0]] == ["J81.0", "R60.9"]


@pytest.mark.parametrize("written", ["effusion (J90)", "effusion: J90", "effusion - ICD-10: J90"])
def test_a_code_inside_the_list_is_taken_out_of_its_phrase(written):
    phrases, _ = read_annotation(f"['small left {written}', 'cyst (N28.1)']", TEXT)
    assert phrases[0] == Phrase("small left effusion", "J90", 10, 30)
    # The report has no cyst, so nothing says that the code is none of its name.
    assert phrases[1].phrase == "cyst (N28.1)"


def test_codes_without_dot_and_of_new_chapters_are_read():
    response = "['effusion', 'covid']\n- effusion: S2241XA\n- covid: U07.1"
    assert [phrase.icd10 for phrase in read_annotation(response, TEXT)[0]] == ["S2241XA", "U07.1"]


def test_answers_that_cannot_be_read_have_no_phrases():
    assert read_annotation("Effusion: J90", TEXT) == ([], Status.UNPARSED)
    assert read_annotation("['effu", TEXT, finished=False) == ([], Status.TRUNCATED)


def test_whole_words_are_preferred_to_parts():
    assert TEXT[slice(*locate("mass", TEXT))] == "mass"
    assert locate("mass", TEXT)[0] == TEXT.index("no mass") + 3
    assert TEXT[slice(*locate("fract", TEXT))] == "fract"
    assert locate(" ", TEXT) == (None, None)


@given(st.text(), st.text(), st.booleans())
def test_any_answer_about_any_report_is_read(response, text, finished):
    phrases, status = read_annotation(f"['{response}']\n{response}", text, finished)
    assert status in (Status.OK, Status.UNPARSED, Status.TRUNCATED)
    for phrase in phrases:
        assert (phrase.start is None) == (phrase.end is None)
        assert phrase.start is None or 0 <= phrase.start < phrase.end <= len(text)


# What the description of each seed phrase's code must speak of.
DESCRIBED_BY = {
    "small left pleural effusion": "pleural effusion",
    "basilar atelectasis": "atelectasis",
    "pacemaker": "cardiac pacemaker",
    "aortic arch calcification": "atherosclerosis of aorta",
    "mild cardiomegaly": "cardiomegaly",
    "right lower lobe pneumonia": "pneumonia",
    "right apical pneumothorax": "pneumothorax",
    "acute fractures of the right fifth, sixth and seventh ribs": "multiple fractures of ribs, right side, initial",
    "emphysema": "emphysema",
    "solitary left lung nodule": "solitary pulmonary nodule",
    "coronary artery bypass grafting": "aortocoronary bypass graft",
    "acute pulmonary edema": "acute pulmonary edema",
    "pulmonary fibrosis": "pulmonary fibrosis",
    "hiatal hernia": "diaphragmatic hernia",
    "elevation of the right hemidiaphragm": "diaphragm",
    "calcified pleural plaques": "pleural plaque",
    "scoliosis": "scoliosis",
    "thoracic spondylosis": "thoracic region",
    "right picc": "vascular implants",
    "right hydropneumothorax": "pleural conditions",
    "cervical fusion hardware": "arthrodesis",
}


def test_there_are_eleven_seed_examples_and_three_are_fixed():
    assert len(open_ended.seed_examples()) == 11
    assert len(open_ended.fixed_examples()) == 3
    assert len({example.example_id for example in open_ended.seed_examples()}) == 11


def test_seed_phrases_stand_in_their_reports_and_have_codes_that_mean_them():
    phrases = [phrase for example in open_ended.seed_examples() for phrase in example.phrases]
    assert {phrase.phrase for phrase in phrases} == set(DESCRIBED_BY)
    for phrase in phrases:
        assert phrase.start is not None, phrase
        assert icd.is_valid_item(phrase.icd10) and icd.is_leaf(phrase.icd10), phrase
        assert DESCRIBED_BY[phrase.phrase] in icd.get_description(phrase.icd10).lower(), phrase


def test_seed_examples_name_no_condition_that_their_report_denies():
    for example in open_ended.seed_examples():
        for phrase in example.phrases:
            assert not re.search(rf"\b(no|without|possible)\s+{phrase.phrase}", example.text, re.IGNORECASE)


def test_examples_are_drawn_per_report_and_again_alike():
    drawn = {open_ended.drawn_examples(1, str(report_id)) for report_id in range(200)}
    assert all(len(set(examples)) == 3 for examples in drawn)
    assert {example for examples in drawn for example in examples} == set(open_ended.seed_examples())
    assert open_ended.drawn_examples(1, "7") == open_ended.drawn_examples(1, "7")
    assert [open_ended.drawn_examples(1, str(i)) for i in range(20)] != [
        open_ended.drawn_examples(2, str(i)) for i in range(20)
    ]


def test_a_broken_seed_file_is_named_with_its_line(tmp_path):
    (tmp_path / "seeds.jsonl").write_text('{"example_id": "s01", "text": "Clear.", "fixed": true}\n')
    with pytest.raises(InputError, match=r"seeds\.jsonl:1: "):
        open_ended.seed_examples(tmp_path / "seeds.jsonl")
