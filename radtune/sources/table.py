"""Any table of reports: CSV or JSONL (packed with gzip or not) or Parquet, columns found by name or given."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from radtune.config import InputError, key
from radtune.files import read_csv_rows, read_jsonl
from radtune.privacy import no_column, shown_columns
from radtune.report import Report, find_id_column, read_reports, report_from_sections, report_from_text, say_unused
from radtune.sources.members import MAX_REPORT_BYTES

SOURCE = "table"

_CSV, _JSONL, _PARQUET = (".csv", ".csv.gz"), (".jsonl", ".jsonl.gz"), ".parquet"

# Names looked for, in any case, where a column is not given.
_PATIENT_NAMES = ("patient_id", "subject_id")
_TEXT_NAMES = ("text", "report_text", "note_text", "report", "note")


@dataclass
class Keys:
    """Keys of this source."""

    input: Path = key("A .csv, .jsonl (either may be packed: .gz) or .parquet.")
    id_column: str | None = key("Ids of reports; else report_id, study_id or uid.", None)
    patient_column: str | None = key("Ids of patients; else patient_id or subject_id.", None)
    text_column: str | None = key("Whole reports; else text, report_text, note_text, ...", None)
    findings_column: str | None = key("Findings; else findings.", None)
    impression_column: str | None = key("Impression; else impression.", None)
    modality_column: str | None = key("How the images were made; else modality.", None)
    body_part_column: str | None = key("What the images show; else body_part.", None)


@dataclass(frozen=True)
class Columns:
    """Names of a table's columns.

    As given to :func:`read_table`, None stands for "find it by its name"; a text column given alone keeps the
    sections' columns from being looked for, and the reverse.
    """

    id: str | None = None
    patient: str | None = None
    text: str | None = None
    findings: str | None = None
    impression: str | None = None
    modality: str | None = None
    body_part: str | None = None
    images: str | None = None


BY_NAME = Columns()


def read(keys: Keys) -> Iterator[Report]:
    """Reads a table of reports; see :func:`read_table`."""
    given = {name.removesuffix("_column"): column for name, column in vars(keys).items() if name != "input"}
    return read_table(keys.input, Columns(**given))


def read_table(path: Path, columns: Columns = BY_NAME, source: str = SOURCE) -> Iterator[Report]:
    """Reads a table of reports, row by row: from the section columns where they are filled, else from the text column.

    A row with neither is a report with an empty text. Columns that are not used are named on standard error.

    Raises:
        InputError: Naming file and line: no such column, a cell of the wrong type or longer than any report, an
            empty or doubled id, no rows.
    """
    path = Path(path)
    used: Columns | None = None
    seen: set[str] = set()
    for number, row in table_rows(path):
        used = used or _find_columns(path, list(row), columns)
        where = f"{path}:{number}"
        report_id = id_cell(where, used.id, row)
        if not report_id:
            raise InputError(f"{where}: empty {used.id}")
        if report_id in seen:
            raise InputError(f"{where}: {used.id} {report_id!r} stands twice")
        seen.add(report_id)
        patient_id = id_cell(where, used.patient, row) or None
        findings, impression = _text(where, used.findings, row), _text(where, used.impression, row)
        if findings.strip() or impression.strip():
            report = report_from_sections(report_id, patient_id, findings, impression, source)
        else:
            report = report_from_text(report_id, patient_id, _text(where, used.text, row), source)
        modality, body_part = (_text(where, column, row).strip() for column in (used.modality, used.body_part))
        yield replace(
            report, modality=modality or None, body_part=body_part or None, images=_images(where, used.images, row)
        )
    if used is None:
        raise InputError(f"{path}: no rows")
    say_unused(path, tuple(name for name in row if name not in vars(used).values()))


def read_any_reports(path: Path) -> Iterator[Report]:
    """Reads reports for labelling: our ``reports.jsonl``, or a CSV or Parquet with an id and sections or a text.

    Raises:
        InputError: As :func:`radtune.report.read_reports` or :func:`read_table`.
    """
    path = Path(path)
    return read_reports(path) if path.name.endswith(_JSONL) else read_table(path)


def is_table(path: Path) -> bool:
    """Whether a file's name is that of a table that :func:`table_rows` reads."""
    return path.name.endswith((*_CSV, *_JSONL, _PARQUET))


def table_rows(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """Reads the rows of a CSV, JSONL or Parquet file.

    Yields:
        Number of the line (of the row, in a Parquet file) and the row by column name.

    Raises:
        InputError: Another format, or the file is absent, damaged, or has two columns of one name.
    """
    if path.name.endswith(_CSV):
        return read_csv_rows(path)
    if path.name.endswith(_JSONL):
        return read_jsonl(path)
    if path.name.endswith(_PARQUET):
        return _parquet_rows(path)
    raise InputError(f"{path}: expected .csv, .jsonl (either may be packed: .gz) or .parquet")


def _parquet_rows(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    import pyarrow as pa  # slow to import, and only this format needs it
    from pyarrow import parquet

    try:
        with parquet.ParquetFile(path) as file:
            names = file.schema_arrow.names
            if len(set(names)) < len(names):
                raise InputError(f"{path}: two columns have the same name; {shown_columns(names)}")
            number = 0
            for batch in file.iter_batches(batch_size=1000):
                for row in batch.to_pylist():
                    number += 1
                    yield number, row
    except (pa.ArrowException, UnicodeDecodeError):
        raise InputError(f"{path}: no Parquet file, or a truncated or damaged one") from None
    except OSError as error:
        raise InputError(f"{path}: {error.strerror or 'truncated or damaged Parquet file'}") from None


def _find_columns(path: Path, names: Sequence[str], given: Columns) -> Columns:
    for name in vars(given).values():
        if name is not None and name not in names:
            raise InputError(f"{path}: {no_column(name, names)}")
    by_lower = {name.lower(): name for name in names}

    def find(column: str | None, known: Sequence[str], wanted: bool = True) -> str | None:
        return column or (next((by_lower[name] for name in known if name in by_lower), None) if wanted else None)

    sections_given = given.findings is not None or given.impression is not None
    found = Columns(
        id=find_id_column(names, path, given.id),
        patient=find(given.patient, _PATIENT_NAMES),
        modality=find(given.modality, ("modality",)),
        body_part=find(given.body_part, ("body_part",)),
        images=find(given.images, ("images",)),
        text=find(given.text, _TEXT_NAMES, wanted=not sections_given),
        findings=find(given.findings, ("findings",), wanted=given.text is None),
        impression=find(given.impression, ("impression",), wanted=given.text is None),
    )
    if not (found.text or found.findings or found.impression):
        raise InputError(f"{path}: no column findings, impression or text; {shown_columns(names)} (text_column=...)")
    return found


def id_cell(where: str, column: str | None, row: dict[str, Any]) -> str:
    """The id in a row's column, stripped; the empty string if the column is None or the cell is blank.

    Raises:
        InputError: Naming ``where``: the cell is neither text nor a whole number.
    """
    value = row.get(column) if column else None
    if isinstance(value, float) and value.is_integer():
        value = int(value)  # a column of whole numbers with gaps comes as floats
    if isinstance(value, int) and not isinstance(value, bool):
        value = str(value)
    return _text(where, column, {column: value}).strip()


def _text(where: str, column: str | None, row: dict[str | None, Any]) -> str:
    value = row.get(column)
    if value is None or value != value:  # NaN, a gap in a float column
        return ""
    if not isinstance(value, str):
        raise InputError(f"{where}: {column} is {type(value).__name__}, expected text")
    if len(value) > MAX_REPORT_BYTES:
        raise InputError(f"{where}: {column} is longer than {MAX_REPORT_BYTES:,} characters, which no report is")
    return value


def _images(where: str, column: str | None, row: dict[str, Any]) -> tuple[str, ...] | None:
    """The files of a row's images: a list of them, or the one that its cell names."""
    value = row.get(column) if column else None
    files = value if isinstance(value, list) else [_text(where, column, row)]
    if not all(isinstance(file, str) for file in files):
        raise InputError(f"{where}: {column} is no list of file names")
    return tuple(filter(None, files)) or None
