import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import evaluate
from radtune.config import InputError, parse_config
from radtune.files import write_jsonl
from radtune.label_files import labels_sha256
from radtune.report import report_from_sections

ROOT = Path(__file__).resolve().parents[1]
OPENI = Path(os.environ.get("OPENI_DIR", "data/openi")).absolute()


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """100 predictions, half of them right, and their gold; the current folder."""
    write_jsonl(
        tmp_path / "predictions.jsonl",
        ({"report_id": str(i), "task": "multiple_choice", "labels": ["Edema"], "status": "ok"} for i in range(100)),
    )
    rows = "".join(f'{i},"{"edema, fracture," if i % 2 else ""}"\n' for i in range(100))
    (tmp_path / "gold.csv").write_text(f"uid,labels\n{rows}")
    monkeypatch.chdir(tmp_path)
    return tmp_path


GIVEN = ("task=multiple_choice", "predictions=predictions.jsonl", "gold=gold.csv", "output=out/metrics.json")


def run(*arguments: str) -> dict:
    """The command in this process; returns what it writes."""
    config = parse_config(evaluate.EvaluateConfig, arguments)
    evaluate.main(config)
    return json.loads(config.output.read_text())


def test_the_command_scores_and_brings_in_nothing_heavy(folder: Path) -> None:
    script = (
        "import runpy, sys; sys.argv[0] = 'evaluate.py'; "
        f"runpy.run_path({str(ROOT / 'evaluate.py')!r}, run_name='__main__'); "
        "print(sorted({'torch', 'pandas', 'sklearn', 'scipy', 'matplotlib'} & set(sys.modules)))"
    )
    # Of the processor, so that a busy machine does not count.
    before = os.times()
    done = subprocess.run(
        [sys.executable, "-c", script, *GIVEN], capture_output=True, text=True,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    after = os.times()
    assert after.children_user + after.children_system - before.children_user - before.children_system < 2
    assert done.stdout.splitlines()[-1] == "[]", done.stderr
    metrics = json.loads((folder / "out/metrics.json").read_text())
    assert (metrics["n_reports"], metrics["micro"]["tp"], metrics["micro"]["fp"]) == (100, 50, 50)
    low, high = metrics["micro"]["ci95"]["f1"]
    assert low < metrics["micro"]["f1"] == 0.5 < high
    assert f"F1 0.500 [{low:.3f}, {high:.3f}]" in done.stdout
    assert "Pleural Effusion" in done.stdout
    assert len(metrics["inputs"]["gold.csv"]) == 64
    assert oct((folder / "out/metrics.json").stat().st_mode & 0o777) == "0o600"
    manifest = json.loads((folder / "out/metrics.json.manifest.json").read_text())
    assert manifest["config"]["gold"] == "gold.csv"
    # The same seed gives the same file.
    assert run(*GIVEN) == metrics


def test_two_systems(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = ({"report_id": str(i), "labels": ["Edema"] if i % 2 else []} for i in range(100))
    write_jsonl(folder / "other.jsonl", rows)
    metrics = run(*GIVEN, "compare=other.jsonl")
    comparison = metrics["comparison"]
    assert comparison["other"] == "other.jsonl"
    assert comparison["precision"]["value"] == -0.5
    assert comparison["recall"] == {"value": 0.0, "ci95": [0.0, 0.0], "p_bootstrap": 1.0, "p_randomization": 1.0}
    assert "predictions minus other.jsonl:" in capsys.readouterr().out
    assert {"gold.csv", "predictions.jsonl", "other.jsonl"} == metrics["inputs"].keys()


def test_scores_by_modality_and_by_a_column_of_gold(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    titles = ("CHEST, TWO VIEWS", *["CT HEAD WITHOUT CONTRAST"] * 3)
    rows = "".join(f'{i},"EXAM: {titles[i % 4]}\nFINDINGS: Clear.",,s{i}\n' for i in range(100))
    (folder / "notes.csv").write_text(f"report_id,note,ward,other\n{rows}")
    gold = (folder / "gold.csv").read_text().splitlines()
    site = ["site", *(("North", "South", "")[i % 3] for i in range(100))]
    (folder / "gold.csv").write_text("".join(f"{line},{where}\n" for line, where in zip(gold, site, strict=True)))
    (folder / "gold.csv").write_text((folder / "gold.csv").read_text().replace("uid", "NOTE_ID"))
    metrics = run(*GIVEN, "reports=notes.csv", "by=[modality,SITE,ward]", "id_column=note_id")
    by = metrics["by"]
    counts = {column: {value: group["n_reports"] for value, group in groups.items()} for column, groups in by.items()}
    assert counts == {
        "modality": {"CT": 75, "CR": 25}, "SITE": {"North": 34, "South": 33, "unknown": 33}, "ward": {"unknown": 100}
    }  # fmt: skip
    assert sum(group["micro"]["tp"] for group in by["modality"].values()) == metrics["micro"]["tp"]
    assert "modality CT, n 75  precision" in capsys.readouterr().out


def test_annotators_and_lenient_spelling(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = "".join(f'{i},"edema","{"Edma, fractre" if i % 2 else "mass, edema"}"\n' for i in range(100))
    (folder / "gold.csv").write_text(f"uid,HO,YW\n{rows}")
    union = ("gold_columns=[HO,YW]", "gold_rule=union")
    with pytest.raises(InputError, match=r"gold.csv:3: 'Edma' is none of the classes; did you mean 'Edema'"):
        run(*GIVEN, *union)
    metrics = run(*GIVEN, *union, "spelling=lenient")
    assert metrics["other_names"]["gold"] == {"mass": 50}
    assert metrics["respelled"]["YW"]["fractre"] == {"finding": "Fracture", "count": 50, "step": "misspelt"}
    assert (metrics["micro"]["tp"], metrics["micro"]["fn"]) == (100, 100)
    assert [(pair["a"], pair["b"]) for pair in metrics["agreement"]][-1] == ("HO", "YW")
    shown = capsys.readouterr().out
    assert "names in YW that are no class, taken for one: 'Edma' = Edema x50 (misspelt), 'fractre' = Fracture" in shown
    assert "agreement of HO and YW: kappa 0.780 pooled, 96.2% of the labels, 50.0% of the reports" in shown
    with pytest.raises(InputError, match="spelling=lenient is for tasks of classes"):
        run(*GIVEN[1:], "task=open_ended", "gold_column=HO", "spelling=lenient")


def test_errors_by_kind_and_no_text_unless_asked_for(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = "Zebrafish hernia. No left effusion. Possible scar."
    write_jsonl(folder / "reports.jsonl", [{"report_id": "1", "text": text}])
    write_jsonl(folder / "predictions.jsonl", [{"report_id": "1", "labels": ["left effusion", "scar"]}])
    write_jsonl(folder / "gold.jsonl", [{"report_id": "1", "labels": ["hernia"]}])
    given = ("task=open_ended", "predictions=predictions.jsonl", "gold=gold.jsonl", "reports=reports.jsonl")
    arguments = (*given, "errors=out/errors.jsonl", "output=out/metrics.json")
    assert run(*arguments)["errors"] == {"fp": {"uncertain": 1, "negated": 1}, "fn": {"missed": 1}}
    shown = capsys.readouterr().out
    assert shown.count("50.0%") == 2
    assert "hernia" not in shown
    for path in (folder / "out").iterdir():
        assert "Zebrafish" not in path.read_text(), path.name
        assert path.stat().st_mode & 0o777 == 0o600
    rows = [json.loads(line) for line in (folder / "out/errors.jsonl").read_text().splitlines()]
    assert [(row["side"], row["label"], row["kind"]) for row in rows] == [
        ("fp", "left effusion", "negated"),
        ("fp", "scar", "uncertain"),
        ("fn", "hernia", "missed"),
    ]
    run(*arguments, "show_text=true")
    assert "fn missed: 'hernia' in 'Zebrafish hernia' (report 1)" in capsys.readouterr().out
    assert "Zebrafish" in (folder / "out/errors.jsonl").read_text()


def test_errors_are_of_what_the_task_reads(folder: Path) -> None:
    keys = "name: t\nkind: classes\nclasses: [Edema, Pneumonia]\nsections: [impression]\nrules: chest\n"
    (folder / "t.yaml").write_text(keys + "prompts: {inference: '{classes}?'}\n")
    write_jsonl(folder / "reports.jsonl", [report_from_sections("1", None, "Edema.", "Pneumonia.", "made")])
    write_jsonl(folder / "predictions.jsonl", [{"report_id": "1", "labels": ["Edema", "Pneumonia"]}])
    write_jsonl(folder / "gold.jsonl", [{"report_id": "1", "labels": []}])
    given = ("task=t.yaml", "predictions=predictions.jsonl", "gold=gold.jsonl", "reports=reports.jsonl")
    errors = run(*given, "errors=out/errors.jsonl", "output=out/metrics.json")["errors"]
    assert errors == {"fp": {"not_in_report": 1, "not_in_gold": 1}, "fn": {}}


def test_three_valued_answers_are_scored_and_blank_gold_is_named_first(folder: Path, capsys) -> None:
    labels = [["Edema", "Fracture (uncertain)"], ["Edema"], ["Pneumonia"], []]
    rows = [{"report_id": f"s{i}", "labels": said, "task": "multiple_choice+states"} for i, said in enumerate(labels)]
    write_jsonl(folder / "predictions.jsonl", rows)
    (folder / "gold.csv").write_text("study_id;Edema;fracture;Pneumonia\n0;1;-1;0\n1;-1;;\n002;1;;\n3;;;\n")
    write_jsonl(folder / "reports.jsonl", [{"report_id": str(i), "text": f"Edema {i}."} for i in range(4)])
    metrics = run(*GIVEN, "uncertain=state", "reports=reports.jsonl", "errors=out/errors.jsonl")
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith(
        "1 of 4 reports are not annotated in gold and left out (gold_blank=ignore); 4 blank cells"
    )
    assert "gold has no column for Atelectasis, " in lines[0]
    assert metrics["n_reports"] == 3
    assert [metrics["micro"][name] for name in ("tp", "fp", "fn")] == [2, 2, 2]
    wrong = [json.loads(line) for line in (folder / "out/errors.jsonl").read_text().splitlines()]
    assert [(row["report_id"], row["side"], row["label"]) for row in wrong] == [
        ("1", "fp", "Edema"), ("1", "fn", "Edema (uncertain)"), ("2", "fp", "Pneumonia"), ("2", "fn", "Edema"),
    ]  # fmt: skip
    assert {name: round(score["f1"], 3) for name, score in metrics["policies"].items()} == {
        "drop": 0.5, "positive": 0.75, "negative": 0.4, "state": 0.5,
    }  # fmt: skip
    # By class: fractures in doubt count, all else in doubt does not.
    metrics = run(*GIVEN, "uncertain.Fracture=positive", "uncertain.others=drop")
    assert (metrics["per_class"]["Fracture"]["tp"], metrics["per_class"]["Edema"]["support"]) == (1, 2)


def test_reports_narrow_both_sides_and_name_the_patients(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    reports = [{"report_id": str(i), "patient_id": str(i // 5), "text": "made up"} for i in range(40)]
    write_jsonl(folder / "reports.jsonl", reports)
    metrics = run(*GIVEN, "reports=reports.jsonl")
    assert "gold.csv: 60 reports left out of gold, not in reports.jsonl" in capsys.readouterr().out
    assert metrics["n_reports"] == 40
    assert metrics["bootstrap"] | {"unit": "patient", "n_units": 8} == metrics["bootstrap"]


@pytest.mark.skipif(not (OPENI / "gold_labels.csv").exists(), reason="Open-i is not here (OPENI_DIR)")
@pytest.mark.parametrize("blank", ["negative", "ignore"])
def test_open_i_gold_scores_itself_perfectly(folder: Path, capsys, blank: str) -> None:
    gold = OPENI / "gold_labels.csv"
    metrics = run("task=multiple_choice", f"predictions={gold}", f"gold={gold}", "output=m.json", f"gold_blank={blank}")
    assert metrics["micro"]["ci95"]["f1"] == [1.0, 1.0]
    assert "a file stands twice" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("reader", "told"), [(False, "gold: answers of gpt-x, which no reader has edited"), (True, "")]
)
def test_gold_that_is_a_models_answers_is_told(folder: Path, capsys, reader: bool, told: str) -> None:
    row = {"report_id": "1", "labels": ["Edema"], "model": "gpt-x", "prompt_sha256": "0", "labels_sha256": "0"}
    row |= {} if reader else {"labels_sha256": labels_sha256(row["labels"])}
    for name in ("gold.jsonl", "answers.jsonl"):
        (folder / name).write_text(json.dumps(row))
    run("task=multiple_choice", "predictions=answers.jsonl", "gold=gold.jsonl", "output=m.json")
    shown = capsys.readouterr().out
    assert told in shown and ("which no reader" in shown) == bool(told)
    assert "stands twice" not in shown
