"""Table 1: which reports the study trains on and scores, and who labelled them, beside the paper's."""

import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path

from radtune.label_files import LabelFile, read_labels
from radtune.sources.table import read_any_reports
from radtune.study import paths
from radtune.study.plan import MIMIC, TASK_COHORT, Study, cells
from radtune.study.reported import Reported
from radtune.study.results import read_study_gold
from radtune.study.table import MISSING, NOT_TRAINED, TASK_TITLES, Column, Table, Value, teacher_label
from radtune.tasks import load_task
from radtune.tasks.legacy import TASK_NAMES

TRAINING, EVALUATION = "training", "evaluation"
_SOURCE_TITLES = {"synthetic": "Synthetic", "mimic_cxr": "MIMIC-CXR", "openi": "Open-i"}


def dataset_table(study: Study, reported: Reported) -> Table:
    """Table 1, a row for each task's training and test reports."""
    paper = {(row.task, row.usage): row for row in reported.datasets}
    rows: list[list[Value]] = []
    for task in TASK_NAMES:
        for usage, found in ((TRAINING, _training(study, task)), (EVALUATION, _evaluation(study, task))):
            if found is not None:
                theirs = paper[task, usage]
                rows.append([TASK_TITLES[task], usage, *found, theirs.dataset, theirs.annotator, theirs.reports])
    columns = [
        Column("task", "Task", text=True),
        Column("usage", "Usage", text=True),
        Column("dataset", "Dataset", text=True),
        Column("annotator", "Annotator", text=True),
        Column("reports", "Reports"),
        Column("most_trained_on", "Trained on"),
        Column("patients", "Patients"),
        Column("median_words", "Words"),
        Column("mean_labels", "Labels"),
        Column("paper_dataset", "Dataset", "Paper", text=True),
        Column("paper_annotator", "Annotator", "Paper", text=True),
        Column("paper_reports", "Reports", "Paper"),
    ]
    return Table("table_1", "Table 1: reports and their labels", columns, rows)


def _training(study: Study, task: str) -> list[Value] | None:
    cohort = TASK_COHORT[task]
    most = max(cell.rows(task) for cell in cells(study))
    if not most:
        return None
    annotator = teacher_label(study)
    if cohort == MIMIC:
        annotator = study.labels[MIMIC].name if MIMIC in study.labels else "Rule labeler"
    reports, labels = paths.cohort_reports(study, cohort), paths.weak_labels(study, cohort)
    counts: list[Value] = [MISSING, None, None, None]
    if reports.exists() and labels.exists():
        counts = _counts(reports, _labels(read_labels(labels, load_task(task))))
    return [_dataset(study.cohorts[cohort], reports), annotator, counts[0], most, *counts[1:]]


def _evaluation(study: Study, task: str) -> list[Value] | None:
    if task not in study.tests:
        return None
    test = study.tests[task]
    reports, gold = paths.test_reports(study, task), paths.gold(study, task)
    annotator = "Known truth" if test.get("source") == "synthetic" else gold.name
    counts: list[Value] = [MISSING, None, None, None]
    if reports.exists() and gold.exists():
        counts = _counts(reports, _labels(read_study_gold(study, task)))
    return [_dataset(test, reports), annotator, counts[0], NOT_TRAINED, *counts[1:]]


def _dataset(values: dict[str, object], reports: Path) -> str:
    source = str(values.get("source", ""))
    if source in _SOURCE_TITLES:
        return _SOURCE_TITLES[source]
    return Path(str(values.get("input", reports))).name


def _labels(file: LabelFile) -> dict[str, Sequence[str]]:
    return {report_id: answer.labels for report_id, answer in file.answers.items()}


def _counts(reports: Path, labels: Mapping[str, Sequence[str]]) -> list[Value]:
    """Reports, patients (None where unknown), median words of a report, mean labels of one that has been labelled."""
    patients: set[str | None] = set()
    words: dict[str, int] = {}
    for report in read_any_reports(reports):
        patients.add(report.patient_id)
        words[report.report_id] = len(report.text.split())
    counts = [len(labels[report_id]) for report_id in words if report_id in labels]
    return [
        len(words),
        None if None in patients else len(patients),
        int(statistics.median(words.values())) if words else None,
        statistics.fmean(counts) if counts else None,
    ]
