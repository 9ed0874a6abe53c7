"""The study's graph, by dry runs of snakemake: every cell is in it, and a change redoes only what depends on it."""

import importlib.util
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from radtune.study.plan import opponents, read_study, study_from_mapping

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
    assert len(study.cells) == 23
    pairs = [(cell, test) for cell in study.cells for test in cell.tests]
    wanted = {f"Scoring {cell.name} on {test}" for cell, test in pairs}
    wanted |= {
        f"Comparing {cell.name} with {o} on {test}" for cell, test in pairs for o in opponents(study, cell, test)
    }
    trained = [cell for cell in study.cells if cell.trained]
    wanted |= {f"Training {cell.name}: follow runs/paper/logs/train_{cell.name}.log" for cell in trained}
    wanted |= {f"Building the instructions of {cell.rows_name}" for cell in trained}
    wanted |= {
        f"Asking {name} about the {test} test reports" for name in ("the teacher", "base") for test in study.tests
    }
    assert wanted <= found
    # The exact run is torchtune's recipe; one cell is trained by ours.
    assert [cell.name for cell in trained if cell.recipe == "ours"] == ["mix_6000_3000_ours"]
    assert not (paper / "runs").exists()


def test_snakemake_takes_the_slurm_profile(paper: Path) -> None:
    if importlib.util.find_spec("snakemake_executor_plugin_slurm") is None:
        pytest.skip("no snakemake-executor-plugin-slurm (pip install -e '.[slurm]')")
    profile = ["--profile", "configs/study/slurm", "-n", "--quiet", "reason"]
    output = snakemake(paper, "configs/study/paper.yaml", *profile, "--until", "label_test_by_rules")
    assert "Labelling the multiple_choice test reports by rules" in output


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
    """Its rows are those of the other rates."""
    study["learning_rates"] = [*study["learning_rates"], 3e-3]
    return {
        "Training lr_3e-3: follow runs/mini/logs/train_lr_3e-3.log",
        "Asking lr_3e-3 about the multiple_choice test reports", "Scoring lr_3e-3 on multiple_choice",
    }  # fmt: skip


def one_mix_less(study: dict) -> set[str]:
    del study["mixes"][1]
    return set()


def other_variant(study: dict) -> set[str]:
    study["inference_variants"]["votes"]["samples"] = 3
    last = "_".join(map(str, ("mix", *study["mixes"][-1])))
    return {
        "Asking votes about the multiple_choice test reports", "Scoring votes on multiple_choice",
        f"Comparing votes with {last} on multiple_choice",
    }  # fmt: skip


def other_teacher(study: dict) -> set[str]:
    """It labelled the wcm rows, so whatever was not trained on them stays."""
    study["teacher"]["drop"] = 0.2
    planned = study_from_mapping(study)
    redone = {"Asking the teacher about the wcm reports"}
    redone |= {f"Asking the teacher about the {test} test reports" for test in planned.tests}
    redone |= {f"Scoring teacher on {test}" for test in planned.tests}
    for cell in planned.cells:
        if cell.rows.get("wcm") and cell.trained:
            redone.add(f"Building the instructions of {cell.rows_name}")
            redone.add(f"Training {cell.name}: follow runs/mini/logs/train_{cell.name}.log")
        for test in cell.tests if cell.rows.get("wcm") else ():
            redone |= {f"Asking {cell.name} about the {test} test reports", f"Scoring {cell.name} on {test}"}
            redone |= {f"Comparing {cell.name} with {o} on {test}" for o in opponents(planned, cell, test)}
    return redone


@pytest.mark.parametrize("change", [one_rate_more, one_mix_less, other_variant, other_teacher])
def test_a_change_redoes_only_what_depends_on_it(done: Path, change: Callable[[dict], set[str]]) -> None:
    study = yaml.safe_load((done / "study.yaml").read_text())
    redone = change(study)
    changed = done / f"{change.__name__}.yaml"
    changed.write_text(yaml.safe_dump(study, sort_keys=False))
    assert messages(snakemake(done, changed.name, "-n")) == redone | REPORT


def test_a_changed_base_model_is_seen(done: Path) -> None:
    (done / MODEL).write_text("other weights")
    redone = messages(snakemake(done, "study.yaml", "-n"))
    kinds = {message.split()[0] for message in redone}
    # Not: prepare, label, ask the teacher, build.
    assert kinds == {"Training", "Asking", "Scoring", "Comparing", "Writing"}
    assert not any("teacher" in message or "rule_labeler on" in message for message in redone if "Comp" not in message)
