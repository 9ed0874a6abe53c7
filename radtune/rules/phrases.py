"""Groups of phrases, and where they stand in a sentence: tried only at the words that they may start with."""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import cached_property, lru_cache
from itertools import groupby
from types import MappingProxyType
from typing import NamedTuple

from radtune.rules.notation import (
    SPACE,
    Node,
    Words,
    expand_start,
    followers,
    is_lone,
    may_stand_at,
    parse_phrase,
    phrase_regex,
    words_of,
)

# The group of phrases that hide those of the others.
EXCEPTIONS = "exceptions"
# More than reports have; bounded, since texts may hold any.
_REMEMBERED_WORDS = 20_000


class Hit(NamedTuple):
    """Where a phrase was found; ``head`` is where its last words start, those behind a gap."""

    start: int
    end: int
    part: str
    name: str
    phrase: str
    head: int


class Phrase(NamedTuple):
    """A phrase of a group (``name``) of a part of a file, parsed, with one of the words that it starts with."""

    part: str
    name: str
    written: str
    nodes: tuple[Node, ...]
    gapped: bool


def read_phrases(
    part: str, groups: Iterable[tuple[str, Iterable[str]]], words: Mapping[str, Sequence[str]] = MappingProxyType({})
) -> Iterator[Phrase]:
    """Parses groups of phrases; of those at the same word, the first group wins, then the longer phrase.

    ``words`` are the lists for ``{name}`` in a phrase. A PhraseError if a phrase breaks the notation.
    """
    for name, phrases in groups:
        for phrase in sorted(phrases, key=_length, reverse=True):
            for nodes in expand_start(parse_phrase(phrase, words)):
                yield Phrase(part, name, phrase, nodes, any(node.gap for node in nodes))


def _length(phrase: str) -> tuple[int, int]:
    """Words, then characters, of what a phrase says; what must not follow says nothing."""
    said = phrase.partition("!")[0]
    return len(said.split()), len(said)


# Finds the phrase of a part that stands at a place of a text.
Finder = Callable[[str, int], Hit | None]


class _Branch:
    """The phrases of a part that may stand at a word."""

    def __init__(self, word: str, starts: Mapping[str, Sequence[Phrase]]) -> None:
        self._word, self._starts = word, starts
        self._phrases = [phrase for phrases in starts.values() for phrase in phrases]
        self._followers = [followers(phrase.nodes, word) for phrase in self._phrases]

    def finder(self, following: str) -> Finder | None:
        """Finds the phrase that stands at the word, if this word or sign comes behind it; None where none can."""
        for phrase, (words, stems) in zip(self._phrases, self._followers, strict=True):
            if words is None or following in words or following.startswith(stems):
                return self._lone(phrase) if is_lone(phrase.nodes, self._word, following) else self._any
        return None

    def _lone(self, phrase: Phrase) -> Finder:
        """Of the phrases that can stand there the first is this word alone, so it does."""
        length, part, name, written = len(self._word), phrase.part, phrase.name, phrase.written
        return lambda text, at: Hit(at, at + length, part, name, written, at)

    def _any(self, text: str, at: int) -> Hit | None:
        match = self._match(text, at)
        if match is None:
            return None
        group = match.lastindex or 0
        part, name, written, _, gapped = self._groups[group]
        return Hit(at, match.end(), part, name, written, match.start(group - 1) if gapped else at)

    @cached_property
    def _groups(self) -> list[Phrase]:
        """Of each group of the expression, counted from 1, its phrase; one with a gap has another before the last."""
        return [self._phrases[0], *(phrase for phrase in self._phrases for _ in range(1 + phrase.gapped))]

    @cached_property
    def _match(self) -> Callable[[str, int], re.Match[str] | None]:
        """One expression, compiled when first asked: a text holds few of the words, one report hardly any."""
        # A word shared by many phrases is read once.
        ways = [f"{word}(?:{_alternation(word, phrases)})" for word, phrases in self._starts.items()]
        return re.compile("|".join(ways)).match


def _alternation(word: str, phrases: Iterable[Phrase]) -> str:
    """The ways to go on behind a word; each ends in an empty group."""
    written = []
    rests = [phrase_regex(phrase.nodes, phrase.gapped)[len(word) :] for phrase in phrases]
    # Those behind a space share it, and groups stand at their ends, so that each begins with a letter: the engine
    # passes over alternatives that begin with another.
    for spaced, run in groupby(rests, key=lambda rest: rest.startswith(SPACE)):
        endings = "|".join(f"{rest.removeprefix(SPACE)}()" for rest in run)
        written.append(f"{SPACE}(?:{endings})" if spaced else endings)
    return "|".join(written)


class _Opening(dict[str, Sequence[tuple[str, Finder]]]):
    """What finds the phrases that stand at a word, of each part, by the word or sign behind it."""

    def __init__(self, branches: Mapping[str, _Branch]) -> None:
        super().__init__()
        self._branches = branches

    def __missing__(self, following: str) -> Sequence[tuple[str, Finder]]:
        found = [(part, finder) for part, branch in self._branches.items() if (finder := branch.finder(following))]
        if len(self) < _REMEMBERED_WORDS:
            self[following] = found
        return found


class Scanner:
    """Finds phrases."""

    def __init__(self, phrases: Iterable[Phrase]) -> None:
        # By the first character, then by part and the word that they start with.
        self._by_letter: dict[str, dict[tuple[str, str], list[Phrase]]] = {}
        for phrase in phrases:
            first = phrase.nodes[0]
            for opening in first.openings[:1]:
                starts = self._by_letter.setdefault(opening[0], {})
                starts.setdefault((phrase.part, first.regex), []).append(phrase)
        self._opening = lru_cache(maxsize=_REMEMBERED_WORDS)(self._read_opening)

    def _read_opening(self, word: str) -> _Opening | None:
        by_part: dict[str, dict[str, list[Phrase]]] = {}
        for (part, regex), phrases in self._by_letter.get(word[0], {}).items():
            if may_stand_at(phrases[0].nodes[0], word):
                by_part.setdefault(part, {})[regex] = phrases
        return _Opening({part: _Branch(word, starts) for part, starts in by_part.items()}) if by_part else None

    def finders(self, words: Words) -> list[tuple[int, str, Finder]]:
        """The places in a text at which phrases of a part may stand, in order, and what finds them there."""
        opening = self._opening
        return [
            (at, part, find)
            for at, word, following in words
            if (openings := opening(word)) is not None
            for part, find in openings[following]
        ]

    def scan(self, text: str, words: Words | None = None) -> list[Hit]:
        """Finds the phrases in (a sentence of) a reading copy, from left to right, none of a part overlapping."""
        free: dict[str, int] = {}
        hits = []
        opening = self._opening
        for at, word, following in words_of(text) if words is None else words:
            if (openings := opening(word)) is not None:
                for part, find in openings[following]:
                    if at >= free.get(part, 0) and (hit := find(text, at)):
                        free[part] = hit.end
                        hits.append(hit)
        return hits
