"""Two tasks and a source of one's own, written as files: every command and a small study run on them.

An organ that nobody has, 150 classes, two of them parents of others, rules for some and names for the rest; phrases of
the same reports; and a table with columns of its own. No line of Python is added for any of it.
"""

import csv
import json
import random
import subprocess
import sys
from pathlib import Path

import pytest

from radtune.tasks import load_task
from scripts.simulated_teacher import Noise, make_app, read_truths, serving

ROOT = Path(__file__).resolve().parents[1]
KINDS = (
    "Wug", "Dax", "Fep", "Blick", "Toma", "Zorp", "Gorp", "Pim", "Lorch", "Nib", "Quax", "Sneb", "Tulver", "Vosk", "Yib"
)  # fmt: skip
PLACES = ("apex", "base", "rim", "hub", "axle", "spoke", "tooth", "chain", "pin", "bore")
PARENTS = ("Wug", "Dax")
CLASSES = (*PARENTS, *[f"{kind} {place}" for kind in KINDS for place in PLACES][:148])
# Said in other words than its name, which only the lexicon knows.
REWORDED = {"Fep rim": "feppy edge", "Toma hub": "tomatous hub"}
TASK = """
name: sprocket
title: Sprocket signs
kind: classes
none: Sound
rules: sprocket_rules
prompts:
  training: Which signs does the sprocket show?
  inference: |-
    Which of these signs does the sprocket show? Answer with a list.
    {classes}
classes:
"""
LEXICON = """
["Fep rim"]
mentions = ["feppy (rim|edge)"]
["Toma hub"]
mentions = ["tomatous hub*"]
normal = ["hub is plain"]
[Other]
mentions = ["rust*"]
"""
PHRASE_TASK = """
name: sprocket_phrases
title: Sprocket phrases
kind: phrases
examples: {file: examples.jsonl, shown: 1, drawn_for: [labelling]}
prompts:
  inference: "List what is wrong with the sprocket. {examples}"
"""
STUDY = """
name: sprockets
model_name: mini Llama
checkpoint_dir: data/mini
config: configs/mini/lora_fast.yaml
overrides: [max_steps=2, rows_per_step=4, optimizer.lr=1.0e-2]
teacher: {simulated: true, model: teacher}
cohorts:
  signs:
    {task: sprocket.yaml, labels: rules, source: table, input: shop.csv, id_column: Job, text_column: Words}
  words:
    task: sprocket_phrases.yaml
    labels: teacher
    gold: phrases.jsonl
    source: table
    input: shop.csv
    id_column: Job
    text_column: Words
mixes: [[16, 8]]
tests:
  signs_test: {task: sprocket.yaml, reports: few.jsonl, gold: gold.jsonl}
inference: {batch_size: 8, max_new_tokens: 16}
inference_variants:
  careful: {constrain: true, scores: true, samples: 3, temperature: 0.7}
"""


def write_jsonl(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """The toy's files, beside what a checkout has; ``truth`` by report id is what stands in the reports."""
    folder = tmp_path_factory.mktemp("toy")
    for name in ("configs", "data", "scripts", "recipes", *(path.name for path in ROOT.glob("*.py"))):
        (folder / name).symlink_to(ROOT / name)
    entries = [f"  - {{name: {name}{f', parent: {name.split()[0]}' if is_child(name) else ''}}}\n" for name in CLASSES]
    (folder / "sprocket.yaml").write_text(TASK + "".join(entries))
    (folder / "sprocket_rules").mkdir()
    (folder / "sprocket_rules" / "lexicon.toml").write_text(LEXICON)
    (folder / "sprocket_phrases.yaml").write_text(PHRASE_TASK)
    examples = [
        {"example_id": str(n), "text": f"Worn {n}.", "labels": [f"worn {n}"], "fixed": n == 0} for n in range(3)
    ]
    write_jsonl(folder / "examples.jsonl", examples)
    (folder / "study.yaml").write_text(STUDY)

    chance, rows, gold, phrases = random.Random(4), [], [], []  # noqa: S311
    for number in range(60):
        absent, unsure, *labels = chance.sample(CLASSES, chance.randint(2, 4))
        said = [f"{spoken(name)} is seen." for name in labels]
        text = " ".join(["FINDINGS:", *said, f"No {spoken(absent)}.", f"{spoken(unsure)} cannot be excluded."])
        rows.append({"Job": f"j{number}", "Owner": f"o{number // 2}", "Words": text})
        gold.append({"report_id": f"j{number}", "labels": labels})
        phrases.append({"report_id": f"j{number}", "phrases": [{"phrase": spoken(name)} for name in labels]})
    with (folder / "shop.csv").open("w", newline="") as stream:
        writer = csv.DictWriter(stream, rows[0])
        writer.writeheader()
        writer.writerows(rows)
    write_jsonl(folder / "gold.jsonl", gold)
    write_jsonl(folder / "phrases.jsonl", phrases)
    return folder


def is_child(name):
    return name.split()[0] in PARENTS and " " in name


def spoken(name):
    return REWORDED.get(name, name.lower())


def read_jsonl(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_every_command_takes_them(folder, run_here, monkeypatch):
    def run(command, *words):
        done = run_here(command, *words)
        assert done.returncode == 0, done.stderr
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


def test_a_study_trains_asks_and_reports_on_them(folder, run_here, monkeypatch):
    monkeypatch.chdir(folder)
    given = ("source=table", "input=shop.csv", "id_column=Job", "text_column=Words", "sample=6")
    assert run_here("scripts/prepare_reports.py", *given, "output=few.jsonl").returncode == 0
    command = ("snakemake", "-s", "scripts/Snakefile", "--configfile", "study.yaml", "--cores", "2", "--nolock")
    done = subprocess.run([sys.executable, "-m", *command], capture_output=True, text=True, timeout=500)
    assert done.returncode == 0, done.stdout + done.stderr
    made = folder / "runs" / "sprockets"
    assert {path.name for path in (made / "predictions").iterdir()} >= {"base", "mix_16_8", "careful"}
    careful = read_jsonl(made / "predictions" / "careful" / "signs_test.jsonl")
    assert len(careful) == 6
    for row in careful:
        assert row["status"] == "ok"
        assert set(row["labels"]) <= set(CLASSES)
        assert set(row["scores"]) == set(CLASSES)
        assert len(row["votes"]) == 3
    rules = json.loads((made / "evaluations" / "rule_labeler" / "signs_test" / "metrics.json").read_text())
    assert rules["micro"]["f1"] == 1.0
    assert "Sprocket signs" in (made / "report.html").read_text()
    assert "careful" in (made / "tables.txt").read_text()
