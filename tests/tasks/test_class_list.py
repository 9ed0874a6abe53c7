"""Classes as answers: fixed order, the word for none, names that are none, JSON, what counts."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from radtune.labels import Answer, Phrase, State, Status
from radtune.tasks import load_task

CHEST = load_task("multiple_choice")
FINDINGS = CHEST.classes


@given(st.lists(st.sampled_from(FINDINGS)))
def test_classes_read_back_in_the_fixed_order(labels):
    answer = CHEST.read(CHEST.encode(labels))
    assert answer.status == Status.OK
    assert list(answer.labels) == [name for name in FINDINGS if name in labels]


def test_the_answer_is_a_python_list_in_the_fixed_order():
    assert CHEST.encode(["pleural effusion", "Lung Opacity"]) == "['Lung Opacity', 'Pleural Effusion']"
    assert CHEST.encode([]) == "['Normal']"


def test_only_the_classes_can_be_encoded():
    with pytest.raises(ValueError, match="Effusion"):
        CHEST.encode(["Effusion"])


@pytest.mark.parametrize(
    ("response", "labels"),
    [
        ("['Normal']", ()),
        ("[normal]", ()),
        ("['Normal', 'Edema']", ("Edema",)),
        ("['EDEMA', ' pleural  effusion ']", ("Edema", "Pleural Effusion")),
        ("['Effusion', 'No Finding']", ("Effusion", "No Finding")),
        ("Pleural Effusion, Edema", ("Pleural Effusion", "Edema")),
        ("- Edema\n- **Pneumonia**\nBoth are named in the impression.", ("Edema", "Pneumonia")),
        ("The diseases are: Edema", ("Edema",)),
        ("Normal.", ()),
    ],
)
def test_answers_are_read(response, labels):
    answer = CHEST.read(response)
    assert (answer.labels, answer.status) == (labels, Status.OK)


@pytest.mark.parametrize(
    "response", ["Edema is seen.", "There is no Pneumonia", "Edema and Pneumonia", "Effusion, Edema"]
)
def test_prose_is_not_searched_for_class_names(response):
    assert CHEST.read(response).status == Status.UNPARSED


def test_names_without_brackets_may_go_on_behind_the_cut():
    assert CHEST.read("Edema, Pneu", finished=False).status == Status.TRUNCATED
    assert CHEST.read("Edema", finished=False).status == Status.TRUNCATED


@pytest.mark.parametrize(
    ("response", "labels"),
    [
        ('{"labels": ["Pneumonia", "Edema"]}', ("Edema", "Pneumonia")),
        ('{"diseases": ["Edema"]}', ("Edema",)),  # as asked for by earlier versions
        ('{"labels": []}', ()),
    ],
)
def test_json_by_the_schema_is_read(response, labels):
    answer = CHEST.read(response, as_json=True)
    assert (answer.labels, answer.status) == (labels, Status.OK)


@pytest.mark.parametrize("response", ['{"labels": "Edema"}', '{"labels": [', "null", '{"a": [{"b": 1}]}'])
def test_json_that_keeps_to_no_schema_is_read_like_any_answer(response):
    assert CHEST.read(response, as_json=True) == CHEST.read(response)


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("Atelectasi", "Atelectasis"),
        ("pleural_effusion", "Pleural Effusion"),
        ("Enlarged Cardiomediastium", FINDINGS[4]),
        ("normal", "Normal"),
        ("Ededa", "Edema"),
        ("Eddda", None),
        ("Effusion", None),
        ("Edema?", None),
        ("Edema -", None),
        ("(-) Edema", None),
        ("- Edema +", "Edema"),
        ("Lung", None),
        ("", None),
    ],
)
def test_misspelt_names_mean_the_one_class_they_are_near_to(name, meant):
    assert CHEST.nearest(name) == meant


MSK = load_task("differential")


@pytest.mark.parametrize(
    ("name", "spelt", "near"),
    [
        ("femoral-neck fracture", "Femoral neck fracture", "Femoral neck fracture"),
        ("Subcapital Fracture.", "Femoral neck fracture", "Femoral neck fracture"),
        ("femorl neck fractures", None, "Femoral neck fracture"),
        ("femoral head fracture", None, None),  # another bone's name is no slip
        ("metacarsal fracture", None, None),  # as near to one class as to another
        ("osteo arthritis", None, "Osteoarthritis"),
        ("C3 fracture", None, None),
        ("fracture", None, None),
        ("possible gout", None, None),
    ],
)
def test_a_synonym_means_its_class_and_a_slip_in_a_word_is_no_other_word(name, spelt, near):
    assert (MSK.spelled(name), MSK.nearest(name)) == (spelt, near)


@pytest.mark.parametrize(
    ("name", "near"), [("59371", None), ("593.70", "59370"), ("M1712", None), ("COVID 19", "COVID19")]
)
def test_another_number_is_no_slip(name, near):
    assert replace(CHEST, classes=("59370", "M1711", "COVID19"), synonyms={}).nearest(name) == near


def test_every_name_and_synonym_means_its_class_alone_also_misspelt():
    names = [(known, name) for known in MSK.classes for name in (known, *MSK.synonyms.get(known, ()))]
    assert [MSK.spelled(name.upper()) for _, name in names] == [known for known, _ in names]
    slips = [(known, MSK.nearest(f"{name[:-3]}{name[-2]}{name[-3]}{name[-1]}")) for known, name in names]
    assert all(near in (known, None) for known, near in slips)
    assert sum(near is not None for _, near in slips) > 0.9 * len(slips)


def test_labels_are_told_from_other_names():
    assert CHEST.known(["edema", "Normal", "Gout"]) == (["edema"], ["Gout"])
    assert CHEST.distinct([" edema", "Edema", "Gout", "gout "]) == ("Edema", "gout")
    assert CHEST.distinct(["NORMAL"]) == ()
    assert CHEST.same(Phrase("edema"), Phrase("Edema")) and not CHEST.same(Phrase("Edema"), Phrase("Pneumonia"))


def test_certainty_says_which_states_are_labels():
    states = {"Edema": State.UNCERTAIN, "Pneumonia": State.PRESENT, "Fracture": State.ABSENT}
    assert CHEST.labels_of(states) == ("Pneumonia",)


def test_a_name_that_is_no_class_is_wrong_on_both_sides():
    counts = CHEST.count([Answer(("Edema", "Gout"))], [Answer(("Edema", "Gout"))])
    assert counts.rules["micro"].tolist() == [[1, 2, 1, 2]]
    assert CHEST.matches(("Gout", "Edema"), ("Edema", "Gout")).tolist() == [[False, False], [True, False]]


def test_classes_that_gold_leaves_open_count_only_where_asked():
    gold = [Answer(("Edema",), states={"Edema": State.PRESENT, "Fracture": State.ABSENT})]
    predicted = [Answer(("Edema", "Fracture", "Pneumonia"))]
    assert CHEST.count(predicted, gold).rules["micro"].tolist() == [[1, 3, 1, 1]]
    judged = np.array([[name in gold[0].states for name in FINDINGS]])
    assert CHEST.count(predicted, gold, judged).rules["micro"].tolist() == [[1, 2, 1, 1]]
