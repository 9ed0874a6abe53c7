"""A small study by snakemake: killed in the middle, started again, and made anew only where its content changed."""

import csv
import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml

from radtune.sources import synthetic

STUDY = """
name: small
model_name: mini Llama
config: configs/mini/lora_fast.yaml
overrides: [rows_per_step=4]
checkpoint_dir: data/mini
show_text: true
cohorts:
  own: {task: multiple_choice, labels: rules, input: own.csv}
mixes: [[12]]
tests:
  curated: {task: multiple_choice, input: gold.csv, gold: gold.csv, gold_column: labels}
inference: {batch_size: 12, max_new_tokens: 30}
"""
RUN = Path("runs/small")
SNAKEMAKE = (sys.executable, "-m", "snakemake", "-s", "scripts/Snakefile", "--cores", "2", "--configfile")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("study")
    for name in ("configs", "scripts", "data"):
        (folder / name).symlink_to(Path(name).resolve())
    (folder / "small.yaml").write_text(STUDY)
    truths = list(synthetic.generate(24, 5, "mimic"))
    labels = (", ".join(name for name, state in truth.labels.items() if state == 1) for truth in truths)
    rows = [(truth.report.report_id, truth.report.text, found) for truth, found in zip(truths, labels, strict=True)]
    for name, some in (("own.csv", rows[:16]), ("gold.csv", rows[16:])):
        with open(folder / name, "w", newline="") as stream:
            csv.writer(stream).writerows([("report_id", "text", "labels"), *some])
    return folder


def start(folder, *options, **others):
    return subprocess.Popen(
        [*SNAKEMAKE, "small.yaml", *options], cwd=folder, text=True, start_new_session=True,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, **others,
    )  # fmt: skip


def finish(process):
    output, _ = process.communicate(timeout=600)
    return process.returncode, output


def jobs(output):
    """What a dry run would do."""
    lines = (line.partition(": ") for line in output.splitlines() if line.startswith("Job "))
    return {message for head, _, message in lines if head[4:].isdigit()}


@pytest.fixture(scope="module")
def done(folder):
    """The study, killed with nothing but its main process while it trained, and started again."""
    process = start(folder)
    deadline = time.monotonic() + 400
    while not (folder / RUN / "training/mix_12/made_from").exists():
        assert process.poll() is None, process.stdout.read()
        assert time.monotonic() < deadline
        time.sleep(0.05)
    code, output = finish(start(folder))
    assert code != 0
    assert "runs/small: another process is writing there" in output
    process.kill()
    process.wait()
    labels = folder / RUN / "cohorts/own/labels.csv"
    before = labels.stat().st_mtime_ns
    code, output = finish(start(folder))
    assert code == 0, output
    assert labels.stat().st_mtime_ns == before
    assert "estimate, one after the other: 1 to train" in output
    assert (folder / RUN / "tables.txt").read_text() in output
    return folder


def test_killed_study_goes_on_and_writes_for_its_owner(done):
    run = done / RUN
    assert "mini Llama" in (run / "report.html").read_text()
    for cell in ("base", "rule_labeler", "mix_12"):
        metrics = json.loads((run / f"evaluations/{cell}/curated/metrics.json").read_text())
        assert metrics["n_reports"] == 8
    history = [json.loads(line) for line in (run / "training/mix_12/history.jsonl").read_text().splitlines()]
    assert [row["step"] for row in history if "loss" in row] == [1, 2, 3]
    assert not [path for path in run.rglob("*") if path.stat().st_mode & 0o077]
    errors = [json.loads(line) for line in (run / "evaluations/base/curated/errors.jsonl").read_text().splitlines()]
    sentences = {error["sentence"] for error in errors} - {None}
    assert sentences
    printed = [run / "tables.txt", *(run / "logs").iterdir()]
    assert not [path for path in printed for text in [path.read_text()] if any(words in text for words in sentences)]


def test_time_and_place_change_nothing_and_a_gold_label_only_scores(done):
    for name in ("own.csv", "gold.csv"):
        (done / name).touch()
    shutil.copy(done / "own.csv", done / "moved.csv")
    (done / "small.yaml").write_text(STUDY.replace("own.csv", "moved.csv"))
    code, output = finish(start(done, "-n"))
    assert (code, jobs(output)) == (0, {"Writing tables, figures and runs/small/report.html"})
    with open(done / "gold.csv", newline="") as stream:
        rows = list(csv.reader(stream))
    rows[1][2] = "" if rows[1][2] else "Edema"
    with open(done / "gold.csv", "w", newline="") as stream:
        csv.writer(stream).writerows(rows)
    code, output = finish(start(done, "-n"))
    assert code == 0
    assert {message.split()[0] for message in jobs(output)} == {"Scoring", "Comparing", "Writing"}
    assert "study: gold.csv: changed since 5 results were made" in output
    code, output = finish(start(done, "--until", "evaluate"))
    assert code == 0, output
    assert "Training" not in output


def test_what_a_yaml_holds_is_no_command_and_a_home_may_be_missing(folder):
    nasty = "runs/a b;touch pwned;$(touch pwned)'`touch pwned`\"x"
    environment = {name: value for name, value in os.environ.items() if name != "XDG_CACHE_HOME"}
    process = start(
        folder, "--until", "prepare_test", "--config", f"run_dir={nasty}", env=environment | {"HOME": "/proc/nohome"}
    )
    code, output = finish(process)
    assert code == 0, output
    assert (folder / nasty / "tests/curated/reports.jsonl").exists()
    assert not list(folder.rglob("pwned"))


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ("mixs: [[1]]\n", "small.yaml: unknown key 'mixs'; did you mean 'mixes'?"),
        ("inference_variants: {x: {sampels: 3}}\n", "unknown key 'sampels'; did you mean 'samples'?"),
    ],
)
def test_a_mistake_is_one_line_before_the_start(folder, more, message):
    before = (folder / "small.yaml").read_text()
    (folder / "small.yaml").write_text(STUDY + more)
    code, output = finish(start(folder, "-n"))
    (folder / "small.yaml").write_text(before)
    assert code != 0
    assert message in output
    assert "Traceback" not in output


def test_slurm_profile_is_of_this_graph(tmp_path):
    profile = yaml.safe_load(Path("configs/study/slurm/config.yaml").read_text())
    rules = set(re.findall(r'^    "(\w+)": \(', Path("scripts/Snakefile").read_text(), re.MULTILINE))
    assert profile["executor"] == "slurm"
    assert {"train", "predict"} <= set(profile["set-resources"]) <= rules
    assert set(profile["set-threads"]) <= rules
    if importlib.util.find_spec("snakemake_executor_plugin_slurm") is None:
        pytest.skip("no snakemake-executor-plugin-slurm (pip install -e '.[slurm]')")
    options = ["configs/study/mini.yaml", "--profile", "configs/study/slurm", "-n", "--until", "label_test_by_rules"]
    shown = subprocess.run([*SNAKEMAKE, *options], capture_output=True, text=True, timeout=120)
    assert "Labelling the multiple_choice test reports by rule_labeler" in shown.stdout + shown.stderr
