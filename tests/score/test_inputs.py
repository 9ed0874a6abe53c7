"""Gold of several annotators, misspelt names, and which reports are scored."""

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from refusals import refused

from radtune.combine import RULES
from radtune.config import InputError
from radtune.files import write_jsonl
from radtune.label_files import LabelFile, read_labels, unannotated
from radtune.labels import Answer
from radtune.score.inputs import Respelling, combine_gold, keep_reports, read_gold, respell, understood
from radtune.tasks import Task, load_task

MC, OE = load_task("multiple_choice"), load_task("open_ended")


def labels_of(file: LabelFile) -> dict[str, tuple[str, ...]]:
    return {report_id: answer.labels for report_id, answer in file.answers.items()}


@pytest.fixture
def curated(tmp_path: Path) -> Path:
    path = tmp_path / "curated.csv"
    path.write_text('uid,A,B,agreed\n1,"Edema, Fracture","edema, ",Edema\n2,Pneumonia,,Pneumonia\n3,Normal,Edema,\n')
    return path


def gold_of(path: Path, rule: str, task: Task = MC) -> dict[str, tuple[str, ...]]:
    return labels_of(combine_gold(task, list(read_gold(path, task, None, ["A", "B"], rule, None).values()), rule))


def test_what_any_annotator_found_or_all_did(curated: Path) -> None:
    assert gold_of(curated, "union") == {"1": ("Edema", "Fracture"), "2": ("Pneumonia",), "3": ("Edema",)}
    # Of two the majority is both; the second report has one annotator, since a blank is no Normal here.
    expected = {"1": ("Edema",), "2": ("Pneumonia",), "3": ()}
    assert gold_of(curated, "intersection") == gold_of(curated, "majority") == expected


def test_what_one_annotator_left_blank_is_made_of_the_others(tmp_path: Path) -> None:
    path = tmp_path / "x.csv"
    path.write_text("uid,A,B\n1,Edema,\n2,,\n3,Normal,Edema\n")
    sides = read_gold(path, MC, None, ["A", "B"], "intersection", None)
    gold = combine_gold(MC, list(sides.values()), "intersection")
    assert (labels_of(gold), gold.blank) == ({"1": ("Edema",), "2": (), "3": ()}, {"2"})
    assert [unannotated(side) for side in sides.values()] == [{"2"}, {"1", "2"}]
    assert [unannotated(side, "negative") for side in sides.values()] == [set(), set()]
    assert labels_of(combine_gold(MC, list(sides.values()), "intersection", "negative"))["1"] == ()


def test_annotators_mean_the_same_by_the_tasks_rule(tmp_path: Path) -> None:
    path = tmp_path / "x.jsonl"
    row = {"A": ["small left effusion", "Nodule"], "B": ["left effusion", "nodule", "scar"]}
    write_jsonl(path, [{"report_id": "1"} | row])
    assert set(gold_of(path, "union", OE)["1"]) == {"left effusion", "Nodule", "scar"}
    assert set(gold_of(path, "intersection", OE)["1"]) == {"left effusion", "Nodule"}


@pytest.mark.parametrize("task", [MC, MC.three_valued()])
def test_a_cell_of_doubt_alone_is_understood(tmp_path: Path, task: Task) -> None:
    path = tmp_path / "gold.csv"
    path.write_text("uid,labels\n1,Edema (uncertain)\n2,Edema\n")
    assert labels_of(understood(task, read_labels(path, task))[0]) == {"1": ("Edema (uncertain)",), "2": ("Edema",)}
    path.write_text("uid,labels\n1,Edema (unlikely)\n")
    with pytest.raises(InputError, match="is none of the classes"):
        understood(task, read_labels(path, task))


def test_a_consensus_column_stands_beside_its_annotators(curated: Path) -> None:
    sides = read_gold(curated, MC, "agreed", ["A", "B"], None, None)
    assert list(sides) == ["A", "B", "gold"]
    assert labels_of(sides["gold"]) == {"1": ("Edema",), "2": ("Pneumonia",), "3": ()}


@pytest.mark.parametrize(
    ("column", "columns", "rule", "message"),
    [
        (None, ["A"], "union", "two or more different columns"),
        (None, ["A", "A"], "union", "two or more different columns"),
        (None, ["A", "B"], None, f"needs gold_rule={'|'.join(RULES)} or the gold_column"),
        ("agreed", ["A", "B"], "union", f"needs gold_rule={'|'.join(RULES)} or the gold_column"),
        ("agreed", [], "union", "gold_rule needs the annotators' columns"),
        (None, ["A", "gold"], "union", "cannot be named 'gold'"),
        (None, ["A", "C"], "union", "no column 'C'"),
    ],
)
def test_contradicting_keys_are_refused(
    curated: Path, column: str | None, columns: list[str], rule: str | None, message: str
) -> None:
    with refused(message):
        read_gold(curated, MC, column, columns, rule, None)


@given(st.sampled_from(MC.classes), st.data())
def test_one_swapped_pair_of_letters_is_understood(name: str, data: st.DataObject) -> None:
    at = data.draw(st.integers(0, len(name) - 2))
    assert MC.nearest(name[:at] + name[at + 1] + name[at] + name[at + 2 :]) == name


@given(st.text(max_size=40))
def test_any_text_is_near_a_class_or_none(name: str) -> None:
    assert MC.nearest(name) in (*MC.classes, "Normal", None)


def test_respelling_changes_only_misspelt_names_and_nothing_in_place() -> None:
    labels = {
        "1": ("Edema", "Pneumonai"), "2": ("Pneumonai", "Pneumonia"), "3": ("Noraml",), "4": ("granuloma", "Normal"),
        "5": ("Fractur",),
    }  # fmt: skip
    file = LabelFile(Path("x"), {name: Answer(row, name) for name, row in labels.items()})
    respelt, found = respell(MC, file)
    assert found == {
        "Pneumonai": Respelling("Pneumonia", 2, "misspelt"),
        "Noraml": Respelling("Normal", 1, "misspelt"),
        "Fractur": Respelling("Fracture", 1, "misspelt"),
    }
    expected = {"1": ("Edema", "Pneumonia"), "2": ("Pneumonia",), "3": (), "5": ("Fracture",)}
    assert labels_of(respelt) == labels | expected
    assert labels_of(file) == labels


def test_keep_reports(tmp_path: Path) -> None:
    path = tmp_path / "x.jsonl"
    path.write_text("".join(json.dumps({"report_id": i, "labels": []}) + "\n" for i in range(5)))
    file = read_labels(path, MC)
    kept, others = keep_reports(file, ["3", "1"])
    assert (list(kept.answers), others, len(file.answers)) == (["1", "3"], 3, 5)
    with pytest.raises(InputError, match="nothing for 2 reports to score; first: '7'"):
        keep_reports(file, ["1", "7", "8"])
