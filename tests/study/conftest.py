"""A study whose cells have been scored on made-up labels."""

import random
from collections.abc import Callable
from pathlib import Path

import pytest

from radtune.files import write_jsonl
from radtune.findings import FINDINGS
from radtune.metrics.evaluation import evaluate, write_metrics
from radtune.metrics.inputs import read_labelled_reports
from radtune.study.plan import Study, cells, metrics_path, study_from_mapping
from radtune.tasks import multiple_choice

WORDS = ("small pleural effusion", "enlarged cardiac silhouette", "left basal opacity", "degenerative spine changes")


def mini_values(run_dir: Path) -> dict:
    """What a small study's YAML holds."""
    return {
        "name": "made-up",
        "model_name": "mini Llama",
        "note": "A mini model: its scores say nothing about the 8B model.",
        "run_dir": str(run_dir),
        "config": "configs/mini/8B_lora_single_device.yaml",
        "checkpoint_dir": "data/mini",
        "cohorts": {"wcm": {"source": "synthetic", "count": 600}, "mimic": {"source": "synthetic", "count": 600}},
        "teacher": {"simulated": True, "model": "GPT4-o"},
        "tests": {
            "multiple_choice": {"source": "synthetic", "gold": "gold.csv"},
            "open_ended": {"source": "synthetic", "gold": "gold.jsonl"},
        },
        "mixes": [[100, 50], [200, 100], [400, 200], [600, 300]],
        "learning_rates": [1e-4, 3e-4, 1e-3],
        "learning_rate_rows": 500,
        "separate": {"multiple_choice": [100, 300, 500], "open_ended": [200, 600]},
    }


def score_cells(study: Study, skip: tuple[str, ...] = ()) -> None:
    """Writes a metrics.json for every cell and task but the skipped cells, as if the study had run."""
    for cell in cells(study):
        for task in cell.tasks if cell.name not in skip else ():
            names = FINDINGS if task == multiple_choice.NAME else WORDS
            chance = random.Random(f"{cell.name} {task}")  # noqa: S311  (no secret)
            accuracy = {"teacher": 0.95, "rule_labeler": 0.85}.get(
                cell.kind, 0.7 + 0.2 * cell.total / (cell.total + 500)
            )
            folder = metrics_path(study, cell, task).parent
            gold = [{"report_id": str(i), "labels": [n for n in names if (i * len(n)) % 7 < 2]} for i in range(60)]
            predictions = [
                row | {"labels": [n for n in names if (n in row["labels"]) == (chance.random() < accuracy)]}
                for row in gold
            ]
            predictions[0] |= {"labels": [], "status": "truncated"}
            write_jsonl(folder / "gold.jsonl", gold)
            write_jsonl(folder / "predictions.jsonl", predictions)
            predicted, right = (
                read_labelled_reports(folder / f"{name}.jsonl", task, None, None) for name in ("predictions", "gold")
            )
            write_metrics(folder / "metrics.json", evaluate(task, predicted, right))


@pytest.fixture
def study_values(tmp_path: Path) -> dict:
    """What a small study's YAML holds."""
    return mini_values(tmp_path / "run")


@pytest.fixture
def score() -> Callable[..., None]:
    """:func:`score_cells`."""
    return score_cells


@pytest.fixture(scope="session")
def scored_study(tmp_path_factory: pytest.TempPathFactory) -> Study:
    """All of its cells are scored. Not to be written to."""
    study = study_from_mapping(mini_values(tmp_path_factory.mktemp("study") / "run"))
    score_cells(study)
    return study
