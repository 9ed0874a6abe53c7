"""Synthetic reports: the same for the same seed, and true to themselves."""

import itertools
import tomllib
from collections import Counter
from pathlib import Path

import pytest
import simple_icd_10_cm

import radtune.sources.synthetic as synthetic
from radtune.label_files import NO_FINDING
from radtune.labels import State
from radtune.report import read_reports
from radtune.sources.synthetic import COHORTS, generate
from radtune.tasks import load_task

FINDINGS = load_task("multiple_choice").classes


@pytest.fixture(scope="module", params=COHORTS)
def made(request):
    return list(generate(1500, 11, request.param))


def test_same_seed_same_reports_and_all_differ(made):
    cohort = made[0].report.report_id.split("-")[0]
    assert list(generate(50, 11, cohort)) == made[:50]
    assert [r.report.text for r in generate(50, 12, cohort)] != [r.report.text for r in made[:50]]
    assert len({r.report.report_id for r in made}) == len(made)
    assert len({r.report.text for r in made}) > 0.97 * len(made)
    assert set(Counter(r.report.patient_id for r in made).values()) == {1, 2}


def test_phrases_stand_in_the_report_in_order(made):
    for item in made:
        places = [item.report.text.lower().find(phrase.phrase) for phrase in item.phrases]
        assert -1 not in places
        assert places == sorted(places)


def test_labels_are_consistent(made):
    for item in made:
        assert set(item.labels) <= {*FINDINGS, NO_FINDING}
        assert set(item.labels.values()) <= {1, 0, -1}
        others = [v for name, v in item.labels.items() if name not in ("Support Devices", NO_FINDING)]
        if NO_FINDING in item.labels:
            assert State.PRESENT not in others
            assert State.UNCERTAIN not in others


def test_all_classes_and_statuses_occur(made):
    seen = Counter((name, value) for item in made for name, value in item.labels.items())
    assert all(seen[name, 1] >= 15 for name in FINDINGS)
    assert all(seen[name, 0] >= 5 for name in FINDINGS)
    assert all(seen[name, -1] >= 5 for name in FINDINGS if name != "Support Devices")
    assert 0.05 < seen[NO_FINDING, 1] / len(made) < 0.4


def test_dictation_phenomena_occur():
    text = "\n".join(item.report.text for cohort in COHORTS for item in generate(600, 5, cohort)).lower()
    for phrase in ("cannot be excluded", "versus", "no longer", "history of", " or ", "1. ", "lines:", "removal"):
        assert phrase in text
    misspelt = itertools.chain.from_iterable(synthetic._lexicon()["misspellings"].values())
    assert any(word in text for word in misspelt)


def test_codes_exist_and_are_leaves():
    lexicon = tomllib.loads(Path(synthetic.__file__).with_suffix(".toml").read_text())
    codes = {code for condition in lexicon["condition"] for _, code in condition["phrases"]}
    assert len(codes) > 15
    assert all(simple_icd_10_cm.is_valid_item(code) and simple_icd_10_cm.is_leaf(code) for code in codes)


def test_sample_that_ships_is_what_the_generator_makes():
    made = [item.report for cohort in COHORTS for item in generate(10, 0, cohort)]
    assert list(read_reports(Path("data/synthetic_reports.jsonl"))) == made
