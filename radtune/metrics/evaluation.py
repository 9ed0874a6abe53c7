"""Scores one task's predictions against gold, and reads and writes the result: metrics.json."""

import dataclasses
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from radtune.config import InputError
from radtune.files import open_text, sha256_file, write_whole
from radtune.findings import FINDINGS
from radtune.metrics.counting import ClassCounts, count_classes, count_phrases
from radtune.metrics.inputs import LabelledReports, check_present
from radtune.metrics.scores import (
    GOLD,
    MATCHED_PREDICTIONS,
    MEASURES,
    PREDICTIONS,
    RESAMPLES,
    Score,
    micro_score,
    ratios,
)
from radtune.tasks import Status, multiple_choice

# What a blank cell of a gold table means. MIMIC-CXR: not mentioned, so not positive. Open-i: not decided, so that
# (report, class) pair is left out of the counts on both sides.
GOLD_BLANK = ("negative", "ignore")

MATCHING = {"multiple_choice": "exact name", "open_ended": "two consecutive words"}


@dataclass(frozen=True)
class ClassScore:
    """Scores of one class; a ratio without a denominator is 0, as in scikit-learn."""

    precision: float
    recall: float
    f1: float
    support: int
    tp: int
    fp: int
    fn: int


@dataclass(frozen=True)
class Metrics:
    """What a metrics.json holds.

    Attributes:
        task: The task.
        n_reports: Reports scored.
        micro: The scores that the paper reports; for phrases, by its matching rule.
        one_to_one: Open ended: the same where each phrase is matched at most once; else None.
        macro: Multiple choice: plain means over the 13 classes, those without a gold case included (as 0).
        per_class: Multiple choice: by class.
        other_names: Multiple choice: names that are none of the 13 and how often each stands, in ``predictions`` and
            in ``gold``.
        status_counts: Predictions by status; those that are not ok count as empty.
        matching: When a prediction is right.
        gold_blank: What a blank cell of a gold table was taken for, one of :data:`GOLD_BLANK`.
        bootstrap: ``resamples``, ``seed``, the ``unit`` drawn (report or patient) and ``n_units``.
        inputs: SHA-256 by file.
    """

    task: str
    n_reports: int
    micro: Score
    one_to_one: Score | None
    macro: dict[str, float]
    per_class: dict[str, ClassScore]
    other_names: dict[str, dict[str, int]]
    status_counts: dict[str, int]
    matching: str
    gold_blank: str
    bootstrap: dict[str, int | str]
    inputs: dict[str, str]


def evaluate(
    task: str,
    predictions: LabelledReports,
    gold: LabelledReports,
    gold_blank: str = "negative",
    patient_ids: Mapping[str, str] | None = None,
    seed: int = 0,
) -> Metrics:
    """Scores predictions.

    Args:
        task: The task.
        predictions: What was predicted.
        gold: What is right.
        gold_blank: What a blank cell of a gold table means, one of :data:`GOLD_BLANK`.
        patient_ids: By report id. The bootstrap draws patients where every report's is known, here or in either file.
        seed: Seed of the bootstrap.

    Returns:
        The metrics.

    Raises:
        InputError: Predictions and gold are not of the same reports, gold has a status that is not ok, or
            ``gold_blank`` is "ignore" and gold is no label table.
    """
    if gold_blank == "ignore" and gold.judged is None:
        raise InputError(f"{gold.path}: gold_blank=ignore needs a label table, this file has a column of labels")
    report_ids = _same_reports(predictions, gold)
    units = _patients(report_ids, predictions.patient_ids | gold.patient_ids | dict(patient_ids or {}))
    classes, one_to_one = None, None
    if task == multiple_choice.NAME:
        classes = count_classes(predictions, gold, report_ids, ignore_blank=gold_blank == "ignore")
        counts = classes.by_report()
    else:
        counts, once = count_phrases(predictions, gold, report_ids)
        one_to_one = micro_score(once, units, seed)
    per_class = _class_scores(classes) if classes else {}
    return Metrics(
        task=task,
        n_reports=len(report_ids),
        micro=micro_score(counts, units, seed),
        one_to_one=one_to_one,
        macro={name: float(np.mean([getattr(c, name) for c in per_class.values()])) for name in MEASURES if classes},
        per_class=per_class,
        other_names={
            side: _other_names(reports, report_ids) if classes else {}
            for side, reports in (("predictions", predictions), ("gold", gold))
        },
        status_counts=dict(Counter(str(predictions.statuses[report_id]) for report_id in report_ids)),
        matching=MATCHING[task],
        gold_blank=gold_blank,
        bootstrap={
            "resamples": RESAMPLES,
            "seed": seed,
            "unit": "report" if units is None else "patient",
            "n_units": len(report_ids) if units is None else int(units.max()) + 1,
        },
        inputs={str(path): sha256_file(path) for path in (predictions.path, gold.path)},
    )


def _same_reports(predictions: LabelledReports, gold: LabelledReports) -> list[str]:
    """Ids of the reports, in gold's order; raises InputError if the two sides differ."""
    check_present(f"{predictions.path}: predictions for", predictions.labels, f"not in {gold.path}", gold.labels)
    check_present(f"{predictions.path}: no prediction for", gold.labels, f"of {gold.path}", predictions.labels)
    for report_id, status in gold.statuses.items():
        if status != Status.OK:
            raise InputError(f"{gold.path}: gold of report {report_id!r} has status {status}")
    return list(gold.labels)


def _patients(report_ids: Sequence[str], patient_ids: Mapping[str, str]) -> np.ndarray | None:
    """Index of each report's patient, shape (reports,); None if some patient is not known."""
    if any(report_id not in patient_ids for report_id in report_ids):
        return None
    return np.unique([patient_ids[report_id] for report_id in report_ids], return_inverse=True)[1]


def _class_scores(classes: ClassCounts) -> dict[str, ClassScore]:
    scores = {}
    for name, counts in zip(FINDINGS, classes.by_class(), strict=True):
        tp, predicted, gold = (int(counts[column]) for column in (MATCHED_PREDICTIONS, PREDICTIONS, GOLD))
        scores[name] = ClassScore(*map(float, ratios(counts)), gold, tp, predicted - tp, gold - tp)
    return scores


def _other_names(reports: LabelledReports, report_ids: Sequence[str]) -> dict[str, int]:
    names = (name for report_id in report_ids for name in reports.labels[report_id] if name not in FINDINGS)
    return dict(Counter(names).most_common())


def write_metrics(path: Path, metrics: Metrics) -> None:
    """Writes metrics.json, whole or not at all."""
    with write_whole(path) as stream:
        json.dump(dataclasses.asdict(metrics), stream, indent=2, ensure_ascii=False)
        stream.write("\n")


def read_metrics(path: Path) -> Metrics:
    """Reads metrics.json.

    Raises:
        InputError: It is absent, or not such a file.
    """
    with open_text(path) as stream:
        text = stream.read()
    try:
        values = json.loads(text)
        values["micro"] = _score(values["micro"])
        values["one_to_one"] = values["one_to_one"] and _score(values["one_to_one"])
        values["per_class"] = {name: ClassScore(**value) for name, value in values["per_class"].items()}
        return Metrics(**values)
    except (ValueError, KeyError, TypeError, AttributeError):
        raise InputError(f"{path}: not a metrics.json of this version of evaluate.py") from None


def _score(values: dict) -> Score:
    intervals = {name: (float(low), float(high)) for name, (low, high) in values["ci95"].items()}
    return Score(**{**values, "ci95": intervals})
