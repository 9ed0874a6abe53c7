"""The study's graph, by dry runs of snakemake: every cell is in it, and a change redoes only what depends on it."""

import importlib.util
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from radtune.study.plan import cells, read_study

GIVEN = (
    "data/mimic/mimic-cxr-2.0.0-negbio.csv.gz", "data/curated/mimic_100.csv", "data/curated/nih_midrc_100.csv"
)  # fmt: skip


def snakemake(folder: Path, study: str | Path, *options: str) -> str:
    command = [sys.executable, "-m", "snakemake", "-s", "scripts/Snakefile", "--configfile", str(study), *options]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def messages(output: str) -> set[str]:
    """What the jobs of a dry run say they would do."""
    lines = (line.partition(": ") for line in output.splitlines() if line.startswith("Job "))
    return {message for head, _, message in lines if head[4:].isdigit()}


@pytest.fixture(scope="module")
def paper(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which paper.yaml finds what it asks for, empty."""
    folder = tmp_path_factory.mktemp("paper")
    for name in ("configs", "scripts"):
        (folder / name).symlink_to(Path(name).resolve())
    for name in GIVEN:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()
    return folder


def test_paper_study_names_every_cell(paper: Path) -> None:
    found = messages(snakemake(paper, "configs/study/paper.yaml", "-n"))
    study = read_study(Path("configs/study/paper.yaml"))
    planned = cells(study)
    assert len(planned) == 22
    scored = {f"Scoring {cell.name} on {task}" for cell in planned for task in cell.tasks}
    assert {message for message in found if message.startswith("Scoring")} == scored
    trained = {cell.name for cell in planned if cell.total}
    assert {m.split()[1].rstrip(":") for m in found if m.startswith("Training")} == trained
    assert {m.removeprefix("Building the instructions of ") for m in found if m.startswith("Building")} == trained
    asked = {f"Asking {name} about the {task} test reports" for name in ("the teacher", "base") for task in study.tests}
    assert asked <= found
    mixes = [f"mix_{wcm}_{mimic}" for wcm, mimic in study.mixes]
    compared = {
        f"Comparing {mix} with {other} on multiple_choice" for mix in mixes for other in ("base", "rule_labeler")
    }
    compared |= {f"Comparing {mix} with base on open_ended" for mix in mixes}
    assert {message for message in found if message.startswith("Comparing")} == compared
    assert not (paper / "runs").exists()


def test_snakemake_takes_the_slurm_profile(paper: Path) -> None:
    if importlib.util.find_spec("snakemake_executor_plugin_slurm") is None:
        pytest.skip("no snakemake-executor-plugin-slurm (pip install -e '.[slurm]')")
    profile = ["--profile", "configs/study/slurm", "-n", "--quiet", "reason"]
    output = snakemake(paper, "configs/study/paper.yaml", *profile, "--until", "label_test_by_rules")
    assert "Labelling the test reports by rules" in output


def test_slurm_profile_names_rules_of_the_graph() -> None:
    profile = yaml.safe_load(Path("configs/study/slurm/config.yaml").read_text())
    rules = {
        line.split()[1].rstrip(":")
        for line in Path("scripts/Snakefile").read_text().splitlines()
        if line[:5] == "rule "
    }
    assert profile["executor"] == "slurm"
    assert {"train", "predict"} <= set(profile["set-resources"]) <= rules
    assert set(profile["set-threads"]) <= rules


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which snakemake takes the mini study for finished: its files are there, and empty."""
    folder = tmp_path_factory.mktemp("mini")
    for name in ("configs", "scripts"):
        (folder / name).symlink_to(Path(name).resolve())
    (folder / "data/mini").mkdir(parents=True)
    (folder / MODEL).touch()
    (folder / "study.yaml").write_text(Path("configs/study/mini.yaml").read_text())
    for line in snakemake(folder, "study.yaml", "--summary", "-n").splitlines():
        if line.startswith("runs/"):
            output = folder / line.split("\t")[0]
            output.parent.mkdir(parents=True, exist_ok=True)
            output.touch()
    snakemake(folder, "study.yaml", "--touch", "--forceall", "--cores", "1", "--nolock")
    return folder


MODEL = "data/mini/model.safetensors"
REPORT = {"Writing tables, figures and runs/mini/report.html"}


def one_rate_more(study: dict) -> set[str]:
    study["learning_rates"] = [*study["learning_rates"], 3e-3]
    return {
        "Building the instructions of lr_3e-3", "Training lr_3e-3: follow runs/mini/logs/train_lr_3e-3.log",
        "Asking lr_3e-3 about the multiple_choice test reports", "Scoring lr_3e-3 on multiple_choice",
    }  # fmt: skip


def one_mix_less(study: dict) -> set[str]:
    del study["mixes"][0]
    return set()


def other_teacher(study: dict) -> set[str]:
    """It labelled the wcm rows, so whatever was not trained on them stays."""
    study["teacher"]["drop"] = 0.2
    tasks = ("multiple_choice", "open_ended")
    models = [
        *(f"mix_{a}_{b}" for a, b in study["mixes"]),
        *(f"only_open_ended_{n}" for n in study["separate"]["open_ended"]),
    ]
    redone = {"Asking the teacher for phrases of the wcm reports"}
    redone |= {f"Asking the teacher about the {task} test reports" for task in tasks}
    redone |= {f"Scoring teacher on {task}" for task in tasks}
    redone |= {f"Building the instructions of {model}" for model in models}
    redone |= {f"Training {model}: follow runs/mini/logs/train_{model}.log" for model in models}
    for model in models:
        for task in tasks if model.startswith("mix") else ("open_ended",):
            redone |= {f"Asking {model} about the {task} test reports", f"Scoring {model} on {task}"}
            if model.startswith("mix"):
                redone.add(f"Comparing {model} with base on {task}")
        if model.startswith("mix"):
            redone.add(f"Comparing {model} with rule_labeler on multiple_choice")
    return redone


@pytest.mark.parametrize("change", [one_rate_more, one_mix_less, other_teacher])
def test_a_change_redoes_only_what_depends_on_it(done: Path, change: Callable[[dict], set[str]]) -> None:
    study = yaml.safe_load((done / "study.yaml").read_text())
    redone = change(study)
    changed = done / f"{change.__name__}.yaml"
    changed.write_text(yaml.safe_dump(study))
    assert messages(snakemake(done, changed.name, "-n")) == redone | REPORT


def test_a_changed_base_model_is_seen(done: Path) -> None:
    (done / MODEL).write_text("other weights")
    redone = messages(snakemake(done, "study.yaml", "-n"))
    kinds = {message.split()[0] for message in redone}
    # Not: prepare, label, ask the teacher, build.
    assert kinds == {"Training", "Asking", "Scoring", "Comparing", "Writing"}
    assert not any("teacher" in message or "rule_labeler on" in message for message in redone if "Comp" not in message)
