"""Groups of phrases compiled into one regular expression, and where it finds them in a sentence."""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass, field
from functools import cached_property
from itertools import groupby
from types import MappingProxyType
from typing import NamedTuple

from radtune.rules.notation import SPACE, expand_start, parse_phrase, phrase_regex, rarest_openings, unspaced

# The group of phrases that hide those of the others.
EXCEPTIONS = "exceptions"


class Hit(NamedTuple):
    """Where a phrase of a group (``name``) was found; ``head`` is where its last words start, those behind a gap."""

    start: int
    end: int
    head: int
    name: str
    phrase: str


@dataclass(frozen=True)
class Scanner:
    """Groups of phrases in one expression; of those at the same word, the first group wins, then the longer phrase."""

    source: str = field(repr=False)
    groups: Sequence[tuple[str, str, bool]] = field(repr=False)  # of the expression: name, phrase, whether with a gap
    keys: frozenset[str] | None = field(repr=False)  # each phrase needs one of them; None where one has a short stem

    @cached_property
    def pattern(self) -> re.Pattern[str] | None:
        """Its expression, compiled when first asked for: one report on the command line needs few of the classes."""
        return re.compile(self.source) if self.source else None

    def may_open(self, openings: Set[str]) -> bool:
        """Whether a text of these :func:`word_openings` may hold a phrase, which spares the look at most texts."""
        return self.keys is None or not self.keys.isdisjoint(openings)

    def scan(self, text: str) -> Iterator[Hit]:
        """Finds the phrases in (a sentence of) a reading copy, from left to right, none overlapping."""
        for match in self.pattern.finditer(text) if self.pattern else ():
            group = match.lastindex or 0
            name, phrase, gapped = self.groups[group]
            start, end = match.span()
            yield Hit(start, end, match.start(group - 1) if gapped else start, name, phrase)

    def opens(self, text: str, at: int) -> str | None:
        """The group of the phrase that stands at a place of a text; None without one."""
        match = self.pattern.match(text, at) if self.pattern else None
        return self.groups[match.lastindex or 0][0] if match else None


class _Alternative(NamedTuple):
    """A phrase without its first word, as a regular expression; its group, itself, and whether it has a gap."""

    rest: str
    name: str
    phrase: str
    gapped: bool


def compile_scanner(
    groups: Iterable[tuple[str, Iterable[str]]], words: Mapping[str, Sequence[str]] = MappingProxyType({})
) -> Scanner:
    """Compiles named groups of phrases, the group that should win at the same word first.

    ``words`` are the lists for ``{name}`` in a phrase. Exceptions alone are not looked for. A PhraseError if a phrase
    breaks the notation.
    """
    # Alternatives are sorted into branches by first character, then by first word. The regular expression engine
    # tells branches apart by their first character and skips text that opens none, and a word shared by many phrases
    # is read once; a flat alternation is many times slower.
    branches: dict[str, dict[str, list[_Alternative]]] = {}
    keys: set[str] = set()
    all_have_keys = True
    for name, phrases in groups:
        for phrase in sorted(phrases, key=lambda p: (-len(p.split()), -len(p))):
            for nodes in expand_start(parse_phrase(phrase, words)):
                gapped = any(node.gap for node in nodes)
                word, regex = nodes[0].regex, phrase_regex(nodes, head=gapped)
                if name != EXCEPTIONS:
                    needed = rarest_openings(nodes)
                    keys.update(needed)
                    all_have_keys = all_have_keys and bool(needed)
                by_word = branches.setdefault(word.removeprefix("\\")[0], {})
                by_word.setdefault(word, []).append(_Alternative(regex[len(word) :], name, phrase, gapped))
    numbered: list[tuple[str, str, bool]] = [("", "", False)]  # a regular expression counts its groups from 1
    parts = []
    for first, by_word in branches.items():
        # Words that go on in the same ways (was, were) share their branch, which halves the time to compile.
        alike: dict[tuple[_Alternative, ...], list[str]] = {}
        for word, alternatives in by_word.items():
            alike.setdefault(tuple(alternatives), []).append(word.removeprefix(re.escape(first)))
        bodies = [
            f"(?:{'|'.join(endings)})(?:{_alternation(alternatives, numbered)})"
            for alternatives, endings in alike.items()
        ]
        boundary = rf"(?<!\w{first})" if first.isalnum() and not unspaced(first) else ""
        parts.append(f"{re.escape(first)}{boundary}(?:{'|'.join(bodies)})")
    return Scanner("|".join(parts), numbered, frozenset(keys) if all_have_keys else None)


def _alternation(alternatives: Iterable[_Alternative], numbered: list[tuple[str, str, bool]]) -> str:
    """The ways to go on behind a word; each ends in an empty group, told apart in ``numbered``."""
    written = []
    # Those behind a space share it, and groups stand at their ends, so that each begins with a letter: the engine
    # passes over alternatives that begin with another.
    for spaced, run in groupby(alternatives, key=lambda alternative: alternative.rest.startswith(SPACE)):
        endings = []
        for rest, name, phrase, gapped in run:
            # A phrase with a gap has a group of its own before the last.
            numbered += [(name, phrase, gapped)] * (1 + gapped)
            endings.append(f"{rest.removeprefix(SPACE)}()")
        written.append(f"{SPACE}(?:{'|'.join(endings)})" if spaced else "|".join(endings))
    return "|".join(written)
