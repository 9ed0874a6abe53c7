"""Where the files of a study stand in its folder. The Snakefile writes them there; tables and figures read them."""

from pathlib import Path

from radtune.study.plan import MIMIC, Cell, Kind, Study
from radtune.tasks import multiple_choice


def run_dir(study: Study) -> Path:
    """The study's folder."""
    assert study.run_dir is not None  # noqa: S101  (set by study_from_mapping)
    return study.run_dir


def cohort_dir(study: Study, cohort: str) -> Path:
    """The folder of a cohort's reports and of what was made from them."""
    return run_dir(study) / "cohorts" / cohort


def cohort_reports(study: Study, cohort: str) -> Path:
    """The reports of a cohort."""
    return cohort_dir(study, cohort) / "reports.jsonl"


def weak_labels(study: Study, cohort: str) -> Path:
    """A cohort's weak labels: mimic's table, given or by the rule labeler; wcm's phrases by the teacher."""
    if cohort == MIMIC:
        return study.labels.get(cohort, cohort_dir(study, cohort) / "labels.csv")
    return cohort_dir(study, cohort) / "annotations.jsonl"


def test_reports(study: Study, task: str) -> Path:
    """The reports that a task is scored on: given, or prepared."""
    given = study.tests[task].get("reports")
    return Path(given) if given else run_dir(study) / "tests" / task / "reports.jsonl"


def gold(study: Study, task: str) -> Path:
    """What is right of them."""
    return Path(study.tests[task]["gold"])


def rule_labels(study: Study) -> Path:
    """The rule labeler's table of the multiple-choice test reports."""
    return run_dir(study) / "tests" / multiple_choice.NAME / "rule_labels.csv"


def predictions(study: Study, cell: Cell, task: str) -> Path:
    """What a cell answers on a task's test reports."""
    if cell.kind == Kind.RULE_LABELER:
        return rule_labels(study)
    return run_dir(study) / "predictions" / cell.name / f"{task}.jsonl"


def evaluation_dir(study: Study, cell: Cell, task: str) -> Path:
    """The folder of a cell's scores on a task."""
    return run_dir(study) / "evaluations" / cell.name / task


def metrics(study: Study, cell: Cell, task: str) -> Path:
    """A cell's scores on a task."""
    return evaluation_dir(study, cell, task) / "metrics.json"


def errors(study: Study, cell: Cell, task: str) -> Path:
    """Every error of a cell on a task, with its kind."""
    return evaluation_dir(study, cell, task) / "errors.jsonl"


def comparison(study: Study, cell: Cell, task: str, other: str) -> Path:
    """A cell's scores on a task once more, compared with those of another cell."""
    return evaluation_dir(study, cell, task) / f"against_{other}.json"


def training_dir(study: Study, cell: Cell) -> Path:
    """The folder that a cell's training writes: adapter, and logs."""
    return run_dir(study) / "training" / cell.name


def training_rows(study: Study, cell: Cell) -> Path:
    """The instruction set that a cell is trained on."""
    return run_dir(study) / "instructions" / f"{cell.name}.jsonl"
