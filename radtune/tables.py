"""Tables as people have them: rows by column name from CSV, Excel, JSON lines or Parquet; ids in one form.

A CSV may be in UTF-8, UTF-16 or Windows-1252 (or, put together of several files, in UTF-8 here and Windows-1252 there)
and separate its cells by comma, semicolon, tab or bar; CSV and JSON lines may be packed with gzip.
"""

import codecs
import csv
import io
import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, suppress
from datetime import datetime, time
from functools import cache
from itertools import chain
from pathlib import Path
from typing import Any, TextIO

from radtune.config import InputError
from radtune.files import CP1252, open_text, read_jsonl, read_lines, write_bytes, write_whole
from radtune.privacy import say, shown_columns

_CSV, _JSONL = (".csv", ".csv.gz", ".tsv", ".tsv.gz"), (".jsonl", ".jsonl.gz")
_PARQUET, _EXCEL = ".parquet", (".xlsx", ".xlsm")
FORMATS = ".csv, .tsv, .jsonl (each may be packed: .gz), .xlsx or .parquet"
_SEPARATORS = ",;\t|"
# Excel's own line above the header.
_SEP_LINE = re.compile(r'"?sep=(.)"?\s*\Z', re.IGNORECASE)
# What pandas calls a column without a name: the row index that it wrote.
_NO_NAME = re.compile(r"(?:Unnamed: \d+)?\Z")
# How a formula of a spreadsheet begins, such a text as it is written, and numbers and intervals, which are none.
# Also what XlsxWriter would take for markup of its own, and write as it stands.
_FORMULA, _HELD_FORMULA = re.compile(r"'*(?:[=+@\t\r-]|<r>)"), re.compile(r"'+(?:[=+@\t\r-]|<r>)")
_NUMBERS = re.compile(r"[+-][\d.,%() –-]*")
# What stands for no value, in lower case: written by pandas, R, SQL and people.
_MISSING = frozenset(
    ("", "nan", "none", "null", "(null)", "<na>", "pd.na", "n/a", "n.a.", "na", "nat", "-", "--", "(blank)", "unknown",
     "not available", "#n/a", "#ref!", "#value!", "#name?", "#div/0!", "#num!", "#null!")
)  # fmt: skip
_UTF8 = "utf-8-sig"
# Columns of report ids, best first.
ID_COLUMNS = ("report_id", "study_id", "uid")
# An id may be a path or name patient, date and series; what is longer is a report.
_LONGEST_ID, _MOST_WORDS_OF_ID = 500, 12
# 1.23457E+11, as a spreadsheet saves what it shows; signs that are a dash; 50,414,267.
_SHORTENED = re.compile(r"\d[.,](\d+)E\+(\d\d)", re.ASCII)
_DASHES, _THOUSANDS = re.compile("[\u2010-\u2015\u2212]"), re.compile(r"\d{1,3}(?:,\d{3})+", re.ASCII)
# Excel keeps fifteen digits.
_MOST_EXACT = 10**15
# Bytes of a cell up to its value: 8,192 characters of formula, escaped.
_LONGEST_FORMULA = 65_536
# The most rows of a sheet and characters of a cell in Excel, and what no cell can hold.
_MOST_ROWS, _LONGEST_CELL = 1_048_576, 32_767
_NOT_IN_XML = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\ud800-\udfff\ufffe\uffff]")
# Unpacked, no honest file is this large and this much smaller packed.
_BOMB_BYTES, _BOMB_RATIO = 64 * 2**20, 200
# A text's longest is a megabyte, and a batch is in memory three times over.
_PARQUET_BATCH = 50


def is_table(path: Path) -> bool:
    """Whether a file's name is that of a table that :func:`read_table` reads."""
    return path.name.lower().endswith((*_CSV, *_JSONL, *_EXCEL, _PARQUET))


def is_jsonl(path: Path) -> bool:
    """Whether a file's name is that of JSON lines."""
    return path.name.lower().endswith(_JSONL)


def read_table(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """The rows of a table by column name, each with its line's number (or its own, in Parquet and Excel).

    Cells of CSV and Excel are texts. The row index of pandas and columns without a name are left out, as are blank
    rows.
    """
    path = Path(path)
    name = path.name.lower()
    if name.endswith(_JSONL):
        return read_jsonl(path)
    if name.endswith(_CSV):
        return _by_name(path, _csv_lines(path))
    if name.endswith(_EXCEL):
        return _by_name(path, _excel_lines(path))
    if name.endswith(_PARQUET):
        return _parquet_rows(path)
    raise InputError(f"{path}: expected {FORMATS}")


def check_table_name(path: Path | None) -> None:
    """Refuses to write a table under a name that says another kind of file."""
    if path and path.suffix.lower() in (".jsonl", ".json", _PARQUET):
        raise InputError(f"{path}: a table is written there; end its name in .csv or .xlsx")


def is_missing(value: object) -> bool:
    """Whether a cell stands for no value: None, not a number, or one of the words that programs write for them."""
    return value is None or value != value or (isinstance(value, str) and value.strip().lower() in _MISSING)


def cell_text(cell: object) -> str:
    """A cell as a CSV would hold it: nothing for None and not a number, a whole number without a point."""
    if cell is None or cell != cell:
        return ""
    if isinstance(cell, datetime) and cell.time() == time.min:
        cell = cell.date()  # which Excel does not know, either
    if isinstance(cell, float) and cell.is_integer():
        # Excel, and pandas beside a gap, know no whole numbers; of those with more digits, the last are not kept.
        return str(int(cell)) if abs(cell) < _MOST_EXACT else f"{cell:.14E}"
    return str(cell)


def table_layout(path: Path) -> str:
    """What a table's file is, for people: ``CSV in UTF-8, cells separated by ';'``."""
    name = path.name.lower()
    if not name.endswith(_CSV):
        return "JSON lines" if name.endswith(_JSONL) else "Parquet" if name.endswith(_PARQUET) else "Excel"
    encoding = _encoding(path)
    with _opened(path) as stream:
        separator = _separator(stream.readline(1_000_000))
    named = {"\t": "tabs"}.get(separator, repr(separator))
    said = encoding.removesuffix("-sig").upper() if encoding != _UTF8 or _is_utf8(path) else "Windows-1252"
    return f"CSV in {said}, cells separated by {named}"


def _by_name(path: Path, lines: Iterator[tuple[int, list[str]]]) -> Iterator[tuple[int, dict[str, str]]]:
    header = [name.strip() for name in next(lines, (0, []))[1]]
    kept = [place for place, name in enumerate(header) if not _NO_NAME.match(name)]
    names = [header[place] for place in kept]
    if not names:
        raise InputError(f"{path}: empty, expected a header")
    if len(set(names)) < len(names):
        raise InputError(f"{path}: two columns have the same name; {shown_columns(names)}")
    for number, cells in lines:
        if not any(cells):
            continue
        if len(cells) < len(header) or any(cells[len(header) :]):
            raise InputError(f"{path}:{number}: {len(cells)} cells, expected {len(header)}")
        yield number, dict(zip(names, map(cells.__getitem__, kept), strict=True))


def _csv_lines(path: Path) -> Iterator[tuple[int, list[str]]]:
    with _opened(path) as stream:
        lines = read_lines(path, stream)
        first = next(lines, "")
        skipped = 1 if _SEP_LINE.match(first) else 0
        separator = _separator(first)
        # Strict, so that a file cut off within a quoted cell is an error and not a shorter report.
        reader = csv.reader(lines if skipped else chain([first], lines), delimiter=separator, strict=True)
        try:
            for cells in reader:
                yield reader.line_num + skipped, [*map(_as_meant, cells)]
        except csv.Error as error:
            raise InputError(f"{path}:{reader.line_num + skipped}: not valid CSV: {error}") from None


def write_csv(path: Path, rows: Iterable[Iterable[object]]) -> None:
    """Writes a CSV, whole or not at all; None is blank.

    A text that a spreadsheet would take for a formula gets an apostrophe in front, which :func:`read_table` takes off.
    """
    with write_whole(path) as stream:
        stream.writelines(",".join(map(_csv_cell, row)) + "\n" for row in rows)


def write_cells(path: Path, rows: Iterable[Iterable[object]]) -> None:
    """Writes an Excel file where a file's name ends so, else a CSV."""
    (write_excel if path.name.lower().endswith(_EXCEL) else write_csv)(path, rows)


def write_excel(path: Path, rows: Iterable[Iterable[object]]) -> None:
    """Writes an Excel file of one sheet as :func:`write_csv` does a CSV; texts lose what Excel cannot hold."""
    from xlsxwriter import Workbook

    content = io.BytesIO()
    # Else a sheet is written among all users' temporary files first, where a kill would leave it.
    with Workbook(content, {"in_memory": True}) as book:
        sheet = book.add_worksheet("Sheet")
        for at, row in enumerate(rows):
            if at == _MOST_ROWS:
                raise InputError(f"{path}: no Excel file holds more than {_MOST_ROWS:,} rows; end its name in .csv")
            for column, cell in enumerate(row):
                if isinstance(cell, str):
                    sheet.write_string(at, column, _NOT_IN_XML.sub("", _no_formula(cell))[:_LONGEST_CELL])
                elif cell is not None:
                    sheet.write_number(at, column, cell)
    write_bytes(path, content.getvalue())


def _no_formula(text: str) -> str:
    return f"'{text}" if _FORMULA.match(text) and not _NUMBERS.fullmatch(text) else text


def _as_meant(text: str) -> str:
    text = text.replace("_x000D_", "\r")  # which Excel's XML holds as that, and pandas writes to a CSV
    return text[1:] if _HELD_FORMULA.match(text) else text


def _csv_cell(value: object) -> str:
    text = _no_formula(value) if isinstance(value, str) else "" if value is None else str(value)
    # csv.writer leaves a carriage return bare, which its reader refuses.
    return '"' + text.replace('"', '""') + '"' if re.search('[,"\r\n]', text) else text


def _separator(header: str) -> str:
    """The sign that makes most columns of a header, a comma if none makes two."""
    if given := _SEP_LINE.match(header):
        return given[1]
    return max(_SEPARATORS, key=lambda sign: len(re.sub('"[^"]*"', "", header).split(sign)))


def _opened(path: Path) -> AbstractContextManager[TextIO]:
    encoding = _encoding(path)
    return open_text(path, encoding, CP1252 if encoding == _UTF8 else "strict")


def _encoding(path: Path) -> str:
    """A text file's encoding: by its mark, by the zeros between its letters, else UTF-8, or Windows-1252 in places."""
    with open_text(path) as stream:
        chunk = stream.buffer.read(200)
    if chunk.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return "utf-16"
    for encoding, zeros in (("utf-16-le", chunk[1::2]), ("utf-16-be", chunk[::2])):
        if zeros and zeros.count(0) > len(zeros) / 2:
            return encoding
    return _UTF8


def _is_utf8(path: Path) -> bool:
    with suppress(InputError), open_text(path) as stream:
        return all(True for _ in read_lines(path, stream))
    return False


def _excel_lines(path: Path) -> Iterator[tuple[int, list[str]]]:
    # Slow to import, and only this format needs it.
    from openpyxl.reader.excel import ExcelReader
    from openpyxl.utils.escape import unescape

    try:
        with open(path, "rb") as stream:
            reader = ExcelReader(stream, read_only=True, data_only=True)
            _refuse_bomb(path, sum(info.file_size for info in reader.archive.infolist()), path.stat().st_size)
            reader.read()
            # One that nobody sees is an earlier version's, or a list of choices.
            sheet, *others = sorted(reader.wb.worksheets, key=lambda sheet: sheet.sheet_state != "visible")
            files = {found.name: relation.target for found, relation in reader.parser.find_sheets()}
            _refuse_unfilled(path, reader.archive.read(files[sheet.title]))
            for each in (sheet, *others):
                each.reset_dimensions()  # which other programs get wrong
            if filled := [each.title for each in others if any(each.iter_rows(max_row=1))]:
                _say_sheets(path, sheet.title, tuple(filled))
            width = 0
            for number, cells in enumerate(sheet.iter_rows(values_only=True), start=1):
                width = width or len(cells)
                # What XML cannot hold, such as a carriage return, stands there as _x000D_.
                texts = [unescape(cell_text(cell)) for cell in cells]
                yield number, [*map(_as_meant, texts)] + [""] * (width - len(cells))
    except InputError:
        raise
    except OSError as error:
        raise InputError(f"{path}: {error.strerror or 'damaged Excel file'}") from None
    except Exception:
        # Whatever openpyxl meets within a damaged file, it raises, and its message may quote a cell.
        raise InputError(f"{path}: no Excel file, or an encrypted, truncated or damaged one") from None


def _refuse_unfilled(path: Path, sheet: bytes) -> None:
    """Refuses a sheet with cells that read as blank and are not: all but the first of merged ones, and formulas."""
    if any(first != last for first, last in re.findall(rb'mergeCell ref="[A-Z]+(\d+):[A-Z]+(\d+)"', sheet)):
        raise InputError(
            f"{path}: cells of several rows are merged, and only the first is filled; unmerge and fill them"
        )
    for found in re.finditer(rb"</(?:\w+:)?f><(?:\w+:)?(?:/c>|v ?/>|v></)", sheet):
        nearby = sheet[max(0, found.start() - _LONGEST_FORMULA) : found.start()]
        opening = nearby[max(nearby.rfind(b"<c "), nearby.rfind(b":c ")) :].split(b">", 1)[0]
        if b't="str"' not in opening:  # an empty text is a value
            raise InputError(
                f"{path}: formulas without their values; open it in the program that made it, and save it anew"
            )


@cache
def _say_sheets(path: Path, read: str, others: tuple[str, ...]) -> None:
    say(f"{path}: its first sheet is read, {read!r}, and not {', '.join(map(repr, others))}")


def _parquet_rows(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    import pyarrow as pa  # slow to import, and only this format needs it
    from pyarrow import parquet

    try:
        with parquet.ParquetFile(path) as file:
            names = [name for name in file.schema_arrow.names if not re.match(r"__index_level_\d+__\Z", name)]
            if len(set(names)) < len(names):
                raise InputError(f"{path}: two columns have the same name; {shown_columns(names)}")
            groups = map(file.metadata.row_group, range(file.metadata.num_row_groups))
            _refuse_bomb(path, sum(group.total_byte_size for group in groups), path.stat().st_size)
            batches = file.iter_batches(batch_size=_PARQUET_BATCH, columns=names)
            yield from enumerate(chain.from_iterable(batch.to_pylist() for batch in batches), start=1)
    except (pa.ArrowException, UnicodeDecodeError):
        raise InputError(f"{path}: no Parquet file, or a truncated or damaged one") from None
    except OSError as error:
        raise InputError(f"{path}: {error.strerror or 'truncated or damaged Parquet file'}") from None


def _refuse_bomb(path: Path, unpacked: int, packed: int) -> None:
    if unpacked > _BOMB_BYTES and unpacked > _BOMB_RATIO * packed:
        raise InputError(f"{path}: {packed:,} bytes that unpack to {unpacked:,}, which no table does")


def find_column(names: Iterable[str], known: Iterable[str]) -> str | None:
    """The first of the known columns that a table has, in any case: databases shout their names, STUDY_ID."""
    names = list(names)
    by_lower = {name.lower(): name for name in reversed(names)}
    return next((name if name in names else by_lower[name.lower()] for name in known if name.lower() in by_lower), None)


def find_id_column(columns: Iterable[str], path: Path, id_column: str | None = None) -> str:
    """The column that holds report ids: the one given, else one of :data:`ID_COLUMNS`, in any case."""
    columns, wanted = list(columns), (id_column,) if id_column else ID_COLUMNS
    found = find_column(columns, wanted)
    if found is None:
        named = " or ".join(map(repr, wanted))
        raise InputError(f"{path}: no id column {named}; {shown_columns(columns)} (id_column=...)")
    return found


def id_cell(where: str, column: str | None, row: Mapping[str, Any]) -> str:
    """The id in a row's column, stripped; the empty string if the column is None or its cell is missing."""
    value = row.get(column) if column else None
    if is_missing(value):
        return ""
    if isinstance(value, float) and value.is_integer():
        value = int(value)  # a column of whole numbers with gaps comes as floats
    if isinstance(value, bool) or not isinstance(value, (str, int)):
        raise InputError(f"{where}: {column} is {type(value).__name__}, expected text")
    value = str(value).strip()
    if not any(map(str.isalnum, value)):
        return ""  # ***
    if len(value) > _LONGEST_ID or len(value.split()) > _MOST_WORDS_OF_ID:
        raise InputError(f"{where}: {column} holds a text, no id")
    if (short := _SHORTENED.fullmatch(value)) and len(short[1]) < int(short[2]):
        raise InputError(
            f"{where}: {column} is {value}, an id that a spreadsheet has rounded; make its column one of text"
        )
    if not value.isprintable():
        # A line end within an id would break every table that it is written to.
        raise InputError(f"{where}: {column} holds a line end or a control character")
    return value


def normal_id(report_id: str) -> str:
    """The one form of an id that tables, spreadsheets and file lists write differently.

    ``50414267`` stands for ``s50414267`` and ``p10/p10000032/s50414267.txt`` (MIMIC-CXR's file names), ``1`` for
    ``CXR1`` (Open-i) and ``0001``; ``50414267.0``, ``5.0414267e7`` and ``50,414,267`` are numbers that pandas or Excel
    wrote; quotes around an id, ``="..."``, case, widths and kinds of dashes are none of it.
    """
    if not report_id.isascii():
        report_id = _DASHES.sub("-", unicodedata.normalize("NFKC", report_id))
    report_id = report_id.strip(" \t\r\n=\"'").casefold()
    if file := re.search(r"([^/\\]+)\.(?:txt|xml|dcm|png|jpe?g)$", report_id):
        report_id = file[1]
    number = report_id.replace(",", "") if _THOUSANDS.fullmatch(report_id) else report_id
    if digits := re.fullmatch(r"(?:s|cxr)?0*(\d+?)(?:\.0*)?", number, re.ASCII):
        return digits[1]
    if re.fullmatch(r"\d[.,]?\d*e\+?\d{1,2}", number, re.ASCII) and (
        (value := float(number.replace(",", "."))).is_integer()
    ):
        return str(int(value))
    return report_id


def match_ids(ids: Iterable[str], known: Iterable[str]) -> dict[str, str]:
    """For each of the ids the known one that it stands for: the same, else the only one of the same normal form.

    Ids that stand for none are left out, as are those whose form two ids of either side share: one of them would be
    given another report's labels.
    """
    ids, known = list(ids), dict.fromkeys(known)
    forms = Counter(map(normal_id, ids))
    by_form: dict[str, str | None] = {}
    for one in known:
        by_form[normal_id(one)] = None if normal_id(one) in by_form else one
    found = {}
    for one in ids:
        form = normal_id(one)
        other = by_form.get(form) if forms[form] == 1 else None
        if one in known or other is not None:
            found[one] = one if one in known else other
    return found


def say_matched(path: Path, matched: Mapping[str, str]) -> str:
    """How many of a file's ids another file writes in another form; empty if none."""
    other = sum(one != known for one, known in matched.items())
    return f"{path}: {other:,} ids are written in another form there (such as s1, 1.0 or 001 for 1)" if other else ""
