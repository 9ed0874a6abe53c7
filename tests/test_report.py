"""Sections of reports in the layouts that dictation systems write, and reports.jsonl."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
from refusals import refused

from radtune.files import write_jsonl
from radtune.report import Report, read_reports, report_from_sections, report_from_text


def test_text_carries_the_sections_that_exist_or_the_body() -> None:
    report = report_from_text("7", "70", "  Film of today. Clear.\n", "test")
    assert report == Report("7", "70", "", "", "Film of today. Clear.", "test")
    assert not report.has_sections
    assert report_from_sections("1", None, " Clear. ", "", "t").text == "Findings: Clear."
    assert report_from_sections("1", None, "Clear.", "Normal.", "t").text == "Findings: Clear.\nImpression: Normal."


@pytest.mark.parametrize("body", [".", "???", "0.0", "[]", "FINDINGS: -\nIMPRESSION: ...", "*"])
def test_a_text_without_a_letter_is_no_report_of_a_normal_chest(body: str) -> None:
    assert report_from_text("1", None, body, "made").text == ""


def test_reports_are_read_as_written(tmp_path: Path) -> None:
    reports = [
        report_from_sections("1", "p1", "Clear — “fine”.", "", "t"),
        replace(report_from_text("2", None, "No\u2028head.", "t"), modality="CT", images=("a.png", "b.png")),
    ]
    path = tmp_path / "reports.jsonl"
    assert write_jsonl(path, reports) == 2
    assert list(read_reports(path)) == reports
    assert path.stat().st_mode & 0o777 == 0o600


def test_fields_that_are_not_used_are_named_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "reports.jsonl"
    row = {"report_id": "1", "text": "Clear.", "modality": " CT ", "body_part": "", "images": ["a.png"]}
    path.write_text(json.dumps(row | {"reader": "R"}) + "\n" + json.dumps(row | {"report_id": "2", "site": 1}) + "\n")
    first, second = list(read_reports(path))
    assert (first.modality, first.body_part, first.images) == ("CT", None, ("a.png",))
    assert list(read_reports(path)) == [first, second]
    assert capsys.readouterr().err == f"{path}: fields that are not used: reader, site\n"
    other = tmp_path / "other.jsonl"
    other.write_text(json.dumps(row | {"No acute disease is seen.": 1}))
    list(read_reports(other))
    assert capsys.readouterr().err == f"{other}: fields that are not used: 1 of them\n"


def test_ids_are_stripped_and_a_text_is_enough(tmp_path: Path) -> None:
    path = tmp_path / "reports.jsonl"
    path.write_text(
        '{"report_id": " 12\\t", "patient_id": " p ", "text": "Clear."}\n{"report_id": 13, "text": "Clear."}\n\n'
    )
    assert list(read_reports(path)) == [
        Report(name, p, "", "", "Clear.", "") for name, p in (("12", "p"), ("13", None))
    ]


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"text": "Clear."}, "no 'report_id'"),
        ({"report_id": "2"}, "no 'text'"),
        ({"report_id": "2", "text": "  "}, "report '2' is empty"),
        ({"report_id": "2", "text": "??? 0."}, "report '2' is empty"),
        ({"report_id": "***", "text": "Edema."}, "empty report_id"),
        ({"report_id": " ", "text": "Clear."}, "empty report_id"),
        ({"report_id": " 1", "text": "Clear."}, "report_id '1' stands twice"),
        ({"report_id": "1\r2", "text": "Clear."}, "report_id holds a line end or a control character"),
        ({"report_id": "2", "patient_id": "p\0", "text": "A"}, "patient_id holds a line end or a control character"),
        ({"report_id": "nan", "text": "Clear."}, "empty report_id"),
        ({"report_id": True, "text": "Clear."}, "report_id is bool, expected text"),
        ({"report_id": "2", "text": "Clear.", "images": "a.png"}, "'images' is str, expected a list of strings"),
        ({"report_id": "2", "text": ["Clear."]}, "'text' is list, expected a string"),
        ({"report_id": "2", "text": "Clear.", "findings": None}, "'findings' is NoneType, expected a string"),
    ],
)
def test_a_bad_row_is_named_by_file_and_line(tmp_path: Path, row: dict[str, object], message: str) -> None:
    path = tmp_path / "reports.jsonl"
    path.write_text(json.dumps({"report_id": "1", "text": "Clear."}) + "\n" + json.dumps(row) + "\n")
    with refused(line=f"{path}:2: {message}"):
        list(read_reports(path))
