"""MIMIC-CXR's zip and its unpacked tree, made here in the official layout."""

import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

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
    "files/p10/p10000001/s50000001.txt": FIRST,
    "files/p10/p10000001/s50000002.txt": " FINDINGS:  Clear.\n",
    "files/p11/p11000003/s50000003.txt": " Portable view, clear.\n",
}


def make_zip(path: Path, files: dict[str, str] = FILES) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("files/", "")
        archive.writestr("files/index.html", "<html>")
        for name, text in files.items():
            archive.writestr(name, text.encode("utf-8", "surrogateescape"))
    return path


def unpacked(path: Path) -> Path:
    zipfile.ZipFile(path).extractall(path.with_suffix(""))
    return path.with_suffix("")


def test_ids_join_the_official_tables(tmp_path: Path) -> None:
    reports = list(read_mimic_cxr(make_zip(tmp_path / "mimic-cxr-reports.zip")))
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
    zipped = list(read_mimic_cxr(make_zip(tmp_path / "mimic-cxr-reports.zip")))
    tree = unpacked(tmp_path / "mimic-cxr-reports.zip")
    assert list(read_mimic_cxr(tree)) == zipped
    monkeypatch.chdir(tree / "files" / "p10" / "p10000001")
    assert list(read_mimic_cxr(Path("."))) == zipped[:2]


@pytest.mark.parametrize(
    ("second", "text", "message"),
    [
        ("p10000001/s2.txt", "FINDINGS: caf\udc81.\n", r"p10000001/s2\.txt: neither UTF-8 nor Windows-1252"),
        ("p10000002/s1.txt", "y", r"p10000002/s1\.txt: report '1' stands twice"),
    ],
)
def test_bad_reports_are_named(tmp_path: Path, second: str, text: str, message: str) -> None:
    path = make_zip(tmp_path / "m.zip", {"files/p10/p10000001/s1.txt": "x", f"files/p10/{second}": text})
    for collection in (path, unpacked(path)):
        with pytest.raises(InputError, match=message):
            list(read_mimic_cxr(collection))
