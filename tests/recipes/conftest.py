"""Rows to train on, and the recipe."""

import runpy

import pytest
from recipe_runs import MINI, RECIPE, Run

from radtune.files import write_jsonl
from radtune.findings import FINDINGS
from radtune.instructions import LabelledReport, build
from radtune.sources.synthetic import generate


@pytest.fixture(scope="session")
def recipe_main():
    return runpy.run_path(RECIPE)["main"]


@pytest.fixture(scope="session")
def rows(tmp_path_factory):
    """A folder with 36 training and 8 validation rows of both tasks."""
    folder, items = tmp_path_factory.mktemp("rows"), list(generate(60, 1))
    sources = {
        "multiple_choice": [LabelledReport(i.report, [n for n in FINDINGS if i.labels.get(n) == 1]) for i in items],
        "open_ended": [LabelledReport(i.report, [p.phrase for p in i.phrases]) for i in items],
    }
    split = build(sources, {"multiple_choice": 16, "open_ended": 20}, 4, 0)
    write_jsonl(folder / "train.jsonl", split.train)
    write_jsonl(folder / "validation.jsonl", split.validation)
    return folder


@pytest.fixture
def train(recipe_main, rows, tmp_path):
    """Starts a run on those rows; its output folder is ``tmp_path / name`` unless given."""

    def start(name, *overrides, environment=None, before=None):
        arguments = [
            "--config", MINI, f"output_dir={tmp_path / name}", f"dataset.data_files={rows / 'train.jsonl'}",
            f"validation.data_files={rows / 'validation.jsonl'}", "validation.generate_rows=0", "write_merged=False",
            *overrides,
        ]  # fmt: skip
        return Run(recipe_main, arguments, tmp_path / f"{name}_output", environment, before)

    return start
