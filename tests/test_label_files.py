"""One reader for any file of labels, and label tables in MIMIC-CXR's official layout."""

import csv
import gzip
import json
import re
import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from refusals import refused

from radtune.config import InputError
from radtune.files import write_jsonl
from radtune.label_files import (
    by_policy,
    column_names,
    joined_to,
    label_columns,
    policies_for,
    read_labels,
    respell,
    write_label_table,
)
from radtune.labels import NO_FINDING, Phrase, State, Status
from radtune.tables import read_table
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


NAMES = {"Effusion": "Pleural Effusion", "Mass": "Lung Lesion", "Nodule": "Lung Lesion", "Edema": "Edema"}


def test_columns_of_other_names_count_as_classes(tmp_path: Path) -> None:
    text = (
        "uid,Effusion,Mass,Nodule,Edema,Hernia\n1,1,0,1,,1\n2,0,0,0,-1,0\n3,nan,NULL,-1.0,1.0,\n4,0,0,-1,0,0\n5,0,-1,1,0,0\n"
    )  # fmt: skip
    file = read_labels(write(tmp_path / "x.csv", text), MC, names=NAMES)
    states = {report_id: answer.states for report_id, answer in file.answers.items()}
    found = {i: [said.get(name) for name in ("Pleural Effusion", "Lung Lesion", "Edema")] for i, said in states.items()}
    assert found == {
        "1": [1, 1, None], "2": [0, 0, -1], "3": [None, -1, 1], "4": [0, -1, 0], "5": [0, 1, 0]
    }  # fmt: skip
    # What no column counts as is not decided.
    assert "Fracture" in file.missing and "Edema" not in file.missing


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


def test_names_that_are_no_class_stay_and_normal_is_nothing(tmp_path: Path) -> None:
    text = 'uid,labels\n1,normal\n2,"Normal, Edema"\n3,"pleural  effusion"\n4,"Edema, EDEMA,mass, Mass"\n'
    labels = read(write(tmp_path / "x.csv", f"{text}5,No Finding; Support Devices\n"))
    assert labels == {
        "1": (), "2": ("Edema",), "3": ("pleural  effusion",), "4": ("Edema", "Mass"), "5": ("Support Devices",)
    }  # fmt: skip


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


BOTH = ("Edema", "Pleural Effusion")
NOTHING = ("Normal", "No Finding", "no_findings.", "[]", "set()", "['Normal']", "{}", "()", "array([], dtype=object)")
CELLS = (
    "Edema|Pleural Effusion", "Edema; Pleural Effusion", "Edema and Pleural Effusion", "edema & pleural effusion",
    "Edema/Pleural Effusion", "Edema + Pleural Effusion", "Edema, and Pleural Effusion",
    "Edema\nPleural Effusion", "Edema\r\n  Pleural Effusion\r\n", "• Edema • Pleural Effusion",
    "['Edema' 'Pleural Effusion']", "['Edema'\n 'Pleural Effusion']", "{'Pleural Effusion', 'Edema'}",
    "array(['Edema', 'Pleural Effusion'], dtype=object)", "np.array(['Edema', 'Pleural Effusion'], dtype='<U16')",
    "frozenset({'Edema', 'Pleural Effusion'})", "('Edema', 'Pleural Effusion')", '["Edema", "Pleural Effusion"]',
    "[Edema, Pleural Effusion]", "Edema, NaN, Pleural Effusion", "['Edema|Pleural Effusion']",
    "Index(['Edema', 'Pleural Effusion'], dtype='object')", "1) Edema, 2) Pleural Effusion",
    "a) Edema, b) Pleural Effusion", "1. Edema\n2. Pleural Effusion\n", "(1) Edema; (2) Pleural Effusion",
)  # fmt: skip


def column_of(path: Path, cells: tuple[str, ...]) -> Path:
    with path.open("w", encoding="utf-8", newline="") as stream:
        csv.writer(stream).writerows([("study_id", "labels"), *enumerate(cells)])
    return path


def test_cells_join_labels_in_any_usual_way(tmp_path: Path) -> None:
    labels = read(column_of(tmp_path / "x.csv", (*CELLS, *NOTHING)))
    assert {number: tuple(sorted(said)) for number, said in labels.items()} == {
        str(number): BOTH if number < len(CELLS) else () for number in range(len(CELLS) + len(NOTHING))
    }
    assert read(column_of(tmp_path / "x.csv", ("+Edema, -Mass", "-Edema\n-Mass"))) == {
        "0": ("+Edema, -Mass",), "1": ("-Edema", "-Mass"),
    }  # fmt: skip
    found = read_labels(column_of(tmp_path / "x.csv", ("(Edema, Fracture)", "Edema, Fracture :)")), MC)
    assert [answer.labels for answer in respell(MC, found)[0].answers.values()] == [("Edema", "Fracture")] * 2
    # A code beside a phrase is none of its words, nor is its number in a list; and what is absent is no phrase.
    cells = (
        "edema (J81.0, I50.9); J90: effusion; old T12 fracture",
        "1. edema [J81.0] 2. cyst N28.1",
        "scar, no edema",
    )
    said = read_labels(column_of(tmp_path / "x.csv", (*cells, "none seen", "Normal chest")), OE)
    phrases = [[(phrase.phrase, phrase.icd10) for phrase in answer.phrases] for answer in said.answers.values()]
    assert phrases == [[("edema", "J81.0"), ("effusion", "J90")], [("edema", "J81.0"), ("cyst", "N28.1")], [], [], []]
    labels = [answer.labels for answer in said.answers.values()]
    assert labels == [("edema", "effusion", "old T12 fracture"), ("edema", "cyst"), ("scar",), (), ()]
    # Nor is a code that a sign parts from its phrase; and no change is none of what is there.
    cells = (
        "rib fracture, S22.4; edema | J81.0, I50.9",
        "scar, J90, effusion",
        "J90",
        "edema - absent; no change in scar; no effusion or change in scar",
    )
    said = read_labels(column_of(tmp_path / "x.csv", cells), OE)
    labels = [answer.labels for answer in said.answers.values()]
    assert labels == [("rib fracture", "edema"), ("scar", "effusion"), ("J90",), ("no change in scar",)]
    assert [phrase.icd10 for answer in said.answers.values() for phrase in answer.phrases] == ["S22.4", "J81.0", "J90"]
    # Where a name has such a sign in it, the sign parts nothing; nor does a word in a phrase.
    cells = ("heart and lungs, scar", "a; b, c", "[]", "No findings", "11. rib fracture, a (b, c), d :)")
    assert read(column_of(tmp_path / "x.csv", cells), OE) == {
        "0": ("heart and lungs", "scar"), "1": ("a", "b, c"), "2": (), "3": (),
        "4": ("11. rib fracture", "a (b, c)", "d :)"),
    }  # fmt: skip
    keys = "name: t\nkind: classes\nclasses: ['Rib/Spine', 'Hips and Knees', Spine]\nprompts: {inference: '{classes}'}"
    task = load_task(write(tmp_path / "t.yaml", keys))
    assert read(column_of(tmp_path / "x.csv", ("rib/spine", "hips and knees")), task) == {
        "0": ("Rib/Spine",),
        "1": ("Hips and Knees",),
    }


@pytest.mark.parametrize("blanks", [" " * 40_000, "\u00a0" * 40_000, " and " + " " * 40_000])
def test_a_cell_of_blanks_is_read_in_no_time(tmp_path: Path, blanks: str) -> None:
    path, began = column_of(tmp_path / "x.csv", (f"Edema{blanks}Mass", "Edema")), time.process_time()
    assert read(path)["1"] == ("Edema",)
    assert time.process_time() - began < 3


@pytest.mark.parametrize("cells", ["1.0 0.0 -1.0", "1,0 0,0 -1", "TRUE FALSE uncertain", "x n -1", "Yes No Uncertain"])
def test_cells_of_classes_are_read_in_any_plain_way(tmp_path: Path, cells: str) -> None:
    (tmp_path / "x.tsv").write_text("uid\tEdema\tFracture\tPneumonia\n1\t" + cells.replace(" ", "\t"))
    states = read_labels(tmp_path / "x.tsv", MC).answers["1"].states
    assert states == {"Edema": State.PRESENT, "Fracture": State.ABSENT, "Pneumonia": State.UNCERTAIN}


def test_what_is_missing_is_told_from_nothing(tmp_path: Path) -> None:
    found = read_labels(column_of(tmp_path / "x.csv", ("Edema", "", "nan", "None", "N/A", "<NA>", "-", "Normal")), MC)
    assert (found.blank, found.says_none) == (frozenset("123456"), True)
    assert not read_labels(column_of(tmp_path / "x.csv", ("Edema", "")), MC).says_none
    rows = [{"report_id": "1", "labels": None}, {"report_id": "2", "labels": []}, {"report_id": "3", "labels": "a, b"}]
    write_jsonl(tmp_path / "x.jsonl", rows)
    found = read_labels(tmp_path / "x.jsonl", OE)
    assert (found.blank, found.says_none, found.answers["3"].labels) == ({"1"}, True, ("a", "b"))
    assert read(write(tmp_path / "z.jsonl", '{"report_id": "1", "labels": ["None"]}')) == {"1": ()}
    # A blank cell beside columns of classes leaves the word to them; columns that are no class are passed over.
    text = "index,uid,Labels,Edema,pleural_effusion,x\n0,7,,True,FALSE,a\n1,8,Edema,,,b\n2,9,,,,\n3,10,Edema,1.0,,\n"
    found = read_labels(write(tmp_path / "y.csv", text), MC)
    assert {name: answer.labels for name, answer in found.answers.items()} == {
        "7": ("Edema",), "8": ("Edema",), "9": (), "10": ("Edema",),
    }  # fmt: skip
    assert (found.blank, found.says_none, found.missing[:2]) == ({"9"}, True, ("Atelectasis", "Cardiomegaly"))
    assert found.answers["7"].states == {"Edema": State.PRESENT, "Pleural Effusion": State.ABSENT}


@pytest.mark.parametrize("report_id", ['=HYPERLINK("http://x","y")', "@SUM(A1)", "-2+x", "'=1", 'a"b,c', "1;2"])
def test_an_id_is_no_formula_in_a_table_and_the_same_id_when_read(tmp_path: Path, report_id: str) -> None:
    write_label_table(tmp_path / "x.csv", MC, {report_id: {"Edema": 1}})
    assert list(read(tmp_path / "x.csv")) == [report_id]
    (_, cells) = csv.reader((tmp_path / "x.csv").open())
    assert cells[0][0] not in "=+-@"


def test_a_second_column_of_labels_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert read(write(tmp_path / "x.csv", "uid,labels,Labels_2,text\n1,Edema,Fracture,x\n")) == {"1": ("Edema",)}
    assert capsys.readouterr().err == f"{tmp_path}/x.csv: fields that are not used: Labels_2\n"


def test_what_may_be_meant_is_named_and_what_came_to_nothing_is_no_answer(tmp_path: Path, capsys) -> None:
    text = "uid,Status,labels,labels_final,split\n1,ok,Edema,Mass,test\n2,failed,,,\n3,final,[],,\n"
    found = read_labels(write(tmp_path / "g.csv", text), MC)
    assert [(x.labels, x.status) for x in found.answers.values()] == [
        (("Edema",), Status.OK), ((), Status.FAILED), ((), Status.OK)
    ]  # fmt: skip
    assert "fields that are not used: labels_final, split" in capsys.readouterr().err
    for rows, is_used in (("1,Final,1\n", False), ("1,Final,1\n2,failed,\n", True)):
        read(write(tmp_path / "g.csv", f"uid,Status,Edema\n{rows}"))
        assert ("fields that are not used: Status" in capsys.readouterr().err) != is_used
    with pytest.raises(InputError, match="did you mean 'label'"):
        read(write(tmp_path / "g.csv", "uid,label\n1,Edema\n"))
    assert not capsys.readouterr().err


@pytest.mark.parametrize(
    ("said", "is_read"),
    [
        ({"presentation": "acute", "statement": 2, "represented": 0, "value": "3 cm"}, True),
        ({"present": True, "status": "active", "negated": False, "value": 1.0}, True),
        ({"negated": True}, False), ({"isPresent": 0}, False), ({"status": "ruled out"}, False), ({"value": -1}, False),
    ],
)  # fmt: skip
def test_an_object_that_may_not_be_there_is_refused(tmp_path: Path, said: dict, is_read: bool) -> None:
    text = json.dumps({"uid": "1", "labels": [{"phrase": "Edema"}, {"phrase": "Fracture"} | said]})
    path = write(tmp_path / "g.jsonl", text)
    if is_read:
        assert read(path) == {"1": ("Edema", "Fracture")}
    else:
        with pytest.raises(InputError, match=f"'labels' has objects with '{next(iter(said))}'"):
            read(path)


def test_files_are_joined_whatever_form_their_ids_have(tmp_path: Path) -> None:
    found = read_labels(write(tmp_path / "x.csv", "uid,labels\ns50,Edema\n0051,Edema\n52.0,\n9,Edema\n"), MC)
    joined, remark = joined_to(found, ["50", "51", "52", "s53"])
    assert (list(joined.answers), joined.blank, joined.lines["52"]) == (["50", "51", "52", "9"], {"52"}, 4)
    assert [answer.report_id for answer in joined.answers.values()] == list(joined.answers)
    assert "3 ids" in remark and joined_to(joined, ["50"])[1] == ""


@pytest.mark.parametrize(
    ("given", "labels", "undecided"),
    [
        (None, [["Edema"], ["Edema"]], {}),
        ("negative", [["Edema"], ["Edema"]], {}),
        ("positive", [["Edema", "Fracture"], ["Edema", "Fracture"]], {}),
        ("drop", [["Edema"], ["Edema"]], {"1": {"Fracture"}, "2": {"Fracture"}}),
        ("state", [["Edema", "Fracture (uncertain)"], ["Edema", "Fracture (uncertain)"]], {}),
        ({"fracture": "positive", "others": "drop"}, [["Edema", "Fracture"], ["Edema", "Fracture"]], {}),
    ],
)
def test_uncertain_classes_count_as_said(tmp_path: Path, given: object, labels: list, undecided: dict) -> None:
    table, listed = tmp_path / "x.csv", tmp_path / "x.jsonl"
    write_label_table(table, MC, {"1": {"Edema": 1, "Fracture": -1, "Pneumonia": 0}})
    write_jsonl(
        listed, [{"report_id": "2", "labels": ["Edema", "Fracture (uncertain)"], "task": "multiple_choice+states"}]
    )
    found = [by_policy(MC, read_labels(path, MC), policies_for(MC, given)) for path in (table, listed)]
    assert [[*answer.labels] for file in found for answer in file.answers.values()] == labels
    assert {x: names for file in found for x, names in file.undecided.items() if names} == undecided
    # The three-valued task says so by itself.
    task = load_task("multiple_choice+states")
    assert [read(path, task) for path in (table, listed)] == [{x: ("Edema", "Fracture (uncertain)")} for x in "12"]


def test_policies_are_of_classes(tmp_path: Path) -> None:
    for task, said, message in (
        (MC, {"Edma": "drop"}, "uncertain: 'Edma' is none of the classes of multiple_choice; did you mean 'Edema'?"),
        (OE, "drop", "uncertain: for tasks of classes; open_ended has none"),
        (load_task("multiple_choice+states"), "drop", "has labels of its own for what is uncertain"),
    ):
        with pytest.raises(InputError, match=re.escape(message)):
            policies_for(task, said)
    with pytest.raises(InputError, match="a task of phrases has no states"):
        load_task("open_ended+states")


STATES = st.sampled_from([*State, None])


@given(
    st.dictionaries(
        st.text("abc123_=", min_size=1).filter(lambda x: x.strip("_=")),
        st.dictionaries(st.sampled_from(COLUMNS), STATES),
        min_size=1,
        max_size=5,
    ),
    st.sampled_from(["labels.csv", "labels.xlsx"]),
)
def test_a_table_reads_as_written(tmp_path_factory: pytest.TempPathFactory, rows: dict, name: str) -> None:
    path = tmp_path_factory.mktemp("labels") / name
    write_label_table(path, MC, rows)
    found = {report_id: answer.states for report_id, answer in read_labels(path, MC).answers.items()}
    assert found == {r: {x: s for x, s in states.items() if s is not None} for r, states in rows.items()}
    assert next(read_table(path))[1].keys() == {"report_id", *MC.classes, NO_FINDING}


BROKEN = [
    ("x.jsonl", '{"report_id": "1", "labels": []}\n{"report_id": "2"\n', ":2: not valid JSON"),
    ("x.jsonl", '{"report_id": "1", "labels": []}\n{"report_id": 1, "labels": []}\n', ":2: report '1' stands twice"),
    ("x.jsonl", '{"report_id": "1", "task": "open_ended", "labels": []}\n', ":1: a row of task 'open_ended'"),
    ("x.jsonl", '{"report_id": "1", "labels": [], "status": "fine"}\n', ":1: status 'fine' is not one of ok"),
    ("x.jsonl", '{"report_id": "1", "label": []}\n', ":1: no 'labels'"),
    ("x.jsonl", '{"report_id": null, "labels": []}\n', ":1: empty report_id"),
    ("x.jsonl", '{"report_id": [1], "labels": []}\n', ":1: report_id is list"),
    ("x.jsonl", '{"report_id": " ", "labels": []}\n', ":1: empty report_id"),
    ("x.jsonl", '{"labels": []}\n', ": no id column"),
    ("x.csv", "uid,labels\n", ": no rows"),
    ("x.csv", "uid,label\n1,Edema\n", ":2: no column 'labels'; did you mean 'label'?"),
    ("x.csv", "uid,labels\n1,Edema\n1,Edema\n", ":3: report '1' stands twice"),
    ("x.csv", "uid,labels\n1,[Edema\n", ":2: the list in 'labels' never closes"),
    ("x.csv", "name,Edema\n1,1\n", ": no id column 'report_id' or 'study_id' or 'uid'; columns: name, Edema"),
    ("x.csv", "uid,Edema,Atelectasi\n1,1,0\n", ": unknown column 'Atelectasi'; did you mean 'Atelectasis'?"),
    ("x.csv", "uid,Edema,edema.\n1,1,0\n", ": two columns are one class; "),
    ("x.csv", "uid,labels\n1,{'Edema': 1}\n", ":2: the list in 'labels' is none of names alone"),
    ("x.csv", "uid,labels\n1,[Edema] and [Fracture]\n", ":2: the list in 'labels' is none of names alone"),
    ("x.csv", "uid,labels,Edema\n1,,1\n2,Fracture,1\n", ":3: 'labels' and the columns of classes say different"),
    ("x.csv", "uid,Edema\n,1\n", ":2: empty uid"),
    ("x.csv", "uid,Edema\n1,2\n", ":2: Edema is '2', expected 1, 0, -1 or blank"),
]


@pytest.mark.parametrize(("name", "text", "message"), BROKEN)
def test_broken_files_are_refused(tmp_path: Path, name: str, text: str, message: str) -> None:
    path = write(tmp_path / name, text)
    with refused(f"{path}{message}"):
        read(path)


SECRET = "zebrafish effusion on the left"


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("x.jsonl", {"report_id": "1", "task": SECRET, "labels": []}, "a row of task (not shown), expected"),
        ("x.jsonl", {"report_id": "1", "status": SECRET, "labels": []}, "status (not shown) is not one of ok"),
        ("x.jsonl", {"report_id": "1", f"labels of {SECRET}": []}, "no 'labels'"),
        ("x.csv", f"uid,labels: {SECRET}\n1,x\n", "no column 'labels'; 2 columns; is the header missing?"),
        ("x.csv", f"1,{SECRET}\n2,0\n", "no id column 'report_id' or 'study_id' or 'uid'; 2 columns"),
        ("x.csv", "uid,Edema\n1,small zebra\n", ":2: Edema is a text of 11 characters, expected 1, 0, -1 or blank"),
    ],
)
def test_what_may_be_a_report_is_not_repeated(tmp_path: Path, name: str, text: str | dict, message: str) -> None:
    path = write(tmp_path / name, text if isinstance(text, str) else json.dumps(text))
    with refused(message, "zebra"):
        read(path)


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
