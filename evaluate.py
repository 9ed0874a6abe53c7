r"""Scores predictions against gold: precision, recall and F1, micro with bootstrap intervals, macro and by class.

python evaluate.py task=multiple_choice predictions=predictions.jsonl gold=gold.csv output=metrics.json
python evaluate.py task=multiple_choice predictions=mimic-cxr-2.0.0-negbio.csv.gz gold=curated.csv gold_column=labels \
    reports=reports.jsonl output=metrics.json
python evaluate.py task=multiple_choice predictions=predictions.jsonl gold=curated.csv gold_columns=[HO,YW] \
    gold_rule=union output=metrics.json
python evaluate.py task=open_ended predictions=predictions.jsonl gold=annotations.jsonl compare=base.jsonl \
    reports=reports.jsonl errors=errors.jsonl output=metrics.json
"""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from radtune.config import InputError, key, run_command
from radtune.files import check_outputs, write_manifest
from radtune.report import Report
from radtune.score.display import metrics_text
from radtune.score.evaluation import GOLD_BLANK, IGNORE, evaluate, write_metrics
from radtune.score.gold import COMPARE, GOLD, GOLD_RULES, PREDICTIONS, combine, read_gold
from radtune.score.inputs import LabelledReports, column_names, keep_reports, read_labelled_reports
from radtune.score.spelling import LENIENT, SPELLING, respell
from radtune.sources.table import read_any_reports
from radtune.tasks import multiple_choice
from radtune.tasks.legacy import TASK_NAMES


@dataclass
class EvaluateConfig:
    """Keys of this command."""

    task: str = key("The task.", choices=TASK_NAMES)
    predictions: Path = key("predictions.jsonl, annotations.jsonl, a label table, or a CSV with a column of labels.")
    gold: Path = key("What is right, in any of these forms.")
    output: Path = key("The metrics.json to write.")
    compare: Path | None = key("A second system's predictions, to compare these with.", None)
    prediction_column: str | None = key("Column or JSON key of the predicted labels; else 'labels'.", None)
    compare_column: str | None = key("The same of the second system's.", None)
    gold_column: str | None = key("Column or JSON key of the gold labels; else 'labels'.", None)
    gold_columns: list[str] = key("Columns of several annotators, whose agreement is shown too.", [])
    gold_rule: str | None = key("Makes gold of these columns, where no gold_column is.", None, GOLD_RULES)
    id_column: str | None = key("Column or JSON key of the report ids; else report_id, study_id or uid.", None)
    gold_blank: str = key("Meaning of a blank cell in a gold table: negative, or not scored.", "negative", GOLD_BLANK)
    spelling: str = key("Names that are nearly one of the 13: wrong, or taken for it.", "strict", SPELLING)
    reports: Path | None = key(
        "reports.jsonl (or a CSV); only these are scored, and its patients are the bootstrap's units.", None
    )
    errors: Path | None = key("JSONL to write: every error and its kind; needs reports.", None)
    show_text: bool = key("Whether errors have the report's sentence, and examples are shown.", False)
    seed: int = key("Seed of the bootstrap.", 0)


def main(config: EvaluateConfig) -> None:
    """Scores, writes and shows."""
    inputs = [config.predictions, config.gold, config.reports, config.compare]
    check_outputs([config.output, config.errors], inputs)
    _check(config)
    sides = _read_sides(config)
    reports = {}
    if config.reports:
        reports = {report.report_id: report for report in read_any_reports(config.reports)}
        if not reports:
            raise InputError(f"{config.reports}: no reports")
        for name, side in sides.items():
            if left_out := keep_reports(side, reports):
                print(f"{side.path}: {left_out} reports left out of {name}, not in {config.reports}")
    respelled = {name: respell(side) for name, side in sides.items()} if config.spelling == LENIENT else {}
    annotators = {name: sides[name] for name in config.gold_columns}
    gold = combine(list(annotators.values()), config.gold_rule, config.task) if config.gold_rule else sides[GOLD]
    patient_ids = {report.report_id: report.patient_id for report in reports.values() if report.patient_id is not None}
    metrics = evaluate(
        config.task,
        sides[PREDICTIONS],
        gold,
        config.gold_blank,
        patient_ids,
        config.seed,
        sides.get(COMPARE),
        annotators,
    )
    metrics = dataclasses.replace(metrics, respelled=respelled)
    examples = ""
    if config.errors:
        counts, examples = _write_errors(config, sides[PREDICTIONS], gold, reports)
        write_manifest(config.errors, config, inputs, errors=counts)
        metrics = dataclasses.replace(metrics, errors=counts)
    write_metrics(config.output, metrics)
    write_manifest(config.output, config, inputs, f1=metrics.micro.f1)
    print(metrics_text(metrics) + examples)
    print(config.output)


def _check(config: EvaluateConfig) -> None:
    if config.seed < 0:
        raise InputError("seed must be 0 or more")
    if config.errors and not config.reports:
        raise InputError("errors needs the texts: give reports=reports.jsonl")
    if config.spelling == LENIENT and config.task != multiple_choice.NAME:
        raise InputError(f"spelling={LENIENT} is for {multiple_choice.NAME}: phrases have no list to be spelt by")
    if config.compare_column and not config.compare:
        raise InputError("compare_column needs compare, the second system's predictions")
    files = [path for path in (config.predictions, config.gold, config.compare) if path]
    if config.id_column and not any(config.id_column in column_names(path) for path in files):
        raise InputError(f"no column {config.id_column!r} in {' or '.join(map(str, files))} (id_column=...)")


def _read_sides(config: EvaluateConfig) -> dict[str, LabelledReports]:
    """Whatever is compared, by name: predictions, compare, gold, and the annotators by column."""
    task, id_column = config.task, config.id_column
    sides = {PREDICTIONS: read_labelled_reports(config.predictions, task, config.prediction_column, id_column)}
    if config.compare:
        sides[COMPARE] = read_labelled_reports(config.compare, task, config.compare_column, id_column)
    gold = read_gold(config.gold, task, config.gold_column, config.gold_columns, config.gold_rule, id_column)
    return sides | gold


def _write_errors(
    config: EvaluateConfig, predictions: LabelledReports, gold: LabelledReports, reports: Mapping[str, Report]
) -> tuple[dict[str, dict[str, int]], str]:
    # The rules that read the reports take a third of a second to load.
    from radtune.score.errors import count_kinds, examples_text, find_errors, write_errors

    texts = {report_id: report.text for report_id, report in reports.items()}
    errors = list(find_errors(config.task, predictions, gold, texts, config.gold_blank == IGNORE))
    assert config.errors is not None  # noqa: S101  (asked for)
    write_errors(config.errors, errors, config.show_text)
    return count_kinds(errors), f"\n{examples_text(errors)}" if config.show_text else ""


if __name__ == "__main__":
    run_command(main, EvaluateConfig)
