"""What is kept of a source: sections, duplicates, excluded ids, nested samples."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from pyarrow import Table, parquet
from refusals import refused

from radtune.config import InputError
from radtune.report import Report, read_reports, report_from_sections, report_from_text
from radtune.sources.select import Counts, Selection, priority, read_ids, write_selection


def make(count: int) -> list[Report]:
    return [report_from_sections(str(number), None, f"Report {number}. Café.", "", "test") for number in range(count)]


def select(folder: Path, reports: list[Report], exclude: str = "", **keys: object) -> tuple[list[str], Counts]:
    output = folder / "reports.jsonl"
    if exclude:
        keys["exclude_ids"] = folder.with_name("ids.txt")
        folder.with_name("ids.txt").write_text(exclude)
    counts = write_selection(output, iter(reports), Selection(**keys), "in.zip")  # type: ignore[arg-type]
    return [report.report_id for report in read_reports(output)], counts


def test_samples_nest_and_keep_the_order(tmp_path: Path) -> None:
    reports = make(100)
    small, counts = select(tmp_path, reports, sample=15, seed=3)
    large, _ = select(tmp_path, reports, sample=30, seed=3)
    assert len(small) == 15
    assert set(small) < set(large)
    assert [report_id for report_id in large if report_id in set(small)] == small == sorted(small, key=int)
    assert counts == Counts(read=100, kept=15, not_sampled=85)
    assert select(tmp_path, reports, sample=15, seed=4)[0] != small
    assert select(tmp_path, reports) == ([report.report_id for report in reports], Counts(read=100, kept=100))
    assert list(read_reports(tmp_path / "reports.jsonl")) == reports
    assert select(tmp_path, reports[::-1], sample=15, seed=3)[0] == small[::-1]
    assert set(read_reports(tmp_path / "reports.jsonl")) < set(reports)


def test_a_trial_takes_what_there_is_and_nothing_of_a_smaller_sample(tmp_path: Path) -> None:
    few, counts = select(tmp_path, make(100), limit=10)
    assert counts == Counts(read=100, kept=10, not_sampled=90)
    tested, _ = select(tmp_path, make(100), sample=40, limit=10)
    assert len(tested) == 10 and not {*few} & {*tested}
    assert {*tested} < {*select(tmp_path, make(100), sample=40)[0]}
    assert select(tmp_path, make(7), limit=10)[1] == Counts(read=7, kept=7)


def test_priority_is_what_the_manuals_say() -> None:
    # Samples that people drew must not change with a version: this is sha256 of "0:50414267".
    assert priority(0, "50414267").hex().startswith("464cbc6ad031a704")


def test_more_than_there_are(tmp_path: Path) -> None:
    reports = [*make(3), Report("x", None, "", "", "No sections.", "test")]
    with pytest.raises(InputError) as caught:
        select(tmp_path, reports, sample=4)
    assert str(caught.value) == (
        "in.zip: sample=4: there are only 3 reports to draw from (4 read, 1 without Findings or Impression "
        "(require_sections=false keeps them))"
    )
    assert list(tmp_path.iterdir()) == []


def test_reports_without_sections(tmp_path: Path) -> None:
    reports = [*make(1), report_from_text("x", None, "A note.", "test"), Report("y", None, "", "", "", "test")]
    assert select(tmp_path, reports) == (["0"], Counts(read=3, kept=1, without_sections=2))
    assert select(tmp_path, reports[:2], require_sections=False)[0] == ["0", "x"]
    with pytest.raises(InputError, match=r"^in\.zip: report 'y' is empty \(require_sections=true drops such reports\)"):
        select(tmp_path, reports, require_sections=False)


def test_the_last_of_the_same_texts_stays(tmp_path: Path) -> None:
    named = [("1", "A"), ("2", "a"), ("3", "A"), ("4", ""), ("5", "B"), ("6", "B"), ("7", "")]
    later = {"4": "Addendum: x", "6": "C\nAddendum: y", "5": "C", "7": "Addendum: z"}
    reports = [report_from_sections(name, None, text, later.get(name, ""), "t") for name, text in named]
    assert select(tmp_path, reports)[0] == ["1", "2", "3", "4", "5", "6", "7"]
    kept, counts = select(tmp_path, reports, drop_duplicates=True)
    assert (kept, counts) == (["2", "3", "4", "6", "7"], Counts(read=7, kept=5, duplicates=2))


@pytest.mark.parametrize("order", [[0, 1, 2, 3], [3, 2, 1, 0]])
@pytest.mark.parametrize("sample", [None, 1])
def test_a_copy_of_an_excluded_report_goes_with_it(tmp_path: Path, order: list[int], sample: int | None) -> None:
    named = [("1", "A"), ("2", "B"), ("3", "A"), ("4", "A")]
    reports = [report_from_sections(report_id, None, text, "", "t") for report_id, text in named]
    shuffled = [reports[place] for place in order]
    kept, counts = select(tmp_path, shuffled, "s1", drop_duplicates=True, sample=sample)
    assert (kept, counts) == (["2"], Counts(read=4, kept=1, excluded=1, duplicates=2))
    assert set(select(tmp_path, shuffled, "1")[0]) == {"2", "3", "4"}


def test_ids_are_excluded_in_whichever_form(tmp_path: Path) -> None:
    ids = "1\ns3\n7\ns8\n8\nno\n"
    # 7, 8 (written twice) and "no" are no report's.
    left = (["0", "2", "4", "5"], Counts(read=6, kept=4, excluded=2, unmatched_exclude_ids=3))
    assert select(tmp_path, make(6), ids) == left
    named_so = [report_from_sections(f"s{number}", None, "Clear.", "", "t") for number in range(5)]
    assert select(tmp_path, named_so, ids)[0] == ["s0", "s2", "s4"]


def test_nothing_left(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"^in\.zip: no report is left \(2 read, 2 excluded\)"):
        select(tmp_path, make(2), "0\n1")
    assert list(tmp_path.iterdir()) == []


def test_the_draw_leaves_no_other_file_while_it_runs(tmp_path: Path) -> None:
    def reports() -> Iterator[Report]:
        for report in make(10):
            yield report
            assert [path.stat().st_mode & 0o777 for path in tmp_path.iterdir()] == [0o600]

    write_selection(tmp_path / "out.jsonl", reports(), Selection(sample=3), "in.zip")
    assert os.listdir(tmp_path) == ["out.jsonl"]


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("ids.txt", "s1\n\n  2 \r\n2\n"),
        ("ids.csv", "x,report_id\na,s1\nb,2\n"),
        ("ids.csv", "subject_id,study_id\n10,s1\n11, 2\n"),
        ("ids.jsonl", '{"report_id": "s1"}\n{"report_id": "2", "labels": []}\n'),
        ("ids.jsonl", '{"report_id": 1}\n{"report_id": 2.0}\n'),
    ],
)
def test_ids_are_read(tmp_path: Path, name: str, content: str) -> None:
    (tmp_path / name).write_text(content)
    assert read_ids(tmp_path / name) == {"1", "2"}
    parquet.write_table(Table.from_pylist([{"study_id": 1.0}, {"study_id": 2.0}]), tmp_path / "ids.parquet")
    assert read_ids(tmp_path / "ids.parquet") == {"1", "2"}
    (tmp_path / "own.csv").write_text("Accession,x\n001,a\n2,b\n")
    assert read_ids(tmp_path / "own.csv", ["NOTE_ID", "accession"]) == {"1", "2"}


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("ids.txt", "1\n2 3\n", ":2: expected one id a line"),
        ("ids.txt", "\n", ": no ids"),
        ("ids.csv", "1\n2\n", ": no id column"),
        ("ids.jsonl", '{"report_id": "1"}\n{}\n', ":2: empty report_id"),
        ("ids.jsonl", '{"report_id": true}\n', ":1: report_id is bool"),
        ("no.txt", None, ": No such file"),
    ],
)
def test_bad_id_files(tmp_path: Path, name: str, content: str | None, message: str) -> None:
    if content is not None:
        (tmp_path / name).write_text(content)
    with refused(f"{tmp_path / name}{message}"):
        read_ids(tmp_path / name)


@pytest.mark.parametrize("ids", ["1\n3\n90\n91\n92", "report_id,labels\n1,Edema\n3,\nx,\ny,Edema\nz,Edema"])
def test_ids_to_keep_that_no_report_has_are_counted(tmp_path: Path, ids: str) -> None:
    named = tmp_path / f"ids.{'csv' if ',' in ids else 'txt'}"
    named.write_text(ids)
    kept, counts = select(tmp_path, make(5), only_ids=named)
    assert (kept, counts.not_named, counts.unmatched_only_ids) == (["1", "3"], 3, 3)
