"""Baselines without a model, alone and in the study of radiographs with published numbers beside them."""

from pathlib import Path

import pytest

from radtune.config import read_yaml
from radtune.files import read_jsonl, write_jsonl
from radtune.score.evaluation import read_metrics
from radtune.study.plan import study_from_mapping
from radtune.study.results import Results, read_reported
from radtune.study.tables import per_report_table

EFFUSION, EDEMA = ("Left effusion", "J90"), ("Edema", "J81.1")
GOLD = {"a": [EFFUSION, EDEMA], "b": [EFFUSION], "c": [EDEMA, ("Scar", "L90.5")], "d": [EFFUSION], "e": []}


@pytest.fixture
def gold(tmp_path: Path) -> Path:
    patients = {"b": "p", "d": "p"}
    write_jsonl(
        tmp_path / "gold.jsonl",
        (
            {
                "report_id": x,
                "patient_id": patients.get(x),
                "phrases": [dict(zip(("phrase", "icd10"), p, strict=True)) for p in phrases],
            }
            for x, phrases in GOLD.items()
        ),
    )
    return tmp_path / "gold.jsonl"


def commonest(command, gold: Path, count: int) -> Path:
    output = gold.with_name(f"commonest_{count}.jsonl")
    given = ["task=radiograph", f"gold={gold}", f"count={count}", f"output={output}"]
    assert command("scripts/commonest.py", *given)[0] == 0
    return output


def test_a_report_s_own_patient_is_not_counted(gold: Path, command) -> None:
    rows = {row["report_id"]: row for _, row in read_jsonl(commonest(command, gold, 1))}
    # Effusion and edema without a's are 2 and 1; without those of b and d, who are one, 1 and 2.
    assert {x: row["labels"] for x, row in rows.items()} == {
        "a": ["Left effusion"], "b": ["Edema"], "d": ["Edema"], "c": ["Left effusion"], "e": ["Left effusion"]
    }  # fmt: skip
    assert rows["a"]["phrases"] == [
        {"phrase": "Left effusion", "icd10": "J90", "start": None, "end": None, "side": "left"}
    ]


def test_case_makes_no_other_label(tmp_path: Path, command) -> None:
    said = [["Effusion"], ["effusion", "Edema"], ["effusion"], ["EDEMA", "Scar"], ["Scar"]]
    rows = [{"report_id": str(number), "labels": labels} for number, labels in enumerate(said)]
    write_jsonl(tmp_path / "gold.jsonl", rows)
    found = {row["report_id"]: row["labels"] for _, row in read_jsonl(commonest(command, tmp_path / "gold.jsonl", 1))}
    # Without its own: two effusions against two scars, or one more.
    assert found == {"0": ["Edema"], "1": ["effusion"], "2": ["Edema"], "3": ["effusion"], "4": ["effusion"]}


def test_a_class_is_counted_whatever_gold_calls_it(tmp_path: Path, command) -> None:
    (tmp_path / "gold.csv").write_text("report_id,labels\n1,lung_lesion\n2,Edema\n3,LUNG LESION\n4,Lung lesion.\n")
    words = ("task=multiple_choice", f"gold={tmp_path / 'gold.csv'}", "count=1", f"output={tmp_path / 'c.jsonl'}")
    assert command("scripts/commonest.py", *words)[0] == 0
    assert [row["labels"] for _, row in read_jsonl(tmp_path / "c.jsonl")] == [["Lung Lesion"]] * 4


def test_the_study_has_them_beside_published_numbers(gold: Path, command, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RADIOGRAPHS_DIR", str(gold.parent))
    study = study_from_mapping(
        read_yaml(Path("configs/study/radiographs.yaml")) | {"run_dir": str(gold.parent / "run")}
    )
    asked = {cell.name: cell.tests for cell in study.cells}
    both = ("radiograph", "open_ended")
    assert asked == {"base": ("open_ended",), "empty": both, "commonest": both, "teacher": both}
    for count in (0, 3):
        given = [f"gold={gold}", f"predictions={commonest(command, gold, count)}", f"output={gold.parent}/{count}.json"]
        assert command("evaluate.py", "task=radiograph", *given)[0] == 0
    names = {"empty": "0.json", "commonest": "3.json"}
    metrics = {(cell, "radiograph"): read_metrics(gold.parent / file) for cell, file in names.items()}
    table = per_report_table(Results(study, metrics), read_reported(study.settings.reported))
    rows = [(row["Model"], row["Right by"], round(row["F1"], 3)) for row in table.rows]
    # The one report without a finding is right where nothing is named.
    assert rows[:4] == [("Nothing", rule, 0.2) for rule in ("Name", "Code", "Category", "Code and side")]
    assert [row[0] for row in rows[4:8]] == ["The three commonest findings"] * 4 and rows[4][2] > 0.2
    assert rows[8] == ("GPT-4V, NIH (arXiv:2403.15528)", "Code", 0.073) and len(rows) == 11
    assert table.rows[4]["Made up a report"] > 0
