r"""Builds an instruction set: labelled reports of one or more tasks, merged and shuffled.

    python scripts/build_instructions.py output=instructions.jsonl \
        open_ended.reports=wcm.jsonl open_ended.labels=annotations.jsonl open_ended.rows=6000 \
        multiple_choice.reports=mimic.jsonl multiple_choice.labels=negbio.csv.gz multiple_choice.rows=3000 \
        exclude_ids=curated_100.csv
    python scripts/build_instructions.py output=instructions.jsonl tasks=[my_task.yaml] \
        my_task.reports=reports.jsonl my_task.labels=labels.csv my_task.rows=500

Each task has its section: TASK.reports, TASK.labels and TASK.rows. The same seed and inputs give the same file, byte
for byte, and a smaller set is inside a larger one.
"""

import radtune  # isort: skip  # noqa: F401  (first: Ctrl-C is one line from here on)
from dataclasses import asdict, dataclass
from pathlib import Path

from radtune.combine import RULES, UNION
from radtune.command import run_command
from radtune.config import InputError, key, nearest
from radtune.files import check_outputs, write_manifest
from radtune.instructions import build, join, read_excluded, rows_sha256, write_instructions
from radtune.label_files import OTHERS, POLICIES, policies_for
from radtune.tasks import THREE_VALUED, load_task, own_tasks, task_names


@dataclass
class TaskRows:
    """Keys of one task."""

    reports: Path = key("Its reports.jsonl.")
    labels: Path | list[Path] = key(
        "What is to be learned: a label table, annotations.jsonl, or a table with a column of labels; or several."
    )
    rule: str = key("Which labels of several files are learned: what any, most or all of them have.", UNION, RULES)
    rows: int | None = key("Its number of training rows; null for all that are labelled.", None, ge=1)
    id_column: str | None = key("Column of the report ids of either file that has it; else the usual ones.", None)
    label_column: str | None = key("Column of the labels, where it is not 'labels'.", None)


@dataclass
class InstructionsConfig:
    """Keys of this command."""

    output: Path = key("Training rows (instructions.jsonl).")
    sets: dict[str, TaskRows] = key("By task.", {}, rest=True)
    tasks: list[Path] = key("Task files of one's own; their names may open sections.", [])
    validation_output: Path | None = key("Validation rows; needed with validation_rows.", None)
    validation_rows: int = key("Validation rows of each task, from patients that are not trained on.", 0, ge=0)
    exclude_ids: list[Path] = key(
        "Files of reports that must be in no split, nor any of their patients or with their text: ids, or a table.", []
    )
    uncertain: str | dict[str, str] | None = key(
        "What uncertain classes of a label table count as: the report is left out, present, absent, or a label of its "
        f"own; for all, or by class (uncertain.CLASS=positive), the rest as {OTHERS}. Else as the task says.", None,
        POLICIES,
    )  # fmt: skip
    with_problems: bool = key("Whether answers with problems, which are quarantined, are learned, too.", False)
    balance: bool = key("Whether rows of classes are drawn by label, so that a rare one is not lost.", False)
    seed: int = key("Governs the choice of rows, the split and the order.", 0)


def main(config: InstructionsConfig) -> None:
    """Joins, builds, writes, and prints the counts."""
    if (config.validation_rows > 0) != (config.validation_output is not None):
        raise InputError("validation_rows and validation_output go together")
    # By name, where each is read from.
    known = {name: name for name in task_names()} | {name: str(path) for name, path in own_tasks(config.tasks).items()}
    if not config.sets:
        raise InputError(f"nothing to build: give TASK.reports=... for one of {', '.join(known)} (see --help)")
    for name in config.sets:
        if name not in known:
            raise InputError(f"unknown task {name!r}{nearest(name, known)}; a task file of one's own stands in tasks=")
    labels = {name: [x] if isinstance(x := given.labels, Path) else x for name, given in config.sets.items()}
    inputs = [path for name, given in config.sets.items() for path in (given.reports, *labels[name])]
    inputs += config.exclude_ids
    inputs += [path for name in config.sets for path in load_task(known[name]).files]
    check_outputs([], inputs, [config.output, config.validation_output])
    sources, rows = {}, {}
    for name, given in config.sets.items():
        task = load_task(known[name])
        policies = policies_for(task, config.uncertain if task.classes else None)
        whose = f"{known[name]}{THREE_VALUED if 'state' in policies.values() else ''}"
        columns = given.id_column, given.label_column
        sources[whose] = join(
            given.reports, labels[name], task, policies, config.with_problems, *columns, given.rule
        )  # fmt: skip
        rows[whose] = given.rows
    excluded = read_excluded(config.exclude_ids, [given.id_column for given in config.sets.values() if given.id_column])
    split = build(sources, rows, config.validation_rows, config.seed, excluded, config.balance)
    parts = {config.output: split.train}
    if config.validation_output is not None:
        parts[config.validation_output] = split.validation
    write_instructions(parts)
    by_name = {load_task(task).name: counts for task, counts in split.counts.items()}
    facts = {
        "counts": {task: asdict(counts) for task, counts in by_name.items()},
        "unmatched_exclude_ids": split.unmatched_exclude_ids,
    }
    for path, part in parts.items():
        write_manifest(path, config, inputs, rows=len(part), rows_sha256=rows_sha256(part), **facts)
    for task, counts in by_name.items():
        print(f"{task}: {counts}; {counts.train:,} to train on, {counts.validation:,} to validate on")
        if counts.not_learned:
            print(f"{task}: no row to train on has {', '.join(counts.not_learned)}")
    if split.unmatched_exclude_ids:
        print(f"{split.unmatched_exclude_ids:,} ids of exclude_ids are of none of these reports")
    print(f"{len(split.train):,} rows written to {config.output}")


if __name__ == "__main__":
    run_command(main, InstructionsConfig)
