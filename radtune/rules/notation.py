"""The phrase notation of the lexicon and cue files, and the regular expression that a phrase stands for.

A phrase is words in lower case, and a few signs that a reader can guess:

    pleural effusion        these words, with any space, hyphen or line break between them
    effusion*               a word that starts so
    ~effusion               this word, also with two letters swapped, one left out or one doubled, or cut in two
    (left|right) base       one of these
    [large] effusion        with or without it
    {angle} blunting        one of the words that the file lists under [words] as angle, then blunting
    heart ... enlarged      up to six other words between, none of which opens a new thought (and, but, with, no ...);
                            the words may stand behind a colon, without a subject: "heart: mildly enlarged"
    tubes : !(none|no)      these words, not followed by one of those
    pneumothorax : none     a comma, colon, question mark, plus, slash, #, <, > or ± stands for itself
    pneumothorax : no .     a period at the end: nothing follows in the sentence
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from itertools import pairwise
from typing import NamedTuple

# What separates two words of a reading copy; sentence ends are "\n" there, so no phrase crosses them.
# Possessive and bounded, so that no text, however odd, takes more than linear time.
SPACE = r"[ \-]++"
_BLANK = re.escape(" ")
_AROUND_PUNCTUATION = r"[ \-]*+"
_WORD_END = r"(?!\w)"
# Thai and Lao, Burmese, Khmer, Japanese, Chinese and Korean: words there end where no sign tells.
_UNSPACED = "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af\uf900-\ufaff"
# Words that open a new thought: what stands behind them says nothing about what stands before. A negation is let
# through, because "heart is not enlarged" is a mention that its own cue negates; so is a second verb, "is stable and
# not enlarged".
_SPACE_OR_COLON = rf"(?:{SPACE}|(?<=:))"
_GAP_STOPS = (
    r"(?:and|but)(?! +(?:is|are|remains|not)(?!\w))|or|nor|with|without|no(?! longer(?!\w))|which|although|though"
    r"|however|there|except|from|by|due|than|since"
)
# What stands behind a heading's colon with a subject or a verb of its own speaks of that.
_OWN_SUBJECT = (
    r"is|are|was|were|has|have|heart|cardiac|silhouette|contours?|vascul\w*|vessels?|aorta|hil\w+|lungs?|bones?|pleura\w*"
    r"|trachea|mediastin\w*"
)
_IN_GAP = rf"{_SPACE_OR_COLON}(?!(?:{_GAP_STOPS})(?!\w))"
_GAP = (
    rf"(?:(?:{_IN_GAP}[\w'/%.]{{1,40}}+){{0,6}}?"
    rf"|[ \-]*+:(?:{_IN_GAP}(?!(?:{_OWN_SUBJECT})(?!\w))[\w'/%.]{{1,40}}+){{0,6}}?)"
)
# Where the words and signs of a text stand, in order, and what comes behind each, nothing behind the last; and all of
# them.
Words = tuple[Sequence[tuple[int, str, str]], frozenset[str]]
# A sign, and any letter of a script that sets words without space, is a word of its own.
_WORD = re.compile(rf"[^\W{_UNSPACED}]+|[,:?+/#<>\xb1'.{_UNSPACED}]")
_ASCII_WORD = re.compile(r"\w+|[,:?+/#<>'.]", re.ASCII)  # the same in such a text, in three quarters of the time
_PIECE = re.compile(r"\.\.\.|\{\w+\}|[()\[\]|]|[,:?+/#<>\xb1]|\.(?!\w)|~?[\w'.]+\*?|\S")


# Letters on either side where a word is cut: "no dule" is no nodule.
_LEFT_BY_A_CUT = 3


class PhraseError(ValueError):
    """A phrase that breaks the notation, and how."""

    def __init__(self, phrase: str, how: str) -> None:
        super().__init__(f"{phrase!r}: {how}")
        self.phrase, self.how = phrase, how


class Node(NamedTuple):
    """One element: a word, punctuation, a gap, or a choice between sequences."""

    regex: str = ""
    openings: tuple[str, ...] = ()  # of a word: what words_of finds first in its spellings
    begins: tuple[str, ...] = ()  # of these those that are only a part of a spelling: "can" of "can't"
    starred: bool = False
    choices: tuple[tuple["Node", ...], ...] = ()
    optional: bool = False
    punctuation: bool = False
    gap: bool = False
    barred: bool = False


def parse_phrase(phrase: str, words: Mapping[str, Sequence[str]]) -> tuple[Node, ...]:
    """Parses a phrase; ``words`` are the lists for ``{name}``.

    Raises:
        PhraseError: Unbalanced brackets, an empty choice, an unknown sign or word list, or a gap at either end.
    """
    pieces = _PIECE.findall(phrase)
    nodes, rest = _sequence(pieces, 0, phrase, words)
    if rest != len(pieces):
        raise PhraseError(phrase, f"unexpected {pieces[rest]!r}")
    if nodes[0].barred:
        raise PhraseError(phrase, "nothing before '!'")
    if "..." in phrase and (
        nodes[0].gap or any(node.gap and all(n.optional for n in nodes[at:]) for at, node in enumerate(nodes, start=1))
    ):
        raise PhraseError(phrase, "'...' needs words on both sides")
    return nodes


def _sequence(
    pieces: list[str], at: int, phrase: str, words: Mapping[str, Sequence[str]]
) -> tuple[tuple[Node, ...], int]:
    nodes: list[Node] = []
    while at < len(pieces):
        piece = pieces[at]
        if leaf := _leaf(piece):
            nodes.append(leaf)
            at += 1
            continue
        if piece in (")", "]", "|"):
            break
        barred = piece == "!"
        if barred:
            at += 1
            piece = pieces[at] if at < len(pieces) else piece
        if piece in ("(", "["):
            choices, at = _choices(pieces, at + 1, ")" if piece == "(" else "]", phrase, words)
            punctuation = any(choice[0].punctuation for choice in choices)
            nodes.append(Node(choices=choices, optional=piece == "[", punctuation=punctuation, barred=barred))
            continue
        if barred:
            raise PhraseError(phrase, "'!' needs a choice in round brackets")
        if piece[0] != "{" or len(piece) == 1:
            raise PhraseError(phrase, f"cannot read {piece!r}")
        if piece[1:-1] not in words:
            raise PhraseError(phrase, f"no word list {piece[1:-1]!r}")
        try:
            nodes.append(_listed(tuple(words[piece[1:-1]])))
        except PhraseError as error:
            raise PhraseError(phrase, error.how) from None
        at += 1
    if not nodes:
        raise PhraseError(phrase, "empty phrase or choice")
    return tuple(nodes), at


@cache
def _listed(words: tuple[str, ...]) -> Node:
    """The choice of a word list, read once for all phrases that name it."""
    (node,) = parse_phrase(f"({'|'.join(words)})", {})
    return node


def _choices(
    pieces: list[str], at: int, closing: str, phrase: str, words: Mapping[str, Sequence[str]]
) -> tuple[tuple[tuple[Node, ...], ...], int]:
    choices = []
    while True:
        nodes, at = _sequence(pieces, at, phrase, words)
        choices.append(nodes)
        if at >= len(pieces) or pieces[at] not in ("|", closing):
            raise PhraseError(phrase, f"missing {closing!r}")
        at += 1
        if pieces[at - 1] == closing:
            return tuple(choices), at


@cache
def _leaf(piece: str) -> Node | None:
    """A word, a sign or a gap; None for what is none of them."""
    if piece.isascii() and piece.isalpha() and piece.islower():
        return Node(piece + _WORD_END, (piece,))  # as the rest would make of it
    if piece == "...":
        return Node(regex=_GAP, gap=True)
    if piece == ".":
        return Node(regex=r"(?=\n|\Z)", punctuation=True)
    if piece in (",", ":", "?", "+", "/", "#", "<", ">", "\xb1"):
        return Node(regex=re.escape(piece), openings=(piece,), punctuation=True)
    word = piece.strip("~*")
    if not re.fullmatch(r"[\w'.]+", word) or word != word.lower() or (piece[0] == "~" and piece[-1] == "*"):
        return None
    spellings = _slips(word) if piece[0] == "~" else [word]
    begun = [(spelling, _WORD.findall(spelling)[0]) for spelling in spellings]
    openings = tuple(dict.fromkeys(opening for _, opening in begun))
    begins = tuple(opening for spelling, opening in begun if opening != spelling)
    spelled = re.escape(word)
    if piece[0] == "~":
        spelled = f"{word[0]}{_choice([re.escape(w[1:]).replace(_BLANK, SPACE) for w in spellings])}"
    starred = piece[-1] == "*"
    word_end = _WORD_END if word.isascii() or not re.match(f"[{_UNSPACED}]", word[-1]) else ""
    return Node(spelled + (r"\w*" if starred else "") + word_end, openings, begins, starred)


def _slips(word: str) -> list[str]:
    """A word and its commonest typing slips, none of which touches the first letter; cut in two, as dictation does."""
    inner = range(1, len(word))
    swapped = [word[:i] + word[i + 1] + word[i] + word[i + 2 :] for i in inner[:-1]]
    left_out = [word[:i] + word[i + 1 :] for i in inner]
    doubled = [word[:i] + word[i] + word[i:] for i in inner]
    cut = [f"{word[:i]} {word[i:]}" for i in range(_LEFT_BY_A_CUT, len(word) - _LEFT_BY_A_CUT + 1)]
    return list(dict.fromkeys((word, *swapped, *left_out, *doubled, *cut)))


def words_of(text: str) -> Words:
    """The words and signs of a text, at which phrases may begin."""
    found = (_ASCII_WORD if text.isascii() else _WORD).findall(text)
    places: list[tuple[int, str, str]] = []
    at = 0
    for word, following in pairwise([*found, ""]):
        at = text.find(word, at)  # faster than to ask a match for each
        places.append((at, word, following))
        at += len(word)
    return places, frozenset(found)


def may_stand_at(word: Node, found: str) -> bool:
    """Whether a word of a phrase may stand at a word of a text."""
    return found in word.openings or (word.starred and found.startswith(word.openings))


def is_whole(word: Node, found: str) -> bool:
    """Whether a word of a text is all of a word of a phrase that may stand there."""
    return not word.begins or (not word.starred and found not in word.begins)


def is_lone(nodes: Sequence[Node], found: str, following: str) -> bool:
    """Whether a phrase that may stand at a word of a text is that word, whatever comes behind it."""
    spaced = following.isascii() or not re.match(f"[{_UNSPACED}]", following)
    return len(nodes) == 1 and is_whole(nodes[0], found) and spaced


def followers(nodes: Sequence[Node], found: str) -> tuple[set[str] | None, tuple[str, ...]]:
    """What must come behind a word of a text for a phrase to stand at it: one of some words, or what begins so.

    None for the words where that does not tell.
    """
    if not is_whole(nodes[0], found):
        return None, ()
    words: set[str] = set()
    stems: list[str] = []
    return (words if _openings(nodes[1:], words, stems) else None), tuple(stems)


def needed(nodes: Sequence[Node]) -> Iterator[frozenset[str]]:
    """Words of which a text has one of each group, if a phrase that starts in it goes on."""
    for node in nodes[1:]:
        words: set[str] = set()
        stems: list[str] = []
        if not node.optional and _openings((node,), words, stems) and words and not stems and "" not in words:
            yield frozenset(words)


def _openings(nodes: Sequence[Node], words: set[str], stems: list[str]) -> bool:
    """Collects what a sequence may open with; whether it must open with one of these."""
    for node in nodes:
        if node.barred:
            continue
        if node.choices:
            if not all(_openings(choice, words, stems) for choice in node.choices):
                return False
        elif node.gap:
            return False
        elif not node.openings:
            words.add("")  # the end
        elif node.starred:
            stems.extend(node.openings)
        else:
            words.update(node.openings)
        if not node.optional:
            return True
    return False


def expand_start(nodes: tuple[Node, ...]) -> Iterator[tuple[Node, ...]]:
    """Writes out the choices a phrase starts with, so that each result starts with a plain word or sign."""
    first, rest = nodes[0], nodes[1:]
    if not first.choices:
        yield nodes
        return
    for choice in first.choices:
        yield from expand_start(choice + rest)
    if first.optional and rest:
        yield from expand_start(rest)


def phrase_regex(nodes: tuple[Node, ...], head: bool, behind: bool = False) -> str:
    """The regular expression of a sequence; with ``head``, what follows its first gap is captured.

    With ``behind`` that of what stands behind its first word.
    """
    out, opened = "", False
    before: Node | None = None  # the last element that is sure to be there
    for node, previous in zip(nodes, (None, *nodes), strict=False):
        ways = [phrase_regex(choice, False) for choice in node.choices]
        if node.barred:
            # A gap takes the blanks before it itself.
            blanks = ["" if choice[0].gap else " *+" for choice in node.choices]
            out += f"(?!{'|'.join(map(''.join, zip(blanks, ways, strict=True)))})"
            continue
        body = _choice(ways) if ways else node.regex
        space = _AROUND_PUNCTUATION if node.punctuation or (before and before.punctuation) else SPACE
        if previous and previous.gap and space == SPACE:
            space = _SPACE_OR_COLON
        if node.gap:
            out += body
            before = before or node
            continue
        if head and previous and previous.gap and not opened:
            # The captured group starts at the word, not at the space before it.
            out, before, opened = out + space + "(", None, True
        if before is None:
            out += f"(?:{body}{SPACE})?" if node.optional else body
        else:
            out += f"(?:{space}{body})?" if node.optional else space + body
        if not node.optional:
            before = node
    if behind:
        first = nodes[0].regex
        out = (_WORD_END if first.endswith(_WORD_END) else "") + out.removeprefix(first)
    return out + (")" if opened else "")


def _choice(regexes: list[str]) -> str:
    if all(regex.endswith(_WORD_END) for regex in regexes):
        # Said once for all, which saves a third of the time to compile.
        return f"(?:{'|'.join(regex.removesuffix(_WORD_END) for regex in regexes)}){_WORD_END}"
    return f"(?:{'|'.join(regexes)})"
