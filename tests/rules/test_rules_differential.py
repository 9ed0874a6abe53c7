"""The rules of the differential task: names in every frame, impressions read by hand, and synthetic ones."""

import tomllib
from collections import Counter
from pathlib import Path

import pytest

from radtune.labels import State
from radtune.report import report_from_sections
from radtune.rules import label_if_meant, label_report, rules_for
from radtune.sources.synthetic import generate
from radtune.tasks import load_task

TASK = load_task("differential")
RULES = rules_for(TASK)
SIGNS = {"+": State.PRESENT, "?": State.UNCERTAIN, "-": State.ABSENT}
FILES = Path(__file__).with_name("probes") / "differential"


def states(text: str) -> dict[str, State]:
    return {name: state for name, state in label_report(text, RULES).labels.items() if name in TASK.classes}


def agreement(pairs: list[tuple[dict[str, State], dict[str, State]]]) -> float:
    """Of the labels that either of two gives, the share that both do."""
    both = Counter[bool]()
    for expected, found in pairs:
        wanted, given = set(TASK.labels_of(expected)), set(TASK.labels_of(found))
        both.update(name in wanted and name in given for name in wanted | given)
    return both[True] / both.total()


@pytest.mark.parametrize(
    ("sentence", "state"),
    [
        ("{}.", State.PRESENT),
        ("FINDINGS CONSISTENT WITH {}.", State.PRESENT),
        ("This may represent {}.", State.UNCERTAIN),
        ("{} cannot be excluded.", State.UNCERTAIN),
        ("No evidence of {}.", State.ABSENT),
        ("{} is not seen.", State.ABSENT),
        ("History of {}.", None),
        ("Status post surgery for {}.", None),
    ],
)
def test_every_name_and_synonym_means_its_class_alone_in_every_frame(sentence, state):
    wrong = {}
    for name in TASK.classes:
        for called in (name, *TASK.synonyms[name]):
            found = states(sentence.format(called))
            if found != ({} if state is None else {name: state}):
                wrong[called] = found
    assert wrong == {}


def test_what_has_no_class_is_no_normal_report():
    for text in ("May represent meniscal tear versus degeneration.", "Indeterminate bone lesion.", "Fracture."):
        assert label_report(text, RULES).labels == {}, text
    for text in ("Normal knee.", "No fracture or dislocation. No mass.", "Menisci and ligaments are intact."):
        assert State.PRESENT in label_report(text, RULES).labels.values(), text


def test_impressions_are_read_as_by_hand():
    pairs = []
    for path in FILES.glob("*.toml"):
        parts = tomllib.loads(path.read_text(encoding="utf-8")).values()
        for text, written in [probe for part in parts for probe in part.items()]:
            expected = {item.strip()[1:]: SIGNS[item.strip()[0]] for item in written.split(",") if item.strip()}
            assert set(expected) <= set(TASK.classes), written
            pairs.append((expected, states(text)))
    assert len(pairs) == 110
    assert agreement(pairs) >= 0.98


@pytest.mark.parametrize("cohort", ["msk", "msk_held_out"])
def test_synthetic_impressions_are_read_as_they_were_meant(cohort):
    made = list(generate(400, 9, cohort))
    assert agreement([(item.labels, states(item.report.impression)) for item in made]) >= 0.95


def test_an_impression_by_itself_opens_with_no_words_of_the_referrer():
    said = "Marginal erosions, suspicious for gout or septic joint. Tenosynovitis."
    assert label_if_meant(report_from_sections("r", None, "", said, "made"), TASK).labels == {
        "Gout": State.UNCERTAIN, "Tenosynovitis": State.PRESENT, "Septic arthritis": State.UNCERTAIN
    }  # fmt: skip


def test_reports_of_any_region_are_labelled_and_their_findings_are_not_read():
    report = report_from_sections("r", None, "Complete ACL tear.", "Knee: medial meniscus tear.", "made")
    assert label_if_meant(report, TASK).labels == {"Medial meniscus tear": State.PRESENT}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Status post fixation of a distal radius fracture, new fracture of the scaphoid.", {"Scaphoid fracture": 1}),
        ("ACL reconstruction, the graft is intact.", {}),
        ("ACL graft rupture.", {"Anterior cruciate ligament tear": 1}),
        ("Stress fracture of the second metatarsal.", {"Stress fracture": 1, "Metatarsal fracture": 1}),
        (
            "Osteoporotic compression fracture of L1.",
            {"Vertebral compression fracture": 1, "Insufficiency fracture": 1},
        ),
        ("Periprosthetic fracture of the left hip.", {"Periprosthetic fracture": 1}),
        ("Canal and foraminal stenosis.", {"Spinal stenosis": 1, "Foraminal stenosis": 1}),
        ("Degenerative changes of the spine and both hips.", {"Spondylosis": 1, "Osteoarthritis": 1}),
        ("Facet joint osteoarthritis.", {"Facet arthropathy": 1}),
        ("Diffuse disc bulge. No fracture or dislocation.", {}),
        ("Small pleural effusion.", {}),
        ("Osteomyelitis, less likely neuropathic arthropathy.", {"Osteomyelitis": 1, "Neuropathic arthropathy": 0}),
        ("Tear of the ACL on the earlier study is no longer seen.", {"Anterior cruciate ligament tear": 0}),
    ],
)
def test_what_counts(text, expected):
    assert states(text) == expected
