import csv
import json
import stat
from pathlib import Path

import pytest

from radtune.files import write_jsonl
from radtune.label_files import label_columns, read_labels
from radtune.report import report_from_sections
from radtune.tasks import DEFAULT_RULES_TASK, load_task

ROOT = Path(__file__).resolve().parents[2]
TASK = load_task(DEFAULT_RULES_TASK)
SCRIPT = ROOT / "scripts" / "label_by_rules.py"


@pytest.fixture
def reports(tmp_path: Path) -> Path:
    path = tmp_path / "reports.jsonl"
    texts = {"b": "No pneumothorax. Small left effusion.", "a": "Possible pneumonia.", "c": "Clear lungs."}
    write_jsonl(path, [report_from_sections(name, None, "", text, "test") for name, text in texts.items()])
    return path


def test_writes_label_table_evidence_and_manifests(succeeds, reports: Path, tmp_path: Path) -> None:
    output, explain = tmp_path / "out" / "labels.csv", tmp_path / "out" / "labels.explain.jsonl"
    done = succeeds(SCRIPT, f"reports={reports}", f"output={output}", "explain=true")
    assert "3 reports in" in done.stdout
    assert "reports/s" in done.stdout
    with output.open(encoding="utf-8", newline="") as stream:
        assert next(csv.reader(stream)) == ["report_id", *label_columns(TASK)]
    answers = read_labels(output, TASK).answers
    assert {name: answer.states for name, answer in answers.items()} == {
        "b": {"Pneumothorax": 0, "Pleural Effusion": 1}, "a": {"Pneumonia": -1},
        "c": {"Lung Opacity": 0, "No Finding": 1},
    }  # fmt: skip
    assert list(answers) == ["b", "a", "c"]

    rows = [json.loads(line) for line in explain.read_text(encoding="utf-8").splitlines()]
    texts = {row["report_id"]: row["text"] for row in map(json.loads, reports.read_text().splitlines())}
    assert [row["report_id"] for row in rows] == ["b", "a", "c"]
    for row in rows:
        for mention in row["mentions"]:
            text = texts[row["report_id"]]
            assert text[mention["start"] : mention["end"]] == mention["text"]
            if mention["cue"] is not None:
                assert text[mention["cue_start"] : mention["cue_end"]] == mention["cue"]

    manifest = json.loads((tmp_path / "out" / "labels.csv.manifest.json").read_text())
    assert manifest["n_reports"] == 3
    assert manifest["positives"]["Pleural Effusion"] == 1
    assert str(reports) in manifest["inputs"]
    assert "pneumothorax" not in json.dumps(manifest)
    for path in (output, explain):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_prints_one_report_with_its_evidence(succeeds) -> None:
    done = succeeds(SCRIPT, "text=No pneumothorax: clear. Small effusion.")
    lines = done.stdout.splitlines()
    assert " 0  Pneumothorax" in lines
    assert " 1  Pleural Effusion" in lines
    assert any("3-15 'pneumothorax': Pneumothorax negative" in line and "cue 'No' at 0-2" in line for line in lines)
    at = lines.index("No pneumothorax: clear. Small effusion.")
    assert lines[at + 1] == "^^ ------------               ++++++++"
    assert "\x1b" not in done.stdout


def test_one_report_is_read_by_the_sections_of_the_task(run_here, succeeds, tmp_path: Path) -> None:
    task = tmp_path / "t.yaml"
    task.write_text(
        "name: t\nkind: classes\nclasses: [Edema, Pneumonia]\nsections: [impression]\nrules: chest\n"
        "prompts: {inference: '{classes}?'}\n"
    )
    text = "FINDINGS: Large edema. IMPRESSION: No pneumonia."
    done = succeeds(SCRIPT, f"task={task}", f"text={text}")
    assert done.stdout.splitlines()[:4] == [" 0  Pneumonia", " 1  No Finding", "", text]
    shown = run_here(SCRIPT, f"text={text}").stdout
    whole = shown[shown.index("FINDINGS:") :]
    for words, label in (("edema", "Edema positive"), ("pneumonia", "Pneumonia negative")):
        at = text.lower().index(words)
        assert f"{at}-{at + len(words)} {words!r}: {label}" in whole


def test_a_broken_line_leaves_no_output(run_here, reports: Path, tmp_path: Path) -> None:
    with reports.open("a", encoding="utf-8") as stream:
        stream.write('{"report_id": "d", "text": "Mrs Secret has\n')
    done = run_here(SCRIPT, f"reports={reports}", f"output={tmp_path / 'x.csv'}", "explain=true")
    assert done.returncode == 2
    assert "reports.jsonl:4" in done.stderr
    assert "Secret" not in done.stderr
    assert list(tmp_path.iterdir()) == [reports]


def test_evidence_points_into_the_cells(succeeds, tmp_path: Path) -> None:
    rows = [
        ("1", "Edema", "  No e\ufb00usion.\r\nHeart enlarged.", "Edema", ""),
        ("2", "", "", "", "HISTORY: CHF\nFINDINGS:\nSmall pneumo-\nthorax.\n"),
    ]
    rows = [dict(zip(("uid", "problems", "findings", "impression", "text"), row, strict=True)) for row in rows]
    notes = tmp_path / "notes.csv"
    with notes.open("w", encoding="utf-8", newline="") as stream:
        writer = csv.DictWriter(stream, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    succeeds(SCRIPT, f"reports={notes}", f"output={tmp_path / 'labels.csv'}", "explain=true")
    explained = map(json.loads, (tmp_path / "labels.explain.jsonl").read_text(encoding="utf-8").splitlines())
    found = [
        (mention["finding"], mention["column"], row[mention["column"]][mention["start"] : mention["end"]])
        for row, explanation in zip(rows, explained, strict=True)
        for mention in explanation["mentions"]
    ]
    assert found == [
        ("Pleural Effusion", "findings", "e\ufb00usion"), ("Cardiomegaly", "findings", "Heart enlarged"),
        ("Edema", "impression", "Edema"), ("Pneumothorax", "text", "pneumo-\nthorax"),
    ]  # fmt: skip


def test_reports_of_other_regions_and_languages(run_here, tmp_path: Path) -> None:
    german = "Kein Nachweis eines Pneumothorax, die Lunge ist frei und der Herzschatten normal."
    texts = ["CT ABDOMEN: 3 cm mass in the head of the pancreas.", "No effusion.", german]
    write_jsonl(tmp_path / "r.jsonl", [report_from_sections(str(n), None, t, "", "x") for n, t in enumerate(texts)])
    keys = [f"reports={tmp_path / 'r.jsonl'}", f"output={tmp_path / 'labels.csv'}"]
    done = run_here(SCRIPT, *keys)
    assert "not_chest: 1 reports, left blank (any_body_part=true" in done.stdout
    assert "language 'de': 1 reports, left blank (any_language=true" in done.stdout
    answers = read_labels(tmp_path / "labels.csv", TASK).answers
    assert [answers[name].states for name in "012"] == [{}, {"Pleural Effusion": 0, "No Finding": 1}, {}]
    run_here(SCRIPT, *keys, "any_body_part=true", "any_language=true")
    answers = read_labels(tmp_path / "labels.csv", TASK).answers
    assert answers["0"].states == {"Lung Lesion": 1} or answers["0"].states == {"No Finding": 1}
    assert answers["2"].states["Pneumothorax"] is not None
    write_jsonl(tmp_path / "r.jsonl", [report_from_sections(str(n), None, german, "", "x") for n in range(3)])
    done = run_here(SCRIPT, *keys)
    assert done.returncode == 2
    assert "3 of 3 reports are in another language than the rules, most in 'de'" in done.stderr
    assert run_here(SCRIPT, f"text={german}").returncode == 2


def test_rules_of_another_folder_and_another_reading_of_or(run_here, tmp_path: Path) -> None:
    (tmp_path / "lexicon.toml").write_text('[Edema]\nmentions = ["wombat sign"]\n', encoding="utf-8")
    done = run_here(SCRIPT, f"rules={tmp_path}", "text=No wombat sign. Edema.")
    assert done.stdout.splitlines()[0] == " 0  Edema"
    broken = tmp_path / "broken"
    broken.mkdir()
    (broken / "lexicon.toml").write_text('[Edema]\nmentions = ["wombat (sign"]\n', encoding="utf-8")
    done = run_here(SCRIPT, f"rules={broken}", "text=No wombat sign.")
    assert done.returncode == 2
    assert f"{broken / 'lexicon.toml'}:2: [Edema]: 'wombat (sign': missing ')'" in done.stderr
    for reading, value in (("uncertain", "-1"), ("positive", " 1")):
        done = run_here(SCRIPT, f"alternatives={reading}", "text=Effusion or pleural thickening.")
        assert done.stdout.splitlines()[:2] == [f"{value}  Pleural Effusion", f"{value}  Pleural Other"]
