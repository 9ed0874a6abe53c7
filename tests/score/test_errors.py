import json
import os
import tomllib
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from radtune.label_files import LabelFile
from radtune.labels import Answer, State
from radtune.score.errors import count_kinds, examples_text, find_errors, report_errors, write_errors
from radtune.tasks import Task, load_task

MC, OE = load_task("multiple_choice"), load_task("open_ended")
HERE = Path(__file__).parent
FILES = ("error_pairs.toml", "error_pairs_held_out.toml", "error_pairs_second_held_out.toml")


def by_hand(name: str) -> list[tuple[dict, dict[tuple[str, str], str]]]:
    """Cases with the kind of each of their errors, by side and label."""
    cases = tomllib.loads((HERE / name).read_text(encoding="utf-8"))["case"]
    return [
        (case, {(side, label): kind for side in ("fp", "fn") for label, kind in case.get(side, {}).items()})
        for case in cases
    ]


@pytest.mark.parametrize(("name", "least"), zip(FILES, (150, 50, 50), strict=True))
def test_nine_of_ten_kinds_are_those_given_by_hand(name: str, least: int) -> None:
    agreed = total = 0
    for case, expected in by_hand(name):
        task = load_task(case.get("task", OE.name))
        errors = report_errors(task, "1", case["predicted"], case["gold"], case["report"])
        found = {(error.side, error.label): error.kind for error in errors}
        assert found.keys() == expected.keys(), case
        total += len(expected)
        agreed += sum(found[key] == kind for key, kind in expected.items())
    assert total >= least
    assert agreed / total >= 0.9, f"{agreed} of {total}"


def labelled(rows: dict[str, tuple[str, ...]], judged: dict[str, list[str]] | None = None) -> LabelFile:
    states = {name: dict.fromkeys(classes, State.ABSENT) for name, classes in (judged or {}).items()}
    answers = {name: Answer(labels, name, states=states.get(name)) for name, labels in rows.items()}
    return LabelFile(Path(os.devnull), answers, judged is not None)


TEXTS = {"1": "Zebrafish effusion. No edema.", "2": "Lungs are clear."}


def test_other_label_and_sentence_are_named() -> None:
    predictions = labelled({"1": ("small zebrafish effusion",), "2": ()})
    gold = labelled({"1": ("effusion",), "2": ()})
    errors = list(find_errors(OE, predictions, gold, TEXTS))
    assert [(e.report_id, e.side, e.label, e.other) for e in errors] == [
        ("1", "fp", "small zebrafish effusion", "effusion"),
        ("1", "fn", "effusion", "small zebrafish effusion"),
    ]
    assert errors[0].sentence == "Zebrafish effusion"
    assert "in 'Zebrafish effusion' (report 1)" in examples_text(errors)


@pytest.mark.parametrize(
    ("predicted", "kind"), [("no small effusion", "negated"), ("possible small effusion", "uncertain")]
)
def test_other_words_that_deny_or_doubt_are_no_description(predicted: str, kind: str) -> None:
    errors = report_errors(OE, "1", [predicted], ["effusion"], "Small effusion.")
    assert [(e.side, e.kind, e.other) for e in errors] == [("fp", kind, "effusion"), ("fn", kind, predicted)]


def test_sentences_are_written_only_on_demand(tmp_path: Path) -> None:
    errors = report_errors(MC, "1", ["Edema"], [], TEXTS["1"])
    path = tmp_path / "errors.jsonl"
    for show_text, sentence in ((False, None), (True, "No edema")):
        write_errors(path, errors, show_text)
        row = json.loads(path.read_text())
        assert row == {
            "report_id": "1", "side": "fp", "label": "Edema", "kind": "negated", "other": None, "sentence": sentence
        }  # fmt: skip
        assert path.stat().st_mode & 0o777 == 0o600


def test_unjudged_classes_are_no_errors() -> None:
    predictions, judged = labelled({"1": ("Edema", "Fracture"), "2": ()}), {"1": ["Edema"], "2": []}
    gold = labelled({"1": (), "2": ()}, judged)
    assert [e.label for e in find_errors(MC, predictions, gold, TEXTS, ignore_blank=True)] == ["Edema"]
    assert [e.label for e in find_errors(MC, predictions, gold, TEXTS)] == ["Edema", "Fracture"]


def test_counts_by_side_and_kind() -> None:
    errors = report_errors(MC, "1", ["Edema", "Fracture"], ["Pneumonia"], TEXTS["1"])
    assert count_kinds(errors) == {"fp": {"negated": 1, "not_in_report": 1}, "fn": {"not_in_report": 1}}
    assert count_kinds([]) == {"fp": {}, "fn": {}}


def test_a_task_without_rules_is_read_by_its_own_words(tmp_path: Path) -> None:
    (tmp_path / "cysts.yaml").write_text(
        'name: cysts\nkind: classes\nclasses: [Cyst, Renal Cyst, Stone]\nprompts: {inference: "{classes}"}\n'
    )
    task = load_task(tmp_path / "cysts.yaml")
    text = "No stone is seen. Possible renal cyst."
    errors = report_errors(task, "1", ["Stone", "Cyst", "stones"], ["Renal Cyst"], text)
    assert [(error.label, error.kind) for error in errors] == [
        ("Stone", "negated"),
        ("Cyst", "uncertain"),
        ("stones", "negated"),
        ("Renal Cyst", "uncertain"),
    ]


LABELS = st.lists(st.one_of(st.sampled_from(MC.classes), st.text(min_size=1, max_size=30)), max_size=4, unique=True)


@settings(max_examples=40, deadline=None)
@given(st.sampled_from([MC, OE]), LABELS, LABELS, st.text(max_size=80))
def test_any_labels_and_text_are_classified(task: Task, predicted: list[str], gold: list[str], text: str) -> None:
    errors = report_errors(task, "1", predicted, gold, text)
    assert {e.label for e in errors if e.side == "fp"} <= set(predicted)
    assert {e.label for e in errors if e.side == "fn"} <= set(gold)
    if task == MC:
        assert {e.label for e in errors if e.side == "fp"} >= set(predicted) - set(gold)
