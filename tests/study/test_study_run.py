"""A small study by snakemake, of tasks and a source of one's own that are files alone.

It is killed in the middle, started again, and made anew only where its content changed.
"""

import csv
import importlib.util
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml
from sprockets import CLASSES, read_jsonl, write_table, write_toy

STUDY = """
name: small
model_name: mini Llama
config: configs/mini/lora_fast.yaml
overrides: [rows_per_step=4]
checkpoint_dir: data/mini
show_text: true
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
mixes: [[8, 4]]
tests:
  curated:
    task: sprocket.yaml
    source: table
    input: gold.csv
    id_column: Job
    text_column: Words
    gold: gold.csv
    gold_column: labels
inference: {batch_size: 8, max_new_tokens: 16, constrain: true, scores: true, samples: 3, temperature: 0.7}
"""
# What a YAML holds is no command.
RUN = Path("runs/a b;touch pwned;$(touch pwned)'`touch pwned`\"x")
TRAINED = "mix_8_4"
SNAKEMAKE = (sys.executable, "-m", "snakemake", "-s", "scripts/Snakefile", "--cores", "2", "--configfile")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = write_toy(tmp_path_factory.mktemp("study"))
    (folder / "small.yaml").write_text(STUDY)
    truths = [", ".join(row["labels"]) for row in read_jsonl(folder / "gold.jsonl")[:8]]
    write_table(
        folder / "gold.csv",
        [{**row, "labels": labels} for row, labels in zip(rows_of(folder, "shop.csv"), truths, strict=False)],
    )
    return folder


def rows_of(folder, name):
    with (folder / name).open(newline="") as stream:
        return list(csv.DictReader(stream))


def start(folder, *options, **others):
    return subprocess.Popen(
        [*SNAKEMAKE, "small.yaml", "--config", f"run_dir={RUN}", *options], cwd=folder, text=True,
        start_new_session=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, **others,
    )  # fmt: skip


def finish(process):
    output, _ = process.communicate(timeout=1800)
    return process.returncode, output


def jobs(output):
    """What a dry run would do."""
    lines = (line.partition(": ") for line in output.splitlines() if line.startswith("Job "))
    return {message for head, _, message in lines if head[4:].isdigit()}


@pytest.fixture(scope="module")
def done(folder):
    """The study, killed with nothing but its main process while it trained, and started again."""
    process = start(folder, "--until", "train")
    deadline = time.monotonic() + 900
    while not (folder / RUN / "training" / TRAINED / "made_from").exists():
        assert process.poll() is None, process.stdout.read()
        assert time.monotonic() < deadline
        time.sleep(0.05)
    # However long the second start takes, the first is not done.
    os.killpg(process.pid, signal.SIGSTOP)
    code, output = finish(start(folder))
    assert code != 0
    # As every mistake, one line before the start.
    assert f"{RUN}: another process is writing there" in output and "Traceback" not in output
    process.kill()
    process.wait()
    os.killpg(process.pid, signal.SIGCONT)
    labels = folder / RUN / "cohorts/signs/labels.csv"
    before = labels.stat().st_mtime_ns
    code, output = finish(start(folder))
    assert code == 0, output
    assert labels.stat().st_mtime_ns == before
    assert "estimate, one after the other: 1 to train" in output
    assert (folder / RUN / "tables.txt").read_text() in output
    assert not list(folder.rglob("pwned"))
    return folder


def test_killed_study_goes_on_and_writes_for_its_owner(done):
    run = done / RUN
    page = (run / "report.html").read_text()
    assert "mini Llama" in page and "Sprocket signs" in page
    for cell in ("base", "rule_labeler", TRAINED):
        metrics = json.loads((run / f"evaluations/{cell}/curated/metrics.json").read_text())
        assert metrics["n_reports"] == 8
        assert (metrics["micro"]["f1"] == 1) == (cell == "rule_labeler")
    history = read_jsonl(run / "training" / TRAINED / "history.jsonl")
    assert [row["step"] for row in history if "loss" in row] == [1, 2, 3]
    assert not [path for path in run.rglob("*") if path.stat().st_mode & 0o077]
    errors = read_jsonl(run / "evaluations/base/curated/errors.jsonl")
    sentences = {error["sentence"] for error in errors} - {None}
    assert sentences
    printed = [run / "tables.txt", *(run / "logs").iterdir()]
    assert not [path for path in printed for text in [path.read_text()] if any(words in text for words in sentences)]


def test_inference_does_all_that_the_study_says(done):
    answers = read_jsonl(done / RUN / f"predictions/{TRAINED}/curated.jsonl")
    assert len(answers) == 8
    for row in answers:
        assert row["status"] == "ok"
        assert set(row["labels"]) <= set(CLASSES)
        assert set(row["scores"]) == set(CLASSES)
        assert len(row["votes"]) == 3


def test_what_failed_or_is_deleted_is_made_anew(done):
    predictions = done / RUN / "predictions/base/curated.jsonl"
    before, asked = predictions.read_bytes(), "Asking base about the curated test reports"
    (done / "small.yaml").write_text(STUDY.replace("max_new_tokens: 16", "max_new_tokens: 1"))
    assert finish(start(done, "--", str(RUN / "predictions/base/curated.jsonl")))[0] != 0
    assert predictions.read_bytes() == before
    assert asked in jobs(finish(start(done, "-n"))[1])
    (done / "small.yaml").write_text(STUDY)
    assert finish(start(done))[0] == 0
    assert not jobs(finish(start(done, "-n"))[1])
    predictions.unlink()
    assert asked in jobs(finish(start(done, "-n"))[1])
    assert finish(start(done))[0] == 0
    assert predictions.read_bytes() == before


def test_time_and_place_change_nothing_and_a_gold_label_only_scores(done):
    for name in ("shop.csv", "gold.csv"):
        (done / name).touch()
    shutil.copy(done / "shop.csv", done / "moved.csv")
    (done / "small.yaml").write_text(STUDY.replace("shop.csv", "moved.csv"))
    first, *rows = rows_of(done, "gold.csv")
    write_table(done / "gold.csv", [first | {"labels": "" if first["labels"] else CLASSES[0]}, *rows])
    # A home may be missing.
    environment = {name: value for name, value in os.environ.items() if name != "XDG_CACHE_HOME"}
    target = RUN / f"evaluations/{TRAINED}/curated/metrics.json"
    code, output = finish(start(done, "--", str(target), env=environment | {"HOME": "/proc/nohome"}))
    assert code == 0, output
    assert "study: gold.csv: changed since 5 results were made" in output
    assert jobs(output) == {f"Scoring {TRAINED} on curated"}


def test_a_slip_on_snakemakes_command_line_is_one_line():
    for given, message in (["--config", "limt=20"], "limit= and run_dir=, not limt"), ([], "give the study's file"):
        words = [*SNAKEMAKE, "configs/study/mini.yaml", "-n", *given] if given else [*SNAKEMAKE[:-1], "-n"]
        shown = subprocess.run(words, capture_output=True, text=True, timeout=600)
        assert shown.returncode == 1 and f"study: error: {'--config takes ' if given else ''}{message}" in shown.stderr


def test_slurm_profile_is_of_this_graph(tmp_path):
    profile = yaml.safe_load(Path("configs/study/slurm/config.yaml").read_text())
    rules = set(re.findall(r'^    "(\w+)": \(', Path("scripts/Snakefile").read_text(), re.MULTILINE))
    assert profile["executor"] == "slurm"
    assert {"train", "predict"} <= set(profile["set-resources"]) <= rules
    assert set(profile["set-threads"]) <= rules
    if importlib.util.find_spec("snakemake_executor_plugin_slurm") is None:
        pytest.skip("no snakemake-executor-plugin-slurm (pip install -e '.[slurm]')")
    options = ["configs/study/mini.yaml", "--profile", "configs/study/slurm", "-n", "--until", "label_test_by_rules"]
    shown = subprocess.run([*SNAKEMAKE, *options], capture_output=True, text=True, timeout=600)
    assert "Labelling the multiple_choice test reports by rule_labeler" in shown.stdout + shown.stderr
