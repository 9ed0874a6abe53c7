"""Synthetic musculoskeletal impressions: the same for the same seed, true to themselves, and of two wordings."""

import re
from collections import Counter

import pytest

from radtune.characters import language_of
from radtune.label_files import NO_FINDING
from radtune.regions import shows_chest
from radtune.sources.synthetic import findings, generate
from radtune.sources.synthetic_msk import COHORTS, lexicon
from radtune.tasks import load_task

TASK = load_task("differential")


@pytest.fixture(scope="module", params=COHORTS)
def made(request):
    return list(generate(4000, 3, request.param))


def test_same_seed_same_reports_and_nearly_all_differ(made):
    cohort = made[0].report.report_id.rsplit("-", 2)[0]
    assert list(generate(40, 3, cohort)) == made[:40]
    assert [item.report.text for item in generate(40, 4, cohort)] != [item.report.text for item in made[:40]]
    assert len({item.report.report_id for item in made}) == len(made)
    assert len({item.report.text for item in made}) > 0.95 * len(made)


def test_every_class_occurs_stated_considered_and_denied(made):
    assert findings(COHORTS[0]) == set(TASK.classes)
    seen = Counter((name, state) for item in made for name, state in item.labels.items())
    assert {name for name, _ in seen} == {*TASK.classes, NO_FINDING}
    short = [
        (name, state) for name in TASK.classes for state in (1, 0, -1) if seen[name, state] < (5 if state == 1 else 1)
    ]
    assert short == []
    labels = Counter(len(TASK.labels_of(item.labels)) for item in made)
    assert 0.04 < labels[0] / len(made) < 0.2
    assert max(labels) >= 5
    for item in made:
        assert (NO_FINDING in item.labels) == (not TASK.labels_of(item.labels))


def test_an_impression_has_its_modality_and_body_part(made):
    assert {item.report.modality for item in made} == {"CT", "MR", "CR"}
    assert min(Counter(item.report.modality for item in made).values()) > 0.15 * len(made)
    assert {item.report.body_part for item in made} == set(lexicon()["sites"])
    for item in made:
        report = item.report
        assert (report.findings, report.text) == ("", f"Impression: {report.impression}")
        assert "{" not in report.text
        assert shows_chest(report.text, report.body_part) == (report.body_part == "RIBS")


def test_terse_impressions_are_english_too(made):
    assert sum(language_of(item.report.impression) not in ("", "en") for item in made) <= 2


def test_the_held_out_cohort_says_in_other_words_what_the_other_says():
    for condition in lexicon()["condition"]:
        assert not set(condition["names"]) & set(condition["held_out"]), condition["finding"]
    carriers, held_out = lexicon()["carriers"], lexicon()["held_out"]
    assert carriers.keys() == held_out.keys()
    assert not any(set(carriers[name]) & set(held_out[name]) for name in carriers)
    ours, theirs = (
        {sentence for item in generate(1500, 5, cohort) for sentence in item.report.impression.split(". ")}
        for cohort in COHORTS
    )
    assert len(ours & theirs) < 0.02 * len(theirs)


def test_what_is_recalled_has_no_state():
    owner = {name: condition["finding"] for condition in lexicon()["condition"] for name in condition["names"]}
    recalled = 0
    for item in generate(1500, 6, "msk"):
        for words in re.findall(
            r"(?:istory of|Status post \w+ for|showed|to evaluate for) ([^.]+)\.", item.report.text
        ):
            if words in owner:
                recalled += 1
                assert owner[words] not in item.labels
    assert recalled > 150
