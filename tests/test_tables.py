"""Tables in the forms that people have them, honest, odd and hostile; ids in the forms that programs write."""

import csv
import gzip
import json
import tempfile
import tracemalloc
import zipfile
from collections.abc import Callable, Iterator
from datetime import datetime
from pathlib import Path

import openpyxl
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pyarrow import parquet
from refusals import refused

from radtune.config import InputError
from radtune.tables import (
    find_id_column,
    id_cell,
    is_missing,
    match_ids,
    normal_id,
    read_table,
    table_layout,
    write_cells,
    write_csv,
)

ROWS = [{"id": "1", "note": "Größe: “fine”, 38 °C; done|ok"}, {"id": "2", "note": ""}]
# Of a file in UTF-8 and one in Windows-1252, one behind the other.
MIXED = 'id,note\n1,"Größe: “fine”, '.encode() + '38 °C; done|ok"\n2,\n'.encode("cp1252")


def in_csv(separator: str, encoding: str, first: str = "") -> Callable[[Path], None]:
    def write(path: Path) -> None:
        with path.open("w", encoding=encoding, newline="") as stream:
            stream.write(first)
            csv.writer(stream, delimiter=separator).writerows([list(ROWS[0]), *(row.values() for row in ROWS)])

    return write


def in_excel(path: Path) -> None:
    book = openpyxl.Workbook()
    for row in (list(ROWS[0]), [1, ROWS[0]["note"]], [None], [2.0, None]):
        book.active.append(row)
    book.save(path)


@pytest.mark.parametrize(
    ("name", "write", "layout"),
    [
        ("a.csv", in_csv(",", "utf-8"), "CSV in UTF-8, cells separated by ','"),
        ("a.csv", in_csv(";", "cp1252"), "CSV in Windows-1252, cells separated by ';'"),
        ("a.csv", lambda path: path.write_bytes(MIXED), "CSV in Windows-1252, cells separated by ','"),
        ("a.CSV", in_csv("\t", "utf-16"), "CSV in UTF-16, cells separated by tabs"),
        ("a.tsv", in_csv("\t", "utf-8-sig"), "CSV in UTF-8, cells separated by tabs"),
        ("a.csv", in_csv("|", "utf-16-le"), "CSV in UTF-16-LE, cells separated by '|'"),
        ("a.csv", in_csv(";", "utf-16-be", "sep=;\r\n"), "CSV in UTF-16-BE, cells separated by ';'"),
        ("a.xlsx", in_excel, "Excel"),
        ("a.parquet", lambda path: parquet.write_table(pa.Table.from_pylist(ROWS), path), "Parquet"),
        ("a.jsonl", lambda path: path.write_text("\n".join(map(json.dumps, ROWS))), "JSON lines"),
    ],
)
def test_all_forms_hold_the_same(tmp_path: Path, name: str, write: Callable[[Path], None], layout: str) -> None:
    write(tmp_path / name)
    assert [row for _, row in read_table(tmp_path / name)] == ROWS
    assert table_layout(tmp_path / name) == layout


# An apostrophe in front of a formula says that it is none.
CELLS = st.text(st.characters(codec="utf-8", exclude_characters="\r\x00'"), max_size=20)
ANY_CELLS = st.text(st.characters(codec="utf-8"), max_size=20) | st.text("'=+-@\t\r\n\"\0, 1a", max_size=6)


@given(st.lists(st.tuples(ANY_CELLS, ANY_CELLS).filter(any), max_size=5))
def test_a_csv_holds_any_text_and_no_formula(tmp_path_factory, rows: list[tuple[str, str]]) -> None:
    path = tmp_path_factory.mktemp("csv") / "rows.csv"
    write_csv(path, [("a", "b"), *rows])
    assert [tuple(row.values()) for _, row in read_table(path)] == rows
    with path.open(newline="") as stream:
        cells = [cell for row in csv.reader(stream) for cell in row]
    # As a spreadsheet reads them: one that begins a formula is at most a number or an interval.
    assert not [cell for cell in cells if cell[:1] in "=+-@\t\r" and any(map(str.isalpha, cell))]


@pytest.mark.parametrize(
    ("cell", "written"),
    [
        ("=1+1", "'=1+1"), ("@SUM(A1)", "'@SUM(A1)"), ("-2+3+cmd|' /C calc'!A0", "'-2+3+cmd|' /C calc'!A0"),
        ("-0.02 (-0.05 – 0.01)", "-0.02 (-0.05 – 0.01)"), ("+3.1 %", "+3.1 %"), ("-", "-"), (-1, "-1"), (None, ""),
        ("a\rb", '"a\rb"'), ('say "no"', '"say ""no"""'), ("'tis", "'tis"),
    ],
)  # fmt: skip
def test_cells_of_a_csv(tmp_path: Path, cell: object, written: str) -> None:
    write_csv(tmp_path / "a.csv", [["x", cell]])
    assert (tmp_path / "a.csv").read_bytes().decode() == f"x,{written}\n"


@given(st.lists(st.tuples(CELLS, CELLS).filter(any), max_size=5), st.sampled_from(",;\t|"))
def test_csv_reads_what_csv_writes(
    tmp_path_factory: pytest.TempPathFactory, rows: list[tuple[str, str]], separator: str
) -> None:
    path = tmp_path_factory.mktemp("csv") / "rows.csv"
    with path.open("w", encoding="utf-8", newline="") as stream:
        csv.writer(stream, delimiter=separator).writerows([("a", "b"), *rows])
    assert [tuple(row.values()) for _, row in read_table(path)] == rows


@pytest.mark.parametrize(
    ("content", "rows"),
    [
        ('\ufeffid , x\r\n1,"a\r\nb"\r\n\r\n2,\r\n', [(3, {"id": "1", "x": "a\r\nb"}), (5, {"id": "2", "x": ""})]),
        (",id,x\n0,1,a\n1,2,\n", [(2, {"id": "1", "x": "a"}), (3, {"id": "2", "x": ""})]),
        ("Unnamed: 0,id,,\n0,1,,\n,,,\n", [(2, {"id": "1"})]),
        ("id;x\n1;a;;\n", [(2, {"id": "1", "x": "a"})]),
        ('id,x\n1,"a_x000D_\nb"\n', [(3, {"id": "1", "x": "a\r\nb"})]),
    ],
)  # fmt: skip
def test_what_spreadsheets_and_pandas_leave(
    tmp_path: Path, content: str, rows: list[tuple[int, dict[str, str]]]
) -> None:
    path = tmp_path / "rows.csv.gz"
    path.write_bytes(gzip.compress(content.encode()))
    assert list(read_table(path)) == rows


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", ": empty, expected a header"),
        (b"id,b,id\n", ": two columns have the same name; columns: id, b, id"),
        (b"1,no secret.,no secret.\n", ": two columns have the same name; 3 columns; is the header missing?"),
        (b"a,b\n1\n", ":2: 1 cells, expected 2"),
        (b"a,b\n1,2,3\n", ":2: 3 cells, expected 2"),
        (b'a,b\n1,"cut off', ":2: not valid CSV: unexpected end of data"),
        (b"a,b\n1,caf\xe9 \x81\n", ": line 1 or near it is not UTF-8 or Windows-1252; save it as UTF-8"),
        (b'a,b\n1,"' + b"x" * 200_000, ":2: not valid CSV: field larger than field limit (131072)"),
    ],
)
def test_bad_csv(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "rows.csv"
    path.write_bytes(content)
    with refused(line=f"{path}{message}"):
        list(read_table(path))


@pytest.mark.parametrize("name", ["a.parquet", "a.xlsx", "a.csv.gz"])
def test_a_file_cut_off_anywhere(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    if name == "a.parquet":
        parquet.write_table(pa.Table.from_pylist(ROWS), path)
    elif name == "a.xlsx":
        in_excel(path)
    else:
        path.write_bytes(gzip.compress(b"a,b\n" + b"1,2\n" * 1000))
    whole = path.read_bytes()
    for length in range(0, len(whole), max(1, len(whole) // 30)):
        path.write_bytes(whole[:length])
        with pytest.raises(InputError, match=r"truncated or damaged|expected a header"):
            list(read_table(path))


@pytest.mark.parametrize("name", ["lines.csv.gz", "sheet.xlsx", "page.parquet", "dictionary.parquet"])
def test_a_bomb_is_refused_or_read_in_little_memory(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    if name == "lines.csv.gz":
        with gzip.open(path, "wb", compresslevel=1) as stream:
            stream.write(b"id,text\n")
            for _ in range(320):
                stream.write(b"x" * 2**20)
    elif name == "sheet.xlsx":
        in_excel(path)
        with zipfile.ZipFile(path, "a", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr("xl/sharedStrings.xml", bytes(200 * 2**20))
    elif name == "page.parquet":
        parquet.write_table(pa.table({"id": ["1"], "text": ["x" * 110 * 2**20]}), path, compression="zstd")
    else:
        rows = pa.table({"id": list(map(str, range(500))), "text": ["x" * 900_000] * 500})
        parquet.write_table(rows, path, compression="zstd")
    assert path.stat().st_size < 2**21
    before = pa.total_allocated_bytes()
    tracemalloc.start()
    try:
        largest = max((pa.total_allocated_bytes() - before for _ in read_table(path)), default=0)
        assert largest < 300 * 2**20
    except InputError as error:
        assert "longer than" in str(error) or "that unpack to" in str(error)
    finally:
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert peak < 300 * 2**20


def test_other_bad_files(tmp_path: Path) -> None:
    parquet.write_table(pa.table([["1"], ["A"], ["B"]], names=["uid", "text", "text"]), tmp_path / "r.parquet")
    (tmp_path / "r.txt").touch()
    for name, message in (
        ("r.parquet", "two columns have the same name; columns: uid, text, text"),
        ("r.txt", "expected .csv"),
        ("no.csv", "No such file"),
        ("no.xlsx", "No such file"),
        ("no.parquet", "No such file"),
    ):
        with pytest.raises(InputError, match=message):
            list(read_table(tmp_path / name))


def test_an_excel_file_leaves_nothing_among_temporary_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(temporary))
    text = ' <b>&amp; "a"\r\nb\x00 '

    def rows() -> Iterator[list[object]]:
        yield ["id", "note", "given", "score"]
        yield ["007", text, 1, 0.25]
        # Where a kill would come.
        assert not list(temporary.iterdir())
        yield ["8", "=1+1", None, -1]
        yield ["9", "<r>a & b</r>", None, None]

    write_cells(tmp_path / "a.xlsx", rows())
    first, second, third = (row for _, row in read_table(tmp_path / "a.xlsx"))
    assert first == {"id": "007", "note": text.replace("\x00", ""), "given": "1", "score": "0.25"}
    assert second == {"id": "8", "note": "=1+1", "given": "", "score": "-1"}
    assert third["note"] == "<r>a & b</r>"
    sheet = openpyxl.load_workbook(tmp_path / "a.xlsx").active
    assert [cell.value for cell in sheet[2]][2:] == [1, 0.25]


def test_missing_is_not_a_word() -> None:
    assert all(map(is_missing, (None, float("nan"), "", " NaN", "<NA>", "n/a", "-", "#REF!", "(blank)", "Unknown")))
    assert not any(map(is_missing, ("None seen.", "normal", 0, "0", "no", False)))


def test_id_columns_are_found_in_any_case(tmp_path: Path) -> None:
    assert find_id_column(["uid", "Study_ID"], tmp_path) == "Study_ID"
    assert find_id_column(["uid", "accession"], tmp_path) == "uid"
    assert find_id_column(["uid", "accession"], tmp_path, "ACCESSION") == "accession"
    assert find_id_column(["UID", "uid"], tmp_path, "uid") == "uid"
    with pytest.raises(InputError, match=r"no id column 'case'; columns: uid \(id_column=\.\.\.\)"):
        find_id_column(["uid"], tmp_path, "case")


FORMS = [
    "50000001", "s50000001", "S50000001", " 50000001\t", "50000001.0", '"50000001"', "'s50000001'", "s50000001.txt",
    "p10/p1/s50000001.txt", "files\\p10\\p1\\s50000001.txt", '"files/p10/p1/s50000001.txt"', "0050000001", "50000001.",
    "5.0000001e7", "5.0000001E+07", "5,0000001E+07", "CXR50000001", "50,000,001", '="50000001"', "S50000001.TXT",
    "５００００００１",
]  # fmt: skip


def test_ids_have_one_form() -> None:
    assert {normal_id(form) for form in FORMS} == {"50000001"}
    for report_id, normal in (("x/12.xml", "12"), ("Note–3.txt", "note-3"), ("000", "0"), ("e\u0301", "é")):
        assert normal_id(report_id) == normal
    for report_id in ("2024/17", "1.5", "s", "as1", "s1a", "1e5x", "٣", "5.5e0", "1,5"):
        assert normal_id(report_id) == report_id


def test_an_id_that_a_spreadsheet_has_rounded_is_refused() -> None:
    assert id_cell("x", "uid", {"uid": "1.23456789E+08"}) == "1.23456789E+08"
    for rounded in ("1.23457E+11", "1,23457E+11"):
        with pytest.raises(InputError, match="a spreadsheet has rounded"):
            id_cell("x", "uid", {"uid": rounded})


def test_ids_are_matched_but_never_two_with_one() -> None:
    assert match_ids(["1.0", "s2", "x", "9"], ["1", "2", "x", "3"]) == {"1.0": "1", "s2": "2", "x": "x"}
    assert match_ids(["007", "7"], ["7", "8"]) == {"7": "7"}
    assert match_ids(["s7"], ["7", "007"]) == {}
    assert match_ids(["7", "007"], ["007", "7"]) == {"7": "7", "007": "007"}


@given(
    st.lists(st.sampled_from([*FORMS[:5], "1", "s1", "01", "2", "x"]), unique=True),
    st.sets(st.sampled_from(["1", "01", "2", "x"])),
)
def test_a_match_is_one_to_one(ids: list[str], known: set[str]) -> None:
    matched = match_ids(ids, known)
    assert len(set(matched.values())) == len(matched)
    assert all(matched[one] == one for one in ids if one in known)


@pytest.mark.parametrize("others", [["Reader B"], ["Notes", "Reader B"], [], [""]])
def test_sheets_that_are_not_read_are_named(tmp_path: Path, capsys, others: list[str]) -> None:
    book = openpyxl.Workbook()
    for name in others:
        sheet = book.create_sheet(name)
        for row in [["uid", "labels"], [datetime(2024, 1, 2), "Edema"]] if name else []:
            sheet.append(row)
    for row in [["uid", "labels"], [datetime(2024, 1, 2), "Edema"], [datetime(2024, 1, 2, 8, 30), "Edema"]]:
        book.worksheets[0].append(row)
    book.save(tmp_path / "gold.xlsx")
    # Days as a CSV has them.
    assert [row["uid"] for _, row in read_table(tmp_path / "gold.xlsx")] == ["2024-01-02", "2024-01-02 08:30:00"]
    told = capsys.readouterr().err
    assert all(repr(name) in told for name in others if name) and bool(told) == any(others)


def test_a_sheet_that_nobody_sees_is_not_read_for_the_first_nor_digits_that_excel_has_not_kept(tmp_path: Path) -> None:
    book = openpyxl.Workbook()
    book.active.sheet_state = "hidden"
    sheet = book.create_sheet("Reports")
    for row in [["uid", "labels"], [12345678901234567890, "Edema"]]:
        book.active.append(["old", "of"])
        sheet.append(row)
    book.save(tmp_path / "x.xlsx")
    ((_, row),) = read_table(tmp_path / "x.xlsx")
    with pytest.raises(InputError, match="an id that a spreadsheet has rounded"):
        id_cell("x.xlsx:2", "uid", row)


@pytest.mark.parametrize(("change", "said"), [("merged", "cells of several rows are merged"), ("formula", "formulas")])
def test_cells_that_only_seem_blank_are_refused(tmp_path: Path, change: str, said: str) -> None:
    book = openpyxl.Workbook()
    for row in [["uid", "patient_id"], ["1", "a"], ["2", "=A2" if change == "formula" else None]]:
        book.active.append(row)
    if change == "merged":
        book.active.merge_cells("B2:B3")
    book.save(tmp_path / "x.xlsx")
    with pytest.raises(InputError, match=said):
        list(read_table(tmp_path / "x.xlsx"))


def test_a_formula_whose_value_is_an_empty_text_is_a_blank_cell(tmp_path: Path) -> None:
    book = openpyxl.Workbook()
    for row in [["uid", "labels"], ["1", "Edema"], ["2", '=IF(A3="9","x","")']]:
        book.active.append(row)
    book.save(tmp_path / "unfilled.xlsx")
    with zipfile.ZipFile(tmp_path / "unfilled.xlsx") as old, zipfile.ZipFile(tmp_path / "x.xlsx", "w") as new:
        for name in old.namelist():
            new.writestr(name, old.read(name).replace(b'<c r="B3">', b'<c r="B3" t="str">'))  # as Excel writes it
    assert [row["labels"] for _, row in read_table(tmp_path / "x.xlsx")] == ["Edema", ""]


@pytest.mark.parametrize("cell", ["A small left effusion, " * 3 + "no pneumothorax, no edema", "x" * 501])
def test_a_text_is_no_id(cell: str) -> None:
    with pytest.raises(InputError, match="a:1: note holds a text, no id"):
        id_cell("a:1", "note", {"note": cell})
