r"""Scores predictions against gold: precision, recall and F1, micro with bootstrap intervals, macro and by class.

python evaluate.py task=multiple_choice predictions=predictions.jsonl gold=gold.csv output=metrics.json
python evaluate.py task=my_task.yaml predictions=labels.csv.gz gold=curated.csv gold_column=labels output=metrics.json
python evaluate.py task=multiple_choice predictions=predictions.jsonl gold=curated.csv gold_columns=[HO,YW] \
    gold_rule=union output=metrics.json
python evaluate.py task=open_ended predictions=predictions.jsonl gold=annotations.jsonl compare=base.jsonl \
    reports=reports.jsonl errors=errors.jsonl by=modality output=metrics.json
"""

import radtune  # isort: skip  # noqa: F401  (first: Ctrl-C is one line from here on)
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from radtune import label_files
from radtune.combine import RULES
from radtune.command import run_command
from radtune.config import InputError, key
from radtune.files import check_outputs, write_json, write_manifest
from radtune.label_files import LENIENT, READER, LabelFile, read_labels
from radtune.score import inputs
from radtune.score.display import metrics_text
from radtune.score.evaluation import evaluate, policy_scores
from radtune.sources.table import read_any_reports
from radtune.tables import is_jsonl, table_layout
from radtune.tasks import Task, load_task, task_names, text_of


@dataclass
class EvaluateConfig:
    """Keys of this command."""

    task: str = key(f"The task: {', '.join(task_names())}, or the path of a task file.")
    predictions: Path = key("predictions.jsonl, annotations.jsonl, a label table, or a CSV with a column of labels.")
    gold: Path = key("What is right, in any of these forms.")
    output: Path = key("The metrics.json to write.")
    compare: Path | None = key("A second system's predictions, to compare these with.", None)
    prediction_column: str | None = key("Column or JSON key of the predicted labels; else 'labels'.", None)
    compare_column: str | None = key("The same of the second system's.", None)
    gold_column: str | None = key("Column or JSON key of the gold labels; else 'labels'.", None)
    gold_columns: list[str] = key("Columns of several annotators, whose agreement is shown too.", [])
    gold_rule: str | None = key("Makes gold of these columns, where no gold_column is.", None, RULES)
    gold_names: dict[str, str] = key("By column of gold, the class that it counts as, where no column is a class.", {})
    id_column: str | None = key("Column or JSON key of the report ids; else report_id, study_id or uid.", None)
    gold_blank: str | None = key(
        "Meaning of blank cells of gold: absent, or not scored; else absent, but a blank row is not annotated where "
        "others say that there is nothing.", None, label_files.BLANK,
    )  # fmt: skip
    uncertain: str | dict[str, str] | None = key(
        "What uncertain classes count as, on both sides: left out, present, absent, or a label of its own; for all, or "
        f"by class (uncertain.CLASS=positive), the rest as {label_files.OTHERS}. Else as the task says.",
        None, label_files.POLICIES,
    )  # fmt: skip
    spelling: str = key("Names that are nearly a class: wrong, or taken for it.", "strict", label_files.SPELLING)
    reports: Path | None = key("reports.jsonl (or a CSV): only these are scored; its patients are what is drawn.", None)
    by: str | list[str] = key("Columns of the reports or of gold: scores for each value, e.g. modality.", [])
    ranked: bool = key("Labels stand in their order of likelihood: recall of the first 1, 3 and 5.", False)
    errors: Path | None = key("JSONL to write: every error and its kind; needs reports.", None)
    show_text: bool = key("Whether errors have the report's sentence, and examples are shown.", False)
    seed: int = key("Seed of the bootstrap.", 0, ge=0)


def main(config: EvaluateConfig) -> None:
    """Scores, writes and shows."""
    files = [config.predictions, config.gold, config.reports, config.compare]
    check_outputs([config.output, config.errors], files)
    task = load_task(config.task)
    _check(config, task)
    if not config.gold_names and inputs.asks_questions(config.gold, config.gold_column):
        # What nobody has asked is not known.
        config.gold_blank = config.gold_blank or label_files.IGNORE
    policies, lenient = label_files.policies_for(task, config.uncertain), config.spelling == LENIENT
    given = [(config.predictions, config.prediction_column), (config.compare, config.compare_column)]
    given += [] if config.gold_rule else [(config.gold, config.gold_column)]
    if len({(path and path.resolve(), column) for path, column in given}) < len(given):
        print("predictions, compare, gold: a file stands twice: its labels are scored against themselves")
    sides, respelled = _read_sides(config, task), {}
    for name, side in sides.items():
        # Annotators that gold is not made of are compared alone: names beyond the task are theirs to give.
        if name == inputs.GOLD or (config.gold_rule and name in config.gold_columns):
            sides[name], respelled[name] = inputs.understood(task, side, lenient)
        elif lenient or not is_jsonl(side.path):
            # A program's answers are held to the classes' names; a table is people's, who may write a synonym.
            sides[name], respelled[name] = label_files.respell(task, side, slips=lenient)
    if config.gold_rule:
        by_all = [sides[name] for name in config.gold_columns]
        sides[inputs.GOLD] = inputs.combine_gold(task, by_all, config.gold_rule, config.gold_blank)
    for name in (inputs.GOLD, *config.gold_columns):
        if said := inputs.blank_text(task, sides[name], config.gold_blank, name):
            print(said)
    reports = {}
    if config.reports:
        id_column = label_files.column_of(config.reports, config.id_column)
        reports = {report.report_id: report for report in read_any_reports(config.reports, id_column)}
    print(f"{config.gold}: {table_layout(config.gold)}; {len(sides[inputs.GOLD].answers):,} rows")
    sides, remarks = inputs.join_sides(sides, reports, config.reports)
    print("".join(f"{remark}\n" for remark in remarks), end="")
    if models := {x.by for x in sides[inputs.GOLD].answers.values() if "prompt_sha256" in x.provenance} - {READER}:
        print(f"gold: answers of {', '.join(sorted(models))}, which no reader has edited")
    scored = {name: label_files.by_policy(task, side, policies) for name, side in sides.items()}
    predictions, gold = scored[inputs.PREDICTIONS], scored[inputs.GOLD]
    patient_ids = {report.report_id: report.patient_id for report in reports.values() if report.patient_id is not None}
    tables = [path for path in (config.reports, config.gold) if path]
    columns = [config.by] if isinstance(config.by, str) else config.by
    groups = {name: inputs.read_groups(name, tables, reports, gold.answers, config.id_column) for name in columns}
    whose = task.three_valued() if "state" in policies.values() and not task.doubted else task
    metrics = evaluate(
        whose, predictions, gold, config.gold_blank, patient_ids, config.seed, scored.get(inputs.COMPARE),
        {name: scored[name] for name in config.gold_columns}, groups, config.ranked,
    )  # fmt: skip
    by_doubt = policy_scores(task, sides[inputs.PREDICTIONS], sides[inputs.GOLD], config.gold_blank)
    counts, examples = None, ""
    if config.errors:
        texts = {report_id: text_of(task, report) for report_id, report in reports.items()}
        counts, examples = _write_errors(config, config.errors, whose, predictions, gold, texts)
        write_manifest(config.errors, config, files, errors=counts)
    metrics = replace(metrics, respelled=respelled, errors=counts, policies=by_doubt)
    write_json(config.output, metrics)
    write_manifest(config.output, config, files, f1=metrics.micro.f1)
    print(f"{metrics_text(metrics)}{examples}\n{config.output}")


def _check(config: EvaluateConfig, task: Task) -> None:
    if config.errors and not config.reports:
        raise InputError("errors needs the texts: give reports=reports.jsonl")
    if config.spelling == LENIENT and not task.classes:
        raise InputError(f"spelling={LENIENT} is for tasks of classes: {task.name} has no list to be spelt by")
    if config.compare_column and not config.compare:
        raise InputError("compare_column needs compare, the second system's predictions")


def _read_sides(config: EvaluateConfig, task: Task) -> dict[str, LabelFile]:
    """Whatever is compared, by name: predictions, compare, gold, and the annotators by column."""
    files = [path for path in (config.predictions, config.gold, config.compare) if path]
    ids = {path: column for path in files if (column := label_files.column_of(path, config.id_column))}
    if config.id_column and not ids:
        raise InputError(f"no column {config.id_column!r} in {' or '.join(map(str, files))} (id_column=...)")
    first, second = (config.predictions, config.prediction_column), (config.compare, config.compare_column)
    given = {inputs.PREDICTIONS: first, inputs.COMPARE: second}
    sides = {name: read_labels(path, task, column, ids.get(path)) for name, (path, column) in given.items() if path}
    how = config.gold_column, config.gold_columns, config.gold_rule, ids.get(config.gold), config.gold_names
    return sides | inputs.read_gold(config.gold, task, *how)


def _write_errors(
    config: EvaluateConfig, path: Path, task: Task, predictions: LabelFile, gold: LabelFile, texts: Mapping[str, str]
) -> tuple[dict[str, dict[str, int]], str]:
    # The rules that read the reports take a third of a second to load.
    from radtune.score.errors import count_kinds, examples_text, find_errors, write_errors

    gold = inputs.without(gold, label_files.unannotated(gold, config.gold_blank))
    errors = list(find_errors(task, predictions, gold, texts, config.gold_blank == label_files.IGNORE))
    write_errors(path, errors, config.show_text)
    return count_kinds(errors), f"\n{examples_text(errors)}" if config.show_text else ""


if __name__ == "__main__":
    run_command(main, EvaluateConfig)
