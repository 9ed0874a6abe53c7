"""A label table of other names as one of a task's."""

import csv
import json

NAMES = {"Effusion": "Pleural Effusion", "Mass": "Lung Lesion", "Nodule": "Lung Lesion", "Edema": "Edema"}


def mapped(command, folder, text, **keys):
    (folder / "in.csv").write_text(text)
    keys = {"names": json.dumps(NAMES), **keys}
    given = ("task=multiple_choice", f"input={folder / 'in.csv'}", f"output={folder / 'out.csv'}")
    return command("scripts/map_labels.py", *given, *(f"{name}={value}" for name, value in keys.items()))


def test_columns_of_one_class_are_pooled_and_others_left_out(command, tmp_path):
    text = (
        "uid,Effusion,Mass,Nodule,Edema,Hernia\n1,1,0,1,,1\n2,0,0,0,-1,0\n3,nan,NULL,-1.0,1.0,\n4,0,0,-1,0,0\n5,0,-1,1,0,0\n"
    )  # fmt: skip
    code, _, said = mapped(command, tmp_path, text)
    assert code == 0, said
    with open(tmp_path / "out.csv", newline="") as stream:
        rows = {row["report_id"]: row for row in csv.DictReader(stream)}
    found = {i: [row[name] for name in ("Pleural Effusion", "Lung Lesion", "Edema")] for i, row in rows.items()}
    assert found == {
        "1": ["1", "1", ""], "2": ["0", "0", "-1"], "3": ["", "-1", "1"], "4": ["0", "-1", "0"], "5": ["0", "1", "0"]
    }  # fmt: skip
    # What no column counts as is not decided.
    assert {row["Fracture"] for row in rows.values()} == {""}
    assert (tmp_path / "out.csv").stat().st_mode & 0o077 == 0
