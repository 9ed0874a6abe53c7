import tomllib
from pathlib import Path

import pytest
from chest import CHEST, labels

from radtune.label_files import NO_FINDING

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
    expected = {item[1:]: VALUES[item[0]] for item in items}
    assert set(expected) <= {*CHEST.classes, NO_FINDING}, written
    return expected


@pytest.mark.parametrize(("text", "written"), CASES)
def test_probe(text: str, written: str) -> None:
    expected, found = expected_labels(written), labels(text)
    assert {name: found.get(name) for name in CHEST.classes} == {name: expected.get(name) for name in CHEST.classes}
    if NO_FINDING in expected:
        assert found.get(NO_FINDING) == expected[NO_FINDING]


def test_probes_cover_every_class_and_status() -> None:
    seen = {item for case in CASES for item in str(case.values[1]).split(", ")}
    missing = [f"{sign}{name}" for name in CHEST.classes for sign in "+-?" if f"{sign}{name}" not in seen]
    assert missing == []
    assert len({case.values[0] for case in CASES}) >= 800


@pytest.mark.parametrize("finding", CHEST.classes)
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
    found = labels(sentence.format(names.get(finding, finding.lower())))
    assert {name: found[name] for name in CHEST.classes if name in found} == ({} if value is None else {finding: value})
