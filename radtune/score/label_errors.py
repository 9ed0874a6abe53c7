"""Labels that are likely wrong: a student that has not learned them, and other labelers, say otherwise."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from radtune.config import InputError
from radtune.label_files import LabelFile, by_policy, policies_for
from radtune.labels import Answer, Status
from radtune.score.inputs import judged_cells
from radtune.tasks import Task
from radtune.tasks.counting import indicators

# How many parts the reports are put into, each asked of a student of the others.
_FOLDS = 5


@dataclass(frozen=True)
class Suspect:
    """A label that may be wrong: one that a report has, or lacks.

    Attributes:
        given: Whether the report is said to have it.
        probability: That it has it, by the student.
        others: What other labelers say, by their names; None where they say nothing.
        suspicion: The mean of what speaks against the label: the student's probability and each other labeler.
        confident: Whether the student is as sure as it is on average of labels that say the contrary (Northcutt et al.,
            Confident learning, JAIR 2021, for each class by itself).
    """

    report_id: str
    label: str
    given: bool
    probability: float
    others: Mapping[str, bool | None]
    suspicion: float
    confident: bool


def suspects(
    task: Task,
    texts: Mapping[str, str],
    patients: Mapping[str, str],
    labels: LabelFile,
    others: Mapping[str, LabelFile],
) -> list[Suspect]:
    """Every label of classes, the most suspect first; none of what a file has no column for, or is uncertain about.

    Args:
        task: Whose classes.
        texts: By report, what the student reads; of those that have labels.
        patients: By report, what must not be learned from where the report is asked about.
        labels: By report, what is to be checked.
        others: By labeler, the same; a report that one has nothing for is not held against its labels.
    """
    given, judged = _said(task, texts, labels)
    chances = student(list(texts.values()), given, [patients[x] for x in texts])
    against = [np.where(given, 1 - chances, chances)]
    said = []
    for answers in others.values():
        named, decided = _said(task, texts, answers)
        said.append(np.where(decided, named, None))
        against.append(np.where(decided, named != given, np.nan))
    suspicion = np.nanmean(np.stack(against), axis=0)
    with np.errstate(invalid="ignore"):
        # How sure the student is, on average, of labels that are there, and of those that are not.
        counts = given.sum(axis=0), (~given).sum(axis=0)
        there, absent = (chances * given).sum(axis=0) / counts[0], ((1 - chances) * ~given).sum(axis=0) / counts[1]
        confident = np.where(given, 1 - chances >= absent, chances >= there)
    found = [
        Suspect(
            report_id, name, bool(given[i, j]), round(float(chances[i, j]), 4),
            dict(zip(others, (one[i, j] for one in said), strict=True)),
            round(float(suspicion[i, j]), 4), bool(confident[i, j]),
        )
        for i, report_id in enumerate(texts) for j, name in enumerate(task.classes) if judged[i, j]
    ]  # fmt: skip
    return sorted(found, key=lambda one: (-one.suspicion, not one.confident))


def _said(task: Task, report_ids: Iterable[str], file: LabelFile) -> tuple[np.ndarray, np.ndarray]:
    """Which classes a file names, and which it decides, both boolean, of shape (reports, classes)."""
    answers = {x: file.answers.get(x, Answer((), x, status=Status.REFUSED)) for x in report_ids}
    file = by_policy(task, replace(file, answers=answers), policies_for(task, "drop"))
    rows = list(file.answers.values())
    has = np.array([row.status == Status.OK for row in rows])[:, None]
    return indicators(rows, task.classes)[0], judged_cells(task, file, None) & has


def student(texts: Sequence[str], given: np.ndarray, patients: Sequence[str]) -> np.ndarray:
    """Probabilities of classes by linear models that learned none of a patient's reports, shape (reports, classes)."""
    from sklearn.model_selection import GroupKFold

    if len(set(patients)) < _FOLDS:
        raise InputError(f"{len(set(patients))} patients are too few: a student needs {_FOLDS}")
    chances = np.zeros(given.shape)
    for learned, asked in GroupKFold(_FOLDS).split(texts, groups=patients):
        chances[asked] = student_of([texts[i] for i in learned], given[learned], [texts[i] for i in asked])
    return chances


def student_of(texts: Sequence[str], given: np.ndarray, asked: Sequence[str]) -> np.ndarray:
    """The same by a linear model of each class, logistic regression of words by TF-IDF, of other texts."""
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression

    words = TfidfVectorizer(sublinear_tf=True)
    try:
        known, read = words.fit_transform(texts), words.transform(asked)
    except ValueError:
        raise InputError("the reports have no words") from None
    chances = np.zeros((len(asked), given.shape[1]))
    for column, truth in enumerate(given.T):
        if truth.all() or not truth.any():
            chances[:, column] = truth[0]
        else:
            chances[:, column] = LogisticRegression(C=10.0).fit(known, truth).predict_proba(read)[:, 1]
    return chances
