"""Predictions and gold from whatever file holds them, as labels by report."""

from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from radtune.config import InputError, nearest
from radtune.files import read_csv_rows, read_jsonl
from radtune.findings import FINDINGS, NORMAL, canonical_finding, read_label_table
from radtune.labels import Status
from radtune.privacy import looks_like_name, shown_columns
from radtune.report import ID_COLUMNS, find_id_column
from radtune.tasks import multiple_choice
from radtune.tasks.lists import fold_space, read_list, row_status, unique

LABELS = "labels"
PHRASES = "phrases"


@dataclass
class LabelledReports:
    """Labels of many reports, predicted or gold.

    Attributes:
        path: The file they were read from.
        labels: By report id, in file order: names or phrases, without repeats; empty where the status is not ok.
        statuses: By report id, what became of the model call; ok where the file has no statuses.
        judged: By report id, the classes that a label table decides (its cell is not blank); None where the file is
            no label table, so that every class is decided.
        patient_ids: By report id, where the file says.
        codes: By report id and phrase (case folded), its first ICD-10-CM code in upper case and without its dot, where
            the file has codes (the ``phrases`` of annotations.jsonl).
    """

    path: Path
    labels: dict[str, tuple[str, ...]] = field(default_factory=dict)
    statuses: dict[str, Status] = field(default_factory=dict)
    judged: dict[str, frozenset[str]] | None = None
    patient_ids: dict[str, str] = field(default_factory=dict)
    codes: dict[str, dict[str, str]] = field(default_factory=dict)


def read_labelled_reports(path: Path, task: str, column: str | None, id_column: str | None) -> LabelledReports:
    """Reads predictions or gold.

    Args:
        path: JSONL with ``labels`` (predictions.jsonl) or ``phrases`` (annotations.jsonl), or a CSV that is a label
            table or has a column of labels separated by commas.
        task: The task being scored; JSONL rows that name another one are refused.
        column: The column (or JSON key) with the labels; None for the usual ones.
        id_column: The column (or JSON key) with the report ids, where the file has it; else the usual names.

    Returns:
        The labels by report.

    Raises:
        InputError: Naming file and line: an id that is missing, empty or doubled, a row of another task, labels that
            cannot be read, an unknown status, no rows.
    """
    columns = column_names(path)
    if id_column not in columns:
        id_column = None
    if column is None and not _is_jsonl(path) and LABELS not in columns and set(columns) & set(FINDINGS):
        if task != multiple_choice.NAME:
            raise InputError(f"{path}: a label table has no phrases, so it cannot be scored as {task}")
        return _from_label_table(path, id_column)
    return _from_rows(path, task, column, id_column)


def keep_reports(reports: LabelledReports, report_ids: Collection[str]) -> int:
    """Leaves out all reports but these; returns how many were left out.

    Raises:
        InputError: One of them is not there.
    """
    check_present(f"{reports.path}: nothing for", report_ids, "to score", reports.labels)
    others = [report_id for report_id in reports.labels if report_id not in report_ids]
    for report_id in others:
        del reports.labels[report_id], reports.statuses[report_id]
    return len(others)


def check_present(prefix: str, report_ids: Iterable[str], suffix: str, known: Collection[str]) -> None:
    """Raises an InputError ``prefix N reports suffix; first: ID`` if some report is not among the known ones."""
    strangers = [report_id for report_id in report_ids if report_id not in known]
    if strangers:
        noun = "report" if len(strangers) == 1 else "reports"
        raise InputError(f"{prefix} {len(strangers)} {noun} {suffix}; first: {strangers[0]!r}")


def _is_jsonl(path: Path) -> bool:
    return path.name.removesuffix(".gz").endswith(".jsonl")


def column_names(path: Path) -> list[str]:
    """The columns of a CSV, or the keys of a JSONL's first row; empty if it has no rows."""
    rows: Iterable[tuple[int, dict[str, Any]]] = read_jsonl(path) if _is_jsonl(path) else read_csv_rows(path)
    return next((list(row) for _, row in rows), [])


def _from_label_table(path: Path, id_column: str | None) -> LabelledReports:
    table = read_label_table(path, id_column)
    return LabelledReports(
        path,
        {report_id: tuple(table.positives(report_id)) for report_id in table.rows},
        dict.fromkeys(table.rows, Status.OK),
        {
            report_id: frozenset(name for name, value in zip(FINDINGS, values, strict=False) if value is not None)
            for report_id, values in table.rows.items()
        },
        table.patient_ids,
    )


def _from_rows(path: Path, task: str, column: str | None, id_column: str | None) -> LabelledReports:
    reports = LabelledReports(path)
    for number, row in read_jsonl(path) if _is_jsonl(path) else read_csv_rows(path):
        where = f"{path}:{number}"
        report_id = _report_id(where, row, id_column)
        if report_id in reports.labels:
            raise InputError(f"{where}: report {report_id!r} stands twice")
        if _is_jsonl(path):
            status = row_status(where, row, task)
            labels = _json_labels(where, row, column) if status == Status.OK else []
        else:
            status, labels = Status.OK, _cell_labels(where, row, column or LABELS)
        reports.labels[report_id] = _distinct(labels, task)
        if status == Status.OK and (codes := _codes(row)):
            reports.codes[report_id] = codes
        reports.statuses[report_id] = status
        if patient_id := str(row.get("patient_id") or row.get("subject_id") or "").strip():
            reports.patient_ids[report_id] = patient_id
    if not reports.labels:
        raise InputError(f"{path}: no rows")
    return reports


def _report_id(where: str, row: dict[str, Any], id_column: str | None) -> str:
    # Nearly every row has it under its first name, and a hundred thousand look-ups take their time.
    name = id_column or ID_COLUMNS[0]
    if name not in row:
        name = find_id_column(row, Path(where), id_column)
    value = row[name]
    if isinstance(value, bool) or not isinstance(value, (str, int)):
        raise InputError(f"{where}: {name!r} is {type(value).__name__}, expected a string")
    if not str(value).strip():
        raise InputError(f"{where}: empty {name}")
    return str(value).strip()


def _json_labels(where: str, row: dict[str, Any], column: str | None) -> list[str]:
    name = column or (LABELS if LABELS in row else PHRASES)
    if name not in row:
        raise InputError(f"{where}: no {column or LABELS!r}{_nearest_column(name, row)}")
    labels = row[name]
    if isinstance(labels, list):
        # The phrases of annotations.jsonl come with their codes and places.
        labels = [item.get("phrase") if isinstance(item, dict) else item for item in labels]
        if all(isinstance(label, str) for label in labels):
            return labels
    raise InputError(f"{where}: {name!r} is not a list of strings")


def _codes(row: dict[str, Any]) -> dict[str, str]:
    phrases = row.get(PHRASES)
    codes: dict[str, str] = {}
    for item in phrases if isinstance(phrases, list) else ():
        if isinstance(item, dict) and isinstance(item.get("phrase"), str) and isinstance(item.get("icd10"), str):
            # The dot is often left out, so it says nothing.
            code = item["icd10"].replace(".", "").strip().upper()
            codes.setdefault(fold_space(item["phrase"]).casefold(), code)
    return {phrase: code for phrase, code in codes.items() if code}


def _cell_labels(where: str, row: dict[str, str], column: str) -> list[str]:
    if column not in row:
        raise InputError(
            f"{where}: no column {column!r}{_nearest_column(column, row)}; {shown_columns(row)} "
            "(prediction_column=..., gold_column=...)"
        )
    cell = row[column].strip()
    if not cell.startswith("["):
        return cell.split(",")
    answer = read_list(cell)
    if answer.status != Status.OK:
        raise InputError(f"{where}: the list in {column!r} never closes")
    return list(answer.labels)


def _nearest_column(name: str, columns: Iterable[str]) -> str:
    return nearest(name, list(filter(looks_like_name, columns)))


def _distinct(labels: Iterable[str], task: str) -> tuple[str, ...]:
    if task != multiple_choice.NAME:
        return unique(labels)
    stripped = [label.strip() for label in labels if label.strip()]
    names = {name.casefold(): name for name in (canonical_finding(label) or label for label in stripped)}
    return () if list(names) == [NORMAL.casefold()] else tuple(names.values())
