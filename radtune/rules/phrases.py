"""Groups of phrases, and where they stand in a sentence: tried only at the words that they may start with."""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import cache
from types import MappingProxyType
from typing import NamedTuple

from radtune.rules.notation import (
    Node,
    Words,
    expand_start,
    followers,
    is_lone,
    is_whole,
    may_stand_at,
    needed,
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
                yield Phrase(part, name, phrase, nodes, "..." in phrase and any(node.gap for node in nodes))


def _length(phrase: str) -> tuple[int, int]:
    """Words, then characters, of what a phrase says; what must not follow says nothing."""
    said = phrase.partition("!")[0]
    return len(said.split()), len(said)


# Finds the phrase of a part that stands at a place of a text, which has these words.
Finder = Callable[[str, int, frozenset[str]], Hit | None]
_Match = Callable[[str, int], re.Match[str] | None]


class _Branch:
    """The phrases of a part that may stand at a word."""

    def __init__(self, word: str, phrases: Sequence[Phrase]) -> None:
        self._word, self._phrases = word, phrases
        self._followers = [followers(phrase.nodes, word) for phrase in phrases]
        self._ways: dict[int, tuple[_Match, int, Phrase]] = {}

    def finder(self, following: str) -> Finder | None:
        """Finds the phrase that stands at the word, if this word or sign comes behind it; None where none can."""
        ways = []
        for number, (words, stems) in enumerate(self._followers):
            if words is None or following in words or following.startswith(stems):
                ways.append(number)
                if is_lone(self._phrases[number].nodes, self._word, following):
                    break  # it stands there
        else:
            return _first_of(self, ways) if ways else None
        return _first_of(self, ways) if len(ways) > 1 else self._lone(self._phrases[ways[0]])

    def _lone(self, phrase: Phrase) -> Finder:
        length, part, name, written = len(self._word), phrase.part, phrase.name, phrase.written
        return lambda text, at, words: Hit(at, at + length, part, name, written, at)

    def needed(self, number: int) -> Sequence[frozenset[str]]:
        return list(needed(self._phrases[number].nodes))

    def way(self, number: int) -> tuple[_Match, int, Phrase]:
        """A phrase, and what matches it from so many characters on, compiled when first asked: a text has few words."""
        if number not in self._ways:
            phrase = self._phrases[number]
            # Behind the word many phrases are alike: "(left|right) base" is compiled once.
            skips = is_whole(phrase.nodes[0], self._word) and not phrase.nodes[0].starred
            match = _compiled(phrase_regex(phrase.nodes, phrase.gapped, skips))
            self._ways[number] = match, len(self._word) if skips else 0, phrase
        return self._ways[number]


@cache
def _compiled(regex: str) -> _Match:
    return re.compile(regex).match


def _first_of(branch: _Branch, ways: Sequence[int]) -> Finder:
    """Finds the first of some phrases of a branch."""
    needs = [(number, branch.needed(number)) for number in ways]
    needed = frozenset[str]().union(*(words for _, groups in needs for words in groups))
    # Those that can stand in a text, by the needed words that it has.
    possible: dict[frozenset[str], Sequence[tuple[_Match, int, Phrase]]] = {}

    def find(text: str, at: int, words: frozenset[str]) -> Hit | None:
        present = needed & words
        if present not in possible:
            if len(possible) == _REMEMBERED_WORDS:
                possible.clear()
            possible[present] = [
                branch.way(number) for number, groups in needs if not any(map(present.isdisjoint, groups))
            ]
        for match, skipped, phrase in possible[present]:
            if found := match(text, at + skipped):
                head = found.start(1) if phrase.gapped else at
                return Hit(at, found.end(), phrase.part, phrase.name, phrase.written, head)
        return None

    return find


class Scanner:
    """Finds phrases; those that a word may open are read when a text first has it."""

    # What was made out is in plain dicts: looking into one that makes up for what it lacks takes twice as long.
    def __init__(self, phrases: Iterable[Phrase]) -> None:
        # By the first character, then by part and the word that they start with; each with its place in the order.
        self._by_letter: dict[str, dict[tuple[str, str], list[tuple[int, Phrase]]]] = {}
        for place, phrase in enumerate(phrases):
            first = phrase.nodes[0]
            for opening in first.openings[:1]:
                starts = self._by_letter.setdefault(opening[0], {})
                starts.setdefault((phrase.part, first.regex), []).append((place, phrase))
        self._branches: dict[str, Mapping[str, _Branch]] = {}
        # What finds the phrases that stand at a word, of each part, by the word and by that or the sign behind it; None
        # for a word at which none does.
        self._finders: dict[str, dict[str, Sequence[tuple[str, Finder]]] | None] = {}

    def _finders_at(self, word: str, following: str) -> Sequence[tuple[str, Finder]]:
        if word not in self._branches:
            by_part: dict[str, list[tuple[int, Phrase]]] = {}
            for (part, _), phrases in self._by_letter.get(word[0], {}).items():
                if may_stand_at(phrases[0][1].nodes[0], word):
                    by_part.setdefault(part, []).extend(phrases)
            if len(self._branches) >= _REMEMBERED_WORDS:
                self._branches.clear()
                self._finders.clear()
            # "vessel*" and "vessels" may both stand there.
            self._branches[word] = {
                part: _Branch(word, [phrase for _, phrase in sorted(phrases)]) for part, phrases in by_part.items()
            }
            self._finders[word] = {} if by_part else None
        finders = ((part, branch.finder(following)) for part, branch in self._branches[word].items())
        found = [(part, finder) for part, finder in finders if finder is not None]
        if (remembered := self._finders[word]) is not None and len(remembered) < _REMEMBERED_WORDS:
            remembered[following] = found
        return found

    def finders(self, words: Words) -> dict[str, list[tuple[int, Finder]]]:
        """By part the places in a text at which its phrases may stand, in order, and what finds them there."""
        found: dict[str, list[tuple[int, Finder]]] = {}
        remembered = self._finders
        for at, word, following in words[0]:
            try:
                if (finders := remembered[word]) is None:
                    continue
                here = finders[following]
            except KeyError:
                here = self._finders_at(word, following)
            for part, find in here:
                found.setdefault(part, []).append((at, find))
        return found

    def scan(self, text: str, words: Words | None = None) -> list[Hit]:
        """Finds the phrases in (a sentence of) a reading copy, from left to right, none of a part overlapping."""
        free: dict[str, int] = {}
        hits = []
        # Each place as in finders(): to list the places first, or to yield them, takes a sixth longer.
        remembered = self._finders
        places, present = words_of(text) if words is None else words
        for at, word, following in places:
            try:
                if (finders := remembered[word]) is None:
                    continue
                here = finders[following]
            except KeyError:
                here = self._finders_at(word, following)
            for part, find in here:
                if at >= free.get(part, 0) and (hit := find(text, at, present)):
                    free[part] = hit.end
                    hits.append(hit)
        return hits
