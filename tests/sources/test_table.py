"""Tables of reports: CSV, JSONL and Parquet, with columns found or given."""

import gzip
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import openpyxl
import pyarrow as pa
import pytest
from pyarrow import parquet
from refusals import refused

from radtune.config import InputError
from radtune.files import write_jsonl
from radtune.report import Report, report_from_sections
from radtune.sources.table import PATIENTS, Keys, read, read_any_reports


def read_table(path: Path, source: str = "table", **columns: str) -> Iterator[Report]:
    return read(Keys(input=path, **{f"{name}_column": column for name, column in columns.items()}), source)


ROWS: list[dict[str, Any]] = [
    {"study_id": " 1", "subject_id": "p1 ", "findings": "Clear, “fine”.\nDry.", "impression": "Normal."},
    {"study_id": "2", "subject_id": "", "findings": "", "impression": "Effusion."},
    {"study_id": "3", "subject_id": "p3", "findings": "", "impression": ""},
]
EXPECTED = [
    report_from_sections("1", "p1", "Clear, “fine”.\nDry.", "Normal.", "table"),
    report_from_sections("2", None, "", "Effusion.", "table"),
    Report("3", "p3", "", "", "", "table"),
]


def write(path: Path, rows: list[dict[str, Any]]) -> Path:
    """Writes rows in the format that the name tells."""
    if path.suffix == ".parquet":
        parquet.write_table(pa.Table.from_pylist(rows), path)
        return path
    if ".csv" in path.name:
        lines = [list(rows[0]), *(list(row.values()) for row in rows)]
        quoted = (",".join('"{}"'.format(str(cell).replace('"', '""')) for cell in line) for line in lines)
        data = "\n".join(quoted).encode()
    else:
        data = "\n".join(json.dumps(row) for row in rows).encode()
    path.write_bytes(gzip.compress(data) if path.suffix == ".gz" else data)
    return path


@pytest.mark.parametrize("name", ["r.csv", "r.csv.gz", "r.jsonl", "r.jsonl.gz", "r.parquet"])
def test_all_formats_hold_the_same(tmp_path: Path, name: str) -> None:
    assert list(read_table(write(tmp_path / name, ROWS))) == EXPECTED


@pytest.mark.parametrize("name", ["r.jsonl", "r.parquet"])
def test_numbers_and_gaps(tmp_path: Path, name: str) -> None:
    rows = [
        {"uid": 7, "patient_id": 70.0, "findings": "Clear.", "impression": None, "text": None},
        {"uid": 8, "patient_id": None, "findings": None, "impression": None, "text": "A note."},
        {"uid": 9, "patient_id": None, "findings": None, "impression": None, "text": None},
    ]
    expected = [report_from_sections("7", "70", "Clear.", "", "table"), Report("8", None, "", "", "A note.", "table")]
    expected.append(Report("9", None, "", "", "", "table"))
    assert list(read_table(write(tmp_path / name, rows))) == expected


def test_fields_that_the_first_lines_leave_out_are_read(tmp_path: Path) -> None:
    rows = [{"uid": "1", "findings": "Clear."}, {"uid": "2", "Patient_ID": "a", "impression": "Normal."}]
    expected = [("1", None, "Findings: Clear."), ("2", "a", "Impression: Normal.")]
    found = read_table(write(tmp_path / "r.jsonl", rows))
    assert [(report.report_id, report.patient_id, report.text) for report in found] == expected


NOTE = "HISTORY: Cough.\nFINDINGS: Clear.\nIMPRESSION: Normal."


def test_a_section_without_a_column_or_cell_of_its_own_is_taken_from_the_text(tmp_path: Path) -> None:
    rows = [
        {"uid": "1", "findings": "Dry.", "impression": "", "text": NOTE},
        {"uid": "2", "findings": "", "impression": "Dry.", "text": NOTE},
        {"uid": "3", "findings": "Dry.", "impression": "Old.", "text": NOTE},
    ]
    found = [(report.findings, report.impression) for report in read_table(write(tmp_path / "r.csv", rows))]
    assert found == [("Dry.", "Normal."), ("Clear.", "Dry."), ("Dry.", "Old.")]


@pytest.mark.parametrize(
    ("header", "columns", "text"),
    [
        (("report_id", "text", "x"), {}, "Findings: Clear.\nImpression: Normal."),
        (("REPORT_ID", "Note_Text", "findings"), {}, "Findings: Other.\nImpression: Normal."),
        (("uid", "findings", "x"), {}, f"Findings: {NOTE}"),
        (("accession", "body", "x"), {"id": "accession", "text": "body"}, "Findings: Clear.\nImpression: Normal."),
        (("uid", "body", "findings"), {"text": "body"}, "Findings: Clear.\nImpression: Normal."),
        (("uid", "text", "f"), {"findings": "f"}, "Findings: Other."),
        (("uid", "text", "f"), {"text": "text", "findings": "f"}, "Findings: Other.\nImpression: Normal."),
    ],
)
def test_columns_found_and_given(tmp_path: Path, header: tuple[str, ...], columns: dict[str, str], text: str) -> None:
    path = write(tmp_path / "r.csv", [dict(zip(header, ("1", NOTE, "Other."), strict=True))])
    assert [report.text for report in read_table(path, **columns)] == [text]


@pytest.mark.parametrize("images", [["a.png", "b.png"], "a.png"])
def test_how_and_of_what_the_images_are(tmp_path: Path, images: Any) -> None:
    rows = [{"uid": "1", "text": "A note.", "Modality": "CT", "REGION": "HEAD", "images": images}]
    (report,) = read_table(write(tmp_path / "r.jsonl", rows), body_part="REGION")
    assert (report.modality, report.body_part) == ("CT", "HEAD")
    assert report.images == (tuple(images) if isinstance(images, list) else (images,))


@pytest.mark.parametrize(
    ("rows", "columns", "message"),
    [
        ([{"id": "1", "text": "a"}], {}, ": no id column 'report_id' or 'study_id' or 'uid'; columns: id, text"),
        ([{"uid": "1", "txet": "a"}], {}, ": no column findings, impression or text; columns: uid, txet"),
        ([{"uid": "1", "text": "a"}], {"id": "accession"}, ": no column 'accession'; columns: uid, text"),
        ([{"uid": "1", "text": "a"}], {"text": "txt"}, ": no column 'txt'; did you mean 'text'?; columns"),
        ([{"uid": "1", "text": "a"}, {"uid": "1", "text": "b"}], {}, ":2: uid '1' stands twice"),
        ([{"uid": None, "text": "a"}], {}, ":1: empty uid"),
        ([{"uid": True, "text": "a"}], {}, ":1: uid is bool, expected text"),
        ([{"uid": 1.5, "text": "a"}], {}, ":1: uid is float, expected text"),
        ([{"uid": "1", "text": ["secret"]}], {}, ":1: text is list, expected text"),
        ([{"uid": "1", "text": "a" * 1_000_001}], {}, ":1: text is longer than 1,000,000 characters"),
    ],
)
@pytest.mark.parametrize("name", ["r.jsonl", "r.parquet"])
def test_bad_rows(tmp_path: Path, rows: list[dict[str, Any]], columns: dict[str, str], message: str, name: str) -> None:
    path = write(tmp_path / name, rows)
    with refused(f"{path}{message}", "secret"):
        list(read_table(path, **columns))


@pytest.mark.parametrize("first_row", ["s1,secret", "uid,Small secret effusion on the left", '1,"secret, clear"'])
@pytest.mark.parametrize("columns", [{}, {"text": "secrets"}, {"id": "uid", "text": "text"}])
def test_a_missing_header_shows_no_report(tmp_path: Path, first_row: str, columns: dict[str, str]) -> None:
    (tmp_path / "r.csv").write_text(f"{first_row}\n{first_row}\n")
    with pytest.raises(InputError, match=r"2 columns; is the header missing\?") as caught:
        list(read_table(tmp_path / "r.csv", **columns))
    assert "ecret" not in str(caught.value).replace("no column 'secrets'", "")


@pytest.mark.parametrize(
    "text", ["Seen: Mr. A. Findings: Clear.", "Findings: Clear.\nSigned: Dr. B", "Findings: Clear."]
)
def test_a_text_beside_sections_is_kept_as_ours_alone_is(tmp_path: Path, text: str) -> None:
    row = {"report_id": "1", "patient_id": None, "findings": "Clear.", "impression": "", "text": text, "source": "x"}
    (found,) = read_table(write(tmp_path / "r.jsonl", [row]))
    assert found.text == "Findings: Clear."
    (kept,) = read_table(write(tmp_path / "h.jsonl", [row | {"text": "History: Cough.\nFindings: Clear."}]))
    assert kept.text == "History: Cough.\nFindings: Clear."


def test_any_reports_are_ours_or_a_table(tmp_path: Path) -> None:
    ours = [report_from_sections("1", "p", "Clear.", "", "mimic_cxr")]
    write_jsonl(tmp_path / "reports.jsonl", ours)
    assert list(read_any_reports(tmp_path / "reports.jsonl")) == ours
    for name in ("r.csv", "r.parquet"):
        assert list(read_any_reports(write(tmp_path / name, ROWS))) == EXPECTED
    assert list(read_any_reports(write(tmp_path / "r.jsonl", ROWS))) == EXPECTED
    with pytest.raises(InputError, match="no id column 'report_id'"):
        list(read_any_reports(write(tmp_path / "b.jsonl", [{"id": "1", "text": "Clear."}])))
    # A text of others is whole, history and all, whatever its id is called.
    history = {"report_id": "1", "text": "INDICATION: Pneumonia.\nFINDINGS: Clear."}
    (whole,) = read_any_reports(write(tmp_path / "w.jsonl", [history]))
    assert whole.text == "Findings: Clear."
    (named,) = read_any_reports(
        write(tmp_path / "n.jsonl", [{"CASE": 7, "NOTE": "IMPRESSION: Normal."}]), "case", "note"
    )
    assert (named.report_id, named.text) == ("7", "Impression: Normal.")


@pytest.mark.parametrize("columns", [{"findings": "note", "impression": "NOTE"}, {"text": "uid"}, {"patient": "text"}])
def test_a_column_is_one_thing(tmp_path: Path, columns: dict[str, str]) -> None:
    rows = [{"uid": "1", "note": "Clear.", "text": "Clear."}]
    with pytest.raises(InputError, match="a column of texts is given for something else, too"):
        list(read_table(write(tmp_path / "r.jsonl", rows), **columns))


@pytest.mark.parametrize("name", ["a.csv", "b.csv", "c.xlsx"])
def test_a_report_is_the_same_whatever_program_wrote_its_line_ends(tmp_path: Path, name: str) -> None:
    end = {"a.csv": "\n", "b.csv": "\r\n", "c.xlsx": "_x000D_\n"}[name]
    rows = [["uid", "findings"], ["1", f"Small effusion.{end}No edema."]]
    if name.endswith(".csv"):
        (tmp_path / name).write_bytes("".join(f'{uid},"{text}"{end}' for uid, text in rows).encode())
    else:
        book = openpyxl.Workbook()
        for row in rows:
            book.active.append(row)
        book.save(tmp_path / name)
    (report,) = read_any_reports(tmp_path / name)
    assert report.text == "Findings: Small effusion.\nNo edema."


def test_columns_of_patients_are_known_by_their_names() -> None:
    names = ["MRN", "EMPI", "Patient ID", "Pat-Nr", "Patienten-Nr", "PATIENTEN_ID", "person_key", "subject"]
    assert [*filter(PATIENTS.fullmatch, [*names, "Patientenbefund", "path", "Befund-Nr", "NOTE_ID"])] == names
