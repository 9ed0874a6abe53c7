"""The words of the report that a model quotes for its labels.

One form is read, that which the prompts ask for: behind the list a line for each label, which opens with its name (a
bullet, a number and emphasis aside) and goes on with the report's words, in quotes or not. Lines below it that open
with no name go on with it. A label that is written of in another way has no evidence and is unsupported.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from radtune.tasks import Task
from radtune.tasks.lists import fold_space
from radtune.tasks.phrase_list import locate

# Bounded, so that an answer of nothing but quotes is read in one pass. An apostrophe within a word is no quote.
_QUOTED = re.compile(r"[\"“„«]([^\"“”„«»]{1,300})[\"”“»]|(?<!\w)['‘`]((?:[^'‘’`]|['’](?=\w)){1,300})['’`](?!\w)")
_OPENING = re.compile(r"[\W\d_]*(?:(?:evidence|support)\s+(?:for|of)\s+(?:the\s+)?)?", re.IGNORECASE)
# What ends a name at the beginning of a line.
_SEPARATOR = re.compile(r"[:;|=>()\t–—→\"“„«‘`]|\s-|-\s|\*\*|\s'|$")
# The quote or emphasis that closes a name, and opens no quotation.
_CLOSING = re.compile(r"^[\"'”’`*_]+(?!\w)")
_GAP = re.compile(r"[\s_-]+")
_AROUND = " \t\r:;,.…-–—=<>→*#_~|()[]{}'\"‘’“”„«»`"
_WORD = re.compile(r"[^\W\d_]+")
# Words that name no finding: function words, headings, and words that say no more than that something is there.
_EMPTY_WORDS = frozenset(
    _WORD.findall(
        "a an the this that these those it its he she his her they their there which who as at by for from in into of "
        "on or and but to with within without than then also is are was were be been being has have had do does did "
        "may might can could should would will no not none nor neither never yes any some other evidence findings "
        "finding impression report patient present seen noted positive negative"
    )
)


@dataclass(frozen=True)
class Evidence:
    """The words that a label rests on."""

    label: str
    quote: str | None  # what the model quotes, None where it gives nothing; of a phrase, the phrase itself
    start: int | None = None  # in characters of the report; None where it is not there or says nothing
    end: int | None = None  # behind it


def find_evidence(task: Task, labels: Sequence[str], rest: str, text: str) -> list[Evidence]:
    """The evidence for each label, in their order: the first quotation that stands in the report and says something.

    It stands there if it is found with case and white space folded, and says something if one of its words of two or
    more letters is no empty word (a function word, a negation, "present", a heading). Where none does, the label has
    its first quotation without offsets. Phrases are their own evidence.

    ``rest`` is what follows the list in the answer, ``text`` the report.
    """
    folded = fold_space(text).casefold()
    quotes: dict[str, list[str]] = {}
    if task.classes:
        for key, quote in _quotes(rest, {_key(name) for name in (*task.classes, *labels)}):
            quotes.setdefault(key, []).append(quote)
    return [_best(label, quotes.get(_key(label), []) if task.classes else [label], text, folded) for label in labels]


def _best(label: str, quotes: Sequence[str], text: str, folded: str) -> Evidence:
    for quote in quotes:
        words = _WORD.findall(quote.casefold())
        says_something = any(len(word) > 1 and word not in _EMPTY_WORDS for word in words)
        # Folded strings first: a pattern for each of thousands of quotations would take seconds.
        if says_something and fold_space(quote).casefold() in folded and (place := locate(quote, text)) != (None, None):
            return Evidence(label, quote, *place)
    return Evidence(label, quotes[0] if quotes else None)


def _quotes(rest: str, names: set[str]) -> Iterator[tuple[str, str]]:
    """Each quotation with the key of the name that its line, or a line above, opens with."""
    current = None
    for line in rest.splitlines():
        opening = _OPENING.match(line)
        start = opening.end() if opening else 0
        end = _SEPARATOR.search(line, start)
        name = _key(line[start : end.start() if end else len(line)])
        if name in names:
            current, line = name, _CLOSING.sub("", line[end.start() if end else len(line) :], count=1)
        if current is None:
            continue
        quoted = [found[1] or found[2] for found in _QUOTED.finditer(line)]
        for quote in quoted or [line]:
            if words := quote.strip(_AROUND):
                yield current, words


def _key(name: str) -> str:
    """A name with case, the gaps between its words and signs around it folded."""
    return _GAP.sub(" ", name).strip(_AROUND).casefold()
