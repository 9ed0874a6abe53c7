r"""Ranks labels that are likely wrong, and writes the first of them as a queue for a reader.

    python scripts/find_label_errors.py task=multiple_choice reports=reports.jsonl labels=labels.csv output=queue.csv
    python scripts/find_label_errors.py task=multiple_choice reports=reports.jsonl labels=labels.csv \
        others=[annotations.jsonl] output=queue.csv cleaned=cleaned.csv drop=0.05

What speaks against a label is the mean of a student's probability and of what other labelers say. The student is a
linear model, and none has learned a report of the patient that it is asked about. It needs the extra study
(pip install '.[study]').
"""

import radtune  # isort: skip  # noqa: F401  (first: Ctrl-C is one line from here on)
from dataclasses import dataclass, replace
from pathlib import Path

from radtune.command import run_command
from radtune.config import InputError, key
from radtune.files import check_outputs, write_jsonl, write_manifest
from radtune.label_files import column_of, joined_to, read_labels, respell, unannotated
from radtune.labels import Status
from radtune.score.label_errors import suspects
from radtune.sources.table import read_any_reports
from radtune.tables import cell_text, check_table_name, is_jsonl, read_table, write_cells
from radtune.tasks import load_task, text_of


@dataclass
class LabelErrorsConfig:
    """Keys of this command."""

    task: str = key("A task of classes: a name, or the path of a task file.")
    reports: Path = key("The labelled reports.")
    labels: Path = key("The labels to check: a label table, annotations.jsonl, or a table with a column of labels.")
    label_column: str | None = key("Column of these labels, where it is not 'labels'.", None)
    id_column: str | None = key("Column of the report ids of each file that has it; else the usual ones.", None)
    others: list[Path] = key("What other labelers say of the same reports.", [])
    output: Path = key("The queue to write, a CSV or an Excel file: the most suspect label first.")
    rows: int = key("The most labels in it.", 200, ge=1)
    cleaned: Path | None = key(
        "The labels without those of the most suspect reports, to build rows of: a label table of one, else JSONL.",
        None,
    )
    drop: float = key("The share of the reports that is left out there.", 0.05, gt=0, le=0.9)


def main(config: LabelErrorsConfig) -> None:
    """Reads, ranks and writes."""
    inputs = [config.reports, config.labels, *config.others]
    check_outputs([config.output, config.cleaned], inputs)
    check_table_name(config.output)
    task = load_task(config.task)
    if not task.classes or task.doubted:
        raise InputError(f"task {task.name}: its labels are phrases or states, and what is ranked are classes")
    reports = {
        report.report_id: report
        for report in read_any_reports(config.reports, column_of(config.reports, config.id_column))
    }
    if len({path.resolve() for path in inputs[1:]}) < len(inputs) - 1:
        raise InputError("labels, others: a file stands twice")
    files = []
    for path in (config.labels, *config.others):
        column = config.label_column if path == config.labels else None
        read = read_labels(path, task, column, column_of(path, config.id_column))
        file, _ = joined_to(respell(task, read)[0], reports)
        if reports.keys().isdisjoint(file.answers):
            raise InputError(f"{path}: no label for any of the {len(reports):,} reports in {config.reports}")
        blank = unannotated(file)
        answers = {x: a for x, a in file.answers.items() if x not in blank and a.status == Status.OK}
        files.append(replace(file, answers=answers))
    labels, *others = files
    if config.cleaned and labels.has_states == is_jsonl(config.cleaned):
        kind = "a label table, and cleaned is one, too (.csv)" if labels.has_states else "none, and cleaned is .jsonl"
        raise InputError(f"{config.cleaned}: {config.labels} is {kind}")
    texts = {x: text_of(task, report) for x, report in reports.items() if x in labels.answers}
    if not texts:
        raise InputError(f"{config.labels}: no report has an answer that can be checked")
    # Whose a report is, a file of labels may tell where that of reports does not.
    told = {x: next(filter(None, (f.answers[x].patient_id for f in files if x in f.answers)), None) for x in texts}
    patients = {x: reports[x].patient_id or told[x] or f"report {x}" for x in texts}
    found = suspects(task, texts, patients, labels, dict(zip(map(str, config.others), others, strict=True)))
    if not found:
        raise InputError(f"{config.labels}: all is uncertain, and nothing can be ranked")
    queue = found[: config.rows]
    columns = ["report_id", "label", "given", "student", *map(str, config.others), "suspicion", "confident"]
    cells = (
        [one.report_id, one.label, int(one.given), one.probability,
         *(None if said is None else int(said) for said in one.others.values()), one.suspicion, int(one.confident)]
        for one in queue
    )  # fmt: skip
    write_cells(config.output, [columns, *cells])
    write_manifest(config.output, config, inputs, labels=len(found), confident=sum(one.confident for one in found))
    print(f"{config.output}: {len(queue):,} of {len(found):,} labels, suspicion {queue[0].suspicion} and below")
    if config.cleaned:
        dropped = set[str]()
        for one in found:
            if len(dropped) >= round(config.drop * len(texts)):
                break
            dropped.add(one.report_id)
        kept = [labels.answers[x] for x in texts if x not in dropped]
        # As they stand: what is doubted, quarantined or edited by hand stays so, and what has no column has none.
        lines = {labels.lines[x.report_id] for x in kept}
        rows = [row for number, row in read_table(config.labels) if number in lines]
        if labels.has_states:
            write_cells(config.cleaned, [rows[0], *(map(cell_text, row.values()) for row in rows)])
        elif is_jsonl(config.labels):
            write_jsonl(config.cleaned, rows)
        else:
            names = ("report_id", "patient_id", "labels")
            write_jsonl(config.cleaned, ({"task": task.name} | {x: getattr(one, x) for x in names} for one in kept))
        write_manifest(config.cleaned, config, inputs, dropped=len(dropped))
        print(f"{config.cleaned}: {len(kept):,} reports, {len(dropped):,} left out")


if __name__ == "__main__":
    run_command(main, LabelErrorsConfig)
