"""Any table of reports: CSV or JSONL (packed with gzip or not) or Parquet, columns found by name or given."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import chain
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
_NAMES = {
    "patient": ("patient_id", "subject_id"),
    "findings": ("findings",),
    "impression": ("impression",),
    "text": ("text", "report_text", "note_text", "report", "note"),
    "modality": ("modality",),
    "body_part": ("body_part",),
    "images": ("images",),
}
_TEXTS = ("findings", "impression", "text", "modality", "body_part")


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


def read(keys: Keys, source: str = SOURCE) -> Iterator[Report]:
    """Reads a table of reports, row by row: from the section columns where they are filled, else from the text column.

    A row with neither is a report with an empty text. Columns that are not used are named on standard error.
    """
    path = keys.input
    used: dict[str, str | None] = {}
    names: dict[str, Any] = {}
    seen: set[str] = set()
    for number, row in table_rows(path):
        used = used or _find_columns(list(row), keys)
        where = f"{path}:{number}"
        report_id, patient_id = (id_cell(where, used[name], row) for name in ("id", "patient"))
        if not report_id:
            raise InputError(f"{where}: empty {used['id']}")
        if report_id in seen:
            raise InputError(f"{where}: {used['id']} {report_id!r} stands twice")
        seen.add(report_id)
        names.update(row)
        findings, impression, text, modality, body_part = (_text(where, used[name], row) for name in _TEXTS)
        if findings.strip() or impression.strip():
            report = report_from_sections(report_id, patient_id or None, findings, impression, source)
        else:
            report = report_from_text(report_id, patient_id or None, text, source)
        images = _images(where, used["images"], row)
        yield replace(report, modality=modality.strip() or None, body_part=body_part.strip() or None, images=images)
    if not seen:
        raise InputError(f"{path}: no rows")
    say_unused(path, tuple(name for name in names if name not in used.values()))


def read_any_reports(path: Path) -> Iterator[Report]:
    """Reads reports for labelling: our ``reports.jsonl``, or a CSV or Parquet with an id and sections or a text."""
    return read_reports(path) if path.name.endswith(_JSONL) else read(Keys(input=path))


def is_table(path: Path) -> bool:
    """Whether a file's name is that of a table that :func:`table_rows` reads."""
    return path.name.endswith((*_CSV, *_JSONL, _PARQUET))


def table_rows(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """The rows of a CSV, JSONL or Parquet file by column name, each with its line's number (or its own, in Parquet)."""
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
            batches = file.iter_batches(batch_size=1000)
            yield from enumerate(chain.from_iterable(batch.to_pylist() for batch in batches), start=1)
    except (pa.ArrowException, UnicodeDecodeError):
        raise InputError(f"{path}: no Parquet file, or a truncated or damaged one") from None
    except OSError as error:
        raise InputError(f"{path}: {error.strerror or 'truncated or damaged Parquet file'}") from None


def _find_columns(names: Sequence[str], keys: Keys) -> dict[str, str | None]:
    """Where what stands: in the columns given, else in those of a known name."""
    given = {name.removesuffix("_column"): column for name, column in vars(keys).items() if name != "input"}
    for column in given.values():
        if column is not None and column not in names:
            raise InputError(f"{keys.input}: {no_column(column, names)}")
    by_lower = {name.lower(): name for name in names}
    found = {name: next((by_lower[one] for one in known if one in by_lower), None) for name, known in _NAMES.items()}
    # A text column given alone keeps the sections' columns from being looked for, and the reverse.
    if given["findings"] or given["impression"]:
        found["text"] = None
    if given["text"]:
        found["findings"] = found["impression"] = None
    found |= {name: column for name, column in given.items() if column}
    found["id"] = find_id_column(names, keys.input, given["id"])
    if not (found["text"] or found["findings"] or found["impression"]):
        raise InputError(
            f"{keys.input}: no column findings, impression or text; {shown_columns(names)} (text_column=...)"
        )
    return found


def id_cell(where: str, column: str | None, row: dict[str, Any]) -> str:
    """The id in a row's column, stripped; the empty string if the column is None or the cell is blank."""
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
