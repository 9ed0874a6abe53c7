"""The phrase notation of the lexicon and cue files, and its compilation into one regular expression a group.

A phrase is words in lower case, and a few signs that a reader can guess:

    pleural effusion        these words, with any space, hyphen or line break between them
    effusion*               a word that starts so
    ~effusion               this word, also with two letters swapped, one left out or one doubled
    (left|right) base       one of these
    [large] effusion        with or without it
    {angle} blunting        one of the words that the file lists under [words] as angle, then blunting
    heart ... enlarged      up to six other words between, none of which opens a new thought (and, but, with, no ...)
    tubes : !(none|no)      these words, not followed by one of those
    pneumothorax : none     a comma, colon, question mark, plus or slash stands for itself
    pneumothorax : no .     a period at the end: nothing follows in the sentence
"""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import NamedTuple

# What separates two words of a reading copy; sentence ends are "\n" there, so no phrase crosses them.
# Possessive and bounded, so that no text, however odd, takes more than linear time.
_SPACE = r"[ \-]++"
_AROUND_PUNCTUATION = " *"
_WORD_END = r"(?!\w)"
# Words that open a new thought: what stands behind them says nothing about what stands before. A negation is let
# through, because "heart is not enlarged" is a mention that its own cue negates.
_GAP_STOPS = "and|but|or|nor|with|without|no|which|although|though|however|there|except|from|due|than|since"
_GAP = rf"(?:{_SPACE}(?!(?:{_GAP_STOPS})(?!\w))[\w'/%.]{{1,40}}+){{0,6}}?"
_WORD_LIST = re.compile(r"\{(\w+)\}")
_OPENING_LENGTH = 4
_OPENING = re.compile(rf"(\w{{1,{_OPENING_LENGTH}}})\w*")
_PIECE = re.compile(r"\.\.\.|[()\[\]|]|[,:?+/]|\.(?!\w)|~?[\w'.]+\*?|\S")


class PhraseError(ValueError):
    """A phrase that breaks the notation."""


@dataclass(frozen=True)
class _Node:
    """One element: a word, punctuation, a gap, or a choice between sequences."""

    regex: str = ""
    openings: tuple[str, ...] = ()  # of a word: what it may start with, see word_openings
    choices: tuple[tuple["_Node", ...], ...] = ()
    optional: bool = False
    punctuation: bool = False
    gap: bool = False
    barred: bool = False


def parse_phrase(phrase: str, words: Mapping[str, Sequence[str]]) -> tuple[_Node, ...]:
    """Parses a phrase.

    Args:
        phrase: In the notation.
        words: Word lists by name, for ``{name}``.

    Raises:
        PhraseError: Unbalanced brackets, an empty choice, an unknown sign or word list, or a gap at either end.
    """
    pieces = _PIECE.findall(_WORD_LIST.sub(lambda m: f"({'|'.join(_words_of(m[1], words, phrase))})", phrase))
    nodes, rest = _sequence(pieces, 0, phrase)
    if rest != len(pieces):
        raise PhraseError(f"{phrase!r}: unexpected {pieces[rest]!r}")
    if nodes[0].barred:
        raise PhraseError(f"{phrase!r}: nothing before '!'")
    if nodes[0].gap or any(node.gap and all(n.optional for n in nodes[at:]) for at, node in enumerate(nodes, start=1)):
        raise PhraseError(f"{phrase!r}: '...' needs words on both sides")
    return nodes


def _words_of(name: str, words: Mapping[str, Sequence[str]], phrase: str) -> Sequence[str]:
    if name not in words:
        raise PhraseError(f"{phrase!r}: no word list {name!r}")
    return words[name]


def _sequence(pieces: list[str], at: int, phrase: str) -> tuple[tuple[_Node, ...], int]:
    nodes: list[_Node] = []
    while at < len(pieces) and pieces[at] not in (")", "]", "|"):
        piece = pieces[at]
        barred = piece == "!"
        if barred:
            at += 1
            piece = pieces[at] if at < len(pieces) else piece
        if piece in ("(", "["):
            choices, at = _choices(pieces, at + 1, ")" if piece == "(" else "]", phrase)
            nodes.append(_Node(choices=choices, optional=piece == "[", barred=barred))
            continue
        if barred:
            raise PhraseError(f"{phrase!r}: '!' needs a choice in round brackets")
        nodes.append(_leaf(piece, phrase))
        at += 1
    if not nodes:
        raise PhraseError(f"{phrase!r}: empty phrase or choice")
    return tuple(nodes), at


def _choices(pieces: list[str], at: int, closing: str, phrase: str) -> tuple[tuple[tuple[_Node, ...], ...], int]:
    choices = []
    while True:
        nodes, at = _sequence(pieces, at, phrase)
        choices.append(nodes)
        if at >= len(pieces) or pieces[at] not in ("|", closing):
            raise PhraseError(f"{phrase!r}: missing {closing!r}")
        at += 1
        if pieces[at - 1] == closing:
            return tuple(choices), at


def _leaf(piece: str, phrase: str) -> _Node:
    if piece == "...":
        return _Node(regex=_GAP, gap=True)
    if piece == ".":
        return _Node(regex=r"(?= *(?:\n|\Z))", punctuation=True)
    if piece in (",", ":", "?", "+", "/"):
        return _Node(regex=re.escape(piece), punctuation=True)
    word = piece.strip("~*")
    if not re.fullmatch(r"[\w'.]+", word) or word != word.lower() or (piece[0] == "~" and piece[-1] == "*"):
        raise PhraseError(f"{phrase!r}: cannot read {piece!r}")
    spellings = _slips(word) if piece[0] == "~" else [word]
    starred = piece[-1] == "*"
    known = [part for spelling in spellings for part in word_openings(spelling)[:1]]
    openings = () if starred and len(word) < _OPENING_LENGTH else tuple(known)
    spelled = (
        f"{re.escape(word[0])}{_choice([re.escape(w[1:]) for w in spellings])}" if piece[0] == "~" else re.escape(word)
    )
    return _Node(regex=spelled + (r"\w*" if starred else "") + _WORD_END, openings=openings)


def _slips(word: str) -> list[str]:
    """A word and its commonest typing slips, none of which touches the first letter."""
    inner = range(1, len(word))
    swapped = [word[:i] + word[i + 1] + word[i] + word[i + 2 :] for i in inner[:-1]]
    left_out = [word[:i] + word[i + 1 :] for i in inner]
    doubled = [word[:i] + word[i] + word[i:] for i in inner]
    return list(dict.fromkeys((word, *swapped, *left_out, *doubled)))


def word_openings(text: str) -> list[str]:
    """The first characters of each word; a scanner that opens with none of them need not look at a sentence."""
    return _OPENING.findall(text)


def _expand_start(nodes: tuple[_Node, ...]) -> Iterator[tuple[_Node, ...]]:
    """Writes out the choices a phrase starts with, so that each result starts with a plain word or sign."""
    first, rest = nodes[0], nodes[1:]
    if not first.choices:
        yield nodes
        return
    for choice in first.choices:
        yield from _expand_start(choice + rest)
    if first.optional and rest:
        yield from _expand_start(rest)


def _regex(nodes: tuple[_Node, ...], head: bool) -> str:
    """The regular expression of a sequence; with ``head``, what follows its first gap is captured."""
    out, opened = "", False
    before: _Node | None = None  # the last element that is sure to be there
    for node, previous in zip(nodes, (None, *nodes), strict=False):
        body = _choice([_regex(choice, False) for choice in node.choices]) if node.choices else node.regex
        space = _AROUND_PUNCTUATION if node.punctuation or (before and before.punctuation) else _SPACE
        if node.barred:
            out += f"(?!{_AROUND_PUNCTUATION}{body})"
            continue
        if node.gap:
            out += body
            continue
        if head and previous and previous.gap and not opened:
            # The captured group starts at the word, not at the space before it.
            out, before, opened = out + space + "(", None, True
        if before is None:
            out += f"(?:{body}{_SPACE})?" if node.optional else body
        else:
            out += f"(?:{space}{body})?" if node.optional else space + body
        if not node.optional:
            before = node
    return out + (")" if opened else "")


def _choice(regexes: list[str]) -> str:
    if all(regex.endswith(_WORD_END) for regex in regexes):
        # Said once for all, which saves a third of the time to compile.
        return f"(?:{'|'.join(regex.removesuffix(_WORD_END) for regex in regexes)}){_WORD_END}"
    return f"(?:{'|'.join(regexes)})"


class Hit(NamedTuple):
    """Where a phrase was found.

    Attributes:
        start: Offset of its first character.
        end: Offset after its last.
        head: Offset from which its last words stand: behind the gap of a phrase with a gap, else ``start``.
        name: The group it belongs to.
        phrase: The phrase as written in the file.
    """

    start: int
    end: int
    head: int
    name: str
    phrase: str


@dataclass(frozen=True)
class Scanner:
    """Groups of phrases in one expression; of those at the same word, the first group wins, then the longer phrase."""

    pattern: re.Pattern[str] | None
    by_group: Mapping[int, tuple[str, str, bool]] = field(repr=False)
    openings: frozenset[str] | None = field(repr=False)  # None where a phrase opens with a sign or a short stem

    def scan(self, text: str, openings: Set[str] | None = None) -> Iterator[Hit]:
        """Finds the phrases in a reading copy, from left to right, none overlapping.

        Args:
            text: The reading copy, or a sentence of it.
            openings: Its :func:`word_openings`, where known: spares the look at most texts that hold no phrase.
        """
        if self.pattern is None:
            return
        if openings is not None and self.openings is not None and self.openings.isdisjoint(openings):
            return
        for match in self.pattern.finditer(text):
            group = match.lastindex or 0
            name, phrase, gapped = self.by_group[group]
            start, end = match.span()
            yield Hit(start, end, match.start(group + 1) if gapped else start, name, phrase)


def compile_scanner(
    groups: Iterable[tuple[str, Iterable[str]]], words: Mapping[str, Sequence[str]] = MappingProxyType({})
) -> Scanner:
    """Compiles named groups of phrases.

    Args:
        groups: Name and phrases, the group that should win at the same word first.
        words: Word lists by name, for ``{name}`` in a phrase.

    Raises:
        PhraseError: A phrase breaks the notation.
    """
    # Alternatives are sorted into branches by first character, then by first word. The regular expression engine
    # tells branches apart by their first character and skips text that opens none, and a word shared by many phrases
    # is read once; a flat alternation is many times slower.
    branches: dict[str, dict[str, list[tuple[str, str, str, bool]]]] = {}
    openings: set[str] = set()
    all_open_known = True
    for name, phrases in groups:
        for phrase in sorted(phrases, key=lambda p: (-len(p.split()), -len(p))):
            for nodes in _expand_start(parse_phrase(phrase, words)):
                gapped = any(node.gap for node in nodes)
                word, regex = nodes[0].regex, _regex(nodes, head=gapped)
                openings.update(nodes[0].openings)
                all_open_known = all_open_known and bool(nodes[0].openings)
                by_word = branches.setdefault(_first_character(word), {})
                by_word.setdefault(word, []).append((regex[len(word) :], name, phrase, gapped))
    by_group: dict[int, tuple[str, str, bool]] = {}
    parts, count = [], 0
    for first, by_word in branches.items():
        # Words that go on in the same ways (was, were) share their branch, which halves the time to compile.
        alike: dict[tuple[tuple[str, str, str, bool], ...], list[str]] = {}
        for word, alternatives in by_word.items():
            alike.setdefault(tuple(alternatives), []).append(word.removeprefix(re.escape(first)))
        bodies = []
        for alternatives, endings in alike.items():
            rests = []
            for rest, name, phrase, gapped in alternatives:
                by_group[count + 1] = (name, phrase, gapped)
                count += 1 + gapped
                rests.append(f"({rest})")
            bodies.append(f"(?:{'|'.join(endings)})(?:{'|'.join(rests)})")
        boundary = rf"(?<!\w{first})" if first.isalnum() else ""
        parts.append(f"{re.escape(first)}{boundary}(?:{'|'.join(bodies)})")
    pattern = re.compile("|".join(parts)) if parts else None
    return Scanner(pattern, by_group, frozenset(openings) if all_open_known else None)


def _first_character(word: str) -> str:
    return word[1] if word.startswith("\\") else word[0]
