"""Several answers about one report made into one, and an answer checked by asking about each of its labels.

The paper names ensembling and self-verification as untried ways to raise recall and precision (section 4).
"""

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from radtune.findings import FINDINGS, NORMAL
from radtune.labels import Answer, Status

VOTES = ("majority", "union")

# Our own wording.
_VERIFICATION = (
    "You are given a clinical report. Does the report say that the patient has the following condition, now and for "
    "certain?\nCondition: {label}\nAnswer with one word, yes or no."
)
# Room for the list of all classes: a model trained on lists alone answers everything with one.
VERIFICATION_TOKENS = 80
# What may stand before the answer itself: signs, code fences, "The answer is", "Output:". Not the bracket of a list.
_SIGNS = r"(?:[^\w\[]|_)*"
_LEAD = (
    rf"{_SIGNS}(?:(?:the|my|final|json)\b{_SIGNS})*"
    rf"(?:(?:answer|output|response|result|list|diseases|findings|conditions|phrases)\b{_SIGNS}"
    rf"(?:(?:is|are)\b{_SIGNS})?)?"
)
# "No doubt" and "no change" deny nothing.
_DENIAL = re.compile(
    rf"{_LEAD}(?:no(?![^\W_])(?![^\S\n]+(?:doubt|question|(?:\w+[^\S\n]+)?changes?)\b)|none of\b)", re.IGNORECASE
)
_LIST = re.compile(rf"{_LEAD}\[", re.IGNORECASE)
_THOUGHTS_END = "</think>"
# Phrases about different things share these: sides, places, sizes and courses, and function words.
_SHARED = frozenset(
    re.findall(
        r"\w+",
        "left right both bilateral unilateral sided side upper middle lower mid base basal apical anterior posterior "
        "tiny small moderate large big mild minimal trace severe slight acute chronic new old stable unchanged "
        "improved and the with without for from due not",
    )
)


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

    Samples that were refused, cut off or cannot be read vote for nothing, but are among all samples.

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
    """The instruction that asks about one label; only an answer that :func:`denies` it drops the label."""
    return _VERIFICATION.format(label=label)


def denies(answer: Answer, response: str, label: str) -> bool:
    """Whether an answer to :func:`verification` denies the label: it says no, or is a list without the label.

    A model that was trained on nothing but lists gives one here too: what it finds when asked in other words. Such a
    list denies one of the 13 classes unless it has its name. It denies a phrase only if it names nothing that could be
    meant by it: no item shares a word with it, plural aside; sides, places, sizes and words shorter than three letters
    do not count. An empty list and ``['Normal']`` deny everything.

    Anything else leaves the label standing: yes, doubts ("not certain"), a refusal, and what says neither.

    Args:
        answer: The response as the task decodes it.
        response: The response itself.
        label: What was asked about.
    """
    said = response.rpartition(_THOUGHTS_END)[2]
    if answer.status == Status.REFUSED:
        return False
    if _DENIAL.match(said):
        return True
    # Without any bracket, the answer is lines of nothing but names, or could not be read.
    is_list = answer.status == Status.OK and ("[" not in said or _LIST.match(said) is not None)
    return is_list and not any(_may_mean(item, label) for item in answer.labels)


def _may_mean(item: str, label: str) -> bool:
    """Whether an item of a list may be the label, or be a yes put into a list."""
    if item.casefold() in (label.casefold(), "yes"):
        return True
    if label in FINDINGS or item.casefold() == NORMAL.casefold():
        return False
    return not _telling_words(item).isdisjoint(_telling_words(label))


def _telling_words(phrase: str) -> set[str]:
    words = re.findall(r"[^\W\d_]{3,}", phrase.casefold())
    return {word.removesuffix("s") for word in words if word not in _SHARED}
