"""An answer checked by asking about each of its labels: an untried way to raise precision, the paper says (§4)."""

import re

from radtune.labels import Status
from radtune.tasks import Task
from radtune.tasks.lists import final_answer

# Our own wording.
_VERIFICATION = (
    "You are given a clinical report. Does the report say that the patient has the following condition, now and for "
    "certain?\nCondition: {label}\nAnswer with one word, yes or no."
)
# A model trained on lists alone answers everything with one, so there is room for that of all classes, taken as three
# letters a token, up to a bound: a list of more than some fifty names is cut off, and then denies nothing.
_FEWEST_TOKENS, _MOST_TOKENS, _LETTERS_PER_TOKEN = 80, 320, 3
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
# Phrases about different things share these: sides, places, sizes and courses, and function words.
_SHARED = frozenset(
    re.findall(
        r"\w+",
        "left right both bilateral unilateral sided side upper middle lower mid base basal apical anterior posterior "
        "tiny small moderate large big mild minimal trace severe slight acute chronic new old stable unchanged "
        "improved and the with without for from due not",
    )
)


def verification(label: str) -> str:
    """The instruction that asks about one label; only an answer that :func:`denies` it drops the label."""
    return _VERIFICATION.format(label=label)


def verification_tokens(task: Task) -> int:
    """Where an answer to :func:`verification` is cut off."""
    longest = len(task.encode(task.classes)) // _LETTERS_PER_TOKEN
    return min(max(_FEWEST_TOKENS, longest), _MOST_TOKENS)


def denies(task: Task, response: str, label: str, finished: bool = True) -> bool:
    """Whether an answer to :func:`verification` denies the label: it says no, or is a list without the label.

    A model that was trained on nothing but lists gives one here too: what it finds when asked in other words. Such a
    list denies a class unless it has its name. It denies a phrase only if it names nothing that could be meant by it:
    no item shares a word with it, plural aside; sides, places, sizes and words shorter than three letters do not count.
    An empty list and that of the word for none deny everything.

    Anything else leaves the label standing: yes, doubts ("not certain"), and what says neither.
    """
    said = final_answer(response)
    if _DENIAL.match(said):
        return True
    answer = task.read(response, finished=finished)
    # Without any bracket, the answer is lines of nothing but names, or could not be read.
    is_list = answer.status == Status.OK and ("[" not in said or _LIST.match(said) is not None)
    return is_list and not any(_may_mean(task, item, label) for item in answer.labels)


def _may_mean(task: Task, item: str, label: str) -> bool:
    """Whether an item of a list may be the label, or be a yes put into a list."""
    if item.casefold() in (label.casefold(), "yes"):
        return True
    # A list of phrases names these two where there is nothing.
    if task.canonical(label) or item.casefold() in ("normal", "none"):
        return False
    return not _telling_words(item).isdisjoint(_telling_words(label))


def _telling_words(phrase: str) -> set[str]:
    words = re.findall(r"[^\W\d_]{3,}", phrase.casefold())
    return {word.removesuffix("s") for word in words if word not in _SHARED}
