"""Which answers deny a label."""

import dataclasses
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from radtune.ask.verify import denies, verification_tokens
from radtune.tasks import load_task, task_names

TASKS = ("multiple_choice", "open_ended")


def denied(response, label, task="multiple_choice", finished=True):
    return denies(load_task(task), response, label, finished)


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize(
    "response",
    [
        *("No", "no.", " No\n", "No, it does not.", "No: the lungs are clear", "No - clear", "No evidence of it."),
        *("**No**", "__No__", "'no'", "“No”", "> No", "- No", "* no", "```\nno\n```", "(no)", "['No']"),
        *("Answer: no", "Answer: **No**", "**Answer:** No", "The answer is no.", "My answer is: No", "Output: No"),
        *("The final answer is “no”.", "Response: no", "No longer.", "No\nYes", "No. No change.", "No, ['Edema']"),
        *("None of these", "None of the above.", "Answer: none of them"),
        *("[]", "Output: []", "['Normal']", "['normal']", "[ ]", "```json\n[]\n```", '{"diseases": []}', "**[]**"),
        *("The diseases are: []", "Output: ['Normal']", "<think>Is it? Yes.</think>\nNo.", "<think>x</think>\n[]"),
    ],
)
def test_these_deny_any_label(response, task):
    assert denied(response, "tiny right effusion", task)
    assert denied(response, "Pneumonia", task)


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize(
    "response",
    [
        *("Yes", "yes, no doubt", "**Yes**", "Answer: yes", "Yes: []", "Yes [sic]", "['Yes']", "‘yes’"),
        # Neither yes nor no: doubt leaves the label standing.
        *("", "Not certain", "Nothing new", "Normal heart size", "None", "Unknown", "N/A", "nodule", "north"),
        *("Possibly no", "It has no edema", "I cannot answer that.", "<think>No", "[1]", "Edema [no change]"),
        # What has a no in front and says yes, or says that a finding stays.
        *("No doubt: yes", "No doubt", "No question, it does.", "No change in it.", "No interval change."),
        # A list that was cut off, or is none.
        *("['Pneu", "[('a', 'b')]"),
    ],
)
def test_these_deny_no_label(response, task):
    assert not denied(response, "tiny right effusion", task)
    assert not denied(response, "Pneumonia", task)


@pytest.mark.parametrize(
    ("label", "items", "expected"),
    [
        ("tiny right effusion", "['Cardiomegaly', 'Pleural Effusion']", False),
        ("tiny right effusion", "Output: ['pleural effusions']", False),
        ("tiny right effusion", "['tiny right nodule']", True),
        ("tiny right effusion", "['Cardiomegaly']", True),
        ("Small pleural effusions.", "['right effusion,']", False),
        ("right-sided pneumothorax", "['left-sided effusion']", True),
        ("right-sided pneumothorax", "['PNEUMOTHORAX (apical)']", False),
        ("normal pressure hydrocephalus", "['Normal']", True),
        ("mild edema", "['mild scoliosis', 'edematous lungs']", True),
        ("PE", "['pe']", False),
        ("PE", "['Pneumonia']", True),
        ("small left", "['Small Left']", False),
        ("edema", "['pulmonary edema']", False),
    ],
)
def test_a_list_denies_a_phrase_that_nothing_on_it_could_mean(label, items, expected):
    assert denied(items, label, "open_ended") == expected


def test_a_list_denies_a_class_that_it_does_not_name():
    assert denied("['Pleural Other']", "Pleural Effusion")
    assert not denied("['pleural effusion']", "Pleural Effusion")
    # Without brackets, names alone are a list, too.
    assert denied("Pneumonia", "Edema") and denied("Normal", "Edema")
    assert not denied("Pneumonia, edema", "Edema")


@given(st.text(), st.sampled_from(["Edema", "Pleural Effusion", "small effusion"]), st.sampled_from(TASKS))
def test_what_follows_a_yes_or_no_changes_nothing(text, label, task):
    assert not denied(f"Yes {text.replace('[', '')}", label, task)
    assert denied(f"No. {text}", label, task)


@pytest.mark.parametrize("piece", ["*", "_", "the ", "no ", "[", "answer ", "yes"])
def test_a_long_answer_is_judged_in_no_time(piece):
    began = time.process_time()
    denied(piece * (100_000 // len(piece)), "tiny effusion")
    # Quadratic behaviour takes minutes here.
    assert time.process_time() - began < 6


def test_there_is_room_for_a_list_of_all_classes_up_to_a_bound():
    tokens = {name: verification_tokens(load_task(name)) for name in task_names()}
    many = {name for name in tokens if len(load_task(name).classes) > 40}
    assert many and {name: count for name, count in tokens.items() if count > 80} == dict.fromkeys(many, 320)
    assert min(tokens.values()) == 80
    some = dataclasses.replace(load_task("multiple_choice"), classes=tuple(f"Finding number {n}" for n in range(20)))
    assert 80 < verification_tokens(some) < 320
    assert not denied(some.encode(some.classes)[:60], "Edema", finished=False)
