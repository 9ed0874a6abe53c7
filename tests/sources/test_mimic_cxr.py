"""MIMIC-CXR's zip and its unpacked tree, made here in the official layout."""

import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from test_members import make_zip

from radtune.config import InputError
from radtune.report import Report
from radtune.sources.mimic_cxr import Keys, read


def read_mimic_cxr(path: Path) -> Iterator[Report]:
    return read(Keys(input=path))


FIRST = """                                 FINAL REPORT
 EXAMINATION:  CHEST (PA AND LAT)
 
 INDICATION:  ___ year old with cough  // acute process?
 
 FINDINGS: 
 
 The heart is large.
 No effusion.
 
 IMPRESSION: 
 
 Cardiomegaly.
"""
FILES = {
    "files/": b"",
    "files/index.html": b"<html>",
    "files/p10/p10000001/s50000001.txt": FIRST.encode(),
    "files/p10/p10000001/s50000002.txt": b" FINDINGS:  Clear.\n",
    "files/p11/p11000003/s50000003.txt": b" Portable view, clear.\n",
}


def unpacked(path: Path) -> Path:
    zipfile.ZipFile(path).extractall(path.with_suffix(""))
    return path.with_suffix("")


def test_ids_join_the_official_tables(tmp_path: Path) -> None:
    reports = list(read_mimic_cxr(make_zip(tmp_path / "mimic-cxr-reports.zip", FILES)))
    assert [(report.report_id, report.patient_id) for report in reports] == [
        ("50000001", "10000001"),
        ("50000002", "10000001"),
        ("50000003", "11000003"),
    ]
    assert reports[0].findings == "The heart is large.\n No effusion."
    assert reports[0].impression == "Cardiomegaly."
    assert reports[0].source == "mimic_cxr"
    assert reports[1].text == "Findings: Clear."
    assert not reports[2].has_sections


def test_the_tree_at_any_depth_reads_as_the_zip(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    zipped = list(read_mimic_cxr(make_zip(tmp_path / "mimic-cxr-reports.zip", FILES)))
    tree = unpacked(tmp_path / "mimic-cxr-reports.zip")
    assert list(read_mimic_cxr(tree)) == zipped
    monkeypatch.chdir(tree / "files" / "p10" / "p10000001")
    assert list(read_mimic_cxr(Path("."))) == zipped[:2]


@pytest.mark.parametrize(
    ("second", "data", "message"),
    [
        ("p10000001/s2.txt", b"FINDINGS: caf\x81.\n", r"p10000001/s2\.txt: neither UTF-8 nor Windows-1252"),
        ("p10000002/s1.txt", b"y", r"p10000002/s1\.txt: report '1' stands twice"),
    ],
)
def test_bad_reports_are_named(tmp_path: Path, second: str, data: bytes, message: str) -> None:
    path = make_zip(tmp_path / "m.zip", {"files/p10/p10000001/s1.txt": b"x", f"files/p10/{second}": data})
    for collection in (path, unpacked(path)):
        with pytest.raises(InputError, match=message):
            list(read_mimic_cxr(collection))
