import tomllib
from pathlib import Path

import pytest

from radtune.findings import FINDINGS, NO_FINDING
from radtune.rules import label_report

FILES = sorted(Path(__file__).with_name("probes").glob("*.toml"))
CASES = [
    pytest.param(text, expected, id=f"{path.stem}-{part}-{number}")
    for path in FILES
    for part, probes in tomllib.loads(path.read_text(encoding="utf-8")).items()
    for number, (text, expected) in enumerate(probes.items())
]
VALUES = {"+": 1, "-": 0, "?": -1, "~": None}


def expected_labels(written: str) -> dict[str, int | None]:
    items = [item.strip() for item in written.split(",") if item.strip()]
    labels = {item[1:]: VALUES[item[0]] for item in items}
    assert set(labels) <= {*FINDINGS, NO_FINDING}, written
    return labels


@pytest.mark.parametrize(("text", "written"), CASES)
def test_probe(text: str, written: str) -> None:
    expected = expected_labels(written)
    labels = label_report(text).labels
    assert {name: labels.get(name) for name in FINDINGS} == {name: expected.get(name) for name in FINDINGS}
    if NO_FINDING in expected:
        assert labels.get(NO_FINDING) == expected[NO_FINDING]


def test_probes_cover_every_class_and_status() -> None:
    seen = {item for case in CASES for item in str(case.values[1]).split(", ")}
    missing = [f"{sign}{name}" for name in FINDINGS for sign in "+-?" if f"{sign}{name}" not in seen]
    assert missing == []
    assert len({case.values[0] for case in CASES}) >= 800


@pytest.mark.parametrize("finding", FINDINGS)
@pytest.mark.parametrize(
    ("sentence", "value"),
    [
        ("There is {}.", 1),
        ("THERE IS {}.", 1),
        ("There is\n{}.", 1),
        ("No evidence of {}.", 0),
        ("{} is not identified.", 0),
        ("{} has resolved.", 0),
        ("Possible {}.", -1),
        ("{} cannot be excluded.", -1),
        ("Cannot exclude {}.", -1),
        ("This may represent {}.", -1),
        ("No change in the {}.", 1),
        ("History of {}.", None),
    ],
)
def test_every_class_in_every_frame(finding: str, sentence: str, value: int | None) -> None:
    names = {
        "Enlarged Cardiomediastinum": "mediastinal widening",
        "Fracture": "rib fracture",
        "Lung Lesion": "lung nodule",
        "Lung Opacity": "airspace opacity",
        "Pleural Other": "pleural thickening",
        "Support Devices": "endotracheal tube",
    }
    labels = label_report(sentence.format(names.get(finding, finding.lower()))).labels
    assert {name: labels[name] for name in FINDINGS if name in labels} == ({} if value is None else {finding: value})
