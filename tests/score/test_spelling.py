import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from radtune.findings import FINDINGS
from radtune.labels import Status
from radtune.score.inputs import LabelledReports
from radtune.score.spelling import Respelling, nearest_finding, respell


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("Pleural Efusion", "Pleural Effusion"),
        ("pleural_effusion", "Pleural Effusion"),
        ("Lung  opacitiy", "Lung Opacity"),
        ("Atalectasis", "Atelectasis"),
        ("Edmea", "Edema"),
        ("Pnuemonia", "Pneumonia"),
        ("Fractures", "Fracture"),
        ("enlarged cardio-mediastinum", "Enlarged Cardiomediastinum"),
        ("Noraml", "Normal"),
        ("Effusion", None),
        ("Pneumonitis", None),
        ("Nodule", None),
        ("Pneumo", None),
        ("", None),
        ("--", None),
    ],
)
def test_nearest(name: str, expected: str | None) -> None:
    assert nearest_finding(name) == expected


@given(st.sampled_from(FINDINGS), st.data())
def test_one_swapped_pair_of_letters_is_understood(name: str, data: st.DataObject) -> None:
    at = data.draw(st.integers(0, len(name) - 2))
    assert nearest_finding(name[:at] + name[at + 1] + name[at] + name[at + 2 :]) == name


@given(st.text(max_size=40))
def test_any_text_is_near_a_class_or_none(name: str) -> None:
    assert nearest_finding(name) in (*FINDINGS, "Normal", None)


def test_respell_changes_only_misspelt_names() -> None:
    labels = {
        "1": ("Edema", "Pneumonai"),
        "2": ("Pneumonai", "Pneumonia"),
        "3": ("Noraml",),
        "4": ("granuloma", "Normal"),
        "5": ("Fractur",),
    }
    reports = LabelledReports(Path(os.devnull), labels, dict.fromkeys(labels, Status.OK))
    assert respell(reports) == {
        "Pneumonai": Respelling("Pneumonia", 2),
        "Noraml": Respelling("Normal", 1),
        "Fractur": Respelling("Fracture", 1),
    }
    assert reports.labels == {
        "1": ("Edema", "Pneumonia"),
        "2": ("Pneumonia",),
        "3": (),
        "4": ("granuloma", "Normal"),
        "5": ("Fracture",),
    }
