"""The 13 classes as answers: fixed order, Normal, names that are none."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from radtune.findings import FINDINGS
from radtune.labels import Status
from radtune.tasks import multiple_choice


@given(st.lists(st.sampled_from(FINDINGS)))
def test_classes_read_back_in_the_fixed_order(labels):
    answer = multiple_choice.decode(multiple_choice.encode(labels))
    assert answer.status == Status.OK
    assert list(answer.labels) == [name for name in FINDINGS if name in labels]


def test_the_answer_is_a_python_list_in_the_fixed_order():
    assert multiple_choice.encode(["pleural effusion", "Lung Opacity"]) == "['Lung Opacity', 'Pleural Effusion']"
    assert multiple_choice.encode([]) == "['Normal']"


def test_only_the_classes_can_be_encoded():
    with pytest.raises(ValueError, match="Effusion"):
        multiple_choice.encode(["Effusion"])


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
    answer = multiple_choice.decode(response)
    assert (answer.labels, answer.status) == (labels, Status.OK)


@pytest.mark.parametrize(
    "response", ["Edema is seen.", "There is no Pneumonia", "Edema and Pneumonia", "Effusion, Edema"]
)
def test_prose_is_not_searched_for_class_names(response):
    assert multiple_choice.decode(response).status == Status.UNPARSED


def test_names_without_brackets_may_go_on_behind_the_cut():
    assert multiple_choice.decode("Edema, Pneu", finished=False).status == Status.TRUNCATED
    assert multiple_choice.decode("Edema", finished=False).status == Status.TRUNCATED
