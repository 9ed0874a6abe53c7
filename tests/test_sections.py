"""Whole reports in the layouts of many houses: what is kept of them, what is dropped, and what they are of."""

import time
import tomllib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from radtune.report import is_chest, report_from_sections, report_from_text
from radtune.sections import heading_kind, split_sections

LAYOUTS = tomllib.loads(Path(__file__).with_name("layouts.toml").read_text(encoding="utf-8"))


@pytest.mark.parametrize("name", LAYOUTS)
def test_layouts(name: str) -> None:
    layout = LAYOUTS[name]
    text, findings, impression = layout["text"], layout.get("findings", ""), layout.get("impression", "")
    found = split_sections(text)
    assert (found.findings, found.impression) == (findings, impression)
    again = split_sections(report_from_text("1", None, text, "test").text)
    assert (again.findings.split(), again.impression.split()) == (findings.split(), impression.split())


@pytest.mark.parametrize(
    ("kind", "names"),
    [
        ("findings", "FINDINGS, Finding(s), Chest Findings, OBSERVATION, Findings/Impression, FINDNGS, REPORT TEXT"),
        ("impression", "IMPRESSION, Impressions, IMPRESSON, IMPESSION, Imp, CONCLUSION(S), Impression and plan"),
        ("history", "HISTORY, HISOTRY, Clinical Hx, NDICATION, Reason for referral, HPI, PMH, Dx, CC"),
        ("history", "Clinical Findings, Chief complaint, History of present illness, CLINICAL INFORMATION"),
        ("comparison", "COMPARISON, COMPARISION, COMPARISON STUDY, Prior exam, COMP, Comparisons"),
        ("technique", "TECHNIQUE, Technqiue, CT Technique, Views"),
        ("organ", "Lungs, HEART AND MEDIASTINUM, Pleura/pleural spaces, Lines and tubes, Pneumothorax, Chest"),
        ("view", "PA AND LATERAL VIEWS OF THE CHEST, AP chest, Portable chest radiograph, CT ABDOMEN, CHEST 2 VIEWS"),
        (None, "MEDICATED, Note well, HISTOLOGY, Blood, IMPRESSED, Final thoughts"),
    ],
)  # fmt: skip
def test_headings_are_known_by_their_words(kind: str | None, names: str) -> None:
    for name in names.split(", "):
        assert heading_kind(name) == kind, name


def test_headings_without_a_kind_are_told_from_sentences() -> None:
    found = split_sections(
        "CASE NOTES: x\nFINDINGS: Clear: none.\nLungs: ok\nFollowing is seen today in it: x\nTUBES - none"
    )
    assert found.headings == ("CASE NOTES", "FINDINGS", "LUNGS", "TUBES")


@pytest.mark.parametrize(
    ("part", "text"),
    [
        ("CHEST", "EXAM: CHEST (PA AND LAT)\nFINDINGS: Clear."),
        ("CHEST", LAYOUTS["VA, with its codes"]["text"]),
        ("ABDOMEN", "EXAMINATION: CT of the abdomen\nFINDINGS: Lung bases clear, heart normal, small effusion."),
        ("KNEE", "MRI KNEE WITHOUT CONTRAST\nIMPRESSION: Moderate effusion."),
        ("HEAD", "CT HEAD: No mass.\nIMPRESSION: No edema."),
        (None, "FINDINGS: Clear."),
    ],
)
def test_the_title_tells_the_region(part: str | None, text: str) -> None:
    report = report_from_text("1", None, text, "test")
    assert report.body_part == part
    assert is_chest(report) is (part in ("CHEST", None))


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
