"""How two phrases for one finding differ: spelling, a conjunction, words of place or device, or the wording."""

import re
import tomllib
from collections.abc import Collection
from dataclasses import dataclass
from enum import StrEnum
from functools import cache, lru_cache
from itertools import zip_longest
from pathlib import Path
from typing import Any, NamedTuple

from rapidfuzz.distance import OSA

from radtune.labels import NO_FINDING, State
from radtune.rules import Rules, label_report


class ErrorKind(StrEnum):
    """Kinds of error. The first four are one finding in two wordings; the others by what the report says."""

    MISSPELLING = "misspelling"
    CONJUNCTION = "conjunction"  # one side joins in one phrase what the other lists in several
    DESCRIPTION = "description"  # words of device, place or side differ
    PARAPHRASE = "paraphrase"
    UNCERTAIN = "uncertain"  # hedged in the label, or wherever the report says it
    NEGATED = "negated"  # the report denies it
    NOT_IN_REPORT = "not_in_report"
    NOT_IN_GOLD = "not_in_gold"  # false positive: the report states it, gold leaves it out
    MISSED = "missed"  # false negative: the report states it


_WORD = re.compile(r"[a-z0-9]+")
_JOINED_BY_SIGN = re.compile(r"[,/&+;]|\bas well as\b")
_JOIN = " and "
# The side of a chamber is part of its name, and no side of the body.
_CHAMBER = re.compile(r"atri|ventric|heart")
# Endings of English and medical Latin, the longer first: calcified ~ calcification, granuloma ~ granulomatous.
_ENDING = re.compile(
    r"(?:ifications?|ifie[sd]|ify|atous|ata|ations?|ative|ating|ated|ates?|asis|ases|atic|osis|oses|otic|osity|ities|ity"
    r"|ements?|ments?|ion|ions|ings?|ed|er|est|ally|al|ar|ary|ous|ic|ical|ia|ies|y|es|s|um|us|as|ae?|is|ii?|e)$"
)
_PLURAL = re.compile(r"ies$")
_DOUBLED = re.compile(r"([^aeiouls])\1$")
_SHORTEST_STEM = 3
# hyper- and hypo- are two letters apart, and each other's opposite.
_OPPOSITES = ({"hyper", "hypo"}, {"inter", "intra"}, {"supra", "infra"})
_PREFIX = re.compile("hyper|hypo|inter|intra|supra|infra")
# Of the fewer finding words of two phrases, the share that must be common: more than half, so that "calcified
# granuloma" and "calcified nipple" stay apart.
_COMMON_SHARE = 0.5


@cache
def stem(word: str) -> str:
    """A word without its ending, so that the noun and adjective of one thing are equal; at least three letters."""
    ending = _ENDING.search(word, _SHORTEST_STEM)
    return _DOUBLED.sub(r"\1", word[: ending.start()] if ending else word)


@dataclass(frozen=True)
class Vocabulary:
    """Words by stem."""

    stop: frozenset[str]
    joining: frozenset[str]
    degree: frozenset[str]
    place: frozenset[str]
    device: frozenset[str]
    same: dict[str, str]
    several: dict[str, str]  # entries of several words, each with the one word that stands for it
    token: re.Pattern[str]  # one of these, or a word
    apart: tuple[frozenset[str], ...]
    wide: frozenset[str]
    device_class: str

    def concept(self, word: str) -> str:
        """What stands for a word and all that mean the same."""
        return self.same.get(stem(word), stem(word))


@cache
def vocabulary() -> Vocabulary:
    """What stands in wording.toml."""
    file = Path(__file__).with_name("wording.toml")
    document: dict[str, Any] = tomllib.loads(file.read_text(encoding="utf-8"))
    same: dict[str, str] = {}
    several: dict[str, str] = {}
    for group in document["same"]:
        standing = group[0].replace(" ", "")
        for word in group:
            if " " in word:
                several[word] = standing
            same.setdefault(stem(word.replace(" ", "")), stem(standing))
    entries = [entry.replace(" ", r"[\s-]+") for entry in sorted(several, key=len, reverse=True)]
    return Vocabulary(
        stop=frozenset(document["stop"]),
        joining=frozenset(document["joining"]),
        degree=frozenset(map(stem, document["degree"])),
        place=frozenset(map(stem, document["place"])),
        device=frozenset(map(stem, document["device"])),
        same=same,
        several=several,
        token=re.compile(rf"\b(?:{'|'.join(entries)})\b|{_WORD.pattern}"),
        apart=tuple(frozenset(same.get(stem(word), stem(word)) for word in group) for group in document["apart"]),
        wide=frozenset(document["wide_classes"]),
        device_class=document["device_class"],
    )


class Token(NamedTuple):
    """A word of a text, or an entry of several words that one word stands for; offsets in characters."""

    word: str
    concept: str
    start: int
    end: int


def tokens(lower: str) -> list[Token]:
    """The words of a text in lower case, without the sides of the heart's chambers."""
    known = vocabulary()
    found = list(known.token.finditer(lower))
    kept = []
    for match, following in zip_longest(found, found[1:]):
        if match[0] in ("left", "right") and following and _CHAMBER.match(following[0]):
            continue
        word = known.several.get(" ".join(_WORD.findall(match[0])), match[0])
        kept.append(Token(word, known.concept(word), *match.span()))
    return kept


@dataclass(frozen=True)
class Wording:
    """A phrase, taken apart.

    Attributes:
        words: In lower case, without those that carry nothing.
        finding: The concepts that name the finding: neither place nor degree; all of them if nothing else is left.
        parts: Its conjuncts, each as its words; one if nothing is joined in it.
        classes: The classes that the rules see in it, those too wide to tell aside.
        hedged: Whether it holds a cue of uncertainty; ``negated`` likewise.
    """

    words: tuple[str, ...]
    concepts: frozenset[str]
    finding: frozenset[str]
    parts: tuple[tuple[str, ...], ...]
    classes: frozenset[str]
    hedged: bool
    negated: bool
    is_device: bool


@lru_cache(maxsize=100_000)
def wording(phrase: str, rules: Rules) -> Wording:
    """Takes a phrase apart, with what rules know of it."""
    known = vocabulary()
    lower = phrase.lower()
    parts = _parts(lower, known)
    words = tuple(word for part in parts for word in part)
    named = [word for word in words if stem(word) not in known.place | known.degree]
    cues = {rules.cues[hit.name].status for hit in rules.cue_scanner.scan(lower)}
    states = label_report(phrase, rules).labels
    classes = {name for name, state in states.items() if state == State.PRESENT and name != NO_FINDING}
    return Wording(
        words=words,
        concepts=frozenset(map(known.concept, words)),
        finding=frozenset(map(known.concept, named or words)),
        parts=parts,
        classes=frozenset(classes - known.wide),
        hedged="uncertain" in cues,
        negated="negative" in cues,
        is_device=known.device_class in classes or any(stem(word) in known.device for word in words),
    )


def _parts(lower: str, known: Vocabulary) -> tuple[tuple[str, ...], ...]:
    """The conjuncts of a phrase; "left and right" joins no findings, so a part of sides alone goes with the next."""
    parts: list[list[str]] = [[]]
    for word, *_ in tokens(_JOINED_BY_SIGN.sub(_JOIN, lower)):
        if word in known.joining:
            if any(known.concept(w) not in known.apart[0] | known.apart[1] for w in parts[-1]):
                parts.append([])
        elif word not in known.stop:
            parts[-1].append(word)
    return tuple(tuple(part) for part in parts if part) or ((),)


def same_word(first: str, second: str) -> bool:
    """Whether two stems or words are the same but for slips of spelling: letters swapped, left out, added or changed.

    One slip in words of four letters and more that begin alike, two from nine on.
    """
    if first == second:
        return True
    length = min(len(first), len(second))
    if length < 4 or (length < 6 and first[0] != second[0]):
        return False
    if {prefix[0] for prefix in map(_PREFIX.match, (first, second)) if prefix} in _OPPOSITES:
        return False
    return OSA.distance(first, second, score_cutoff=2) <= (2 if length >= 9 else 1)


def difference(first: str, second: str, rules: Rules) -> ErrorKind | None:
    """In what two phrases of different words differ that mean the same finding; None if they do not."""
    a, b = wording(first, rules), wording(second, rules)
    if _misspelt(first, second):
        return ErrorKind.MISSPELLING
    if _joins(a, b) or _joins(b, a):
        return ErrorKind.CONJUNCTION
    if not _same_finding(a, b):
        return None
    known = vocabulary()
    singular = ({_PLURAL.sub("y", word).removesuffix("s") for word in words} for words in (a.words, b.words))
    differing = set.symmetric_difference(*singular)
    described = {word for word in differing if stem(word) in known.place | known.device}
    if described and all(stem(word) in known.degree for word in differing - described):
        return ErrorKind.DESCRIPTION
    return ErrorKind.PARAPHRASE


def _misspelt(first: str, second: str) -> bool:
    """Whether two phrases have the same words but for slips of spelling, of which blanks and hyphens are some."""
    a, b = (_WORD.findall(phrase.lower()) for phrase in (first, second))
    if "".join(a) == "".join(b):
        return True
    if len(a) != len(b):
        return False
    pairs = [(x, y) for x, y in zip(a, b, strict=True) if x != y]
    known = vocabulary().place | vocabulary().device | vocabulary().degree
    return all(same_word(x, y) and stem(x) != stem(y) and not {stem(x), stem(y)} <= known for x, y in pairs)


def _joins(a: Wording, b: Wording) -> bool:
    """Whether a phrase joins several findings of which another phrase is one."""
    if len(a.parts) < 2 or len(b.parts) > 1 or not b.finding:
        return False
    return covered(b.finding, a.concepts) == 1 and covered(a.concepts, b.concepts) < 1


def covered(wanted: Collection[str], given: Collection[str]) -> float:
    """Share of the wanted stems that are among those given, slips of spelling aside; 0 if none is wanted."""
    if not wanted:
        return 0
    return sum(word in given or any(same_word(word, other) for other in given) for word in wanted) / len(wanted)


def _same_finding(a: Wording, b: Wording) -> bool:
    for group in vocabulary().apart:
        named = a.concepts & group, b.concepts & group
        if all(named) and not named[0] & named[1]:
            return False
    if a.classes and a.classes == b.classes:
        return True
    fewer, more = sorted((a.finding, b.finding), key=len)
    return covered(fewer, more) > _COMMON_SHARE
