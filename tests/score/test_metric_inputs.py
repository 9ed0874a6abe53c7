import gzip
import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from radtune.config import InputError
from radtune.files import write_jsonl
from radtune.findings import LABEL_COLUMNS, write_label_table
from radtune.score.inputs import keep_reports, read_labelled_reports

MC, OE = "multiple_choice", "open_ended"


def read(path: Path, task: str = MC, column: str | None = None, id_column: str | None = None) -> dict:
    return read_labelled_reports(path, task, column, id_column).labels


def write(path: Path, text: str) -> Path:
    path.write_text(text, encoding="utf-8")
    return path


def test_every_form_says_the_same(tmp_path: Path) -> None:
    expected = {"1": ("Edema", "Pleural Effusion"), "2": (), "3": ("Fracture",)}
    jsonl, table = tmp_path / "p.jsonl", tmp_path / "table.csv"
    write_jsonl(jsonl, [{"report_id": k, "task": MC, "labels": v, "status": "ok"} for k, v in expected.items()])
    write_label_table(table, {k: dict.fromkeys(v, 1) | {"Pneumonia": -1} for k, v in expected.items()})
    packed = tmp_path / "p.jsonl.gz"
    packed.write_bytes(gzip.compress(jsonl.read_bytes()))
    names = write(tmp_path / "n.csv", 'uid,labels\n1," edema , Pleural Effusion,"\n2,Normal\n3,"[\'FRACTURE\']"\n')
    for path in (jsonl, packed, table, names):
        assert read(path) == expected, path.name


def test_a_column_by_name(tmp_path: Path) -> None:
    path = write(tmp_path / "x.csv", 'case,text,radiologist\nA,some words,"Edema, "\nB,more,\n')
    assert read(path, MC, "radiologist", "case") == {"A": ("Edema",), "B": ()}
    path = write(tmp_path / "x.jsonl", '{"case": 7, "mine": ["Edema"]}\n')
    assert read(path, MC, "mine", "case") == {"7": ("Edema",)}


def test_annotations_with_phrases(tmp_path: Path) -> None:
    path = tmp_path / "annotations.jsonl"
    write_jsonl(path, [{"report_id": "1", "phrases": [{"phrase": "small  effusion", "icd10": "J90"}], "status": "ok"}])
    assert read(path, OE) == {"1": ("small effusion",)}


def test_status_other_than_ok_is_empty_and_kept(tmp_path: Path) -> None:
    path = tmp_path / "p.jsonl"
    write_jsonl(
        path,
        [
            {"report_id": "1", "labels": ["Edema"], "status": "truncated"},
            {"report_id": "2", "status": "failed"},
        ],
    )
    reports = read_labelled_reports(path, MC, None, None)
    assert reports.labels == {"1": (), "2": ()}
    assert reports.statuses == {"1": "truncated", "2": "failed"}


def test_only_normal_alone_is_nothing(tmp_path: Path) -> None:
    path = write(tmp_path / "x.csv", 'uid,labels\n1,normal\n2,"Normal, Edema"\n3,"pleural  effusion"\n')
    assert read(path) == {"1": (), "2": ("Normal", "Edema"), "3": ("pleural  effusion",)}


def test_repeats_count_once(tmp_path: Path) -> None:
    path = write(tmp_path / "x.csv", 'uid,labels\n1,"Edema, EDEMA,mass, Mass"\n')
    assert len(read(path)["1"]) == 2


def test_label_table_knows_what_is_judged_and_whose_it_is(tmp_path: Path) -> None:
    path = write(tmp_path / "x.csv", "subject_id,study_id,Edema,Fracture\n10,1,1,\n11,2,-1,0\n")
    reports = read_labelled_reports(path, MC, None, None)
    assert reports.judged == {"1": {"Edema"}, "2": {"Edema", "Fracture"}}
    assert reports.patient_ids == {"1": "10", "2": "11"}
    assert reports.labels == {"1": ("Edema",), "2": ()}


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("x.jsonl", '{"report_id": "1", "labels": [], "patient_id": 10}\n'),
        ("x.csv", "study_id,subject_id,labels\n1, 10 ,Edema\n"),
        ("x.csv", "uid,patient_id,labels\n1,10,Edema\n"),
    ],
)
def test_patients_go_by_the_names_that_reports_have(tmp_path: Path, name: str, text: str) -> None:
    assert read_labelled_reports(write(tmp_path / name, text), MC, None, None).patient_ids == {"1": "10"}


BROKEN = [
    ("x.jsonl", '{"report_id": "1", "labels": []}\n{"report_id": "2"\n', "x.jsonl:2: not valid JSON"),
    ("x.jsonl", '{"report_id": "1", "labels": []}\n{"report_id": 1, "labels": []}\n', "x.jsonl:2: report '1' stands"),
    ("x.jsonl", '{"report_id": "1", "task": "open_ended", "labels": []}\n', "x.jsonl:1: a row of task 'open_ended'"),
    ("x.jsonl", '{"report_id": "1", "labels": [], "status": "fine"}\n', "x.jsonl:1: status 'fine' is not one of ok"),
    ("x.jsonl", '{"report_id": "1", "labels": "Edema"}\n', "x.jsonl:1: 'labels' is not a list of strings"),
    ("x.jsonl", '{"report_id": "1", "labels": [1]}\n', "x.jsonl:1: 'labels' is not a list of strings"),
    ("x.jsonl", '{"report_id": "1", "label": []}\n', "x.jsonl:1: no 'labels'"),
    ("x.jsonl", '{"report_id": null, "labels": []}\n', "x.jsonl:1: 'report_id' is NoneType"),
    ("x.jsonl", '{"report_id": " ", "labels": []}\n', "x.jsonl:1: empty report_id"),
    ("x.jsonl", '{"labels": []}\n', "x.jsonl:1: no id column"),
    ("x.jsonl", "\n", "x.jsonl: no rows"),
    ("x.csv", "uid,labels\n", "x.csv: no rows"),
    ("x.csv", "uid,label\n1,Edema\n", "x.csv:2: no column 'labels'; did you mean 'label'?"),
    ("x.csv", "uid,labels\n1,Edema\n1,Edema\n", "x.csv:3: report '1' stands twice"),
    ("x.csv", "uid,labels\n1,[Edema\n", "x.csv:2: the list in 'labels' never closes"),
    ("x.csv", "uid,Edema\n1,2\n", "x.csv:2: Edema is '2', expected 1, 0, -1 or blank"),
    ("x.csv", "uid,Edema,Efusion\n1,1,0\n", "x.csv: unknown column 'Efusion'"),
]


@pytest.mark.parametrize(("name", "text", "message"), BROKEN)
def test_broken_files_are_refused(tmp_path: Path, name: str, text: str, message: str) -> None:
    path = write(tmp_path / name, text)
    with pytest.raises(InputError) as caught:
        read(path)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


SECRET = "zebrafish effusion on the left"


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("x.jsonl", {"report_id": "1", "task": SECRET, "labels": []}, "a row of task (not shown), expected"),
        ("x.jsonl", {"report_id": "1", "task": ["zebrafish"], "labels": []}, "a row of task (not shown), expected"),
        ("x.jsonl", {"report_id": "1", "status": SECRET, "labels": []}, "status (not shown) is not one of ok"),
        ("x.jsonl", {"report_id": "1", "status": "zebrafish\n", "labels": []}, "status (not shown) is not one of ok"),
        ("x.jsonl", {"report_id": "1", "status": "zebrafish" * 5, "labels": []}, "status (not shown) is not one of ok"),
        ("x.jsonl", {"report_id": "1", f"labels of {SECRET}": []}, "no 'labels'"),
        ("x.csv", f"uid,labels: {SECRET}\n1,x\n", "no column 'labels'; 2 columns; is the header missing?"),
    ],
)
def test_what_may_be_a_report_is_not_repeated(tmp_path: Path, name: str, text: str | dict, message: str) -> None:
    path = write(tmp_path / name, text if isinstance(text, str) else json.dumps(text))
    with pytest.raises(InputError) as caught:
        read(path)
    assert message in str(caught.value)
    assert "zebra" not in str(caught.value)


@settings(max_examples=60, deadline=None)
@given(st.binary(max_size=200), st.sampled_from(["x.jsonl", "x.csv", "x.csv.gz"]), st.sampled_from([MC, OE]))
def test_any_bytes_are_read_or_refused(
    tmp_path_factory: pytest.TempPathFactory, data: bytes, name: str, task: str
) -> None:
    path = tmp_path_factory.mktemp("any") / name
    path.write_bytes(data)
    try:
        reports = read_labelled_reports(path, task, None, None)
    except InputError as error:
        assert str(path) in str(error)
    else:
        assert reports.labels


def test_a_label_table_has_no_phrases(tmp_path: Path) -> None:
    path = write(tmp_path / "x.csv", f"uid,{','.join(LABEL_COLUMNS)}\n1{',' * len(LABEL_COLUMNS)}\n")
    with pytest.raises(InputError, match="cannot be scored as open_ended"):
        read(path, OE)


def test_keep_reports(tmp_path: Path) -> None:
    path = write(tmp_path / "x.jsonl", "".join(json.dumps({"report_id": i, "labels": []}) + "\n" for i in range(5)))
    reports = read_labelled_reports(path, MC, None, None)
    assert keep_reports(reports, ["3", "1"]) == 3
    assert set(reports.labels) == set(reports.statuses) == {"1", "3"}
    with pytest.raises(InputError, match="nothing for 2 reports to score; first: '7'"):
        keep_reports(reports, ["1", "7", "8"])
