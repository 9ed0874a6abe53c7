"""Writes a study's YAML for a table of reports: one cohort, labelled by rules or by its own labels, and one test.

    python scripts/new_study.py name=ours input=notes.csv gold=curated.csv output=ours.yaml
    python scripts/new_study.py name=ours input=notes.csv gold=notes.csv sample=200 id_column=NOTE_ID text_column=NOTE

The table may hold its own gold: then a sample is tested on. Gold without texts is that of reports of the table. What
is tested on, no model is trained on. Of a table with some rows annotated, the sample is of these: their ids stand in
NAME_annotated.csv. What the command wrote is to be edited; configs/study/mini.yaml explains each key.
"""

import radtune  # isort: skip  # noqa: F401  (first: Ctrl-C is one line from here on)
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from radtune import combine
from radtune.command import run_command
from radtune.config import InputError, key
from radtune.files import check_outputs, write_whole
from radtune.label_files import LABELS, PATIENT_COLUMNS, column_names, unannotated
from radtune.privacy import no_column, say
from radtune.score.inputs import one_gold
from radtune.sources.select import read_ids
from radtune.sources.table import PATIENTS, TEXT_COLUMNS
from radtune.study.check import check_name
from radtune.study.made_from import read_source
from radtune.study.plan import read_study
from radtune.study.settings import ALL, GOLD_KEYS, RULES, TEACHER
from radtune.tables import find_column, normal_id, write_csv
from radtune.tasks import DEFAULT_RULES_TASK, SECTIONS, load_task

_COLUMNS = ("id_column", "patient_column", "text_column", "findings_column", "impression_column")


@dataclass
class NewStudyConfig:
    """Keys of this command."""

    name: str = key("Names the study, its cohort and its folder.")
    input: Path = key("The table of reports to train on.")
    gold: Path = key(
        "What is right of the reports to test on: a column of labels, or one for each class. With their texts, or "
        "with ids alone of reports that the table of reports has."
    )
    output: Path | None = key("The YAML to write; NAME.yaml if left out.", None)
    task: str = key("What is asked: a name, or the path of a task file.", DEFAULT_RULES_TASK)
    labels: str | None = key("Who labels the cohort: rules, teacher or a file; rules, if the task has them.", None)
    label_column: str | None = key("Column of the labels in a file of them, where it is not 'labels'.", None)
    gold_column: str | None = key("Column of the gold labels, where it is not 'labels'.", None)
    gold_columns: list[str] = key("Columns of several annotators, whose agreement is shown, too.", [])
    gold_rule: str = key(
        "Which of their labels are gold: what any, most or all of them name.", combine.UNION, combine.RULES
    )
    sample: int = key("How many reports to test on, where gold is the table that is trained on.", 100, ge=1)
    rows: int | None = key("Rows to train on; all that are labelled if left out.", None, ge=1)
    model_name: str = key("The base model as tables call it.", "mini Llama")
    checkpoint_dir: Path = key("Folder of the base model.", Path("data/mini"))
    training: Path = key("YAML of the training recipe.", Path("configs/mini/lora_fast.yaml"))
    id_column: str | None = key("Column of the reports' ids, where its name does not tell.", None)
    patient_column: str | None = key("Column of the patients' ids, where its name does not tell.", None)
    text_column: str | None = key("Column of the whole reports, where its name does not tell.", None)
    findings_column: str | None = key("Column of the findings, where its name does not tell.", None)
    impression_column: str | None = key("Column of the impression, where its name does not tell.", None)


def main(config: NewStudyConfig) -> None:
    """Reads the tables, writes, and reads what it wrote."""
    task, output = load_task(config.task), config.output or Path(f"{config.name}.yaml")
    if output.exists():
        raise InputError(f"{output}: is there already; give another name= or output=")
    ids, annotated = output.with_name(f"{output.stem}_annotated.csv"), list[str]()
    check_outputs([output, ids], [config.input, config.gold])
    columns = {name: value for name in _COLUMNS if (value := getattr(config, name)) is not None}
    cohort: dict[str, Any] = {"task": config.task, "labels": config.labels or (RULES if task.rules else TEACHER)}
    cohort |= {"label_column": config.label_column} if config.label_column else {}
    cohort |= {"source": "table", "input": str(config.input), **columns, "drop_duplicates": True}
    names = column_names(config.gold)
    test = {"task": config.task, "source": "table", "gold": str(config.gold)}
    texts = [columns[name] for name in _COLUMNS[2:] if name in columns]
    if find_column(names, [*texts, *TEXT_COLUMNS, *SECTIONS]) is None:
        # Readers' answers without the texts: those reports of the one table are tested on, the others train.
        test |= {"input": str(config.input), **columns, "only_ids": str(config.gold)}
    else:
        test |= {"input": str(config.gold), **_own(columns, config.gold)}
    for name in (*filter(None, [config.gold_column]), *config.gold_columns):
        if name not in names:
            raise InputError(f"{config.gold}: {no_column(name, names)}")
    if config.gold_columns:
        test |= {"gold_columns": config.gold_columns, "gold_rule": config.gold_rule}
    elif column := config.gold_column or find_column(names, (LABELS,)):
        test["gold_column"] = column
    elif not (task.classes and any(map(task.spelled, names))):
        raise InputError(
            f"{config.gold}: no column {LABELS!r} and none of a class of {task.name} "
            "(gold_column=..., or gold_columns=[A, B] of several annotators)"
        )
    sections = {normal_id(report.report_id): report.has_sections for report in read_source(cohort)}
    if not any(sections.values()):
        for part in (cohort, test):
            part["require_sections"] = False
    kept = {x for x, has in sections.items() if has} or sections.keys()
    is_own = config.gold.resolve() == config.input.resolve()
    if is_own:
        given = one_gold(config.gold, task, *map(test.get, GOLD_KEYS))
        blank = unannotated(given)
        annotated = [x for x in given.answers if x not in blank and normal_id(x) in kept]
        test |= {"sample": min(config.sample, len(annotated)), "seed": 0} | ({"only_ids": str(ids)} if blank else {})
    study = {
        "name": config.name,
        "model_name": config.model_name,
        "checkpoint_dir": str(config.checkpoint_dir),
        "config": str(config.training),
        "cohorts": {config.name: cohort},
        "mixes": [{config.name: config.rows or ALL}],
        "tests": {f"{config.name}_test": test},
    }
    if cohort["labels"] == TEACHER:
        study["teacher"] = {"model": "YOUR_MODEL", "base_url": "http://localhost:8000/v1"}
    by_ids = test.get("only_ids") == str(config.gold)
    if by_ids:
        wanted = read_ids(config.gold, columns.values())
        tested = len(wanted & kept)
    else:
        tested = test["sample"] if is_own else sum(1 for _ in read_source(test))
    count = len(kept) - (tested if by_ids or is_own else 0)
    if not tested or count < (config.rows or 1):
        left = f"{count:,} are left to train on"
        if by_ids:
            left = f"{tested:,} of the {len(wanted):,} ids are of its reports, and {left}"
            raise InputError(f"{config.gold}: has no texts, so its reports are those of {config.input}: {left}")
        raise InputError(f"{config.input}: of its reports {tested:,} are tested on (sample=...), and {left}")
    check_name(output, config.name)
    with write_whole(output) as stream:
        yaml.safe_dump(study, stream, sort_keys=False, allow_unicode=True, width=120)
    try:
        read_study(output)
    except InputError:
        output.unlink()
        raise
    if "only_ids" in test and not by_ids:
        write_csv(ids, [["report_id"], *([x] for x in annotated)])
    print(f"{output}: {count:,} reports to train on, {tested:,} to test on")
    if by_ids and len(wanted) > tested:
        print(f"{config.gold}: ids that belong to no report: {len(wanted) - tested:,}")
    print(f"radtune study {output} --cores 2    # -n: only says what it would do")
    table = column_names(config.input)
    if not config.patient_column and not find_column(table, PATIENT_COLUMNS):
        for name in filter(PATIENTS.fullmatch, table):
            whose = f"{name} looks like ids of patients, who may be trained and tested on"
            say(f"{config.input}: {whose} (patient_column={name})")


def _own(columns: dict[str, str], table: Path) -> dict[str, str]:
    """Those of the columns that a table has."""
    names = column_names(table)
    return {name: found for name, column in columns.items() if (found := find_column(names, (column,)))}


if __name__ == "__main__":
    run_command(main, NewStudyConfig)
