"""Members of an ensemble: their answers to the same reports made into one, by a setting chosen on other reports."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import numpy as np

from radtune.combine import MAJORITY, Combined, combine, four_digits, mean_scores
from radtune.config import InputError
from radtune.label_files import (
    LABELS_SHA256,
    LabelFile,
    by_policy,
    joined_to,
    labels_sha256,
    policies_for,
    unannotated,
)
from radtune.labels import Answer, Status
from radtune.score.calibration import ScoreMap, choose, fit_map, thresholds
from radtune.score.inputs import check_present, check_whole, judged_cells, keep_reports, scores_of, understood, without
from radtune.tasks import Task
from radtune.tasks.counting import indicators
from radtune.tasks.lists import fold_space, write_list

# A label needs a mean score, or so many members that name it.
MEAN, VOTES = COMBINING = ("mean", "votes")


@dataclass(frozen=True)
class Setting:
    """How members are combined.

    Attributes:
        rule: One of :data:`COMBINING`.
        least: The mean score from which a class is named, or how many members have to name a label.
        map: What makes probabilities of mean scores.
        measures: Its precision, recall and F1 on the reports that it was chosen on.
    """

    rule: str
    least: float
    map: ScoreMap | None = None
    measures: Mapping[str, float] = field(default_factory=dict)


def rule_for(members: Sequence[LabelFile]) -> str:
    """:data:`MEAN` where all members give scores, else :data:`VOTES`."""
    scored = (any(answer.provenance.get("scores") for answer in member.answers.values()) for member in members)
    return MEAN if all(scored) else VOTES


def check_same_reports(members: Sequence[LabelFile]) -> None:
    """Raises an InputError unless all members have answered the same reports."""
    for one, other in zip(members, members[1:] + members[:1], strict=True):
        check_present(f"{one.path}: no answer to", other.answers, f"of {other.path}", one.answers)


def combined(task: Task, members: Sequence[LabelFile], setting: Setting) -> dict[str, Combined]:
    """The answer of all members together, by report; with mean scores in its provenance where these decide it.

    An answer of which not even half of the members are ok has the status of most of the others.
    """
    votes = {x: [member.answers[x] for member in members] for x in members[0].answers}
    if setting.rule == VOTES:
        return {x: combine(task, answers, int(setting.least)) for x, answers in votes.items()}
    scores = _mean(task, members, setting.map)
    found = {}
    for (report_id, answers), row in zip(votes.items(), scores, strict=True):
        voted = combine(task, answers, MAJORITY)
        if voted.answer.status == Status.OK:
            given = dict(zip(task.classes, row.tolist(), strict=True))
            labels = tuple(name for name, score in given.items() if score >= setting.least)
            agreement = {name: sum(name in answer.labels for answer in answers) / len(answers) for name in labels}
            answer = replace(voted.answer, labels=labels, phrases=(), provenance={"scores": given})
            voted = Combined(answer, agreement, sum({*a.labels} == {*labels} for a in answers) / len(answers))
        found[report_id] = voted
    return found


def _mean(task: Task, members: Sequence[LabelFile], score_map: ScoreMap | None) -> np.ndarray:
    """Mean scores of the members that have read a report, shape (reports, classes); probabilities, with a map."""
    for member in members:
        scores_of(task, member.path, list(member.answers.values()))
        for report_id, answer in member.answers.items():
            given = answer.provenance.get("scores") or {}
            if lacking := next((name for name in task.classes if given and name not in given), None):
                raise InputError(f"{member.path}: no score of {lacking!r} for report {report_id!r}")
            if any(isinstance(score, str) for score in given.values()):
                raise InputError(f"{member.path}: 'scores' is not a number for each class")
        unscored = (x for x, a in member.answers.items() if a.status == Status.OK and not a.provenance.get("scores"))
        if (first_of_them := next(unscored, None)) is not None:
            raise InputError(f"{member.path}: no scores for report {first_of_them!r}; rule=votes counts labels")
    answers = []
    for report_id, first in members[0].answers.items():
        given = [scores for member in members if (scores := member.answers[report_id].provenance.get("scores"))]
        answers.append(replace(first, provenance={"scores": mean_scores(given) if given else {}}))
    scores = scores_of(task, members[0].path, answers)
    if scores is None:
        raise InputError(f"{members[0].path}: no scores of classes to take the mean of (scores=true when asking)")
    return scores if score_map is None else _mapped(scores, score_map)


def _mapped(scores: np.ndarray, score_map: ScoreMap) -> np.ndarray:
    """Probabilities as they are written, so that a threshold names the same wherever it is applied."""
    return np.vectorize(four_digits, otypes=[float])(score_map(scores))


def beside_gold(
    task: Task, members: Sequence[LabelFile], gold: LabelFile, gold_blank: str | None = None
) -> tuple[list[LabelFile], LabelFile]:
    """What members say of the reports that gold says something of, and gold of these, in one order.

    Raises:
        InputError: Not all have answered the same, or gold lacks some of it.
    """
    check_same_reports(members)
    gold, _ = joined_to(understood(task, gold)[0], members[0].answers)
    gold = by_policy(task, gold, policies_for(task, None))
    gold, _ = keep_reports(gold, members[0].answers)
    gold = without(gold, unannotated(gold, gold_blank))
    check_whole(gold)
    return [replace(member, answers={x: member.answers[x] for x in gold.answers}) for member in members], gold


def choose_setting(
    task: Task,
    members: Sequence[LabelFile],
    gold: LabelFile,
    rule: str,
    calibration: str | None,
    wanted: Mapping[str, float],
    gold_blank: str | None = None,
    given: float | None = None,
) -> Setting:
    """Chooses threshold or number of votes, unless it is given, and fits the map, on their reports.

    Raises:
        InputError: As :func:`beside_gold`, :func:`choose` and :func:`fit_map` say, or gold has no label.
    """
    own, gold = beside_gold(task, members, gold, gold_blank)
    if not any(answer.labels for answer in gold.answers.values()):
        raise InputError(f"{gold.path}: no label in the validation reports' gold: nothing can be chosen on it")
    right, judged = list(gold.answers.values()), judged_cells(task, gold, gold_blank)
    if rule == VOTES:
        found = []
        for least in [int(given)] if given else range(len(members), 0, -1):
            named = [one.answer for one in combined(task, own, Setting(VOTES, least)).values()]
            found.append((float(least), task.count(named, right, judged).rules["micro"].sum(axis=0)))
        least, measures = choose(found, wanted)
        return Setting(VOTES, least, None, measures)
    scores, truth = _mean(task, own, None), indicators(right, task.classes)[0]
    votes = np.array([[one.answers[x].status == Status.OK for one in own] for x in gold.answers]).sum(axis=1)
    # What most could not read will have no label, whatever the others' scores are: what is gold of it is missed.
    read = judged & (votes > len(own) // 2)[:, None]
    if not read.any():
        raise InputError(f"{own[0].path}: most models could read none of the validation reports")
    score_map = fit_map(calibration, scores[read], truth[read]) if calibration else None
    scores, missed = scores if score_map is None else _mapped(scores, score_map), (truth & judged & ~read).sum()
    found = thresholds(scores[read], truth[read], given)
    least, measures = choose([(least, counts + np.array([0, 0, 0, missed])) for least, counts in found], wanted)
    return Setting(MEAN, least, score_map, measures)


def most_doubtful(found: Mapping[str, Combined], share: float) -> list[str]:
    """The reports, a share of all, whose answers a reader should see first: what nobody could read, then the doubtful.

    Doubt is how many classes are expected to be wrong by their scores, or, without scores, how many disagree.
    """

    def doubt(one: Combined) -> float:
        scores = one.answer.provenance.get("scores")
        if one.answer.status != Status.OK:
            return np.inf
        if scores is None:
            return 1 - one.whole
        return sum(1 - score if name in one.answer.labels else score for name, score in scores.items())

    return sorted(found, key=lambda x: -doubt(found[x]))[: round(share * len(found))]


def queue_cell(task: Task, answer: Answer) -> str | None:
    """What a reader is shown of an answer, to be read again by :func:`as_read`; nothing where there is none."""
    if answer.status != Status.OK:
        return None
    if not task.classes:
        return write_list(list(answer.labels))
    return task.encode([label for label in answer.labels if task.canonical(label)])


def as_read(task: Task, found: Mapping[str, Combined], read: LabelFile) -> dict[str, Combined]:
    """What a reader says, by report, each sure; a blank cell says nothing, and phrases that stay keep code and side."""
    said, scored = {}, any(one.answer.provenance.get("scores") for one in found.values())
    for report_id, answer in read.answers.items():
        if report_id in read.blank:
            continue
        before = found[report_id].answer
        if not answer.phrases:
            known = {fold_space(phrase.phrase).casefold(): phrase for phrase in before.phrases}
            kept = (known.get(fold_space(label).casefold()) for label in answer.labels)
            answer = replace(answer, phrases=tuple(phrase for phrase in kept if phrase))
        scores = {name: float(name in answer.labels) for name in task.classes} if scored else None
        patient_id = before.patient_id if answer.patient_id is None else answer.patient_id
        answer = replace(answer, patient_id=patient_id, provenance={"scores": scores} if scores else {})
        said[report_id] = combine(task, [answer], MAJORITY)
    return said


def rows(task: Task, found: Mapping[str, Combined], for_reader: float | None) -> Iterator[dict[str, Any]]:
    """Rows of ``predictions.jsonl``; the :func:`most_doubtful` reports, so large a share, are marked ``for_reader``."""
    doubtful = {*most_doubtful(found, for_reader or 0)}
    for report_id, one in found.items():
        answer = one.answer
        row: dict[str, Any] = {"report_id": report_id, "task": task.name, "labels": list(answer.labels)}
        row["phrases"] = [asdict(phrase) for phrase in answer.phrases]
        row |= {"scores": answer.provenance["scores"]} if "scores" in answer.provenance else {}
        row |= {"agreement": one.agreement, "report_agreement": one.whole, "status": str(answer.status)}
        row |= {"for_reader": report_id in doubtful} if for_reader else {}
        row |= {"patient_id": answer.patient_id} if answer.patient_id is not None else {}
        yield row | {LABELS_SHA256: labels_sha256(row["labels"])}
