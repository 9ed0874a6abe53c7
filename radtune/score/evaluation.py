"""Scores one task's predictions against gold, and reads and writes the result: metrics.json."""

import dataclasses
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import combinations
from pathlib import Path
from types import MappingProxyType

import numpy as np

from radtune.config import InputError
from radtune.files import open_text, sha256_file, write_whole
from radtune.findings import FINDINGS
from radtune.labels import Status
from radtune.privacy import looks_like_name
from radtune.score.agreement import SetAgreement, compare_sets
from radtune.score.codes import CodeScores, score_codes
from radtune.score.comparison import Comparison, compare_counts
from radtune.score.counting import ClassCounts, PhraseCounts, class_indicators, count_classes, count_phrases
from radtune.score.decoding import decode
from radtune.score.inputs import LabelledReports, check_present
from radtune.score.scores import MEASURES, RESAMPLES, Score, micro_score
from radtune.score.spelling import Respelling
from radtune.tasks import multiple_choice

# What a blank cell of a gold table means. MIMIC-CXR: not mentioned, so not positive. Open-i: not decided, so that
# (report, class) pair is left out of the counts on both sides.
IGNORE = "ignore"
GOLD_BLANK = ("negative", IGNORE)

# Stands for what a model gave as a name and may be a sentence of the report, or an id.
NOT_SHOWN = "(not shown)"

MATCHING = {"multiple_choice": "exact name", "open_ended": "two consecutive words"}


@dataclass(frozen=True)
class ClassScore:
    """Scores of one class, as :class:`radtune.score.scores.Score`; ``support`` is the number of gold cases."""

    precision: float
    recall: float
    f1: float
    support: int
    tp: int
    fp: int
    fn: int
    tn: int
    ci95: dict[str, tuple[float, float]]


@dataclass(frozen=True)
class Bootstrap:
    """How intervals were made: ``n_units`` reports or patients (the ``unit``) drawn with replacement, many times."""

    resamples: int
    seed: int
    unit: str
    n_units: int


@dataclass(frozen=True)
class Metrics:
    """What a metrics.json holds.

    Attributes:
        task: The task.
        n_reports: Reports scored.
        micro: The scores that the paper reports; for phrases, by its matching rule.
        one_to_one: Open ended: the same where each phrase is matched at most once; else None.
        exact: Open ended: where only phrases of the same words match; else None.
        tokens: Open ended: over the words of a report's phrases; its ``f1`` is token F1; else None.
        codes: Open ended: ICD-10-CM codes, where both sides have some; else None.
        macro: Multiple choice: plain means over the 13 classes, those without a gold case included (as 0).
        per_class: Multiple choice: by class.
        other_names: Multiple choice: names that are none of the 13 and how often each stands, in ``predictions`` and
            in ``gold``; all that do not look like a name together, as :data:`NOT_SHOWN`.
        respelled: With lenient spelling: by side, what misspelt names were taken for.
        status_counts: Predictions by status; those that are not ok count as empty.
        matching: When a prediction is right.
        gold_blank: What a blank cell of a gold table was taken for, one of :data:`GOLD_BLANK`.
        bootstrap: How the intervals were made.
        inputs: SHA-256 by file.
        agreement: Multiple choice: of predictions and gold, and of the annotators with one another and with the
            predictions.
        comparison: How far a second system's predictions are worse, where given.
        errors: By side (``fp``, ``fn``) and kind, how many errors there are, where they were looked into.
    """

    task: str
    n_reports: int
    micro: Score
    one_to_one: Score | None
    exact: Score | None
    tokens: Score | None
    codes: CodeScores | None
    macro: dict[str, float]
    per_class: dict[str, ClassScore]
    other_names: dict[str, dict[str, int]]
    status_counts: dict[str, int]
    matching: str
    gold_blank: str
    bootstrap: Bootstrap
    inputs: dict[str, str]
    agreement: list[SetAgreement]
    comparison: Comparison | None
    respelled: dict[str, dict[str, Respelling]] = field(default_factory=dict)
    errors: dict[str, dict[str, int]] | None = None


def evaluate(
    task: str,
    predictions: LabelledReports,
    gold: LabelledReports,
    gold_blank: str = "negative",
    patient_ids: Mapping[str, str] | None = None,
    seed: int = 0,
    other: LabelledReports | None = None,
    annotators: Mapping[str, LabelledReports] = MappingProxyType({}),
) -> Metrics:
    """Scores predictions.

    Args:
        task: The task.
        predictions: What was predicted.
        gold: What is right.
        gold_blank: What a blank cell of a gold table means, one of :data:`GOLD_BLANK`.
        patient_ids: By report id. The bootstrap draws patients where every report's is known, here or in either file.
        seed: Seed of the bootstrap.
        other: Predictions of a second system, to compare the first with.
        annotators: Several people's labels of the same reports by name, to see how far they agree.

    Returns:
        The metrics.

    Raises:
        InputError: Predictions and gold are not of the same reports, gold has a status that is not ok, or
            ``gold_blank`` is "ignore" and gold is no label table.
    """
    if gold_blank == IGNORE and gold.judged is None:
        raise InputError(f"{gold.path}: gold_blank=ignore needs a label table, this file has a column of labels")
    for status_id, status in gold.statuses.items():
        if status != Status.OK:
            raise InputError(f"{gold.path}: gold of report {status_id!r} has status {status}")
    report_ids = list(gold.labels)
    sides = [side for side in (predictions, other) if side is not None]
    for side in sides:
        _check_same_reports(side, gold)
    units = _patients(report_ids, predictions.patient_ids | gold.patient_ids | dict(patient_ids or {}))
    ignore_blank = gold_blank == IGNORE
    counts = _counts(task, predictions, gold, ignore_blank)
    classes = counts if isinstance(counts, ClassCounts) else None
    phrases = counts if isinstance(counts, PhraseCounts) else None
    comparison = None
    if other is not None:
        others = _by_report(_counts(task, other, gold, ignore_blank))
        comparison = compare_counts(str(other.path), _by_report(counts), others, units, seed)
    per_class = _class_scores(classes, units, seed) if classes else {}
    return Metrics(
        task=task,
        n_reports=len(report_ids),
        micro=micro_score(_by_report(counts), units, seed),
        one_to_one=micro_score(phrases.once, units, seed) if phrases else None,
        exact=micro_score(phrases.exact, units, seed) if phrases else None,
        tokens=micro_score(phrases.tokens, units, seed) if phrases else None,
        codes=score_codes(predictions, gold, report_ids, units, seed) if phrases else None,
        macro={name: float(np.mean([getattr(c, name) for c in per_class.values()])) for name in MEASURES if classes},
        per_class=per_class,
        other_names={
            side: _other_names(reports, report_ids) if classes else {}
            for side, reports in (("predictions", predictions), ("gold", gold))
        },
        status_counts=dict(Counter(str(predictions.statuses[report_id]) for report_id in report_ids)),
        matching=MATCHING[task],
        gold_blank=gold_blank,
        bootstrap=Bootstrap(
            resamples=RESAMPLES,
            seed=seed,
            unit="report" if units is None else "patient",
            n_units=len(report_ids) if units is None else int(units.max()) + 1,
        ),
        inputs={str(side.path): sha256_file(side.path) for side in (*sides, gold)},
        agreement=_agreements(classes, annotators, report_ids) if classes else [],
        comparison=comparison,
    )


def _counts(
    task: str, predictions: LabelledReports, gold: LabelledReports, ignore_blank: bool
) -> ClassCounts | PhraseCounts:
    report_ids = list(gold.labels)
    if task == multiple_choice.NAME:
        return count_classes(predictions, gold, report_ids, ignore_blank)
    return count_phrases(predictions, gold, report_ids)


def _by_report(counts: ClassCounts | PhraseCounts) -> np.ndarray:
    """The counts that the paper's scores are made of, shape (reports, 4)."""
    return counts.by_report() if isinstance(counts, ClassCounts) else counts.several


def _check_same_reports(predictions: LabelledReports, gold: LabelledReports) -> None:
    check_present(f"{predictions.path}: predictions for", predictions.labels, f"not in {gold.path}", gold.labels)
    check_present(f"{predictions.path}: no prediction for", gold.labels, f"of {gold.path}", predictions.labels)


def _patients(report_ids: Sequence[str], patient_ids: Mapping[str, str]) -> np.ndarray | None:
    """Index of each report's patient, shape (reports,); None if some patient is not known."""
    if any(report_id not in patient_ids for report_id in report_ids):
        return None
    return np.unique([patient_ids[report_id] for report_id in report_ids], return_inverse=True)[1]


def _class_scores(classes: ClassCounts, units: np.ndarray | None, seed: int) -> dict[str, ClassScore]:
    scores = {}
    for column, name in enumerate(FINDINGS):
        score = micro_score(classes.of_class(column), units, seed)
        scores[name] = ClassScore(
            precision=score.precision,
            recall=score.recall,
            f1=score.f1,
            support=score.tp + score.fn,
            tp=score.tp,
            fp=score.fp,
            fn=score.fn,
            tn=int(classes.judged[:, column].sum()) - score.tp - score.fp - score.fn,
            ci95=score.ci95,
        )
    return scores


def _agreements(
    classes: ClassCounts, annotators: Mapping[str, LabelledReports], report_ids: Sequence[str]
) -> list[SetAgreement]:
    """Of predictions and gold, of predictions and each annotator, and of each two annotators."""
    people = [(name, class_indicators(labels, report_ids)[0]) for name, labels in annotators.items()]
    predicted = ("predictions", classes.predicted)
    pairs = [(predicted, ("gold", classes.gold)), *((predicted, person) for person in people), *combinations(people, 2)]
    return [compare_sets(*first, *second, classes.judged) for first, second in pairs]


def _other_names(reports: LabelledReports, report_ids: Sequence[str]) -> dict[str, int]:
    names = (name for report_id in report_ids for name in reports.labels[report_id] if name not in FINDINGS)
    return dict(Counter(name if looks_like_name(name) else NOT_SHOWN for name in names).most_common())


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
        return decode(Metrics, json.loads(text))
    except (ValueError, KeyError, TypeError):
        raise InputError(f"{path}: not a metrics.json of this version of evaluate.py") from None
