"""Yes/no questions about images as gold."""

import csv
from pathlib import Path

import pytest

from radtune.config import InputError
from radtune.files import write_jsonl
from radtune.labels import State
from radtune.score.questions import read_questions
from radtune.tasks import load_task

CHEST = load_task("multiple_choice")
YES, NO = State.PRESENT, State.ABSENT


def write(path: Path, *rows: tuple[str, str, str]) -> Path:
    with path.open("w", newline="", encoding="utf-8") as stream:
        csv.writer(stream).writerows(
            [("qid", "image", "question", "answer"), *((n, *row) for n, row in enumerate(rows))]
        )
    return path


@pytest.mark.parametrize(
    ("question", "yes", "no"),
    [
        ("Is there a pneumothorax?", {"Pneumothorax": YES}, {"Pneumothorax": NO}),
        ("Is/Are there pleural effusion? -yes/no", {"Pleural Effusion": YES}, {"Pleural Effusion": NO}),
        ("Does this image show an effusion in the left pleural space?", {"Pleural Effusion": YES}, {}),
        ("is the heart enlarged", {"Cardiomegaly": YES}, {"Cardiomegaly": NO}),
        ("Is the heart size normal?", {"Cardiomegaly": NO}, {}),
        # Of a part, a kind, or how it is.
        ("Is there a right apical pneumothorax?", {"Pneumothorax": YES}, {}),
        ("Is this a tension pneumothorax?", {"Pneumothorax": YES}, {}),
        ("Are the nodules well circumscribed?", {"Lung Lesion": YES}, {}),
        ("Is there a rib fracture?", {"Fracture": YES}, {}),
        ("Is there a chest tube?", {"Support Devices": YES}, {}),
        ("Are the lower lung fields clear?", {}, {}),
        ("Are the lungs of normal size?", {}, {}),
        ("Is this an MRI?", {}, {}),
    ],
)
def test_yes_and_no_decide_what_they_answer_and_no_more(tmp_path: Path, question, yes, no) -> None:
    rows = (
        ("a.jpg", question, "Yes"),
        ("b.JPG", question, "no "),
        ("c", question, "left"),
        ("d", "Is there edema?", "no"),
    )
    gold = read_questions(write(tmp_path / "q.csv", *rows), CHEST)
    assert {name: dict(answer.states) for name, answer in gold.answers.items()} == {
        "a": yes, "b": no, "c": {}, "d": {"Edema": NO}
    }  # fmt: skip


def test_contradictions_are_left_open_and_other_tasks_refused(tmp_path: Path) -> None:
    rows = [("a.jpg", "Is there edema?", "yes"), ("a.jpg", "Is there edema?", "no"), ("a.jpg", "A mass seen?", "yes")]
    gold = read_questions(write(tmp_path / "q.csv", *rows), CHEST)
    assert gold.answers["a"].labels == ("Lung Lesion",) and dict(gold.answers["a"].states) == {"Lung Lesion": YES}
    with pytest.raises(InputError, match="none of the questions is about a class of multiple_choice"):
        read_questions(write(tmp_path / "none.csv", ("a.jpg", "Is this an MRI?", "no")), CHEST)
    with pytest.raises(InputError, match="questions are read by rules, and task open_ended has none"):
        read_questions(tmp_path / "q.csv", load_task("open_ended"))
    with pytest.raises(InputError, match=r"blank\.csv:2: empty image"):
        read_questions(write(tmp_path / "blank.csv", (" ", "Is there edema?", "yes")), CHEST)


@pytest.mark.parametrize("other", ["y/a.png", "x/a.jpg", "a.PNG"])
def test_images_of_one_name_are_not_one_image(tmp_path: Path, other: str) -> None:
    path = write(tmp_path / "q.csv", ("x/a.png", "Is there edema?", "yes"), (other, "Is there a pneumothorax?", "yes"))
    with pytest.raises(InputError, match=r"q\.csv:3: two images are 'a' without folder and ending; id_column=image"):
        read_questions(path, CHEST)
    assert set(read_questions(path, CHEST, "image").answers) == {"x/a.png", other}


def test_json_answers_may_be_true_and_may_be_absent(tmp_path: Path) -> None:
    asked = {"image": "a.png", "question": "Is there edema?"}
    write_jsonl(tmp_path / "q.jsonl", [asked | {"answer": True}, asked])
    assert read_questions(tmp_path / "q.jsonl", CHEST).answers["a"].labels == ("Edema",)


def test_what_nobody_asked_is_not_scored(tmp_path: Path, command) -> None:
    rows = [("a.jpg", "Is there edema?", "no"), ("a.jpg", "Is there a pneumothorax?", "yes")]
    rows += [("b.jpg", "Is there a pneumothorax?", "yes"), ("c.jpg", "Which side?", "left")]
    gold, predictions = write(tmp_path / "q.csv", *rows), tmp_path / "p.jsonl"
    named = {"a": ["Edema", "Pneumothorax", "Fracture"], "b": [], "c": ["Edema"]}
    write_jsonl(predictions, ({"report_id": name, "labels": labels} for name, labels in named.items()))
    given = [f"predictions={predictions}", f"gold={gold}", f"output={tmp_path}/m.json", "task=multiple_choice"]
    code, out, err = command("evaluate.py", *given)
    assert (code, err) == (0, "") and "1 of 3 reports are not annotated in gold and left out" in out
    assert "micro  precision 0.500  recall 0.500  F1 0.500" in out and "tp 1  fp 1  fn 1" in out
