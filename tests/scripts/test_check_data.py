"""scripts/check_data.py: what it says of files as people have them, and of those that cannot be used."""

import csv
import json
import runpy
from pathlib import Path

import openpyxl
import pytest

from radtune.config import InputError, parse_config

ROOT = Path(__file__).resolve().parents[2]


def check(capsys: pytest.CaptureFixture[str], *arguments: str) -> list[str]:
    command = runpy.run_path(str(ROOT / "scripts" / "check_data.py"))
    capsys.readouterr()
    command["main"](parse_config(command["CheckConfig"], arguments))
    out, err = capsys.readouterr()
    return [*err.splitlines(), *out.splitlines()]


def test_notes_labels_and_annotators(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    notes, labels, gold = tmp_path / "notes.csv", tmp_path / "labels.csv", tmp_path / "gold.xlsx"
    with notes.open("w", encoding="cp1252", newline="") as stream:
        writer = csv.writer(stream, delimiter=";")
        writer.writerow(["NOTE_ID", "MRN", "NOTE"])
        for number, note in enumerate(
            ["INDICATION: Sepsis.\nDRAIN CARE: x\nFINDINGS: Effusion – small.",
             "HISTORY: Cough.\nDRAIN CARE: y\nIMPRESSION: Clear.", "IMPRESSION: Clear.",
             "MRI KNEE WITHOUT CONTRAST\nJANE DOE: x\nIMPRESSION: Torn meniscus.", "NULL"]
        ):  # fmt: skip
            writer.writerow([f"{number:03}", f"m{number}", note])
    labels.write_text(",study_id,Edema,Pleural_Effusion,split\n0,0.0,,1,a\n1,1.0,0,,b\n2,9.0,1,,a\n")
    book = openpyxl.Workbook()
    for row in (["ID", "HO", "YW"], [0, "Pleural effusion; Fluff", None], [1, "['Normal']", "Normal"]):
        book.active.append(row)
    book.save(gold)
    said = check(capsys, f"reports={notes}", "id_column=NOTE_ID", "text_column=NOTE", f"labels={labels}")
    assert said == [
        f"{notes}: fields that are not used: MRN",
        f"{notes}: MRN looks like ids of patients (patient_column=MRN)",
        f"{labels}: fields that are not used: split",
        f"{notes}: CSV in Windows-1252, cells separated by ';'",
        f"{notes}: 5 reports in English, 1 with findings, 3 with an impression, 1 empty, 1 with the text of another, "
        "1 with no word that tells their language, 1 not of the chest",
        f"{notes}: headings: IMPRESSION 3, INDICATION 1, FINDINGS 1, HISTORY 1",
        f"{notes}: headings not known: DRAIN CARE 2 and 1 more",
        f"{labels}: CSV in UTF-8, cells separated by ','",
        f"{labels}: 3 rows, a column a class",
        f"{labels}: no column for " + said[9].partition("no column for ")[2],
        f"{labels}: 2 ids are those of reports, 1 are of none; 3 reports have no row",
        f"{labels}: 2 ids are written in another form there (such as s1, 1.0 or 001 for 1)",
        f"{labels}: 2 of 2 labels are classes of multiple_choice",
    ]
    # One table may be both.
    both = tmp_path / "both.csv"
    both.write_text("study_id,text,labels\n1,Large effusion.,Pleural Effusion\n2,No edema.,Normal\n")
    said = check(capsys, f"reports={both}", f"gold={both}", f"labels={both}")
    assert [line.removeprefix(f"{both}: ") for line in said if "rows" in line or "reports in" in line] == [
        "2 reports in English, 2 with neither", *["2 rows, lists of labels"] * 2
    ]  # fmt: skip
    # Gold may be questions about images.
    (tmp_path / "questions.csv").write_text("image,question,answer\n1.png,Is there edema?,yes\n1.png,Is it CT?,no\n")
    said = check(capsys, f"gold={tmp_path / 'questions.csv'}")
    assert f"{tmp_path / 'questions.csv'}: 1 of 1 labels are classes of multiple_choice" in said
    # An id column may be that of one of the files, as it may be in evaluate.py.
    gold_ids = tmp_path / "gold.csv"
    gold_ids.write_text("NOTE_ID,labels\n1,Normal\n2,Edema\n")
    said = check(capsys, f"reports={both}", f"gold={gold_ids}", "id_column=note_id")
    assert f"{gold_ids}: 2 ids are those of reports, 0 are of none; 0 reports have no row" in said
    with pytest.raises(InputError, match="1 of 2 files"):
        check(capsys, f"reports={both}", f"gold={gold_ids}", "id_column=NOTEID")
    assert "no column 'NOTEID'; did you mean 'NOTE_ID'?" in capsys.readouterr().out
    said = check(capsys, f"gold={gold}", "gold_columns=[HO,YW]", "id_column=ID")
    assert said == [
        f"{gold}: Excel",
        f"{gold}: HO: 2 rows, lists of labels",
        f"{gold}: HO: 1 of 2 labels are classes of multiple_choice",
        f"{gold}: HO: not known: Fluff 1",
        f"{gold}: YW: 2 rows, 1 of which are blank, lists of labels",
        f"{gold}: YW: 0 of 0 labels are classes of multiple_choice",
    ]


def test_files_that_cannot_be_used(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "reports.jsonl").write_text(json.dumps({"report_id": "1", "text": "Kein Erguss, kein Pneumothorax."}))
    (tmp_path / "gold.csv").write_text("S1,Large secret mass,Metastatic disease\nS2,Clear,Normal\n")
    with pytest.raises(InputError, match="1 of 2 files cannot be used as they are"):
        check(capsys, f"reports={tmp_path}/reports.jsonl", f"gold={tmp_path}/gold.csv")
    out = capsys.readouterr().out
    (tmp_path / "others.csv").write_text("report_id,labels\n2,Edema\n")
    with pytest.raises(InputError, match="1 of 2 files cannot be used as they are"):
        check(capsys, f"reports={tmp_path}/reports.jsonl", f"gold={tmp_path}/others.csv")
    assert "others.csv: none of its 1 ids is that of one of the 1 reports" in capsys.readouterr().out
    assert "1 reports in German, 1 with neither" in out and "problem: " in out and "is the header missing?" in out
    assert "secret" not in out
