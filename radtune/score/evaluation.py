"""Scores one task's predictions against gold, and reads and writes the result: metrics.json."""

import dataclasses
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import combinations
from pathlib import Path
from types import MappingProxyType

import numpy as np

from radtune.config import InputError
from radtune.files import read_json_as, sha256_file
from radtune.label_files import (
    NEGATIVE,
    POLICIES,
    LabelFile,
    Respelling,
    by_policy,
    other_names,
    plain_classes,
    unannotated,
)
from radtune.labels import Answer, Status
from radtune.score.agreement import Agreement, compare
from radtune.score.calibration import Calibration, calibration_of
from radtune.score.codes import CodeScores, score_codes
from radtune.score.comparison import Comparison, compare_counts
from radtune.score.inputs import check_present, check_whole, judged_cells, scores_of, without
from radtune.score.scores import MEASURES, RESAMPLES, Score, auroc, average_precision, micro_score, ratios
from radtune.tasks import Task
from radtune.tasks.counting import ClassCounts, Counts, indicators

# What to do where the two files are not of the same reports.
_ALONE = "(reports=FILE scores its reports alone)"
# What scores of classes are measured by; and how many of a ranked list are looked at.
_OF_SCORES = ("auroc", "average_precision")
_FIRST = (1, 3, 5)


@dataclass(frozen=True)
class ClassScore:
    """Scores of one class, as :class:`radtune.score.scores.Score`; ``support`` is the number of gold cases.

    AUROC and average precision are of the predictions' ``scores``, where these have some.
    """

    precision: float
    recall: float
    f1: float
    support: int
    tp: int
    fp: int
    fn: int
    tn: int
    ci95: dict[str, tuple[float, float]]
    auroc: float | None = None
    average_precision: float | None = None


@dataclass(frozen=True)
class Group:
    """Scores of some of the reports; ``macro`` is the mean F1 of the classes that have a gold case among them."""

    n_reports: int
    micro: Score
    macro: float | None = None


@dataclass(frozen=True)
class Bootstrap:
    """How intervals were made: ``n_units`` reports or patients (the ``unit``) drawn with replacement, many times."""

    resamples: int
    seed: int
    unit: str
    n_units: int


@dataclass(frozen=True, kw_only=True)
class Metrics:
    """What a metrics.json holds. What older files may lack has a default, so a new metric is a field with one.

    Attributes:
        micro: By the task's own rule, as the paper reports.
        one_to_one: Phrases: the same where each is matched at most once.
        exact: Phrases: where only those of the same words match.
        tokens: Phrases: over the words of a report's phrases; its ``f1`` is token F1.
        macro: Classes: plain means over those with a gold case, also of AUROC and average precision.
        other_names: Names that are no class and how often each stands, in ``predictions`` and in ``gold``; all that do
            not look like a name together.
        status_counts: Predictions by status; those that are not ok count as empty.
        inputs: SHA-256 by file.
        agreement: Classes: of predictions and gold, and of the annotators with one another and with the predictions.
        respelled: With lenient spelling: by side, what misspelt names were taken for.
        errors: By side (``fp``, ``fn``) and kind, how many errors there are, where they were looked into.
        policies: Where a class is uncertain: by what that counts as, micro precision, recall and F1.
        per_parent: Classes that have parents: by parent; a report has it if it has the parent or any class below it.
        by: By column of the reports or of gold, e.g. ``modality``, and its value.
        first: Classes that are ranked, by their scores or as they were written: of the first 1, 3 and 5 of each report.
        calibration: Classes that have scores: how far these are probabilities.
    """

    task: str
    n_reports: int
    micro: Score
    one_to_one: Score | None = None
    exact: Score | None = None
    tokens: Score | None = None
    codes: CodeScores | None = None
    macro: dict[str, float] = field(default_factory=dict)
    per_class: dict[str, ClassScore] = field(default_factory=dict)
    other_names: dict[str, dict[str, int]] = field(default_factory=dict)
    status_counts: dict[str, int] = field(default_factory=dict)
    matching: str = ""
    gold_blank: str = NEGATIVE
    bootstrap: Bootstrap
    inputs: dict[str, str] = field(default_factory=dict)
    agreement: list[Agreement] = field(default_factory=list)
    comparison: Comparison | None = None
    respelled: dict[str, dict[str, Respelling]] = field(default_factory=dict)
    errors: dict[str, dict[str, int]] | None = None
    per_parent: dict[str, ClassScore] = field(default_factory=dict)
    policies: dict[str, dict[str, float]] = field(default_factory=dict)
    by: dict[str, dict[str, Group]] = field(default_factory=dict)
    first: dict[str, Score] = field(default_factory=dict)
    calibration: Calibration | None = None


# Scores of counts, shape (reports, 4), or of some of their rows, with intervals by this evaluation's units and seed.
_Scorer = Callable[..., Score]


def evaluate(
    task: Task,
    predictions: LabelFile,
    gold: LabelFile,
    gold_blank: str | None = None,
    patient_ids: Mapping[str, str] = MappingProxyType({}),
    seed: int = 0,
    other: LabelFile | None = None,
    annotators: Mapping[str, LabelFile] = MappingProxyType({}),
    groups: Mapping[str, Mapping[str, str]] = MappingProxyType({}),
    ranked: bool = False,
) -> Metrics:
    """Scores predictions, compared with those of another system and with annotators where these are given.

    The bootstrap draws patients where every report's is known, in ``patient_ids`` (by report) or in either file.
    ``groups`` are the reports' values by column, each to be scored apart; labels may stand in ``ranked`` order.

    Raises:
        InputError: Predictions and gold are not of the same reports, or gold has a status that is not ok, or nothing.
    """
    left_out = unannotated(gold, gold_blank)
    predictions, gold = without(predictions, left_out), without(gold, left_out)
    other = without(other, left_out) if other is not None else None
    if not gold.answers:
        raise InputError(f"{gold.path}: no report is annotated")
    check_whole(gold)
    sides = [side for side in (predictions, other) if side is not None]
    for side in sides:
        check_present(f"{side.path}: predictions for", side.answers, f"not in {gold.path} {_ALONE}", gold.answers)
        check_present(f"{side.path}: no prediction for", gold.answers, f"of {gold.path} {_ALONE}", side.answers)
    units = _patients(gold.answers, _patient_ids(predictions) | _patient_ids(gold) | dict(patient_ids))
    predicted, right = _in_order(predictions, gold), list(gold.answers.values())
    judged = judged_cells(task, gold, gold_blank)
    counts = task.count(predicted, right, judged)
    values, classes = scores_of(task, predictions.path, predicted), counts.classes

    def score(rows: np.ndarray, among: np.ndarray | slice = slice(None)) -> Score:
        drawn = None if units is None else np.unique(units[among], return_inverse=True)[1]
        return micro_score(rows[among], drawn, seed)

    unit = ("report", len(right)) if units is None else ("patient", int(units.max()) + 1)
    comparison = other_values = None
    if other is not None:
        others = _in_order(other, gold)
        theirs = task.count(others, right, judged).rules["micro"]
        comparison = compare_counts(str(other.path), counts.rules["micro"], theirs, units, seed)
        other_values = scores_of(task, other.path, others)
    calibration = None
    if classes is not None and values is not None:
        cells = classes.predicted, classes.gold, classes.judged
        read = np.array([answer.status == Status.OK for answer in predicted])
        calibration = calibration_of(values, *cells, read, units, score, seed, other_values)
    per_class = _class_scores(task, classes, score, values)
    with_gold = [scored for scored in per_class.values() if scored.support]
    macro = {x: [y for scored in with_gold if (y := getattr(scored, x)) is not None] for x in (*MEASURES, *_OF_SCORES)}
    return Metrics(
        task=task.name,
        n_reports=len(right),
        **{rule: score(rows) for rule, rows in counts.rules.items()},
        codes=None if task.classes else score_codes(predicted, right, units, seed, counts.rules["micro"]),
        macro={name: float(np.mean(found)) for name, found in macro.items() if found},
        per_class=per_class,
        other_names={"predictions": other_names(task, predicted), "gold": other_names(task, right)},
        status_counts=dict(Counter(str(answer.status) for answer in predicted)),
        matching=task.matching,
        gold_blank=gold_blank or NEGATIVE,
        bootstrap=Bootstrap(RESAMPLES, seed, *unit),
        inputs={str(side.path): sha256_file(side.path) for side in (*sides, gold)},
        agreement=_agreements(task, classes, gold, annotators, gold_blank),
        comparison=comparison,
        per_parent=_parent_scores(task, predicted, classes, score),
        by={
            name: _by_value(counts, np.array([column[x] for x in gold.answers]), score)
            for name, column in groups.items()
        },
        first=_first_scores(task, predicted, classes, score, values) if ranked or values is not None else {},
        calibration=calibration,
    )


def policy_scores(
    task: Task, predictions: LabelFile, gold: LabelFile, gold_blank: str | None
) -> dict[str, dict[str, float]]:
    """Micro scores under each of :data:`POLICIES`, where a class is uncertain on either side; else empty."""
    left_out = unannotated(gold, gold_blank)
    sides = [without(side, left_out) for side in (predictions, gold)]
    found = {}
    classes = plain_classes(task)
    is_doubted = any(by_policy(task, side, dict.fromkeys(classes, "drop")).undecided for side in sides)
    for policy in POLICIES if is_doubted else ():
        policies = dict.fromkeys(classes, policy)
        whose = task.three_valued() if policy == "state" and not task.doubted else task
        named, right = (by_policy(task, side, policies) for side in sides)
        counts = whose.count(_in_order(named, right), [*right.answers.values()], judged_cells(whose, right, gold_blank))
        totals = ratios(counts.rules["micro"].sum(axis=0))
        found[policy] = dict(zip(MEASURES, map(float, totals), strict=True))
    return found


def _in_order(side: LabelFile, gold: LabelFile) -> list[Answer]:
    return [side.answers[report_id] for report_id in gold.answers]


def _patient_ids(side: LabelFile) -> dict[str, str]:
    return {name: answer.patient_id for name, answer in side.answers.items() if answer.patient_id is not None}


def _patients(report_ids: Iterable[str], patient_ids: Mapping[str, str]) -> np.ndarray | None:
    """Index of each report's patient, shape (reports,); None if some patient is not known."""
    patients = [patient_ids.get(report_id) for report_id in report_ids]
    return None if None in patients else np.unique(patients, return_inverse=True)[1]


def _class_scores(
    task: Task, classes: ClassCounts | None, score: _Scorer, values: np.ndarray | None
) -> dict[str, ClassScore]:
    found = {}
    for i, name in enumerate(task.classes if classes else ()):
        judged, of_scores = classes.judged[:, i], {}
        if values is not None:
            ranked = values[judged, i], classes.gold[judged, i]
            of_scores = {"auroc": auroc(*ranked), "average_precision": average_precision(*ranked)}
        found[name] = _class_score(score(classes.of_class(i)), judged.sum(), **of_scores)
    return found


def _first_scores(
    task: Task, predicted: Sequence[Answer], classes: ClassCounts | None, score: _Scorer, values: np.ndarray | None
) -> dict[str, Score]:
    """Scores of the first classes of each report, by how many; those that are not judged stand in no place."""
    if classes is None:
        return {}
    places = {name: number for number, name in enumerate(task.classes)}
    orders = [[places[x] for x in answer.labels if x in places] for answer in predicted]
    if values is not None:
        orders = np.argsort(-values, axis=1, kind="stable").tolist()
    orders = [[x for x in order if judged[x]] for order, judged in zip(orders, classes.judged, strict=True)]
    found = {}
    for most in _FIRST:
        rows = [(sum(gold[order[:most]]), len(order[:most])) for order, gold in zip(orders, classes.gold, strict=True)]
        matched, named = np.array(rows, dtype=int).T
        found[str(most)] = score(np.stack([matched, named, matched, classes.gold.sum(axis=1)], axis=1))
    return found


def _by_value(counts: Counts, values: np.ndarray, score: _Scorer) -> dict[str, Group]:
    found = {}
    for value in np.unique(values):
        among = values == value
        columns = range(counts.classes.gold.shape[1]) if counts.classes else ()
        totals = [counts.classes.of_class(column)[among].sum(axis=0) for column in columns]
        f1s = [float(ratios(row)[2]) for row in totals if row[3]]
        macro = float(np.mean(f1s)) if f1s else None
        found[str(value)] = Group(int(among.sum()), score(counts.rules["micro"], among), macro)
    return found


def _class_score(score: Score, judged: int, **of_scores: float | None) -> ClassScore:
    values = dataclasses.asdict(score) | of_scores
    del values["matched_gold"]
    return ClassScore(**values, support=score.tp + score.fn, tn=int(judged) - score.tp - score.fp - score.fn)


def _parent_scores(
    task: Task, predicted: Sequence[Answer], classes: ClassCounts | None, score: _Scorer
) -> dict[str, ClassScore]:
    scores = {}
    for parent in dict.fromkeys(task.parents.values()) if classes else ():
        group = [column for column, name in enumerate(task.classes) if _is_a(name, parent, task.parents)]
        gold = classes.gold[:, group].any(axis=1)
        # Absent only where gold decides all that it may be.
        judged = gold | classes.judged[:, group].all(axis=1)
        found = indicators(predicted, task.classes)[0][:, group].any(axis=1) & judged
        rows = np.stack([found & gold, found, found & gold, gold], axis=1).astype(int)
        scores[parent] = _class_score(score(rows), judged.sum())
    return scores


def _is_a(name: str | None, parent: str, parents: Mapping[str, str]) -> bool:
    return name is not None and (name == parent or _is_a(parents.get(name), parent, parents))


def _agreements(
    task: Task,
    classes: ClassCounts | None,
    gold: LabelFile,
    annotators: Mapping[str, LabelFile],
    gold_blank: str | None,
) -> list[Agreement]:
    """Each annotator by the reports that they have annotated."""
    if classes is None:
        return []
    people = []
    for name, file in annotators.items():
        blank = unannotated(file, gold_blank)
        read = np.array([[report_id not in blank] for report_id in gold.answers])
        people.append((name, indicators(_in_order(file, gold), task.classes)[0], classes.judged & read))
    predicted = ("predictions", classes.predicted, classes.judged)
    truth = ("gold", classes.gold, classes.judged)
    pairs = [(predicted, truth), *((predicted, person) for person in people), *combinations(people, 2)]
    return [compare(task.classes, *first[:2], *second[:2], first[2] & second[2]) for first, second in pairs]


def read_metrics(path: Path) -> Metrics:
    """Reads metrics.json of any version: what it lacks has its default, what is not known is passed over."""
    return read_json_as(path, Metrics, "a metrics.json of evaluate.py")
