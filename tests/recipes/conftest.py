"""Rows to train on, and the recipe."""

import runpy
from dataclasses import replace

import pytest
from recipe_runs import MINI, RECIPE, Run
from training_rounds import synthetic_rows

from radtune.files import write_jsonl


@pytest.fixture(scope="session")
def recipe_main():
    return runpy.run_path(RECIPE)["main"]


@pytest.fixture(scope="session")
def rows(tmp_path_factory):
    """A folder with 18 training and 6 validation rows of both tasks; of their long instructions no more than begins."""
    folder = tmp_path_factory.mktemp("rows")
    split = synthetic_rows(40, 1, {"multiple_choice": 8, "open_ended": 10}, validation_rows=3)
    for name in ("train", "validation"):
        some = (replace(row, instruction=row.instruction[:80]) for row in getattr(split, name))
        write_jsonl(folder / f"{name}.jsonl", some)
    return folder


@pytest.fixture
def train(recipe_main, rows, tmp_path, monkeypatch):
    """Starts a run on those rows; its output folder is ``tmp_path / name`` unless given."""
    # Which takes as long as a step; test_exports.py has it drawn.
    monkeypatch.setitem(recipe_main.__globals__, "draw_curve", lambda *_: None)

    def start(name, *overrides, environment=None, before=None, config=MINI):
        arguments = [
            "--config", config, f"output_dir={tmp_path / name}", f"dataset.data_files={rows / 'train.jsonl'}",
            f"validation.data_files={rows / 'validation.jsonl'}", "validation.generate_rows=0", "write_merged=False",
            "rows_per_step=4", *overrides,
        ]  # fmt: skip
        return Run(recipe_main, arguments, tmp_path / f"{name}_output", environment, before)

    return start
