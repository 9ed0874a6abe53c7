"""Groups of phrases, and where they stand in a sentence: tried only at the words that they may start with."""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import lru_cache
from itertools import groupby
from types import MappingProxyType
from typing import NamedTuple

from radtune.rules.notation import (
    SPACE,
    Node,
    Words,
    expand_start,
    may_stand_at,
    parse_phrase,
    phrase_regex,
    words_of,
)

# The group of phrases that hide those of the others.
EXCEPTIONS = "exceptions"
# More than reports have; bounded, since texts may hold any.
REMEMBERED_WORDS = 20_000


class Hit(NamedTuple):
    """Where a phrase of a group (``name``) was found; ``head`` is where its last words start, those behind a gap."""

    start: int
    end: int
    head: int
    name: str
    phrase: str


class Branch:
    """The phrases that may stand at a word, as one expression."""

    def __init__(self, by_word: Mapping[str, Sequence["_Phrase"]]) -> None:
        # Of each group of the expression, counted from 1: the phrases' name, the phrase, whether it has a gap.
        self._groups: list[tuple[str, str, bool]] = [("", "", False)]
        # A word shared by many phrases is read once.
        ways = [f"{word}(?:{self._alternation(word, phrases)})" for word, phrases in by_word.items()]
        self._match = re.compile("|".join(ways)).match

    def _alternation(self, word: str, phrases: Iterable["_Phrase"]) -> str:
        """The ways to go on behind a word; each ends in an empty group."""
        written = []
        rests = [(phrase_regex(phrase.nodes, phrase.gapped)[len(word) :], phrase) for phrase in phrases]
        # Those behind a space share it, and groups stand at their ends, so that each begins with a letter: the engine
        # passes over alternatives that begin with another.
        for spaced, run in groupby(rests, key=lambda pair: pair[0].startswith(SPACE)):
            endings = []
            for rest, phrase in run:
                # A phrase with a gap has a group of its own before the last.
                self._groups += [(phrase.name, phrase.written, phrase.gapped)] * (1 + phrase.gapped)
                endings.append(f"{rest.removeprefix(SPACE)}()")
            written.append(f"{SPACE}(?:{'|'.join(endings)})" if spaced else "|".join(endings))
        return "|".join(written)

    def hit(self, text: str, at: int) -> Hit | None:
        """The phrase that stands at a place of a text."""
        match = self._match(text, at)
        if match is None:
            return None
        group = match.lastindex or 0
        name, phrase, gapped = self._groups[group]
        return Hit(at, match.end(), match.start(group - 1) if gapped else at, name, phrase)


class _Phrase(NamedTuple):
    """A phrase of a group (``name``), parsed, with one of the words that it starts with; whether it has a gap."""

    name: str
    written: str
    nodes: tuple[Node, ...]
    gapped: bool


class Scanner:
    """Groups of phrases; of those at the same word, the first group wins, then the longer phrase.

    ``words`` are the lists for ``{name}`` in a phrase. A PhraseError if a phrase breaks the notation.
    """

    def __init__(
        self,
        groups: Iterable[tuple[str, Iterable[str]]],
        words: Mapping[str, Sequence[str]] = MappingProxyType({}),
    ) -> None:
        # By the first character, then by the word that they start with.
        self._by_letter: dict[str, dict[Node, list[_Phrase]]] = {}
        for name, phrases in groups:
            for phrase in sorted(phrases, key=lambda p: (-len(p.split()), -len(p))):
                for nodes in expand_start(parse_phrase(phrase, words)):
                    parsed = _Phrase(name, phrase, nodes, any(node.gap for node in nodes))
                    for opening in nodes[0].openings[:1]:
                        by_word = self._by_letter.setdefault(opening[0], {})
                        by_word.setdefault(nodes[0], []).append(parsed)
        # Compiled when a text holds the word: most hold few of them, one report on the command line hardly any.
        self.branch = lru_cache(maxsize=REMEMBERED_WORDS)(self._branch)

    def _branch(self, word: str) -> Branch | None:
        """The phrases that may stand at a word of a text (:func:`words_of`)."""
        starts = self._by_letter.get(word[0], {})
        chosen = {start.regex: phrases for start, phrases in starts.items() if may_stand_at(start, word)}
        return Branch(chosen) if chosen else None

    def compile(self) -> None:
        """Compiles the phrases of all words now."""
        for starts in self._by_letter.values():
            for word in {opening for start in starts for opening in start.openings}:
                self.branch(word)

    def scan(self, text: str, words: Words | None = None) -> Iterator[Hit]:
        """Finds the phrases in (a sentence of) a reading copy, from left to right, none overlapping."""
        found = words_of(text) if words is None else words
        return scan(text, [(at, branch) for at, word in found if (branch := self.branch(word))])


def scan(text: str, branches: Iterable[tuple[int, Branch]]) -> Iterator[Hit]:
    """Finds phrases that may stand at these places, from left to right, none overlapping."""
    free = 0
    for at, branch in branches:
        if at >= free and (hit := branch.hit(text, at)):
            free = hit.end
            yield hit
