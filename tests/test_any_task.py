"""Two tasks and a source of one's own, written as files: every command runs on them, as test_study_run's study does."""

import csv
import json
from pathlib import Path

from sprockets import CLASSES, PARENTS, read_jsonl, write_toy

from radtune.tasks import load_task
from scripts.simulated_teacher import Noise, make_app, read_truths, serving


def test_every_command_takes_them(tmp_path, succeeds, monkeypatch):
    folder = write_toy(tmp_path)

    def run(command, *words):
        done = succeeds(command, *words)
        return done.stdout

    monkeypatch.chdir(folder)
    columns = ("id_column=Job", "patient_column=Owner", "text_column=Words")
    run("scripts/prepare_reports.py", "source=table", "input=shop.csv", "output=reports.jsonl", *columns)
    reports = read_jsonl(folder / "reports.jsonl")
    assert (len(reports), reports[3]["patient_id"]) == (60, "o1")

    prompt = run("prompts.py", "task=sprocket.yaml")
    assert all(f"‘{name}’" in prompt for name in CLASSES)
    assert "Worn 0.\nOutput: ['worn 0']" in run("prompts.py", "task=sprocket_phrases.yaml", "use=training")

    run("scripts/label_by_rules.py", "task=sprocket.yaml", "reports=reports.jsonl", "output=labels.csv")
    table = {row["report_id"]: row for row in csv.DictReader((folder / "labels.csv").open())}
    gold = {row["report_id"]: row["labels"] for row in read_jsonl(folder / "gold.jsonl")}
    assert [*table["j0"]] == ["report_id", *CLASSES, "No Finding"]
    found = {report_id: {name for name in CLASSES if row[name] == "1"} for report_id, row in table.items()}
    assert found == {report_id: set(labels) for report_id, labels in gold.items()}
    assert all("0" in row.values() for row in table.values())
    inputs = json.loads((folder / "labels.csv.manifest.json").read_text())["inputs"]
    assert {"reports.jsonl", "sprocket.yaml", "lexicon.toml"} <= {Path(path).name for path in inputs}

    monkeypatch.setenv("OPENAI_API_KEY", "simulated")
    for file, truth, output, noise in (
        ("sprocket.yaml", "gold.jsonl", "teacher.jsonl", 0.3),
        ("sprocket_phrases.yaml", "phrases.jsonl", "annotations.jsonl", 0),
    ):
        task = load_task(file)
        truths = read_truths(task, Path("reports.jsonl"), Path(truth))
        with serving(make_app(task, truths, Noise(noise, noise))) as url:
            asked = (f"task={file}", "reports=reports.jsonl", f"output={output}", f"base_url={url}")
            run("gpt_data_generate.py", *asked)
        assert {row["status"] for row in read_jsonl(folder / output)} == {"ok"}

    sets = [f"sprocket.{name}" for name in ("reports=reports.jsonl", "labels=labels.csv", "rows=30")]
    sets += [f"sprocket_phrases.{name}" for name in ("reports=reports.jsonl", "labels=annotations.jsonl", "rows=20")]
    tasks = "tasks=[sprocket.yaml, sprocket_phrases.yaml]"
    run("scripts/build_instructions.py", "output=rows.jsonl", tasks, *sets)
    rows = read_jsonl(folder / "rows.jsonl")
    assert sorted({row["task"] for row in rows}) == ["sprocket", "sprocket_phrases"]
    for row in rows:
        if row["task"] == "sprocket":
            assert set(json.loads(row["output"].replace("'", '"'))) == set(gold[row["report_id"]] or ["Sound"])

    for task, predictions, truth, least, most in (
        ("sprocket.yaml", "labels.csv", "gold.jsonl", 1, 1),
        ("sprocket.yaml", "teacher.jsonl", "gold.jsonl", 0.5, 0.9),
        ("sprocket_phrases.yaml", "annotations.jsonl", "phrases.jsonl", 1, 1),
    ):
        files = (f"predictions={predictions}", f"gold={truth}", "reports=reports.jsonl", "errors=errors.jsonl")
        run("evaluate.py", f"task={task}", *files, "output=metrics.json")
        metrics = json.loads((folder / "metrics.json").read_text())
        assert metrics["n_reports"] == 60
        assert least <= metrics["micro"]["f1"] <= most
        assert bool(read_jsonl(folder / "errors.jsonl")) == (least < 1)
        if task == "sprocket.yaml":
            assert set(metrics["per_class"]) >= set(CLASSES)
            assert set(metrics["per_parent"]) == set(PARENTS)
    assert "Wug apex" in run("scripts/compare_labels.py", "task=sprocket.yaml", "a=labels.csv", "b=labels.csv")
