"""Files of labels: whatever says which classes or phrases reports have, read into answers; label tables written."""

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from radtune.config import InputError, nearest
from radtune.labels import NO_FINDING, Answer, Phrase, State, Status
from radtune.privacy import looks_like_name, shown, shown_columns
from radtune.tables import ID_COLUMNS, cell_text, find_id_column, is_jsonl, read_table, write_csv
from radtune.tasks import Task
from radtune.tasks.lists import read_list

LABELS, PHRASES = "labels", "phrases"
_PATIENT_COLUMNS = ("patient_id", "subject_id")
# The keys of a JSON row that become fields of an answer, and what the model wrote, which has been read already.
_NOT_PROVENANCE = frozenset((*ID_COLUMNS, *_PATIENT_COLUMNS, LABELS, PHRASES, "task", "status", "response"))
# Spellings of a cell; pandas writes whole numbers in a column with gaps as 1.0.
_STATES = {f"{state:d}{end}": state for state in State for end in ("", ".0")}


@dataclass(frozen=True)
class LabelFile:
    """What a file says of reports, by report id in the file's order."""

    path: Path
    answers: dict[str, Answer]
    has_states: bool = False
    """Whether it is a label table, which may leave classes undecided."""


def label_columns(task: Task) -> tuple[str, ...]:
    """The columns of a label table behind its ids: the classes, then ``No Finding``."""
    return tuple(dict.fromkeys((*task.classes, NO_FINDING)))


def read_labels(
    path: Path, task: Task, column: str | None = None, id_column: str | None = None, by: str = ""
) -> LabelFile:
    """Reads the labels of a task from whatever file has them.

    Args:
        path: Packed with gzip or not: JSONL with ``labels`` (predictions.jsonl) or ``phrases`` (annotations.jsonl); a
            CSV with a column of labels, separated by commas or written as a list; or a label table: a CSV with a column
            a class and, where present, ``No Finding``, such as the official ``mimic-cxr-2.0.0-negbio.csv.gz``.
        task: Whose labels they are; rows that name another one are refused.
        column: The column (or JSON key) with the labels, such as an annotator's; None for the usual ones.
        id_column: The same of the report ids; None for the usual ones.
        by: Who says so; else the column, or the model that a row names.
    """
    path, has_lists = Path(path), is_jsonl(path)
    answers: dict[str, Answer] = {}
    is_table, classes = False, tuple[str, ...]()
    for number, row in _rows(path):
        where = f"{path}:{number}"
        if not answers:
            used_id = find_id_column(row, path, id_column)
            is_table = column is None and not has_lists and LABELS not in row and bool({*task.classes} & {*row})
            if is_table:
                classes = _table_columns(path, row, used_id, task)
        if used_id not in row:
            used_id = find_id_column(row, Path(where), id_column)
        report_id = _report_id(where, row[used_id], used_id)
        if report_id in answers:
            raise InputError(f"{where}: report {report_id!r} stands twice")
        said_by = by or column or ""
        if is_table:
            answer = _table_answer(where, row, task, classes, report_id, said_by)
        elif has_lists:
            answer = _json_answer(where, row, task, column, report_id, said_by)
        else:
            labels = task.distinct(_cell_labels(where, row, task, column or LABELS))
            answer = Answer(labels, report_id, said_by, patient_id=_patient_id(row))
        answers[report_id] = answer
    if not answers:
        raise InputError(f"{path}: no rows")
    return LabelFile(path, answers, is_table)


def column_names(path: Path) -> list[str]:
    """The columns of a CSV, or the keys of a JSONL's first row; empty if it has no rows."""
    return next((list(row) for _, row in _rows(path)), [])


def _rows(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    if is_jsonl(path):
        return read_table(path)
    return ((number, {name: cell_text(cell) for name, cell in row.items()}) for number, row in read_table(path))


def _report_id(where: str, value: object, column: str) -> str:
    if isinstance(value, bool) or not isinstance(value, (str, int)):
        raise InputError(f"{where}: {column!r} is {type(value).__name__}, expected a string")
    if not str(value).strip():
        raise InputError(f"{where}: empty {column}")
    return str(value).strip()


def _patient_id(row: Mapping[str, Any]) -> str | None:
    value = row.get("patient_id") or row.get("subject_id")
    return (str(value).strip() or None) if value else None


def _table_columns(path: Path, columns: Collection[str], id_column: str, task: Task) -> tuple[str, ...]:
    """The columns of a label table that hold states."""
    known = label_columns(task)
    for name in columns:
        if name not in (id_column, *_PATIENT_COLUMNS, *ID_COLUMNS, *known):
            shown = repr(name) if looks_like_name(name) else f"of {len(name)} characters"
            raise InputError(f"{path}: unknown column {shown}{nearest(name, known)}")
    return tuple(name for name in known if name in columns)


def _table_answer(
    where: str, row: Mapping[str, str], task: Task, classes: Iterable[str], report_id: str, by: str
) -> Answer:
    states = {}
    for name in classes:
        if cell := row[name].strip():
            if cell not in _STATES:
                # Where columns are shifted, a report may stand here.
                is_word = len(cell) <= 20 and len(cell.split()) == 1
                shown = repr(cell) if is_word else f"a text of {len(cell)} characters"
                raise InputError(f"{where}: {name} is {shown}, expected 1, 0, -1 or blank")
            states[name] = _STATES[cell]
    return Answer(task.labels_of(states), report_id, by, states=states, patient_id=_patient_id(row))


def _json_answer(where: str, row: dict[str, Any], task: Task, column: str | None, report_id: str, by: str) -> Answer:
    if row.get("task", task.name) != task.name:
        raise InputError(f"{where}: a row of task {shown(row['task'])}, expected {task.name!r}")
    try:
        status = Status(row.get("status", Status.OK))
    except ValueError:
        raise InputError(f"{where}: status {shown(row['status'])} is not one of {', '.join(Status)}") from None
    labels: list[str] = []
    phrases: tuple[Phrase, ...] = ()
    if status == Status.OK:
        name = column or (LABELS if row.get(LABELS) is not None else PHRASES)
        if name not in row:
            raise InputError(f"{where}: no {column or LABELS!r}{_nearest_column(name, row)}")
        labels, phrases = _json_labels(where, row, name)
    by = by or str(row.get("model") or "")
    answer = Answer(task.distinct(labels), report_id, by, status, phrases=phrases, patient_id=_patient_id(row))
    return replace(answer, provenance={key: value for key, value in row.items() if key not in _NOT_PROVENANCE})


def _json_labels(where: str, row: dict[str, Any], name: str) -> tuple[list[str], tuple[Phrase, ...]]:
    """Labels, and those of them that come with their codes and places."""
    items = row[name]
    labels = [item.get("phrase") if isinstance(item, dict) else item for item in items] if type(items) is list else None
    if labels is None or not all(isinstance(label, str) for label in labels):
        raise InputError(f"{where}: {name!r} is not a list of strings")
    located = row.get(PHRASES) if labels == items else items
    return labels, tuple(map(_phrase, filter(_is_phrase, located))) if isinstance(located, list) else ()


def _is_phrase(item: object) -> bool:
    return isinstance(item, dict) and isinstance(item.get("phrase"), str)


def _phrase(item: dict[str, Any]) -> Phrase:
    code, start, end = item.get("icd10"), item.get("start"), item.get("end")
    place = (start, end) if isinstance(start, int) and isinstance(end, int) else (None, None)
    return Phrase(item["phrase"], code if isinstance(code, str) else None, *place)


def _cell_labels(where: str, row: Mapping[str, str], task: Task, column: str) -> Iterable[str]:
    if column not in row:
        hint = "" if task.classes else "; a label table has no phrases"
        raise InputError(
            f"{where}: no column {column!r}{_nearest_column(column, row)}; {shown_columns(row)}{hint} "
            "(prediction_column=..., gold_column=...)"
        )
    cell = row[column].strip()
    if not cell.startswith("["):
        return cell.split(",")
    answer = read_list(cell)
    if answer.status != Status.OK:
        raise InputError(f"{where}: the list in {column!r} never closes")
    return answer.labels


def _nearest_column(name: str, columns: Iterable[str]) -> str:
    return nearest(name, list(filter(looks_like_name, columns)))


def write_label_table(path: Path, task: Task, rows: Mapping[str, Mapping[str, State | int | None]]) -> None:
    """Writes a label table: by report id, in the order to write, the state of each class; None is not mentioned."""
    columns = label_columns(task)
    cells = ((states.get(name) for name in columns) for states in rows.values())
    numbers = ([None if state is None else int(state) for state in row] for row in cells)
    ids = zip(rows, numbers, strict=True)
    write_csv(path, [[ID_COLUMNS[0], *columns], *([report_id, *row] for report_id, row in ids)])
