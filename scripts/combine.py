r"""Makes one answer of those of several models to the same reports, or one model's scores into probabilities.

    python scripts/combine.py task=multiple_choice predictions=[a.jsonl,b.jsonl,c.jsonl] output=together.jsonl \
        validation=[a_validation.jsonl,b_validation.jsonl,c_validation.jsonl] gold=validation_gold.csv
    python scripts/combine.py task=multiple_choice predictions=[a.jsonl] validation=[a_validation.jsonl] \
        gold=validation_gold.csv calibration=isotonic wanted.recall=0.95 abstain=0.1 output=calibrated.jsonl
    python scripts/combine.py task=open_ended predictions=[a.jsonl,b.jsonl,c.jsonl] least=2 output=together.jsonl
    python scripts/combine.py ... abstain=0.1 queue=queue.xlsx                       # for a reader
    python scripts/combine.py ... reader=queue.xlsx output=read.jsonl                # and back

A class is named where the mean of its scores reaches a threshold, a phrase (or a class without scores) where enough of
them name it; phrases that stand in one place of the report are one. Threshold or number are given, or chosen on
validation reports, none of which may be among those to answer. Calibration needs the extra study.
"""

import radtune  # isort: skip  # noqa: F401  (first: Ctrl-C is one line from here on)
from collections import Counter
from dataclasses import asdict, dataclass
from pathlib import Path

from radtune.combine import RULES
from radtune.command import run_command
from radtune.config import InputError, key
from radtune.files import check_outputs, write_jsonl, write_manifest
from radtune.label_files import BLANK, LABELS, LabelFile, joined_to, other_names, read_labels, respell
from radtune.score.calibration import METHODS, WANTED
from radtune.score.inputs import one_gold, understood
from radtune.score.members import (
    COMBINING,
    MEAN,
    VOTES,
    Setting,
    as_read,
    check_same_reports,
    choose_setting,
    combined,
    most_doubtful,
    queue_cell,
    rows,
    rule_for,
)
from radtune.tables import check_table_name, match_ids, write_cells
from radtune.tasks import Task, load_task, task_names


@dataclass
class CombineConfig:
    """Keys of this command."""

    task: str = key(f"The task: {', '.join(task_names())}, or the path of a task file.")
    predictions: list[Path] = key("The predictions.jsonl of each model, of the same reports.")
    output: Path = key("The predictions.jsonl to write.")
    rule: str | None = key(
        "What a label needs: a mean score, or a number of models that name it; else a mean where all give scores.",
        None, COMBINING,
    )  # fmt: skip
    least: float | None = key("How much of it; else it is chosen on validation reports.", None, gt=0)
    validation: list[Path] = key("What the same models, in the same order, answer to validation reports.", [])
    gold: Path | None = key("What is right of the validation reports; others may stand in it.", None)
    gold_column: str | None = key("Column or JSON key of its labels; else 'labels'.", None)
    gold_columns: list[str] = key("Columns of several annotators, in place of one.", [])
    gold_rule: str | None = key("Makes gold of these columns, where no gold_column is.", None, RULES)
    gold_names: dict[str, str] = key("Its columns of other names, as in evaluate.py.", {})
    id_column: str | None = key("Column of its report ids; else the usual ones.", None)
    gold_blank: str | None = key("Meaning of its blank cells, as in evaluate.py.", None, BLANK)
    wanted: dict[str, float] = key(
        "The least recall, or precision, on validation reports, with the most of the other; else the best F1.", {},
        gt=0, le=1,
    )  # fmt: skip
    calibration: str | None = key("How probabilities are made of mean scores, learned on validation.", None, METHODS)
    abstain: float | None = key(
        "Share of the reports, those with the most doubtful answers, that is marked for a reader.", None, gt=0, le=1
    )
    queue: Path | None = key("A table of these, the most doubtful first, with labels for the reader to mend.", None)
    reader: Path | None = key("What a reader says of some reports, which stands in place of the models'.", None)

    def __post_init__(self) -> None:
        if not self.predictions:
            raise InputError("predictions names no file")
        if self.validation and len(self.validation) != len(self.predictions):
            raise InputError("validation: a file for each of predictions, in the same order")
        for paths in (self.predictions, self.validation):
            if len({path.resolve() for path in paths}) < len(paths):
                raise InputError("predictions, validation: a file stands twice, and would count as two models")
        if self.queue and not self.abstain:
            raise InputError("queue= goes with abstain=")
        if bool(self.validation) != bool(self.gold):
            raise InputError("validation and its gold go together")
        if not self.gold and (self.least is None or self.calibration or self.wanted):
            raise InputError("give least=..., or validation=[...] and gold=... to choose it on")
        if (self.least is not None and self.wanted) or self.wanted.keys() - {*WANTED}:
            raise InputError(f"wanted: {' or '.join(WANTED)}, and no least=...")


def main(config: CombineConfig) -> None:
    """Reads, chooses, combines and writes."""
    task = load_task(config.task)
    inputs = [*config.predictions, *config.validation, *filter(None, (config.gold, config.reader)), *task.files]
    check_outputs([config.queue], inputs, [config.output])
    check_table_name(config.queue)
    members = [_read(task, path) for path in config.predictions]
    check_same_reports(members)
    rule = config.rule or rule_for(members)
    if config.calibration and rule == VOTES:
        raise InputError("calibration is of scores, and not every model has given some")
    if config.least and rule == VOTES and not (config.least.is_integer() and config.least <= len(members)):
        raise InputError(f"least={config.least:g}: not a number of the {len(members)} models")
    if config.least and rule == MEAN and config.least > 1:
        raise InputError(f"least={config.least:g}: no mean score is above 1; rule=votes counts models")
    setting = Setting(rule, config.least or 0)
    if config.gold:
        keys = config.gold_column, config.gold_columns, config.gold_rule, config.id_column, config.gold_blank
        gold = one_gold(config.gold, task, *keys, config.gold_names)
        validation = [read_labels(path, task) for path in config.validation]
        if known := match_ids(validation[0].answers, members[0].answers):
            raise InputError(f"validation: {len(known)} of its reports are among those to answer: they may not decide")
        setting = choose_setting(
            task, validation, gold, rule, config.calibration, config.wanted, config.gold_blank, config.least
        )
    found = combined(task, members, setting)
    if config.reader:
        read = joined_to(understood(task, _read(task, config.reader))[0], found)[0]
        if unknown := read.answers.keys() - found.keys():
            raise InputError(f"{config.reader}: {len(unknown):,} of its reports are none of those to answer")
        found |= as_read(task, found, read)
        print(f"{config.reader}: {len(read.answers) - len(read.blank):,} read, {len(read.blank):,} left blank")
    if config.queue:
        doubtful = most_doubtful(found, config.abstain or 0)
        cells = ([x, queue_cell(task, found[x].answer)] for x in doubtful)
        write_cells(config.queue, [["report_id", LABELS], *cells])
        print(f"{config.queue}: {len(doubtful):,} reports for a reader")
    write_jsonl(config.output, rows(task, found, config.abstain))
    write_manifest(config.output, config, inputs, setting=asdict(setting))
    print(_text(setting, len(members)))
    statuses = Counter(str(one.answer.status) for one in found.values())
    print(f"{config.output}: {', '.join(f'{count:,} {status}' for status, count in statuses.items())}")


def _read(task: Task, path: Path) -> LabelFile:
    """What a file says; names that are no class are said."""
    read = read_labels(path, task)
    if others := other_names(task, respell(task, read, slips=False)[0].answers.values()):
        print(f"{path}: no classes: {', '.join(f'{name} ({count:,})' for name, count in others.items())}")
    return read


def _text(setting: Setting, members: int) -> str:
    """The setting in words."""
    least = f"a mean score of {setting.least:.4g}" if setting.rule == MEAN else f"{setting.least:.0f} of {members}"
    on = "; on validation " + ", ".join(f"{name} {value:.3f}" for name, value in setting.measures.items())
    return f"a label needs {least}{on if setting.measures else ''}"


if __name__ == "__main__":
    run_command(main, CombineConfig)
