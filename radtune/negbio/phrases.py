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
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import NamedTuple

# What separates two words of a reading copy; sentence ends are "\n" there, so no phrase crosses them.
# Possessive and bounded, so that no text, however odd, takes more than linear time.
_SPACE = r"[ \-]++"
_AROUND_PUNCTUATION = " *"
# Words that open a new thought: what stands behind them says nothing about what stands before. A negation is let
# through, because "heart is not enlarged" is a mention that its own cue negates.
_GAP_STOPS = "and|but|or|nor|with|without|no|which|although|though|however|there|except|from|due|than|since"
_GAP = rf"(?:{_SPACE}(?!(?:{_GAP_STOPS})(?!\w))[\w'/%.]{{1,40}}+){{0,6}}?"
_WORD_LIST = re.compile(r"\{(\w+)\}")
_PIECE = re.compile(r"\.\.\.|[()\[\]|]|[,:?+/]|\.(?!\w)|~?[\w'.]+\*?|\S")


class PhraseError(ValueError):
    """A phrase that breaks the notation."""


@dataclass(frozen=True)
class _Node:
    """One element: a word, punctuation, a gap, or a choice between sequences."""

    regex: str = ""
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
    spelled = _with_slips(word) if piece[0] == "~" else re.escape(word)
    return _Node(regex=spelled + (r"\w*" if piece[-1] == "*" else "") + r"(?!\w)")


def _with_slips(word: str) -> str:
    """The expression of a word and of its commonest typing slips, none of which touches the first letter."""
    inner = range(1, len(word))
    swapped = [word[:i] + word[i + 1] + word[i] + word[i + 2 :] for i in inner[:-1]]
    left_out = [word[:i] + word[i + 1 :] for i in inner]
    doubled = [word[:i] + word[i] + word[i:] for i in inner]
    rests = dict.fromkeys(re.escape(w[1:]) for w in (word, *swapped, *left_out, *doubled))
    return f"{re.escape(word[0])}(?:{'|'.join(rests)})"


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
        body = node.regex if not node.choices else "(?:" + "|".join(_regex(c, False) for c in node.choices) + ")"
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

    def scan(self, text: str) -> Iterator[Hit]:
        """Finds the phrases in a reading copy, from left to right, none overlapping."""
        if self.pattern is None:
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
    for name, phrases in groups:
        for phrase in sorted(phrases, key=lambda p: (-len(p.split()), -len(p))):
            for nodes in _expand_start(parse_phrase(phrase, words)):
                gapped = any(node.gap for node in nodes)
                word, regex = nodes[0].regex, _regex(nodes, head=gapped)
                by_word = branches.setdefault(_first_character(word), {})
                by_word.setdefault(word, []).append((regex[len(word) :], name, phrase, gapped))
    by_group: dict[int, tuple[str, str, bool]] = {}
    parts, count = [], 0
    for first, by_word in branches.items():
        bodies = []
        for word, alternatives in by_word.items():
            rests = []
            for rest, name, phrase, gapped in alternatives:
                by_group[count + 1] = (name, phrase, gapped)
                count += 1 + gapped
                rests.append(f"({rest})")
            bodies.append(f"{word.removeprefix(re.escape(first))}(?:{'|'.join(rests)})")
        boundary = rf"(?<!\w{first})" if first.isalnum() else ""
        parts.append(f"{re.escape(first)}{boundary}(?:{'|'.join(bodies)})")
    return Scanner(re.compile("|".join(parts)) if parts else None, by_group)


def _first_character(word: str) -> str:
    return word[1] if word.startswith("\\") else word[0]
