"""Open-i's XML files, made here in the collection's layout, its .tgz, and the CSV form."""

import csv
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from refusals import refused
from test_members import make_folder, make_tgz

from radtune.report import Report, report_from_sections
from radtune.sources.openi import Keys, read


def read_openi(path: Path) -> Iterator[Report]:
    return read(Keys(input=path))


XML = """<?xml version="1.0" encoding="utf-8"?>
<eCitation>
  <meta type="rr"/>
  <uId id="CXR{uid}"/>
  <MedlineCitation Owner="Indiana University" Status="supplied by publisher">
    <Article PubModel="Electronic">
      <Abstract>
        <AbstractText Label="COMPARISON">None.</AbstractText>
        <AbstractText Label="INDICATION">Cough</AbstractText>
        <AbstractText Label="FINDINGS">{findings}</AbstractText>
        <AbstractText Label="IMPRESSION">{impression}</AbstractText>
      </Abstract>
    </Article>
  </MedlineCitation>
  <MeSH><major>normal</major></MeSH>
</eCitation>
"""
REPORTS = {"1": ("Clear &lt; lungs.", "Normal."), "2": ("", "Café &amp; co."), "10": ("Large heart.", "")}
EXPECTED = [
    report_from_sections("1", None, "Clear < lungs.", "Normal.", "openi"),
    report_from_sections("2", None, "", "Café & co.", "openi"),
    report_from_sections("10", None, "Large heart.", "", "openi"),
]


def xml(uid: str) -> bytes:
    findings, impression = REPORTS[uid]
    return XML.format(uid=uid, findings=findings, impression=impression).encode()


def test_the_forms_agree(tmp_path: Path) -> None:
    files = {f"ecgen-radiology/{uid}.xml": xml(uid) for uid in REPORTS}
    folder = make_folder(tmp_path / "folder", files)
    assert list(read_openi(folder)) == EXPECTED
    assert list(read_openi(folder / "ecgen-radiology")) == EXPECTED
    assert list(read_openi(make_tgz(tmp_path / "NLMCXR_reports.tgz", files))) == EXPECTED
    table = tmp_path / "reports.csv"
    with table.open("w", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(["uid", "MeSH", "indication", "findings", "impression"])
        writer.writerows([r.report_id, "normal", "cough", r.findings, r.impression] for r in EXPECTED)
    assert list(read_openi(table)) == EXPECTED


def test_a_report_of_several_parts(tmp_path: Path) -> None:
    parts = xml("1").replace(b"COMPARISON", b"FINDINGS").replace(b"None.", b"Line <i>in</i> place.")
    report = next(read_openi(make_folder(tmp_path / "f", {"1.xml": parts})))
    assert report.findings == "Line in place.\nClear < lungs."


BOMB = b"""<?xml version="1.0"?>
<!DOCTYPE lolz [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;&a;"><!ENTITY c "&b;&b;&b;&b;">]>
<eCitation><uId id="CXR1"/><AbstractText Label="FINDINGS">&c;</AbstractText></eCitation>"""
OUTSIDE = b"""<?xml version="1.0"?><!DOCTYPE a [<!ENTITY a SYSTEM "file:///etc/passwd">]>
<eCitation><uId id="CXR1"/><AbstractText Label="FINDINGS">&a;</AbstractText></eCitation>"""


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"<eCitation>\n<uId id='CXR1'>", "1.xml:2: not valid XML"),
        (xml("1"), "1.xml: report '1' stands twice"),
        (b"<eCitation/>", '1.xml: no <uId id="CXR..."/>'),
        (b"<eCitation><uId id='PMC1'/></eCitation>", '1.xml: no <uId id="CXR..."/>'),
        (BOMB, "1.xml: declares XML entities, which no report does"),
        (OUTSIDE, "1.xml: declares XML entities, which no report does"),
        (b"<?xml version='1.0' encoding='klingon'?><a/>", "1.xml: not valid XML: unknown encoding"),
        (b"<eCitation>\n\ncaf\xe9</eCitation>", "1.xml:3: not valid XML"),
    ],
    ids=["cut off", "doubled", "no id", "another id", "bomb", "outside", "encoding", "latin-1"],
)
def test_bad_xml_is_named(tmp_path: Path, data: bytes, message: str) -> None:
    folder = make_folder(tmp_path / "f", {"0.xml": xml("1"), "1.xml": data})
    with refused(message):
        list(read_openi(folder))


def test_the_real_collection() -> None:
    path = Path(os.environ.get("OPENI_DIR", "data/openi")) / "reports.csv"
    if not path.exists():
        pytest.skip("no Open-i reports here (OPENI_DIR)")
    reports = list(read_openi(path))
    assert len({report.report_id for report in reports}) == len(reports) > 1000
    assert sum(report.has_sections for report in reports) > 0.98 * len(reports)
