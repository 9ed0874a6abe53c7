"""One reader for any file of labels, and label tables in MIMIC-CXR's official layout."""

import gzip
import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from radtune.config import InputError
from radtune.files import write_jsonl
from radtune.label_files import column_names, label_columns, read_labels, write_label_table
from radtune.labels import NO_FINDING, Phrase, State, Status
from radtune.tasks import Task, load_task

MC, OE = load_task("multiple_choice"), load_task("open_ended")
COLUMNS = label_columns(MC)


def read(path: Path, task: Task = MC, column: str | None = None, id_column: str | None = None) -> dict:
    return {name: answer.labels for name, answer in read_labels(path, task, column, id_column).answers.items()}


def write(path: Path, text: str) -> Path:
    path.write_text(text, encoding="utf-8")
    return path


def test_every_form_says_the_same(tmp_path: Path) -> None:
    expected = {"1": ("Edema", "Pleural Effusion"), "2": (), "3": ("Fracture",)}
    jsonl, table = tmp_path / "p.jsonl", tmp_path / "table.csv"
    write_jsonl(jsonl, [{"report_id": k, "task": MC.name, "labels": v, "status": "ok"} for k, v in expected.items()])
    write_label_table(table, MC, {k: dict.fromkeys(v, 1) | {"Pneumonia": -1} for k, v in expected.items()})
    packed = tmp_path / "p.jsonl.gz"
    packed.write_bytes(gzip.compress(jsonl.read_bytes()))
    names = write(tmp_path / "n.csv", 'uid,labels\n1," edema , Pleural Effusion,"\n2,Normal\n3,"[\'FRACTURE\']"\n')
    for path in (jsonl, packed, table, names):
        assert read(path) == expected, path.name


def test_a_column_by_name(tmp_path: Path) -> None:
    path = write(tmp_path / "x.csv", 'case,patient_id,radiologist\nA, 10 ,"Edema, "\nB,,\n')
    assert read(path, MC, "radiologist", "case") == {"A": ("Edema",), "B": ()}
    said = [(answer.by, answer.patient_id) for answer in read_labels(path, MC, "radiologist", "case").answers.values()]
    assert said == [("radiologist", "10"), ("radiologist", None)]
    path = write(tmp_path / "x.jsonl", '{"case": 7, "mine": ["Edema"]}\n')
    assert read(path, MC, "mine", "case") == {"7": ("Edema",)}
    assert column_names(path) == ["case", "mine"]


def test_an_annotation_keeps_codes_places_and_where_it_comes_from(tmp_path: Path) -> None:
    path = tmp_path / "annotations.jsonl"
    given = {"phrase": "small  effusion", "icd10": "J90", "start": 3, "end": 18}
    row = {"report_id": "1", "phrases": [given, {"phrase": "scar", "icd10": None}], "status": "ok", "patient_id": 10}
    write_jsonl(path, [row | {"model": "m", "response": "I see", "seed_example_ids": ["a"]}])
    (answer,) = read_labels(path, OE).answers.values()
    assert answer.labels == ("small effusion", "scar")
    assert answer.phrases == (Phrase("small  effusion", "J90", 3, 18), Phrase("scar"))
    assert (answer.by, answer.patient_id) == ("m", "10")
    assert answer.provenance == {"model": "m", "seed_example_ids": ["a"]}


def test_status_other_than_ok_is_empty_and_kept(tmp_path: Path) -> None:
    path = tmp_path / "p.jsonl"
    write_jsonl(
        path, [{"report_id": "1", "labels": ["Edema"], "status": "truncated"}, {"report_id": 2, "status": "failed"}]
    )
    answers = read_labels(path, MC).answers
    assert {name: (answer.labels, answer.status) for name, answer in answers.items()} == {
        "1": ((), Status.TRUNCATED),
        "2": ((), Status.FAILED),
    }


def test_names_that_are_no_class_stay_and_only_normal_alone_is_nothing(tmp_path: Path) -> None:
    text = 'uid,labels\n1,normal\n2,"Normal, Edema"\n3,"pleural  effusion"\n4,"Edema, EDEMA,mass, Mass"\n'
    labels = read(write(tmp_path / "x.csv", text))
    assert labels == {"1": (), "2": ("Normal", "Edema"), "3": ("pleural  effusion",), "4": ("Edema", "Mass")}


def test_an_official_table(tmp_path: Path) -> None:
    # No Finding stands among the classes there.
    path = tmp_path / "mimic-cxr-2.0.0-chexpert.csv.gz"
    columns = sorted(COLUMNS)
    cells = {"Edema": "1.0", "Cardiomegaly": "-1.0", "Pneumothorax": "0.0", "No Finding": ""}
    rows = ",".join(["subject_id", "study_id", *columns]), ",".join(["1", "5", *(cells.get(x, "") for x in columns)])
    path.write_bytes(gzip.compress("\n".join(rows).encode()))
    found = read_labels(path, MC)
    assert found.has_states
    (answer,) = found.answers.values()
    assert answer.states == {"Edema": State.PRESENT, "Cardiomegaly": State.UNCERTAIN, "Pneumothorax": State.ABSENT}
    assert (answer.report_id, answer.patient_id, answer.labels) == ("5", "1", ("Edema",))


STATES = st.sampled_from([*State, None])


@given(
    st.dictionaries(
        st.text("abc123-", min_size=1), st.dictionaries(st.sampled_from(COLUMNS), STATES), min_size=1, max_size=5
    )
)
def test_a_table_reads_as_written(tmp_path_factory: pytest.TempPathFactory, rows: dict) -> None:
    path = tmp_path_factory.mktemp("labels") / "labels.csv"
    write_label_table(path, MC, rows)
    found = {report_id: answer.states for report_id, answer in read_labels(path, MC).answers.items()}
    assert found == {r: {x: s for x, s in states.items() if s is not None} for r, states in rows.items()}
    assert path.read_text().splitlines()[0] == ",".join(["report_id", *MC.classes, NO_FINDING])


BROKEN = [
    ("x.jsonl", '{"report_id": "1", "labels": []}\n{"report_id": "2"\n', ":2: not valid JSON"),
    ("x.jsonl", '{"report_id": "1", "labels": []}\n{"report_id": 1, "labels": []}\n', ":2: report '1' stands twice"),
    ("x.jsonl", '{"report_id": "1", "task": "open_ended", "labels": []}\n', ":1: a row of task 'open_ended'"),
    ("x.jsonl", '{"report_id": "1", "labels": [], "status": "fine"}\n', ":1: status 'fine' is not one of ok"),
    ("x.jsonl", '{"report_id": "1", "label": []}\n', ":1: no 'labels'"),
    ("x.jsonl", '{"report_id": null, "labels": []}\n', ":1: 'report_id' is NoneType"),
    ("x.jsonl", '{"report_id": " ", "labels": []}\n', ":1: empty report_id"),
    ("x.jsonl", '{"labels": []}\n', ": no id column"),
    ("x.csv", "uid,labels\n", ": no rows"),
    ("x.csv", "uid,label\n1,Edema\n", ":2: no column 'labels'; did you mean 'label'?"),
    ("x.csv", "uid,labels\n1,Edema\n1,Edema\n", ":3: report '1' stands twice"),
    ("x.csv", "uid,labels\n1,[Edema\n", ":2: the list in 'labels' never closes"),
    ("x.csv", "name,Edema\n1,1\n", ": no id column 'report_id' or 'study_id' or 'uid'; columns: name, Edema"),
    ("x.csv", "uid,Edema,Efusion\n1,1,0\n", ": unknown column 'Efusion'"),
    ("x.csv", "uid,Edema\n,1\n", ":2: empty uid"),
    ("x.csv", "uid,Edema\n1,nan\n", ":2: Edema is 'nan', expected 1, 0, -1 or blank"),
]


@pytest.mark.parametrize(("name", "text", "message"), BROKEN)
def test_broken_files_are_refused(tmp_path: Path, name: str, text: str, message: str) -> None:
    path = write(tmp_path / name, text)
    with pytest.raises(InputError) as caught:
        read(path)
    assert str(caught.value).startswith(f"{path}{message}")
    assert "\n" not in str(caught.value)


SECRET = "zebrafish effusion on the left"


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("x.jsonl", {"report_id": "1", "task": SECRET, "labels": []}, "a row of task (not shown), expected"),
        ("x.jsonl", {"report_id": "1", "status": SECRET, "labels": []}, "status (not shown) is not one of ok"),
        ("x.jsonl", {"report_id": "1", f"labels of {SECRET}": []}, "no 'labels'"),
        ("x.csv", f"uid,labels: {SECRET}\n1,x\n", "no column 'labels'; 2 columns; is the header missing?"),
        ("x.csv", f"1,{SECRET}\n2,0\n", "no id column 'report_id' or 'study_id' or 'uid'; 2 columns"),
        ("x.csv", f"uid,Edema,{SECRET}s\n1,1,0\n", "unknown column of 31 characters"),
        ("x.csv", "uid,Edema\n1,small zebra\n", ":2: Edema is a text of 11 characters, expected 1, 0, -1 or blank"),
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
    tmp_path_factory: pytest.TempPathFactory, data: bytes, name: str, task: Task
) -> None:
    path = tmp_path_factory.mktemp("any") / name
    path.write_bytes(data)
    try:
        found = read_labels(path, task)
    except InputError as error:
        assert str(path) in str(error)
    else:
        assert found.answers


def test_a_label_table_has_no_phrases(tmp_path: Path) -> None:
    path = write(tmp_path / "x.csv", f"uid,{','.join(COLUMNS)}\n1{',' * len(COLUMNS)}\n")
    with pytest.raises(InputError, match=r"no column 'labels'.*; a label table has no phrases"):
        read(path, OE)
