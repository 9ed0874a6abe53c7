"""Several answers about one report made into one, and an answer checked by asking about each of its labels.

The paper names ensembling and self-verification as untried ways to raise recall and precision (section 4).
"""

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from radtune.findings import FINDINGS
from radtune.tasks import Answer, Status

VOTES = ("majority", "union")

# Our own wording.
_VERIFICATION = (
    "You are given a clinical report. Does the report say that the patient has the following condition, now and for "
    "certain?\nCondition: {label}\nAnswer with one word, yes or no."
)
# Room for the list of all classes: a model trained on lists alone answers everything with one.
VERIFICATION_TOKENS = 80
_DENIAL = re.compile(r"\W*no\b", re.IGNORECASE)


@dataclass(frozen=True)
class Verdict:
    """What the samples of a report come to.

    Attributes:
        labels: The labels that were voted for.
        status: Ok if enough samples could be read, else what most of the others were.
        agreement: By label, the share of all samples that name it.
    """

    labels: tuple[str, ...]
    status: Status
    agreement: dict[str, float]


def count_votes(answers: Sequence[Answer], vote: str) -> Verdict:
    """Counts the votes for each label, case aside.

    Args:
        answers: One for each sample.
        vote: ``majority`` keeps what more than half of all samples name, and needs more than half of them to be
            readable; ``union`` keeps what any names, and needs one.

    Returns:
        Classes in their fixed order, phrases as they first came up, each in its first spelling.
    """
    read = [answer for answer in answers if answer.status == Status.OK]
    needed = len(answers) // 2 + 1 if vote == "majority" else 1
    if len(read) < needed:
        unread = Counter(answer.status for answer in answers if answer.status != Status.OK)
        return Verdict((), unread.most_common(1)[0][0], {})
    spelled: dict[str, str] = {}
    counts: Counter[str] = Counter()
    for answer in read:
        for label in answer.labels:
            spelled.setdefault(label.casefold(), label)
        counts.update({label.casefold() for label in answer.labels})
    kept = [label for folded, label in spelled.items() if counts[folded] >= needed]
    kept.sort(key=lambda label: FINDINGS.index(label) if label in FINDINGS else len(FINDINGS))
    return Verdict(tuple(kept), Status.OK, {label: counts[label.casefold()] / len(answers) for label in kept})


def verification(label: str) -> str:
    """The instruction that asks about one label."""
    return _VERIFICATION.format(label=label)


def denies(answer: Answer, response: str, label: str) -> bool:
    """Whether an answer to :func:`verification` denies the label: it begins with no, or is a list without the label.

    A model that was trained on nothing but lists gives one here too: what it finds when asked in other words. Anything
    else leaves the label standing.

    Args:
        answer: The response as the task decodes it.
        response: The response itself.
        label: What was asked about.
    """
    if response.lstrip().startswith("["):
        named = (name.casefold() for name in answer.labels)
        return answer.status == Status.OK and label.casefold() not in named
    return _DENIAL.match(response) is not None
