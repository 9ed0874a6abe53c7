"""A study whose cells have been scored on made-up labels."""

import dataclasses
import random
from collections.abc import Callable
from pathlib import Path

import pytest

from radtune.files import write_jsonl
from radtune.findings import FINDINGS, write_label_table
from radtune.label_files import LabelFile, read_labels
from radtune.report import report_from_sections
from radtune.score.errors import find_errors, write_errors
from radtune.score.evaluation import evaluate, write_metrics
from radtune.study import paths
from radtune.study.drawing import Drawing
from radtune.study.figures import all_figures
from radtune.study.plan import Cell, Kind, Study, cells, opponents, study_from_mapping
from radtune.study.report import report_html
from radtune.study.reported import read_reported
from radtune.study.results import read_results, read_study_gold
from radtune.study.tables import all_tables
from radtune.tasks import load_task, multiple_choice, open_ended

WORDS = (
    "small pleural effusion", "enlarged cardiac silhouette", "left basal opacity", "degenerative spine changes",
    "possible lingular pneumonia",
)  # fmt: skip
N_REPORTS = 60


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
            "multiple_choice": {"source": "synthetic", "gold": str(run_dir / "gold.csv")},
            "open_ended": {"source": "synthetic", "gold": str(run_dir / "gold.jsonl")},
        },
        "mixes": [[100, 50], [200, 100], [400, 200], [600, 300]],
        "learning_rates": [1e-4, 3e-4, 1e-3],
        "learning_rate_rows": 500,
        "separate": {"multiple_choice": [100, 300, 500], "open_ended": [200, 600]},
    }


def true_labels(report: int, task: str) -> list[str]:
    names = FINDINGS if task == multiple_choice.NAME else WORDS
    return [name for name in names if (report * len(name)) % 7 < 2]


def write_inputs(study: Study) -> None:
    """Cohorts, test reports and gold. Texts say what is true, and deny one finding more."""
    ids = [str(i) for i in range(N_REPORTS)]
    for task in study.tests:
        texts = [f"{'. '.join(true_labels(i, task))}. No hiatal hernia." for i in range(N_REPORTS)]
        reports = [report_from_sections(i, f"p{i}", text, "", "made-up") for i, text in zip(ids, texts, strict=True)]
        write_jsonl(paths.test_reports(study, task), reports)
        for cohort in ("wcm", "mimic"):
            write_jsonl(paths.cohort_reports(study, cohort), reports)
    status = {
        i: {name: 1 if name in true_labels(int(i), multiple_choice.NAME) else 0 for name in FINDINGS} for i in ids
    }
    for i in ids[:7]:
        status[i]["Pneumonia"], status[i]["Fracture"] = -1, None
    write_label_table(paths.gold(study, multiple_choice.NAME), status)
    write_label_table(paths.weak_labels(study, "mimic"), status)
    phrases = [{"report_id": i, "labels": true_labels(int(i), open_ended.NAME)} for i in ids]
    write_jsonl(paths.gold(study, open_ended.NAME), phrases)
    write_jsonl(paths.weak_labels(study, "wcm"), phrases)


def write_predictions(study: Study, cell: Cell, task: str) -> LabelFile:
    """Truth with errors in it, the fewer the more rows."""
    chance = random.Random(f"{cell.name} {task}")  # noqa: S311  (no secret)
    more = {"teacher": 0.95, "rule_labeler": 0.85}.get(cell.kind, 0.7 + 0.2 * cell.total / (cell.total + 500))
    names = FINDINGS if task == multiple_choice.NAME else WORDS
    labels = [
        [name for name in names if (name in true_labels(i, task)) == (chance.random() < more)] for i in range(N_REPORTS)
    ]
    path = paths.predictions(study, cell, task)
    if cell.kind == Kind.RULE_LABELER:
        write_label_table(
            path, {str(i): {name: 1 if name in some else -1 for name in FINDINGS[:9]} for i, some in enumerate(labels)}
        )
    else:
        rows = [{"report_id": str(i), "labels": some, "status": "ok"} for i, some in enumerate(labels)]
        rows[0] |= {"labels": [], "status": "truncated"}
        write_jsonl(path, rows)
    return read_labels(path, load_task(task))


def score_cells(study: Study, skip: tuple[str, ...] = ()) -> None:
    """Writes what a study leaves of every cell and task but the skipped cells, as if it had run."""
    write_inputs(study)
    texts = {str(i): f"{'. '.join(true_labels(i, open_ended.NAME))}. No hiatal hernia." for i in range(N_REPORTS)}
    for task in study.tests:
        gold = read_study_gold(study, task)
        predicted = {
            cell.name: write_predictions(study, cell, task)
            for cell in cells(study)
            if task in cell.tasks and cell.name not in skip
        }
        for cell in (cell for cell in cells(study) if cell.name in predicted):
            mine = predicted[cell.name]
            write_metrics(paths.metrics(study, cell, task), evaluate(load_task(task), mine, gold))
            errors = find_errors(load_task(task), mine, gold, texts)
            # With sentences, so that it is the page that leaves them out.
            write_errors(paths.errors(study, cell, task), errors, show_text=True)
            for other in set(opponents(cell, task)) & set(predicted):
                path = paths.comparison(study, cell, task, other)
                write_metrics(path, evaluate(load_task(task), mine, gold, other=predicted[other]))
            if cell.total:
                log = paths.training_dir(study, cell) / "logs" / "log_1.txt"
                log.parent.mkdir(parents=True, exist_ok=True)
                log.write_text("".join(f"Step {i} | loss:{1 / i} lr:0.001 \n" for i in range(1, 41)))


@pytest.fixture
def study_values(tmp_path: Path) -> dict:
    """What a small study's YAML holds."""
    return mini_values(tmp_path / "run")


@pytest.fixture
def score() -> Callable[..., None]:
    """:func:`score_cells`."""
    return score_cells


@pytest.fixture
def few_values(study_values: dict) -> dict:
    """What the YAML of a study with five cells holds: each one scored costs time."""
    return study_values | {
        "mixes": [[100, 50], [200, 100]], "separate": {}, "learning_rates": [], "learning_rate_rows": 0,
    }  # fmt: skip


@pytest.fixture(scope="session")
def scored_study(tmp_path_factory: pytest.TempPathFactory) -> Study:
    """All of its cells are scored. Not to be written to."""
    values = mini_values(tmp_path_factory.mktemp("study") / "run") | {
        "mixes": [[200, 100], [600, 300]],
        "learning_rates": [3e-4, 1e-3],
        "separate": {"multiple_choice": [100, 500], "open_ended": [200]},
    }
    study = study_from_mapping(values)
    score_cells(study)
    return study


@pytest.fixture(scope="session")
def figures(scored_study: Study) -> list[Drawing]:
    """Its figures."""
    return all_figures(read_results(scored_study), read_reported())


@pytest.fixture(scope="session")
def page(scored_study: Study, figures: list[Drawing]) -> str:
    """Its report page."""
    results, reported = read_results(scored_study), read_reported()
    return report_html(results, reported, all_tables(results, reported), figures)


@pytest.fixture(scope="session")
def telling_page(scored_study: Study, figures: list[Drawing]) -> str:
    """The page of a study that shows text."""
    study = dataclasses.replace(scored_study, show_text=True)
    results, reported = read_results(study), read_reported()
    return report_html(results, reported, all_tables(results, reported), figures)
