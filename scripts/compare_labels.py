"""Compares two label tables: agreement and Cohen's kappa for each class, and the reports on which they differ.

    python scripts/compare_labels.py a=labels.csv b=mimic-cxr-2.0.0-negbio.csv.gz
    python scripts/compare_labels.py a=labels.csv b=mimic-cxr-2.0.0-chexpert.csv.gz output=agreement.json
    python scripts/compare_labels.py task=my_task.yaml a=labels.csv b=theirs.csv

Tables are matched by report id (`report_id`, `study_id` or `uid`). Positive, negative, uncertain and blank are four
categories, and only equal ones agree; classes that one of them has no column for are not compared. Kappa is n/a where
either table gives all reports the same label.
"""

import radtune  # isort: skip  # noqa: F401  (first: Ctrl-C is one line from here on)
from dataclasses import dataclass
from pathlib import Path

from radtune.command import run_command
from radtune.config import key
from radtune.files import check_outputs, write_json, write_manifest
from radtune.label_files import read_labels
from radtune.privacy import say
from radtune.score.agreement import agreement_text, compare_tables
from radtune.tasks import DEFAULT_RULES_TASK, load_task, task_names


@dataclass
class CompareConfig:
    """Keys of this command."""

    a: Path = key("A label table: CSV, packed with gzip or not.")
    b: Path = key("The label table to compare it with.")
    task: str = key(f"Whose classes: {', '.join(task_names())}, or the path of a task file.", DEFAULT_RULES_TASK)
    output: Path | None = key("JSON to write: the figures, and every report on which they differ.", None)
    a_id_column: str | None = key("Column of the report ids in a; else report_id, study_id or uid.", None)
    b_id_column: str | None = key("Column of the report ids in b; else report_id, study_id or uid.", None)


def main(config: CompareConfig) -> None:
    """Compares, writes and shows."""
    check_outputs([config.output], [config.a, config.b])
    if config.a.resolve() == config.b.resolve():
        say("a, b: one file, which does not differ from itself")
    task = load_task(config.task)
    a = read_labels(config.a, task, id_column=config.a_id_column)
    b = read_labels(config.b, task, id_column=config.b_id_column)
    found = compare_tables(task, a, b)
    if config.output:
        write_json(config.output, found)
        write_manifest(config.output, config, [config.a, config.b], n_reports=found.figures.n_reports)
    print(agreement_text(found))


if __name__ == "__main__":
    run_command(main, CompareConfig)
