import dataclasses
import json
import os
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import multilabel_confusion_matrix, precision_recall_fscore_support

from radtune.config import InputError
from radtune.files import write_json
from radtune.label_files import LabelFile, Respelling
from radtune.labels import Answer, Phrase, State, Status
from radtune.score.display import metrics_text
from radtune.score.evaluation import evaluate, policy_scores, read_metrics
from radtune.score.inputs import blank_text
from radtune.tasks import Task, load_task

MC, OE = load_task("multiple_choice"), load_task("open_ended")


def labelled(rows: list, judged: list | None = None, statuses: dict[int, Status] | None = None) -> LabelFile:
    states = [None] * len(rows) if judged is None else [dict.fromkeys(names, State.ABSENT) for names in judged]
    answers = (
        Answer(tuple(row), str(i), states=states[i], status=(statuses or {}).get(i, Status.OK))
        for i, row in enumerate(rows)
    )
    return LabelFile(Path(os.devnull), {answer.report_id: answer for answer in answers}, judged is not None)


LABEL_SETS = st.sets(st.sampled_from(MC.classes))
PAIRS = st.lists(st.tuples(LABEL_SETS, LABEL_SETS), min_size=1, max_size=15)


@settings(max_examples=25, deadline=None)
@given(PAIRS)
def test_multiple_choice_equals_scikit_learn(pairs: list[tuple[set, set]]) -> None:
    predicted, gold = ([[name in row for name in MC.classes] for row in side] for side in zip(*pairs, strict=True))
    metrics = evaluate(MC, labelled([p for p, _ in pairs]), labelled([g for _, g in pairs]))
    with_gold = [number for number, column in enumerate(zip(*gold, strict=True)) if any(column)]
    for average, ours in (("micro", dataclasses.asdict(metrics.micro)), ("macro", metrics.macro)):
        labels = with_gold if average == "macro" else None
        given = {"average": average, "labels": labels, "zero_division": 0}
        if with_gold:
            expected = precision_recall_fscore_support(gold, predicted, **given)[:3]
            assert [ours["precision"], ours["recall"], ours["f1"]] == pytest.approx(expected)
    assert bool(with_gold) == bool(metrics.macro)
    for table, score in zip(
        multilabel_confusion_matrix(np.array(gold), np.array(predicted)), metrics.per_class.values(), strict=True
    ):
        assert table.ravel().tolist() == [score.tn, score.fp, score.fn, score.tp]
    by_class = precision_recall_fscore_support(gold, predicted, average=None, zero_division=0)
    for values, score in zip(zip(*by_class, strict=True), metrics.per_class.values(), strict=True):
        assert (score.precision, score.recall, score.f1, score.support) == pytest.approx(values)
    assert metrics.micro.tp == sum(score.tp for score in metrics.per_class.values())


def test_other_names_count_against_and_are_named() -> None:
    metrics = evaluate(
        MC, labelled([["Edema", "mass"], ["mass"], []]), labelled([["Edema", "Nodule"], ["mass"], ["Fracture"]])
    )
    assert (metrics.micro.tp, metrics.micro.fp, metrics.micro.fn) == (1, 2, 3)
    assert metrics.other_names == {"predictions": {"mass": 2}, "gold": {"Nodule": 1, "mass": 1}}
    assert "'mass' x2" in metrics_text(metrics)
    told, untold = ["mass", "Edema / Fracture"], ["zebrafish seen in the left base", "Zebrafish noted.", "1234567"]
    metrics = evaluate(MC, labelled([told + untold]), labelled([["Edema"]]))
    assert metrics.other_names["predictions"] == {"(not shown)": 3, "mass": 1, "Edema / Fracture": 1}
    assert "counted as wrong: (not shown) x3, 'mass' x1, 'Edema / Fracture' x1" in metrics_text(metrics)


def test_phrases_by_all_rules() -> None:
    predictions = labelled([["small left effusion", "left effusion", "Rib fracture."], []])
    metrics = evaluate(OE, predictions, labelled([["left effusion", "old rib fracture", "granuloma"], ["scar"]]))
    assert (metrics.micro.tp, metrics.micro.fp, metrics.micro.fn, metrics.micro.matched_gold) == (3, 0, 2, 2)
    assert metrics.one_to_one is not None
    assert metrics.exact is not None
    assert metrics.tokens is not None
    assert (metrics.one_to_one.tp, metrics.one_to_one.fp, metrics.one_to_one.fn) == (2, 1, 2)
    assert (metrics.exact.tp, metrics.exact.fp, metrics.exact.fn) == (1, 2, 3)
    assert (metrics.tokens.tp, metrics.tokens.fp, metrics.tokens.fn) == (4, 3, 3)
    assert (metrics.codes, metrics.agreement, metrics.per_class) == (None, [], {})


def test_blank_gold_is_negative_or_left_out() -> None:
    predictions = labelled([["Edema", "Fracture"], ["Edema"]])
    gold = labelled([["Edema"], ["Fracture"]], judged=[["Edema"], ["Edema", "Fracture"]])
    negative = evaluate(MC, predictions, gold)
    assert (negative.micro.tp, negative.micro.fp, negative.micro.fn) == (1, 2, 1)
    ignored = evaluate(MC, predictions, gold, gold_blank="ignore")
    assert (ignored.micro.tp, ignored.micro.fp, ignored.micro.fn) == (1, 1, 1)
    assert ignored.per_class["Fracture"].fp == 0
    # A class that the table has no column for is not scored.
    lacking = dataclasses.replace(gold, missing=("Fracture",))
    assert [evaluate(MC, predictions, lacking).micro.tp, evaluate(MC, predictions, lacking).micro.fn] == [1, 0]


@pytest.mark.parametrize(
    ("says_none", "gold_blank", "reports"),
    [(True, None, 2), (False, None, 3), (True, "negative", 3), (False, "ignore", 2)],
)
def test_a_report_that_nobody_annotated_is_not_negative(says_none: bool, gold_blank: str | None, reports: int) -> None:
    gold = dataclasses.replace(labelled([["Edema"], [], []]), blank=frozenset("1"), says_none=says_none)
    other = dataclasses.replace(gold, blank=frozenset("2"))
    predictions = labelled([["Edema"], ["Edema"], []])
    metrics = evaluate(MC, predictions, gold, gold_blank, annotators={"A": gold, "B": other})
    assert (metrics.n_reports, metrics.micro.fp) == (reports, reports - 2)
    # Annotators agree or not on what both have read: the first report alone, or all three.
    assert metrics.agreement[-1].n_reports == (1 if reports == 2 else 3)
    text = blank_text(MC, gold, gold_blank)
    assert text == (
        "1 of 3 reports are not annotated in gold and left out (gold_blank=ignore)" if reports == 2
        else "1 of 3 reports have no label in gold, which counts as none (gold_blank=negative)"
    )  # fmt: skip


def test_gold_of_nobody_is_refused() -> None:
    gold = dataclasses.replace(labelled([[]]), blank=frozenset("0"))
    with pytest.raises(InputError, match="no report is annotated"):
        evaluate(MC, labelled([[]]), gold, "ignore")


def test_scores_by_what_uncertain_classes_count_as() -> None:
    def table(*states: dict[str, State]) -> LabelFile:
        answers = {str(i): Answer(MC.labels_of(row), str(i), states=row) for i, row in enumerate(states)}
        return LabelFile(Path(os.devnull), answers, has_states=True)

    yes, doubt, no = State.PRESENT, State.UNCERTAIN, State.ABSENT
    predictions = table({"Edema": yes}, {"Edema": doubt}, {"Edema": yes, "Fracture": no})
    gold = table({"Edema": yes}, {"Edema": doubt}, {"Edema": doubt, "Fracture": yes})
    found = policy_scores(MC, predictions, gold, None)
    # Present: Edema 3 of 3; absent: 1 of 2, and Fracture missed; dropped: the two in doubt are; a label: 2 of 3 right.
    expected = {"drop": (1, 1 / 2), "positive": (1, 3 / 4), "negative": (1 / 2, 1 / 2), "state": (2 / 3, 2 / 4)}
    assert {name: (score["precision"], score["recall"]) for name, score in found.items()} == {
        name: pytest.approx(scores) for name, scores in expected.items()
    }
    metrics = dataclasses.replace(evaluate(MC, predictions, gold), policies=found)
    assert "  positive   precision 1.000  recall 0.750  F1 0.857" in metrics_text(metrics)
    assert policy_scores(MC, table({"Edema": yes}), table({"Edema": yes}), None) == {}
    assert policy_scores(OE, labelled([["x"]]), labelled([["x"]]), None) == {}


def test_annotators_are_compared_with_one_another_and_with_the_predictions() -> None:
    a, b = labelled([["Edema"], ["Fracture"], []]), labelled([["Edema"], [], []])
    metrics = evaluate(MC, a, b, annotators={"A": a, "B": b})
    found = metrics.agreement
    pairs = [("predictions", "gold"), ("predictions", "A"), ("predictions", "B"), ("A", "B")]
    assert [(pair.a, pair.b) for pair in found] == pairs
    assert [pair.exact for pair in found] == pytest.approx([2 / 3, 1, 2 / 3, 2 / 3])
    assert found[1].kappa == 1
    assert found[0].per_class_kappa["Edema"] == 1
    assert found[0].per_class_kappa["Fracture"] is None
    by_class = {line[:27].strip(): line.split()[-1] for line in metrics_text(metrics).splitlines()}
    assert (by_class["Edema"], by_class["Fracture"]) == ("1.000", "n/a")


def test_failed_calls_miss_their_gold() -> None:
    predictions = labelled([["Edema"], []], statuses={1: Status.FAILED})
    metrics = evaluate(MC, predictions, labelled([["Edema"], ["Edema", "Fracture"]]))
    assert (metrics.n_reports, metrics.micro.fn) == (2, 2)
    assert metrics.status_counts == {"ok": 1, "failed": 1}
    assert "counted as empty predictions: 1 failed" in metrics_text(metrics)


@pytest.mark.parametrize(
    ("predicted", "gold", "statuses", "message"),
    [
        ([[], [], []], [[]], {}, "predictions for 2 reports not in .*; first: '1'"),
        ([[]], [[], []], {}, "no prediction for 1 report of .*; first: '1'"),
        ([[], []], [[], []], {1: Status.REFUSED}, "gold of report '1' has status refused"),
    ],
)
def test_both_sides_must_be_whole(predicted: list, gold: list, statuses: dict, message: str) -> None:
    with pytest.raises(InputError, match=message):
        evaluate(MC, labelled(predicted), labelled(gold, statuses=statuses))


def test_patients_are_drawn_where_all_are_known() -> None:
    predictions, gold = labelled([["Edema"], [], []]), labelled([["Edema"], ["Edema"], []])
    assert evaluate(MC, predictions, gold, patient_ids={"0": "a", "1": "a"}).bootstrap.unit == "report"
    drawn = evaluate(MC, predictions, gold, patient_ids={"0": "a", "1": "a", "2": "b"}).bootstrap
    assert (drawn.unit, drawn.n_units, drawn.resamples) == ("patient", 2, 10_000)


TREE = """\
name: tree
kind: classes
none: Nothing
classes: [Tumour, {name: Cyst, parent: Tumour}, {name: Renal Cyst, parent: Cyst}, Stone]
prompts: {inference: "Which of {classes}?"}
"""


def test_a_report_has_a_parent_if_it_has_any_class_below_it(tmp_path: Path) -> None:
    (tmp_path / "tree.yaml").write_text(TREE)
    task = load_task(tmp_path / "tree.yaml")
    predictions = labelled([["Renal Cyst"], ["Stone"], ["Cyst"], ["Cyst"]])
    gold = [["Tumour"], ["Cyst", "Renal Cyst"], [], ["Cyst"]]
    found = evaluate(task, predictions, labelled(gold)).per_parent
    assert {name: (s.tp, s.fp, s.fn, s.tn) for name, s in found.items()} == {
        "Tumour": (2, 1, 1, 0),
        "Cyst": (1, 2, 1, 0),
    }
    text = metrics_text(evaluate(task, predictions, labelled(gold)))
    assert "Tumour and all below it  precision 0.667" in text and "3 of 4 classes have a gold case" in text
    # The third report's gold leaves open whether there is a renal cyst, so that a cyst may be right there.
    judged = [[*task.classes], [*task.classes], ["Tumour", "Cyst"], [*task.classes]]
    found = evaluate(task, predictions, labelled(gold, judged), gold_blank="ignore").per_parent
    assert {name: (s.tp, s.fp, s.fn, s.tn) for name, s in found.items()} == {
        "Tumour": (2, 0, 1, 0),
        "Cyst": (1, 1, 1, 0),
    }


def scored_by(file: LabelFile, *rows: dict[str, float]) -> LabelFile:
    answers = zip(file.answers.values(), rows, strict=True)
    given = {a.report_id: dataclasses.replace(a, provenance={"scores": row} if row else {}) for a, row in answers}
    return dataclasses.replace(file, answers=given)


def test_scores_of_classes_rank_reports_and_classes(tmp_path: Path) -> None:
    (tmp_path / "tree.yaml").write_text(TREE)
    task = load_task(tmp_path / "tree.yaml")
    gold = labelled([["Cyst", "Stone"], ["Stone"], ["Cyst"], []])
    predictions = scored_by(
        labelled([["Cyst"], ["Stone"], [], []]), {"Cyst": 0.9, "Stone": 0.4}, {"Stone": 0.8, "Tumour": 0.9},
        {}, {"Cyst": 0.3, "Tumour": 0.2},
    )  # fmt: skip
    metrics = evaluate(task, predictions, gold, patient_ids={"0": "a", "1": "a", "2": "b", "3": "b"})
    cyst = metrics.per_class["Cyst"]
    # The cyst of a report without scores counts as 0, as low as the second report's.
    assert cyst.auroc == pytest.approx((1 + 1 + 0 + 1 / 2) / 4)
    assert cyst.average_precision == pytest.approx(1 / 2 * 1 + 1 / 2 * 2 / 4)
    assert (metrics.per_class["Stone"].auroc, metrics.per_class["Tumour"].auroc) == (1, None)
    assert metrics.macro["auroc"] == pytest.approx((cyst.auroc + 1) / 2)
    assert {most: (s.tp, s.fn) for most, s in metrics.first.items()} == {"1": (1, 3), "3": (4, 0), "5": (4, 0)}
    shown = metrics_text(metrics)
    assert "macro  AUROC 0.812  average precision 0.875" in shown
    assert "first 1  precision 0.250  recall 0.250" in shown
    with pytest.raises(InputError, match="'scores' is not a number for each class"):
        evaluate(task, scored_by(gold, {"Cyst": "high"}, {}, {}, {}), gold)  # type: ignore[dict-item]
    # Without scores, lists may stand in the order of likelihood.
    lists = labelled([["Tumour", "Stone", "Gravel", "Cyst"], ["Stone"], [], ["Cyst"]])
    found = evaluate(task, lists, gold, ranked=True).first
    assert {most: (s.tp, s.fp, s.fn) for most, s in found.items()} == {
        "1": (1, 2, 3), "3": (3, 2, 1), "5": (3, 2, 1)
    }  # fmt: skip
    assert evaluate(task, lists, gold).first == {}


def test_reports_are_scored_by_group() -> None:
    predictions, gold = labelled([["Edema"], ["Edema"], []]), labelled([["Edema"], [], []])
    groups = {"modality": {"0": "CT", "1": "CR", "2": "CR"}}
    by = evaluate(MC, predictions, gold, patient_ids={"0": "a", "1": "b", "2": "b"}, groups=groups).by["modality"]
    assert {value: (group.n_reports, group.micro.tp, group.micro.fp) for value, group in by.items()} == {
        "CR": (2, 0, 1), "CT": (1, 1, 0)
    }  # fmt: skip
    # No gold case is among the radiographs.
    assert {value: group.macro for value, group in by.items()} == {"CR": None, "CT": 1.0}
    assert by["CT"].micro.ci95["f1"] == (1, 1)
    shown = metrics_text(evaluate(MC, predictions, gold, groups=groups))
    assert "modality CT, n 1  precision 1.000" in shown


def with_code(file: LabelFile, code: str) -> LabelFile:
    answer = dataclasses.replace(file.answers["0"], phrases=(Phrase("Edema", code),))
    return dataclasses.replace(file, answers=file.answers | {"0": answer})


@pytest.mark.parametrize("task", [MC, OE], ids=lambda task: task.name)
def test_metrics_file_round_trip(tmp_path: Path, task: Task) -> None:
    predictions = with_code(labelled([["Edema", "Lung Lesion"], []]), "J81.0")
    gold = with_code(labelled([["Edema"], ["Fracture"]]), "J81.1")
    metrics = evaluate(task, predictions, gold, other=gold, annotators={"A": gold, "B": predictions})
    respelled = {"gold": {"Edma": Respelling("Edema", 2)}}
    metrics = dataclasses.replace(metrics, respelled=respelled, errors={"fp": {"missed": 1}, "fn": {}})
    write_json(tmp_path / "metrics.json", metrics)
    assert read_metrics(tmp_path / "metrics.json") == metrics
    low, high = metrics.micro.ci95["f1"]
    assert np.isfinite([low, high]).all()
    assert low <= metrics.micro.f1 <= high
    if task == OE:
        assert metrics.codes is not None
        assert (metrics.codes.same_code, metrics.codes.same_category) == (0, 1)


def test_files_of_other_versions_are_read(tmp_path: Path) -> None:
    path = tmp_path / "metrics.json"
    write_json(path, evaluate(MC, labelled([["Edema"]]), labelled([["Edema"]])))
    values = json.loads(path.read_text())
    for name in ("per_parent", "respelled", "errors", "codes", "agreement"):
        del values[name]
    path.write_text(json.dumps(values | {"auroc": {"Edema": 0.9}}))
    found = read_metrics(path)
    assert (found.micro.f1, found.per_parent, found.errors) == (1, {}, None)


@pytest.mark.parametrize("text", ["", "{}", "[]", "3", '{"task": "open_ended", "micro": null}', "broken"])
def test_other_json_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "metrics.json"
    write_json(path, evaluate(MC, labelled([[]]), labelled([[]])))
    path.write_text(path.read_text().replace('"support": 0', '"support": "0"', 1) if text == "broken" else text)
    with pytest.raises(InputError, match=r"not a metrics|not valid JSON|expected a JSON object"):
        read_metrics(path)
