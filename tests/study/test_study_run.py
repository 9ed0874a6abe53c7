"""A small study by snakemake: killed in the middle, started again, and made anew where its YAML changed."""

import json
import os
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

STUDY = """
name: small
model_name: mini Llama
config: configs/mini/lora_fast.yaml
checkpoint_dir: data/mini
teacher: {{simulated: true, model: teacher, drop: {drop}}}
tests:
  multiple_choice:
    {{source: synthetic, count: {count}, seed: 3, gold: runs/small/tests/multiple_choice/gold_labels.csv}}
inference: {{batch_size: 12, max_new_tokens: 40}}
"""
RUN = Path("runs/small")
SNAKEMAKE = (sys.executable, "-m", "snakemake", "-s", "scripts/Snakefile", "--configfile")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("study")
    for name in ("configs", "scripts", "data", "recipes", "inference.py", "evaluate.py", "gpt_data_generate.py"):
        (folder / name).symlink_to(Path(name).resolve())
    return folder


def snakemake(folder, drop, count=12, **options):
    (folder / "small.yaml").write_text(STUDY.format(drop=drop, count=count))
    return subprocess.Popen(
        [*SNAKEMAKE, "small.yaml", "--cores", "1", "--nolock", "--rerun-incomplete", "--quiet", "host", "reason"],
        cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True, **options,
    )  # fmt: skip


def finish(process):
    output, _ = process.communicate(timeout=180)
    return process.returncode, output


def test_killed_study_goes_on(folder):
    process = snakemake(folder, 0.05)
    deadline = time.monotonic() + 120
    while not (folder / RUN / "tests/multiple_choice/rule_labels.csv").exists():
        assert process.poll() is None, process.stdout.read()
        assert time.monotonic() < deadline
        time.sleep(0.05)
    second = finish(snakemake(folder, 0.05))
    assert second[0] != 0
    assert "runs/small: another process is writing there" in second[1]
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    labels = folder / RUN / "tests/multiple_choice/rule_labels.csv"
    before = labels.stat().st_mtime_ns
    code, output = finish(snakemake(folder, 0.05))
    assert code == 0, output
    assert labels.stat().st_mtime_ns == before
    page = (folder / RUN / "report.html").read_text()
    assert "mini Llama" in page
    for cell in ("base", "rule_labeler", "teacher"):
        metrics = json.loads((folder / RUN / f"evaluations/{cell}/multiple_choice/metrics.json").read_text())
        assert metrics["n_reports"] == 12


def test_finished_study_does_nothing_again(folder):
    code, output = finish(snakemake(folder, 0.05))
    assert code == 0
    assert "Nothing to be done" in output


def test_other_reports_are_labelled_anew(folder):
    code, output = finish(snakemake(folder, 0.5, count=10))
    assert code == 0, output
    for cell in ("base", "rule_labeler", "teacher"):
        metrics = json.loads((folder / RUN / f"evaluations/{cell}/multiple_choice/metrics.json").read_text())
        assert metrics["n_reports"] == 10


def dry_run(folder, name, text, *options):
    (folder / name).write_text(text)
    return subprocess.run(
        [*SNAKEMAKE, name, "-n", "-p", *options], cwd=folder, capture_output=True, text=True, timeout=60
    )


def test_unknown_key_is_one_line(folder):
    result = dry_run(folder, "wrong.yaml", STUDY.format(drop=0, count=12) + "mixs: [[1, 1]]\n")
    assert result.returncode != 0
    assert "wrong.yaml: unknown key 'mixs'; did you mean 'mixes'?" in result.stdout + result.stderr


def test_a_folder_given_to_snakemake_may_have_a_blank_and_is_the_reports_too(folder):
    study = STUDY.format(drop=0.05, count=12).replace(", gold: runs/small/tests/multiple_choice/gold_labels.csv", "")
    result = dry_run(folder, "blank.yaml", study, "--config", "run_dir=runs/a b")
    assert result.returncode == 0, result.stderr
    # The lines of commands, quotes resolved as the shell would.
    words = [word for line in result.stdout.splitlines() if "python" in line for word in shlex.split(line)]
    assert {"output=runs/a b/tests/multiple_choice/reports.jsonl", "run_dir=runs/a b", "runs/a b/tables.txt"} <= set(
        words
    )
