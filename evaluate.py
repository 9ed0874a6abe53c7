r"""Scores predictions against gold: precision, recall and F1, micro with bootstrap intervals, macro and by class.

python evaluate.py task=multiple_choice predictions=predictions.jsonl gold=gold.csv output=metrics.json
python evaluate.py task=multiple_choice predictions=mimic-cxr-2.0.0-negbio.csv.gz gold=curated.csv gold_column=labels \
    reports=reports.jsonl output=metrics.json
python evaluate.py task=open_ended predictions=predictions.jsonl gold=annotations.jsonl output=metrics.json
"""

from dataclasses import dataclass
from pathlib import Path

from radtune.config import InputError, key, run_command
from radtune.files import check_outputs, write_manifest
from radtune.metrics.display import metrics_text
from radtune.metrics.evaluation import GOLD_BLANK, evaluate, write_metrics
from radtune.metrics.inputs import column_names, keep_reports, read_labelled_reports
from radtune.sources.table import read_any_reports
from radtune.tasks import TASK_NAMES


@dataclass
class EvaluateConfig:
    """Keys of this command."""

    task: str = key("The task.", choices=TASK_NAMES)
    predictions: Path = key("predictions.jsonl, annotations.jsonl, a label table, or a CSV with a column of labels.")
    gold: Path = key("What is right, in any of these forms.")
    output: Path = key("The metrics.json to write.")
    prediction_column: str | None = key("Column or JSON key of the predicted labels; else 'labels'.", None)
    gold_column: str | None = key("Column or JSON key of the gold labels; else 'labels'.", None)
    id_column: str | None = key("Column or JSON key of the report ids; else report_id, study_id or uid.", None)
    gold_blank: str = key("Meaning of a blank cell in a gold table: negative, or not scored.", "negative", GOLD_BLANK)
    reports: Path | None = key(
        "reports.jsonl (or a CSV); only these are scored, and its patients are the bootstrap's units.", None
    )
    seed: int = key("Seed of the bootstrap.", 0)


def main(config: EvaluateConfig) -> None:
    """Scores, writes and shows."""
    inputs = [config.predictions, config.gold, config.reports]
    check_outputs([config.output], inputs)
    if config.seed < 0:
        raise InputError("seed must be 0 or more")
    if config.id_column and not any(config.id_column in column_names(p) for p in (config.predictions, config.gold)):
        raise InputError(f"no column {config.id_column!r} in {config.predictions} or {config.gold} (id_column=...)")
    predictions = read_labelled_reports(config.predictions, config.task, config.prediction_column, config.id_column)
    gold = read_labelled_reports(config.gold, config.task, config.gold_column, config.id_column)
    patient_ids = {}
    if config.reports:
        patient_ids = {report.report_id: report.patient_id for report in read_any_reports(config.reports)}
        if not patient_ids:
            raise InputError(f"{config.reports}: no reports")
        for side in (predictions, gold):
            if left_out := keep_reports(side, patient_ids):
                print(f"{side.path}: {left_out} reports left out, not in {config.reports}")
    known_patients = {report_id: patient for report_id, patient in patient_ids.items() if patient is not None}
    metrics = evaluate(config.task, predictions, gold, config.gold_blank, known_patients, config.seed)
    write_metrics(config.output, metrics)
    write_manifest(config.output, config, inputs, f1=metrics.micro.f1)
    print(metrics_text(metrics))
    print(config.output)


if __name__ == "__main__":
    run_command(main, EvaluateConfig)
