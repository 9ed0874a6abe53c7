"""Checks files before anything else is done with them: what they hold, and what would be lost or misread of it.

    python scripts/check_data.py reports=notes.csv
    python scripts/check_data.py reports=notes.csv text_column=NOTE gold=curated.csv labels=labels.csv
    python scripts/check_data.py reports=reports.jsonl gold=annotators.xlsx gold_columns=[HO,YW] task=my_task.yaml

Of reports: encoding and separator, language, sections and headings, empty ones and duplicates, columns that are not
used. Of gold and labels: which columns are read, whether ids are those of the reports, and how many labels are known.
A file that cannot be used as it is makes the exit code 2.
"""

import radtune  # isort: skip  # noqa: F401  (first: Ctrl-C is one line from here on)
from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from radtune.command import run_command
from radtune.config import InputError, key
from radtune.label_files import column_names, column_of, read_labels, respell
from radtune.privacy import looks_like_name, no_column
from radtune.score.inputs import GOLD, read_gold
from radtune.sources import table
from radtune.sources.check import Look
from radtune.tables import match_ids, say_matched, table_layout
from radtune.tasks import DEFAULT_RULES_TASK, Task, load_task, task_names

_SHOWN = 8


@dataclass
class CheckConfig:
    """Keys of this command."""

    reports: Path | None = key(f"Reports: a {table.FORMATS}.", None)
    gold: Path | None = key("What is right, in any form that evaluate.py reads.", None)
    labels: Path | None = key("Labels to train on, in any of these forms.", None)
    task: str = key(f"Whose labels: {', '.join(task_names())}, or the path of a task file.", DEFAULT_RULES_TASK)
    gold_columns: list[str] = key("Columns of several annotators; else the usual ones.", [])
    label_column: str | None = key("Column or JSON key of the labels; else 'labels'.", None)
    id_column: str | None = key("Column or JSON key of the report ids; else report_id, study_id or uid.", None)
    patient_column: str | None = key("Ids of patients in reports; else patient_id or subject_id.", None)
    text_column: str | None = key("Whole reports; else text, report_text, note_text, ...", None)
    findings_column: str | None = key("Findings; else findings.", None)
    impression_column: str | None = key("Impression; else impression.", None)


def main(config: CheckConfig) -> None:
    """Checks each file, and prints what it found."""
    files = [(path, kind) for kind in ("reports", "gold", "labels") if (path := getattr(config, kind))]
    if not files:
        raise InputError("nothing to check: give reports=, gold= or labels= (see --help)")
    task, ids, problems, no_ids = load_task(config.task), list[str](), 0, 0
    for path, kind in files:
        try:
            if config.id_column and path.is_file() and not column_of(path, config.id_column):
                no_ids += 1  # as elsewhere, it is that of either file
                if no_ids == len(files):
                    raise InputError(f"{path}: {no_column(config.id_column, column_names(path))}")
            lines = _reports(path, config, ids) if kind == "reports" else _labels(path, kind, config, task, ids)
            for line in (table_layout(path), *lines):
                print(f"{path}: {line}")
        except InputError as error:
            problems += 1
            print(f"problem: {error}")
    if problems:
        raise InputError(f"{problems} of {len(files)} files cannot be used as they are")


def _reports(path: Path, config: CheckConfig, ids: list[str]) -> Iterator[str]:
    look = Look()
    names = ("patient_column", "text_column", "findings_column", "impression_column")
    columns = {name: getattr(config, name) for name in names}
    columns["id_column"] = column_of(path, config.id_column) if path.is_file() else None
    for report in look.pass_on(table.reports_of(path, **columns)):
        ids.append(report.report_id)
    yield from look.lines()


def _labels(path: Path, kind: str, config: CheckConfig, task: Task, ids: Sequence[str]) -> Iterator[str]:
    columns = config.gold_columns if kind == "gold" and config.gold_columns else [config.label_column]
    id_column = column_of(path, config.id_column)
    for column in columns:
        if kind == "gold":
            file = read_gold(path, task, column, (), None, id_column)[GOLD]
        else:
            file = read_labels(path, task, column, id_column)
        said = f"{column}: " if column and len(columns) > 1 else ""
        blank = f", {len(file.blank):,} of which are blank" if file.blank else ""
        form = "a column a class" if file.has_states else "lists of labels"
        yield f"{said}{len(file.answers):,} rows{blank}, {form}"
        if file.missing:
            yield f"{said}no column for {', '.join(file.missing)}"
        if ids and column == columns[0]:
            yield from _joins(path, file.answers, ids)
        file, respelled = respell(task, file)
        counts = Counter(label for answer in file.answers.values() for label in answer.labels)
        if task.classes:
            unknown = {name: count for name, count in counts.most_common() if name not in task.classes}
            known = counts.total() - sum(unknown.values())
            yield f"{said}{known:,} of {counts.total():,} labels are classes of {task.name}"
            meant = {f"{name} as {found.finding}": found.count for name, found in respelled.items()}
            for what, names in (("read", meant), ("not known", unknown)):
                if shown := {name: count for name, count in names.items() if looks_like_name(name.split(" as ")[0])}:
                    listed = ", ".join(f"{name} {count:,}" for name, count in [*shown.items()][:_SHOWN])
                    yield f"{said}{what}: {listed}{f' and {len(names) - _SHOWN:,} more' if len(names) > _SHOWN else ''}"


def _joins(path: Path, found: Collection[str], ids: Sequence[str]) -> Iterator[str]:
    matched = match_ids(found, ids)
    if not matched:
        raise InputError(f"{path}: none of its {len(found):,} ids is that of one of the {len(ids):,} reports")
    others = f"{len(found) - len(matched):,} are of none; {len(ids) - len(matched):,} reports have no row"
    yield f"{len(matched):,} ids are those of reports, {others}"
    if line := say_matched(path, matched):
        yield line.removeprefix(f"{path}: ")


if __name__ == "__main__":
    run_command(main, CheckConfig)
