r"""Builds an instruction set: labelled reports of one or both tasks, merged and shuffled.

    python scripts/build_instructions.py output=instructions.jsonl \
        open_ended_reports=wcm.jsonl open_ended_labels=annotations.jsonl open_ended_rows=6000 \
        multiple_choice_reports=mimic.jsonl multiple_choice_labels=negbio.csv.gz multiple_choice_rows=3000 \
        exclude_ids=curated_100.csv

The same seed and inputs give the same file, byte for byte, and a smaller set is inside a larger one.
"""

from dataclasses import asdict, dataclass
from pathlib import Path

from radtune.config import InputError, key, run_command
from radtune.files import check_outputs, write_manifest
from radtune.instructions import build, rows_sha256, write_instructions
from radtune.sources.select import read_ids
from radtune.tasks import multiple_choice, open_ended
from radtune.weak_labels import join


@dataclass
class InstructionsConfig:
    """Keys of this command."""

    output: Path = key("Training rows (instructions.jsonl).")
    open_ended_reports: Path | None = key("reports.jsonl of the open-ended task (the paper: WCM).", None)
    open_ended_labels: Path | None = key("Its annotations.jsonl.", None)
    open_ended_rows: int = key("Its number of training rows.", 0)
    multiple_choice_reports: Path | None = key(
        "reports.jsonl of the multiple-choice task (the paper: MIMIC-CXR).", None
    )
    multiple_choice_labels: Path | None = key("Its label table (or annotations.jsonl).", None)
    multiple_choice_rows: int = key("Its number of training rows.", 0)
    validation_output: Path | None = key("Validation rows; needed with validation_rows.", None)
    validation_rows: int = key("Validation rows of each task, from patients that are not trained on.", 0)
    exclude_ids: list[Path] = key("Files of report ids that must be in no split: one id a line, or a CSV.", [])
    seed: int = key("Governs the choice of rows, the split and the order.", 0)


def main(config: InstructionsConfig) -> None:
    """Joins, builds, writes, and prints the counts."""
    if config.validation_rows < 0:
        raise InputError("validation_rows must be 0 or more")
    if (config.validation_rows > 0) != (config.validation_output is not None):
        raise InputError("validation_rows and validation_output go together")
    given = {
        open_ended.NAME: (config.open_ended_reports, config.open_ended_labels, config.open_ended_rows),
        multiple_choice.NAME: (
            config.multiple_choice_reports,
            config.multiple_choice_labels,
            config.multiple_choice_rows,
        ),
    }
    inputs = [path for reports, labels, _ in given.values() for path in (reports, labels)] + config.exclude_ids
    check_outputs([config.output, config.validation_output], inputs)
    sources, rows = {}, {}
    for task, (reports, labels, count) in given.items():
        if reports is None and labels is None and count == 0:
            continue
        if reports is None or labels is None or count <= 0:
            raise InputError(f"{task}_reports, {task}_labels and {task}_rows (1 or more) go together")
        sources[task], rows[task] = join(reports, labels, task), count
    if not sources:
        raise InputError("nothing to build: give open_ended_reports=... or multiple_choice_reports=... (see --help)")
    excluded = {report_id for path in config.exclude_ids for report_id in read_ids(path)}
    split = build(sources, rows, config.validation_rows, config.seed, excluded)
    parts = {config.output: split.train}
    if config.validation_output is not None:
        parts[config.validation_output] = split.validation
    write_instructions(parts)
    facts = {
        "counts": {task: asdict(counts) for task, counts in split.counts.items()},
        "unmatched_exclude_ids": split.unmatched_exclude_ids,
    }
    for path, part in parts.items():
        write_manifest(path, config, inputs, rows=len(part), rows_sha256=rows_sha256(part), **facts)
    for task, counts in split.counts.items():
        print(f"{task}: {counts}; {counts.train:,} to train on, {counts.validation:,} to validate on")
        if counts.unknown_labels:
            print(f"{task}: {counts.unknown_labels:,} labels that are none of its classes dropped")
    if split.unmatched_exclude_ids:
        print(f"{split.unmatched_exclude_ids:,} ids of exclude_ids are of none of these reports")
    print(f"{len(split.train):,} rows written to {config.output}")


if __name__ == "__main__":
    run_command(main, InstructionsConfig)
