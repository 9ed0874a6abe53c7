"""A study whose cells have been scored on made-up labels."""

import random
from collections.abc import Callable
from pathlib import Path

import pytest

from evaluate import EvaluateConfig, main
from radtune.files import write_jsonl
from radtune.label_files import write_label_table
from radtune.report import report_from_sections
from radtune.study.cells import Cell, Kind
from radtune.study.drawing import Drawing
from radtune.study.figures import all_figures
from radtune.study.plan import Study, opponents, study_from_mapping
from radtune.study.report import report_html
from radtune.study.results import read_reported, read_results
from radtune.study.settings import Test
from radtune.study.tables import all_tables

WORDS = (
    "small pleural effusion", "enlarged cardiac silhouette", "left basal opacity", "degenerative spine changes",
    "possible lingular pneumonia",
)  # fmt: skip
N_REPORTS = 30


def mini_values(run_dir: Path) -> dict:
    """What a small study's YAML holds."""
    return {
        "name": "made-up",
        "model_name": "mini Llama",
        "reported": "configs/study/reported.yaml",
        "note": "A mini model: its scores say nothing about the 8B model.",
        "run_dir": str(run_dir),
        "config": {"ours": "configs/mini/lora_fast.yaml", "stock": "configs/mini/lora_single_device.yaml"},
        "checkpoint_dir": "data/mini",
        "cohorts": {
            "wcm": {"title": "WCM", "task": "open_ended", "labels": "teacher", "source": "synthetic", "count": 600},
            "mimic": {"task": "multiple_choice", "labels": "rules", "source": "synthetic", "count": 600},
        },
        "teacher": {"simulated": True, "model": "GPT4-o"},
        "tests": {"multiple_choice": {"source": "synthetic"}, "open_ended": {"source": "synthetic"}},
        "mixes": [[100, 50], [200, 100], {"wcm": 400, "mimic": 200}, [600, 300]],
        "cross_check": [[200, 100]],
        "learning_rates": [1e-4, 3e-4, 1e-3],
        "learning_rate_rows": {"mimic": 500},
        "separate": {"multiple_choice": [100, 300, 500], "open_ended": [200, 600]},
        "inference_variants": {"constrained": {"constrain": True}, "voted": {"samples": 5}},
    }


def true_labels(report: int, test: Test) -> list[str]:
    return [name for name in test.task.classes or WORDS if (report * len(name)) % 7 < 2]


def write_inputs(study: Study) -> None:
    """Cohorts, test reports and gold. Texts say what is true, and deny one finding more."""
    ids = [str(i) for i in range(N_REPORTS)]
    for test in study.tests.values():
        cohorts = [cohort for cohort in study.cohorts.values() if cohort.task == test.task]
        texts = [f"{'. '.join(true_labels(i, test))}. No hiatal hernia." for i in range(N_REPORTS)]
        reports = [report_from_sections(i, f"p{i}", text, "", "made-up") for i, text in zip(ids, texts, strict=True)]
        for path in (
            study.test_reports(test.name), *(study.cohort_file(cohort.name, "reports.jsonl") for cohort in cohorts)
        ):  # fmt: skip
            write_jsonl(path, reports)
        states = {i: {name: int(name in true_labels(int(i), test)) for name in test.task.classes} for i in ids}
        for i in ids[:7] if test.task.classes else ():
            states[i]["Pneumonia"] = -1
            del states[i]["Fracture"]
        for path in (test.gold, *map(study.weak_labels, cohorts)):
            if test.task.classes:
                write_label_table(path, test.task, states)
            else:
                write_jsonl(path, [{"report_id": i, "labels": true_labels(int(i), test)} for i in ids])


def write_predictions(study: Study, cell: Cell, test: Test) -> None:
    """Truth with errors in it, the fewer the more rows."""
    chance = random.Random(f"{cell.name} {test.name}")  # noqa: S311  (no secret)
    more = {"teacher": 0.95, "rule_labeler": 0.85}.get(cell.kind, 0.7 + 0.2 * cell.total / (cell.total + 500))
    names = test.task.classes or WORDS
    labels = [
        [name for name in names if (name in true_labels(i, test)) == (chance.random() < more)] for i in range(N_REPORTS)
    ]
    path = study.predictions(cell.name, test.name)
    if cell.kind == Kind.RULE_LABELER:
        states = {str(i): {name: 1 if name in some else -1 for name in names[:9]} for i, some in enumerate(labels)}
        write_label_table(path, test.task, states)
        return
    rows = [{"report_id": str(i), "labels": some, "status": "ok"} for i, some in enumerate(labels)]
    rows[0] |= {"labels": [], "status": "truncated"}
    write_jsonl(path, rows)


def score_cells(study: Study, skip: tuple[str, ...] = ()) -> None:
    """Writes what a study leaves of every cell and test but the skipped cells, as if it had run."""
    write_inputs(study)
    for test in study.tests.values():
        scored = [cell for cell in study.cells if test.name in cell.tests and cell.name not in skip]
        for cell in scored:
            write_predictions(study, cell, test)
        for cell in scored:
            keys = {
                "task": test.task.files[0], "predictions": study.predictions(cell.name, test.name),
                "gold": test.gold, "reports": study.test_reports(test.name),
            }  # fmt: skip
            # With sentences, so that it is the page that leaves them out.
            errors = study.evaluation(cell.name, test.name, "errors.jsonl")
            main(EvaluateConfig(**keys, output=study.evaluation(cell.name, test.name), errors=errors, show_text=True))
            for other in set(opponents(study, cell, test.name)) & {cell.name for cell in scored}:
                path = study.evaluation(cell.name, test.name, f"against_{other}.json")
                main(EvaluateConfig(**keys, output=path, compare=study.predictions(other, test.name)))
            if cell.trained:
                log = study.training(cell.name) / "logs" / "log_1.txt"
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
    for name in ("separate", "learning_rates", "learning_rate_rows", "cross_check", "inference_variants"):
        del study_values[name]
    return study_values | {"mixes": [[100, 50], [200, 100]]}


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
    return all_figures(read_results(scored_study), read_reported(scored_study.settings.reported))


@pytest.fixture(scope="session")
def page(scored_study: Study, figures: list[Drawing]) -> str:
    """Its report page."""
    results, reported = read_results(scored_study), read_reported(scored_study.settings.reported)
    return report_html(results, reported, all_tables(results, reported), figures)


@pytest.fixture(scope="session")
def telling_page(scored_study: Study, figures: list[Drawing]) -> str:
    """The page of a study that shows text."""
    telling = study_from_mapping(dict(scored_study.values) | {"show_text": True})
    results, reported = read_results(telling), read_reported(telling.settings.reported)
    return report_html(results, reported, all_tables(results, reported), figures)
