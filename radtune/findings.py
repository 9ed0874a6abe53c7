"""The 13 chest findings of the paper, and label tables in the layout of MIMIC-CXR's official ones."""

import csv
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from radtune.config import InputError, nearest
from radtune.files import read_csv_rows, write_whole
from radtune.privacy import looks_like_name
from radtune.report import ID_COLUMNS, find_id_column

# Section 2.1 of the paper, in its order, which is also the order of answers.
FINDINGS: tuple[str, ...] = (
    "Atelectasis",
    "Cardiomegaly",
    "Consolidation",
    "Edema",
    "Enlarged Cardiomediastinum",
    "Fracture",
    "Lung Lesion",
    "Lung Opacity",
    "Pleural Effusion",
    "Pleural Other",
    "Pneumonia",
    "Pneumothorax",
    "Support Devices",
)
NO_FINDING = "No Finding"
# What a model answers when it finds none of the 13 (README of the paper's repository).
NORMAL = "Normal"
LABEL_COLUMNS: tuple[str, ...] = (*FINDINGS, NO_FINDING)

POSITIVE, NEGATIVE, UNCERTAIN = 1, 0, -1

_CANONICAL = {name.lower(): name for name in FINDINGS}


def canonical_finding(name: str) -> str | None:
    """The class that a name spells, case and outer blanks aside; None if it is not one of the 13."""
    return _CANONICAL.get(name.strip().lower())


@dataclass
class LabelTable:
    """Labels of many reports.

    Attributes:
        rows: By report id, one value per :data:`LABEL_COLUMNS`: 1 positive, 0 negative, -1 uncertain, None not
            mentioned.
        patient_ids: By report id, where the table has a ``subject_id``.
    """

    rows: dict[str, tuple[int | None, ...]]
    patient_ids: dict[str, str] = field(default_factory=dict)

    def positives(self, report_id: str) -> list[str]:
        """The classes marked 1, in the fixed order; uncertain ones are left out (the paper's weak label)."""
        return [name for name, value in zip(FINDINGS, self.rows[report_id], strict=False) if value == POSITIVE]


def read_label_table(path: Path, id_column: str | None = None) -> LabelTable:
    """Reads a label table (CSV, optionally .gz): ids, the 13 classes and, where present, ``No Finding``.

    The official ``mimic-cxr-2.0.0-negbio.csv.gz`` and ``-chexpert.csv.gz`` are such tables. Columns may stand in any
    order; a class without a column is not mentioned anywhere.

    Raises:
        InputError: Naming file and line: no id column, a column that is no class, a value that is not 1, 0, -1 or
            blank, a doubled id, no rows.
    """
    path = Path(path)
    rows: dict[str, tuple[int | None, ...]] = {}
    patient_ids: dict[str, str] = {}
    used_id_column = ""
    for number, row in read_csv_rows(path):
        if not used_id_column:
            used_id_column = find_id_column(row, path, id_column)
            _check_label_columns(path, row, used_id_column)
        report_id = row[used_id_column].strip()
        if not report_id:
            raise InputError(f"{path}:{number}: empty {used_id_column}")
        if report_id in rows:
            raise InputError(f"{path}:{number}: {used_id_column} {report_id!r} stands twice")
        rows[report_id] = tuple(_label(path, number, name, row.get(name, "")) for name in LABEL_COLUMNS)
        if row.get("subject_id", "").strip():
            patient_ids[report_id] = row["subject_id"].strip()
    if not rows:
        raise InputError(f"{path}: no rows")
    return LabelTable(rows, patient_ids)


def _check_label_columns(path: Path, columns: Iterable[str], id_column: str) -> None:
    labels = [name for name in columns if name not in (id_column, "subject_id", *ID_COLUMNS)]
    for name in labels:
        if name not in LABEL_COLUMNS:
            shown = repr(name) if looks_like_name(name) else f"of {len(name)} characters"
            raise InputError(f"{path}: unknown column {shown}{nearest(name, LABEL_COLUMNS)}")
    if not set(labels) & set(FINDINGS):
        raise InputError(f"{path}: none of the 13 label columns")


def _label(path: Path, number: int, name: str, cell: str) -> int | None:
    cell = cell.strip()
    if not cell:
        return None
    try:
        value = float(cell)
    except ValueError:
        value = float("nan")
    if value not in (POSITIVE, NEGATIVE, UNCERTAIN):
        # Where columns are shifted, a report may stand here.
        shown = repr(cell) if len(cell) <= 20 and len(cell.split()) == 1 else f"a text of {len(cell)} characters"
        raise InputError(f"{path}:{number}: {name} is {shown}, expected 1, 0, -1 or blank")
    return int(value)


def write_label_table(path: Path, rows: Mapping[str, Mapping[str, int | None]]) -> None:
    """Writes a label table, whole or not at all.

    Args:
        path: The CSV.
        rows: By report id, in the order to write, the value of each class; a missing class is not mentioned.
    """
    with write_whole(path) as stream:
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(["report_id", *LABEL_COLUMNS])
        for report_id, values in rows.items():
            cells = (values.get(name) for name in LABEL_COLUMNS)
            writer.writerow([report_id, *("" if value is None else value for value in cells)])
