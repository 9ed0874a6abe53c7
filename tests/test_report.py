"""Sections of reports in the layouts that dictation systems write, and reports.jsonl."""

import json
import time
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from radtune.config import InputError
from radtune.files import write_jsonl
from radtune.report import (
    Report,
    read_reports,
    report_from_sections,
    report_from_text,
)
from radtune.sections import split_sections

LAYOUTS = {
    "plain": ("FINDINGS: Clear lungs.\nIMPRESSION: Normal.", "Clear lungs.", "Normal."),
    "no colons, own lines": ("FINDINGS\nClear lungs.\nIMPRESSION\nNormal.", "Clear lungs.", "Normal."),
    "no colons, tab": ("FINDINGS\tClear lungs.\nIMPRESSION\tNormal.", "Clear lungs.", "Normal."),
    "dashes": ("Findings - clear lungs.\nImpression - normal.", "clear lungs.", "normal."),
    "Windows line ends": ("FINDINGS:\r\nClear lungs.\r\nIMPRESSION:\r\nNormal.\r\n", "Clear lungs.", "Normal."),
    "old Mac line ends": ("FINDINGS:\rClear lungs.\rIMPRESSION:\rNormal.\r", "Clear lungs.", "Normal."),
    "non-breaking indents": (
        "\xa0\xa0FINDINGS:\xa0Clear lungs.\n\xa0IMPRESSION:\xa0Normal.",
        "Clear lungs.",
        "Normal.",
    ),
    "underlined": ("FINDINGS\n--------\nClear lungs.\n\nIMPRESSION\n==========\nNormal.", "Clear lungs.", "Normal."),
    "starred": ("*** FINDINGS ***\nClear lungs.\n*** IMPRESSION ***\nNormal.", "Clear lungs.", "Normal."),
    "bracketed remark": ("FINDINGS (portable view): Clear lungs.\nIMPRESSION: Normal.", "Clear lungs.", "Normal."),
    "other words": ("OBSERVATIONS: Clear lungs.\nCONCLUSION: Normal.", "Clear lungs.", "Normal."),
    "more qualified": ("Chest x-ray findings:\nClear lungs.\nOverall impression:\nNormal.", "Clear lungs.", "Normal."),
    "the referrer's impression": (
        "CLINICAL IMPRESSION: Cough.\nFINDINGS: Clear lungs.\nIMPRESSION: Normal.",
        "Clear lungs.",
        "Normal.",
    ),
    "the referrer's impression inside a line": (
        "EXAM: Chest. CLINICAL IMPRESSION: Cough. FINDINGS: Clear lungs.",
        "Clear lungs.",
        "",
    ),
    "combined with a slash": ("FINDINGS/IMPRESSION:\n1. Clear lungs.", "1. Clear lungs.", ""),
    "impression with recommendation": ("IMPRESSION AND RECOMMENDATION(S): Normal. Repeat.", "", "Normal. Repeat."),
    "impression only": ("HISTORY: Cough.\nIMPRESSION: Normal.", "", "Normal."),
    "reversed": ("IMPRESSION: Normal.\nFINDINGS: Clear lungs.", "Clear lungs.", "Normal."),
    "repeated": (
        "FINDINGS: Clear lungs.\nIMPRESSION: Normal.\nADDENDUM: Reviewed again.\nFINDINGS: Small nodule.",
        "Clear lungs.\nSmall nodule.",
        "Normal.\nAddendum: Reviewed again.",
    ),
    "an empty section": ("FINDINGS:\n\nIMPRESSION: Normal.", "", "Normal."),
    "a blanked section": ("FINDINGS: ___\nIMPRESSION: Normal.", "", "Normal."),
    "blanks that stand for words": ("FINDINGS: ___ catheter ends in the ___.", "___ catheter ends in the ___.", ""),
    "none": ("Portable view of the chest. Clear lungs.", "", ""),
    "sections that end the impression": (
        "IMPRESSION: Normal.\nRECOMMENDATION(S): None.\nNOTIFICATION: By phone.",
        "",
        "Normal.",
    ),
    "a ruled line at the end": ("IMPRESSION: Normal.\n______________________\nFINAL REPORT", "", "Normal."),
    "subheadings in capitals": (
        "FINDINGS:\nLUNGS: Clear.\nHEART: Large.\nIMPRESSION: Cardiomegaly.",
        "LUNGS: Clear.\nHEART: Large.",
        "Cardiomegaly.",
    ),
    "one line, capitals": (
        "EXAM: CHEST INDICATION: Cough COMPARISON: None FINDINGS: Clear lungs IMPRESSION: Normal",
        "Clear lungs",
        "Normal",
    ),
    "one line, title case": ("Comparison: None. Findings: Clear lungs. Impression: Normal.", "Clear lungs.", "Normal."),
    "indented, as MIMIC-CXR": (
        "                                 FINAL REPORT\n EXAMINATION:  CHEST (PA AND LAT)\n \n"
        " INDICATION:  ___ year old with cough  // acute process?\n \n COMPARISON:  ___\n \n FINDINGS: \n \n"
        " The lungs are clear.\n No edema.\n \n IMPRESSION: \n \n No acute process.\n",
        "The lungs are clear.\n No edema.",
        "No acute process.",
    ),
    "a wet read before": (
        " WET READ: ___ ___ 5:30 PM\n  Looks fine.\n ________________________________\n"
        "                 FINAL REPORT\n FINDINGS:  Clear lungs.\n",
        "Clear lungs.",
        "",
    ),
    "a sentence that opens with the word": (
        "FINDINGS: Opacity at the base.\nFindings suggest edema.\nImpression of a nodule on the left.",
        "Opacity at the base.\nFindings suggest edema.\nImpression of a nodule on the left.",
        "",
    ),
    "a sentence wrapped at the word": (
        "FINDINGS: Unchanged from the prior\n exam: small effusion, no other acute\n findings\n are seen.",
        "Unchanged from the prior\n exam: small effusion, no other acute\n findings\n are seen.",
        "",
    ),
    "the word inside a sentence": ("FINDINGS: No acute findings: clear.", "No acute findings: clear.", ""),
}


@pytest.mark.parametrize("name", LAYOUTS)
def test_layouts(name: str) -> None:
    body, findings, impression = LAYOUTS[name]
    found = split_sections(body)
    assert (found.findings, found.impression) == (findings, impression)


_PIECES = [
    "FINDINGS", "Findings", "findings", "IMPRESSION:", "Impression", "AND", "/", ":", "-", "\n", " ", "\t", "\r\n",
    "Comparison:", "FINAL REPORT", "clear.", "___", "____________", "**", "(", ")", "exam", "\n\n", "Chest ",
]  # fmt: skip


@given(st.text(max_size=300) | st.lists(st.sampled_from(_PIECES), max_size=40).map("".join))
def test_sections_are_pieces_of_the_report(body: str) -> None:
    whole = "".join(body.split())
    found = split_sections(body)
    for section in (found.findings, found.impression):
        assert section == section.strip()
        for line in section.splitlines():
            assert "".join(line.split()) in whole


WORDS = st.lists(st.sampled_from(["lungs", "are", "clear.", "No", "effusion,", "edema."]), min_size=1, max_size=12)


@given(WORDS.map(" ".join), WORDS.map(" ".join))
def test_a_prepared_text_splits_into_its_sections(findings: str, impression: str) -> None:
    report = report_from_sections("1", None, findings, impression, "test")
    found = split_sections(report.text)
    assert (found.findings, found.impression) == (findings, impression)
    assert report_from_text("1", None, report.text, "test") == report


ODD = [
    " " * 1_000_000, "\n" * 500_000, "FINDINGS" + " " * 1_000_000 + "x", " FINDINGS:" * 50_000, "FINDINGS:\n" * 50_000,
    "CHEST " * 160_000, "FINDINGS AND " * 80_000, "#*_=" * 250_000, ("\n" + " " * 60 + "IMPRESSION") * 14_000,
    "FINDINGS (" * 100_000, "x" * 1_000_000,
]  # fmt: skip


@pytest.mark.parametrize("odd", ODD, ids=lambda odd: repr(odd[:13]))
def test_odd_megabytes_take_linear_time(odd: str) -> None:
    started = time.process_time()
    split_sections(odd)
    # Measured 0.7 s at most; one quadratic pattern would take hours.
    assert time.process_time() - started < 10


def test_text_carries_the_sections_that_exist_or_the_body() -> None:
    report = report_from_text("7", "70", "  Film of today. Clear.\n", "test")
    assert report == Report("7", "70", "", "", "Film of today. Clear.", "test")
    assert not report.has_sections
    assert report_from_sections("1", None, " Clear. ", "", "t").text == "Findings: Clear."
    assert report_from_sections("1", None, "Clear.", "Normal.", "t").text == "Findings: Clear.\nImpression: Normal."


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
    with pytest.raises(InputError) as caught:
        list(read_reports(path))
    assert str(caught.value) == f"{path}:2: {message}"
