r"""Builds an instruction set: labelled reports of one or both tasks, merged and shuffled.

    python scripts/build_instructions.py output=instructions.jsonl \
        open_ended_reports=wcm.jsonl open_ended_labels=annotations.jsonl open_ended_rows=6000 \
        multiple_choice_reports=mimic.jsonl multiple_choice_labels=negbio.csv.gz multiple_choice_rows=3000 \
        exclude_ids=curated_100.csv

The same seed and inputs give the same file, byte for byte, and a smaller set is inside a larger one.
"""

from dataclasses import dataclass
from pathlib import Path

from radtune.config import InputError, key, run_command
from radtune.files import write_jsonl, write_manifest
from radtune.instructions import build, join, rows_sha256
from radtune.sources.select import read_ids
from radtune.tasks import multiple_choice, open_ended


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
    sources, rows = {}, {}
    for task, (reports, labels, count) in given.items():
        if (reports is None, labels is None, count <= 0) == (True, True, True):
            continue
        if reports is None or labels is None or count <= 0:
            raise InputError(f"{task}_reports, {task}_labels and {task}_rows (1 or more) go together")
        sources[task], rows[task] = join(reports, labels, task), count
    if not sources:
        raise InputError("nothing to build: give open_ended_reports=... or multiple_choice_reports=... (see --help)")
    excluded = {report_id for path in config.exclude_ids for report_id in read_ids(path)}
    split = build(sources, rows, config.validation_rows, config.seed, excluded)
    inputs = [path for reports, labels, _ in given.values() for path in (reports, labels)] + config.exclude_ids
    for path, part in ((config.output, split.train), (config.validation_output, split.validation)):
        if path is not None:
            write_jsonl(path, part)
            write_manifest(path, config, inputs, rows=len(part), rows_sha256=rows_sha256(part), counts=split.counts)
    for task, counts in split.counts.items():
        print(f"{task}: " + ", ".join(f"{count:,} {what}" for what, count in counts.items()))
    print(f"{len(split.train):,} rows written to {config.output}")


if __name__ == "__main__":
    run_command(main, InstructionsConfig)
