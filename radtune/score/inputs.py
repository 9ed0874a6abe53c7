"""What is scored: predictions and gold of the same reports, gold from several annotators, misspelt names understood."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType

import numpy as np

from radtune.combine import RULES, combine
from radtune.config import InputError, nearest
from radtune.label_files import (
    IGNORE,
    NEGATIVE,
    PATIENT_COLUMNS,
    LabelFile,
    Respelling,
    column_names,
    joined_to,
    read_labels,
    respell,
    unannotated,
)
from radtune.labels import Answer, Status
from radtune.privacy import looks_like_name
from radtune.report import Report
from radtune.sources.table import TEXT_COLUMNS
from radtune.tables import (
    ID_COLUMNS,
    cell_text,
    find_column,
    find_id_column,
    id_cell,
    is_jsonl,
    is_missing,
    match_ids,
    read_table,
)
from radtune.tasks import SECTIONS, Task

# What is compared beside the annotators, who go by the names of their columns.
GOLD, PREDICTIONS, COMPARE = "gold", "predictions", "compare"

# A column with more values, or longer ones, is none to group reports by.
_MOST_GROUPS, _LONGEST_GROUP = 50, 60
# Nor are these, few and short as the texts of a small file may be: they are patients' own.
_NO_GROUPS = frozenset((*ID_COLUMNS, *PATIENT_COLUMNS, *TEXT_COLUMNS, *SECTIONS))


def read_gold(
    path: Path, task: Task, column: str | None, columns: Sequence[str], rule: str | None, id_column: str | None,
    names: Mapping[str, str] = MappingProxyType({}),
) -> dict[str, LabelFile]:  # fmt: skip
    """Reads the annotators whose agreement is asked for, by column, and :data:`GOLD` unless a rule is to make it.

    ``names`` are as in :func:`radtune.label_files.read_labels`.

    Raises:
        InputError: The keys contradict one another, or as :func:`radtune.label_files.read_labels`.
    """
    if columns and (len(columns) < 2 or len(set(columns)) < len(columns)):
        raise InputError("gold_columns needs two or more different columns, one an annotator")
    if columns and (column is None) == (rule is None):
        raise InputError(f"gold_columns needs gold_rule={'|'.join(RULES)} or the gold_column to score against")
    if rule and not columns:
        raise InputError("gold_rule needs the annotators' columns (gold_columns=[A,B])")
    if taken := {GOLD, PREDICTIONS, COMPARE} & set(columns):
        raise InputError(f"gold_columns: an annotator's column cannot be named {min(taken)!r}")
    if names and (column or columns or is_jsonl(path)):
        raise InputError("gold_names is of a label table, no JSONL, and goes with neither gold_column nor gold_columns")
    if not columns and not names and asks_questions(path, column):
        # The rules that read questions take a third of a second to load.
        from radtune.score.questions import read_questions

        return {GOLD: read_questions(path, task, id_column)}
    sides = {name: read_labels(path, task, name, id_column) for name in columns}
    sides |= {} if rule else {GOLD: read_labels(path, task, column, id_column, names)}
    # Who says elsewhere that there is nothing leaves blank what was not annotated, in whichever column.
    says_none = any(side.says_none for side in sides.values())
    return {name: replace(side, says_none=says_none) for name, side in sides.items()}


def asks_questions(path: Path, column: str | None = None) -> bool:
    """Whether a file is a table of questions and answers, and no column is named that has labels."""
    names = column_names(path) if column is None else ()
    return bool(find_column(names, ("question",)) and find_column(names, ("answer",)))


def understood(task: Task, gold: LabelFile, slips: bool = False) -> tuple[LabelFile, dict[str, Respelling]]:
    """Gold by the classes' own spelling, see :func:`radtune.label_files.respell`.

    Raises:
        InputError: Nothing in a cell of a table is understood. JSON lines come from programs, whose names may be wrong.
    """
    gold, respelled = respell(task, gold, slips)
    said_to_be = {*task.classes, *(task.doubted or task.three_valued().doubted)} if task.classes else set[str]()
    for report_id, answer in gold.answers.items() if task.classes and not is_jsonl(gold.path) else ():
        if answer.labels and said_to_be.isdisjoint(answer.labels):
            name = answer.labels[0]
            said = (
                f"{name!r} is none of the classes{nearest(name, task.classes)}" if looks_like_name(name) else "no class"
            )
            where = f"{gold.path}:{gold.lines.get(report_id, report_id)}"
            raise InputError(f"{where}: {said}; write names of classes, {task.none} for none, or leave it blank")
    return gold, respelled


def combine_gold(task: Task, annotators: Sequence[LabelFile], rule: str, gold_blank: str | None = None) -> LabelFile:
    """Makes gold of what several annotators found, which are columns of one file; an InputError if one is not ok.

    Of a report that some of them have not annotated it is made of the others' labels.
    """
    for annotator in annotators:
        check_whole(annotator)
    left_out = [unannotated(annotator, gold_blank) for annotator in annotators]
    combined: dict[str, Answer] = {}
    for report_id, first in annotators[0].answers.items():
        said = [
            annotator.answers[report_id]
            for annotator, ids in zip(annotators, left_out, strict=True)
            if report_id not in ids
        ]
        combined[report_id] = combine(task, said, rule).answer if said else first
    blank = frozenset.intersection(*left_out)
    return LabelFile(annotators[0].path, combined, blank=blank, says_none=True, lines=annotators[0].lines)


def one_gold(
    path: Path, task: Task, column: str | None, columns: Sequence[str] | None, rule: str | None,
    id_column: str | None, gold_blank: str | None, names: Mapping[str, str] | None, slips: bool = False,
) -> LabelFile:  # fmt: skip
    """What is right, by one column or by several annotators': as their keys are read, understood and combined."""
    read = read_gold(path, task, column, columns or (), rule, id_column, names or {})
    sides = {name: understood(task, side, slips)[0] for name, side in read.items() if rule or name == GOLD}
    return combine_gold(task, list(sides.values()), rule, gold_blank) if rule else sides[GOLD]


def blank_text(task: Task, gold: LabelFile, gold_blank: str | None, name: str = GOLD) -> str:
    """What was done with blank cells, and with classes that there is no column for; empty where there are none."""
    said = []
    left_out, rows = len(unannotated(gold, gold_blank)), len(gold.answers)
    kept = len(gold.blank) - left_out
    if kept:
        said.append(f"{kept:,} of {rows:,} reports have no label in {name}, which counts as none ({_used(NEGATIVE)})")
    if left_out:
        said.append(f"{left_out:,} of {rows:,} reports are not annotated in {name} and left out ({_used(IGNORE)})")
    tables = [answer.states for answer in gold.answers.values() if answer.states]
    if cells := sum(len(task.classes) - len(gold.missing) - len(states.keys() & {*task.classes}) for states in tables):
        means = "are not scored" if gold_blank == IGNORE else "count as absent"
        said.append(f"{cells:,} blank cells of {name} {means} ({_used(gold_blank or NEGATIVE)})")
    if gold.missing:
        said.append(f"{name} has no column for {', '.join(gold.missing)}: not scored")
    return "; ".join(said)


def _used(gold_blank: str) -> str:
    return f"gold_blank={gold_blank}"


def judged_classes(task: Task, gold: LabelFile, report_id: str, ignore_blank: bool) -> list[str]:
    """The classes that count for a report: neither those of no column, nor undecided ones, nor ignored blank ones."""
    states, out = gold.answers[report_id].states, gold.undecided.get(report_id, ())
    classes = [(name, task.doubted.get(name, name)) for name in task.classes]
    if states is not None:
        classes = [pair for pair in classes if pair[1] not in gold.missing and (pair[1] in states or not ignore_blank)]
    return [name for name, meant in classes if meant not in out]


def judged_cells(task: Task, gold: LabelFile, gold_blank: str | None) -> np.ndarray:
    """Which classes count for which reports, boolean, shape (reports, classes)."""
    rows = [set(judged_classes(task, gold, report_id, gold_blank == IGNORE)) for report_id in gold.answers]
    return np.array([[name in row for name in task.classes] for row in rows], dtype=bool).reshape(len(rows), -1)


def scores_of(task: Task, path: Path, predicted: Sequence[Answer]) -> np.ndarray | None:
    """Each class's score in each prediction, shape (reports, classes), 0 where it has none; None where none has any."""
    rows = [answer.provenance.get("scores") or {} for answer in predicted]
    if not task.classes or not any(rows):
        return None
    try:
        scores = np.array([[float(row.get(name, 0.0)) for name in task.classes] for row in rows])
    except (AttributeError, TypeError, ValueError):
        raise InputError(f"{path}: 'scores' is not a number for each class") from None
    if any(row and not row.keys() & {*task.classes} for row in rows):
        raise InputError(f"{path}: 'scores' of a report name no class of {task.name}")
    if not ((scores >= 0) & (scores <= 1)).all():
        raise InputError(f"{path}: 'scores' are not all between 0 and 1")
    return scores


def without(file: LabelFile, report_ids: Collection[str]) -> LabelFile:
    """What a file says of other reports than these."""
    return replace(file, answers={x: answer for x, answer in file.answers.items() if x not in report_ids})


def read_groups(
    column: str, paths: Sequence[Path], reports: Mapping[str, Report], ids: Iterable[str], id_column: str | None = None
) -> dict[str, str]:
    """What a column says of each report, by ``ids``: how reports were read, or the first of the files that has it.

    Raises:
        InputError: No file has it, or it holds texts, or many values.
    """
    if column.lower() in _NO_GROUPS:
        raise InputError(f"by: {column!r} says whose a report is, or what it says, and groups none")
    path, found = paths[0], {x: getattr(report, column, None) for x, report in reports.items()}
    if not any(found.values()):
        having = [path for path in paths if find_column(column_names(path), (column,))]
        if not having:
            raise InputError(f"by: no column {column!r} in {' or '.join(map(str, paths))}")
        path, found = having[0], {}
        for number, row in read_table(path):
            named = find_id_column(row, path, find_column(row, (id_column,)) if id_column else None)
            found[id_cell(f"{path}:{number}", named, row)] = row.get(find_column(row, (column,)))
    known = match_ids(found, ids)
    values = {
        known.get(x, x): "unknown" if is_missing(value) else cell_text(value).strip() for x, value in found.items()
    }
    if len({*values.values()}) > _MOST_GROUPS or max(map(len, values.values())) > _LONGEST_GROUP:
        raise InputError(f"by: {column!r} of {path} holds texts, or more than {_MOST_GROUPS} different values")
    return values


def join_sides(
    sides: Mapping[str, LabelFile], report_ids: Collection[str], path: Path | None
) -> tuple[dict[str, LabelFile], list[str]]:
    """All sides by the ids of these reports, which each must have, or else by gold's; and what to say of it.

    ``path`` is where the reports stand; None where there are none.
    """
    joined, remarks = {}, []
    for name, side in sides.items():
        joined[name], remark = joined_to(side, report_ids or sides[GOLD].answers)
        remarks.append(remark)
        if path:
            joined[name], left_out = keep_reports(joined[name], report_ids)
            remarks.append(f"{side.path}: {left_out} reports left out of {name}, not in {path}" if left_out else "")
    return joined, [remark for remark in dict.fromkeys(remarks) if remark]


def keep_reports(file: LabelFile, report_ids: Collection[str]) -> tuple[LabelFile, int]:
    """What a file says of these reports alone, each of which must be there; and how many others it has."""
    check_present(f"{file.path}: nothing for", report_ids, "to score", file.answers)
    answers = {report_id: answer for report_id, answer in file.answers.items() if report_id in report_ids}
    return replace(file, answers=answers), len(file.answers) - len(answers)


def check_present(prefix: str, report_ids: Iterable[str], suffix: str, known: Collection[str]) -> None:
    """Raises an InputError ``prefix N reports suffix; first: ID`` if some report is not among the known ones."""
    strangers = [report_id for report_id in report_ids if report_id not in known]
    if strangers:
        noun = "report" if len(strangers) == 1 else "reports"
        raise InputError(f"{prefix} {len(strangers)} {noun} {suffix}; first: {strangers[0]!r}")


def check_whole(gold: LabelFile) -> None:
    """Raises an InputError if an answer of gold has a status that is not ok."""
    for report_id, answer in gold.answers.items():
        if answer.status != Status.OK:
            raise InputError(f"{gold.path}: gold of report {report_id!r} has status {answer.status}")
