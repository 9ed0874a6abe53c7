"""`radtune COMMAND` runs each command's own file, and the wheel has all that they need."""

import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from radtune import ROOT
from radtune.__main__ import COMMANDS

MAIN = ROOT / "radtune" / "__main__.py"


def test_it_lists_and_runs_the_commands(run_here) -> None:
    page = run_here(MAIN).stdout
    assert re.findall(r"^  ([a-z-]+)  +[A-Z][^\n]{20,}$", page, re.MULTILINE) == [*COMMANDS, "study"]
    assert run_here(MAIN, "--help").stdout == page
    ended = run_here(MAIN, "label", "text=Small left effusion.")
    assert (ended.returncode, ended.stderr) == (0, "") and "Pleural Effusion positive" in ended.stdout
    ended = run_here(MAIN, "evaluate", "task=multiple_choice")
    assert (ended.returncode, ended.stdout) == (2, "") and ended.stderr.startswith("radtune evaluate: error: ")
    ended = run_here(MAIN, "No acute disease.")
    assert (ended.returncode, ended.stderr) == (2, "radtune: error: no command (not shown) (see radtune --help)\n")


@pytest.mark.parametrize("closed", [">&-", "2>&-"])
def test_a_command_runs_where_its_streams_are_closed(tmp_path: Path, closed: str) -> None:
    label = [
        sys.executable,
        str(MAIN),
        "label",
        "reports=data/synthetic_reports.jsonl",
        f"output={tmp_path}/labels.csv",
    ]
    ended = subprocess.run(["bash", "-c", f'exec "$@" {closed}', "bash", *label], cwd=ROOT, capture_output=True)
    assert ended.returncode == 0 and (tmp_path / "labels.csv").exists(), ended


def test_a_package_that_is_not_installed(run_here, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "snakemake", None)
    ended = run_here(MAIN, "study", "configs/study/mini.yaml")
    line = "radtune: error: needs snakemake: install radtune with its extra study (pip install '.[study]')\n"
    assert (ended.returncode, ended.stderr) == (2, line)


def test_the_wheel_has_every_package_command_and_config() -> None:
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]
    found = {".".join(path.parent.relative_to(ROOT).parts) for path in (ROOT / "radtune").rglob("__init__.py")}
    assert set(settings["packages"]) == found | {"radtune.checkout"}
    held = {path for pattern in settings["package-data"]["radtune.checkout"] for path in ROOT.glob(pattern)}
    held |= set(ROOT.glob("*.py"))
    needed = [ROOT / name for name in (*COMMANDS.values(), "scripts/Snakefile", "recipes/lora_finetune.py")]
    needed += [path for path in (ROOT / "configs").rglob("*") if path.is_file()] + list((ROOT / "data").glob("*.jsonl"))
    assert not [str(path) for path in needed if path not in held]
