import tomllib
from pathlib import Path

import pytest
from chest import CHEST, labels

from radtune.label_files import NO_FINDING

PROBES = {
    path.stem: {text: expected for part in tomllib.loads(path.read_text(encoding="utf-8")).values()
                for text, expected in part.items()}
    for path in sorted(Path(__file__).with_name("probes").glob("*.toml"))
}  # fmt: skip
VALUES = {"+": 1, "-": 0, "?": -1, "~": None}


def expected_labels(written: str) -> dict[str, int | None]:
    items = [item.strip() for item in written.split(",") if item.strip()]
    expected = {item[1:]: VALUES[item[0]] for item in items}
    assert set(expected) <= {*CHEST.classes, NO_FINDING}, written
    return expected


@pytest.mark.parametrize("file", PROBES)
def test_probes(file: str) -> None:
    wrong = {}
    for text, written in PROBES[file].items():
        expected, found = expected_labels(written), labels(text)
        asked = [*CHEST.classes, *(name for name in expected if name == NO_FINDING)]
        differing = {name: found.get(name) for name in asked if found.get(name) != expected.get(name)}
        wrong |= {text: differing} if differing else {}
    assert not wrong


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
def test_every_class_in_a_frame(sentence: str, value: int | None) -> None:
    names = {
        "Enlarged Cardiomediastinum": "mediastinal widening",
        "Fracture": "rib fracture",
        "Lung Lesion": "lung nodule",
        "Lung Opacity": "airspace opacity",
        "Pleural Other": "pleural thickening",
        "Support Devices": "endotracheal tube",
    }
    wrong = {}
    for finding in CHEST.classes:
        found = labels(sentence.format(names.get(finding, finding.lower())))
        found = {name: found[name] for name in CHEST.classes if name in found}
        wrong |= {} if found == ({} if value is None else {finding: value}) else {finding: found}
    assert not wrong
