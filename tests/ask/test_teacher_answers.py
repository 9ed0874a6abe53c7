"""What an answer says and what is wrong with it."""

import json

import pytest

from radtune.ask.teacher_answers import read_answer
from radtune.tasks.schemas import json_schema

TEXT = "Zebra effusion on the left. No cyst."


def answer(response, **more):
    return {
        "response": response, "finished": True, "refused": False, "finish_reason": "stop", "as_json": False, **more
    }  # fmt: skip


def read(response, task="open_ended", **more):
    return read_answer(answer(response, **more), task, TEXT)


@pytest.mark.parametrize(
    ("given", "status", "labels", "problems"),
    [
        (answer("Output: ['zebra effusion']\n- zebra effusion: J90"), "ok", ("zebra effusion",), ()),
        (answer("Output: []"), "ok", (), ()),
        (answer("Output: ['Zebra  Effusion']"), "ok", ("Zebra Effusion",), ()),
        (
            answer("['zebra effusion', 'lung cyst']"),
            "ok",
            ("zebra effusion", "lung cyst"),
            ("1 of 2 phrases not in the report",),
        ),
        (
            answer("['zebra effusion']\n- zebra effusion: J99.999"),
            "ok",
            ("zebra effusion",),
            ("1 codes that ICD-10-CM does not have",),
        ),
        (
            answer("['zebra", finished=False, finish_reason="length"),
            "truncated",
            (),
            ("cut off by the token limit before its list was complete",),
        ),
        (
            answer("['zebra effusion'] because", finished=False, finish_reason="length"),
            "ok",
            ("zebra effusion",),
            (),
        ),
        (answer("There is an effusion."), "unparsed", (), ("no list in the answer",)),
        (answer(""), "unparsed", (), ("no list in the answer",)),
        (answer("['zebra effusion']", refused=True), "refused", (), ("refused",)),
        (answer("", refused=True, finish_reason="content_filter"), "refused", (), ("stopped by a content filter",)),
    ],
)
def test_an_answer_is_read_with_its_problems(given, status, labels, problems):
    reading = read_answer(given, "open_ended", TEXT)
    assert (reading.status, reading.labels, reading.problems) == (status, labels, problems)
    assert tuple(phrase.phrase for phrase in reading.phrases) == labels
    # Asking again is worth it for what the model did, not for what a provider will not have.
    assert (reading.complaint is not None) == (bool(problems) and status != "refused")


def test_places_and_codes_are_found():
    (phrase,) = read("Output: ['zebra effusion']\n- zebra effusion: J90").phrases
    assert (phrase.icd10, TEXT[phrase.start : phrase.end]) == ("J90", "Zebra effusion")


def test_the_complaint_names_what_is_wrong_and_the_problem_does_not():
    reading = read("['quagga cyst']\n- quagga cyst: J99.999")
    assert "quagga cyst" in reading.complaint and "J99.999" in reading.complaint
    assert "quagga" not in " ".join(reading.problems)


def test_multiple_choice_has_classes_and_no_phrases():
    reading = read("['pleural effusion', 'Normal', 'Cyst']", "multiple_choice")
    assert (reading.status, reading.labels, reading.phrases) == ("ok", ("Pleural Effusion", "Cyst"), ())


def test_json_is_read_by_its_schema():
    found = {"phrases": [{"phrase": "zebra effusion", "icd10": "J90"}, {"phrase": "Zebra  effusion", "icd10": None}]}
    reading = read(json.dumps(found), as_json=True)
    (phrase,) = reading.phrases
    assert (reading.status, phrase.icd10, phrase.start) == ("ok", "J90", 0)
    assert read('{"phrases": []}', as_json=True).labels == ()
    chosen = read('{"diseases": ["Pneumothorax", "Edema", "Edema"]}', "multiple_choice", as_json=True)
    assert (chosen.status, chosen.labels) == ("ok", ("Edema", "Pneumothorax"))


@pytest.mark.parametrize(
    ("response", "task", "status"),
    [
        ('{"diseases": ["Measles"]}', "multiple_choice", "ok"),
        ('{"phrases": [{"phrase": "zebra', "open_ended", "unparsed"),
        ('{"phrases": [{"phrase": "zebra effusion"}], "more": 1}', "open_ended", "unparsed"),
        ("null", "open_ended", "unparsed"),
    ],
)
def test_json_that_breaks_the_schema_is_read_like_any_text(response, task, status):
    reading = read(response, task, as_json=True)
    assert reading.status == status
    assert reading.labels == (("Measles",) if status == "ok" else ())


def test_a_server_that_ignored_the_schema_is_understood():
    assert read("Output: ['zebra effusion']", as_json=True).labels == ("zebra effusion",)


@pytest.mark.parametrize("task", ["open_ended", "multiple_choice"])
def test_the_schemas_are_what_strict_mode_takes(task):
    """As its documentation asks: objects with all keys required and no others."""
    schema = json_schema(task)
    assert (schema["name"], schema["strict"]) == (task, True)
    objects = [schema["schema"], *schema["schema"].get("$defs", {}).values()]
    for part in objects:
        assert part["additionalProperties"] is False
        assert sorted(part["required"]) == sorted(part["properties"])
