"""The phrase notation of the lexicon and cue files, and the regular expression that a phrase stands for.

A phrase is words in lower case, and a few signs that a reader can guess:

    pleural effusion        these words, with any space, hyphen or line break between them
    effusion*               a word that starts so
    ~effusion               this word, also with two letters swapped, one left out or one doubled, or cut in two
    (left|right) base       one of these
    [large] effusion        with or without it
    {angle} blunting        one of the words that the file lists under [words] as angle, then blunting
    heart ... enlarged      up to six other words between, none of which opens a new thought (and, but, with, no ...)
    tubes : !(none|no)      these words, not followed by one of those
    pneumothorax : none     a comma, colon, question mark, plus or slash stands for itself
    pneumothorax : no .     a period at the end: nothing follows in the sentence
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

# What separates two words of a reading copy; sentence ends are "\n" there, so no phrase crosses them.
# Possessive and bounded, so that no text, however odd, takes more than linear time.
SPACE = r"[ \-]++"
_BLANK = re.escape(" ")
_AROUND_PUNCTUATION = " *+"
_WORD_END = r"(?!\w)"
# Thai and Lao, Burmese, Khmer, Japanese, Chinese and Korean: words there end where no sign tells.
_UNSPACED = re.compile("[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af\uf900-\ufaff]")
# Words that open a new thought: what stands behind them says nothing about what stands before. A negation is let
# through, because "heart is not enlarged" is a mention that its own cue negates; so is a second verb, "is stable and
# not enlarged".
_GAP_STOPS = (
    r"(?:and|but)(?! +(?:is|are|remains|not)(?!\w))|or|nor|with|without|no|which|although|though|however|there|except"
    r"|from|by|due|than|since"
)
_GAP = rf"(?:{SPACE}(?!(?:{_GAP_STOPS})(?!\w))[\w'/%.]{{1,40}}+){{0,6}}?"
_WORD_LIST = re.compile(r"\{(\w+)\}")
_OPENING_LENGTH = 6
_STEM_LENGTH = 4
_OPENING = re.compile(rf"(?<!\w)\w{{1,{_OPENING_LENGTH}}}|[,:?+/]")
_PIECE = re.compile(r"\.\.\.|[()\[\]|]|[,:?+/]|\.(?!\w)|~?[\w'.]+\*?|\S")


# Letters on either side where a word is cut: "no dule" is no nodule.
_LEFT_BY_A_CUT = 3


class PhraseError(ValueError):
    """A phrase that breaks the notation, and how."""

    def __init__(self, phrase: str, how: str) -> None:
        super().__init__(f"{phrase!r}: {how}")
        self.phrase = phrase


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
    """Parses a phrase; ``words`` are the lists for ``{name}``.

    Raises:
        PhraseError: Unbalanced brackets, an empty choice, an unknown sign or word list, or a gap at either end.
    """

    def listed(name: re.Match[str]) -> str:
        if name[1] not in words:
            raise PhraseError(phrase, f"no word list {name[1]!r}")
        return f"({'|'.join(words[name[1]])})"

    pieces = _PIECE.findall(_WORD_LIST.sub(listed, phrase))
    nodes, rest = _sequence(pieces, 0, phrase)
    if rest != len(pieces):
        raise PhraseError(phrase, f"unexpected {pieces[rest]!r}")
    if nodes[0].barred:
        raise PhraseError(phrase, "nothing before '!'")
    if nodes[0].gap or any(node.gap and all(n.optional for n in nodes[at:]) for at, node in enumerate(nodes, start=1)):
        raise PhraseError(phrase, "'...' needs words on both sides")
    return nodes


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
            punctuation = any(choice[0].punctuation for choice in choices)
            nodes.append(_Node(choices=choices, optional=piece == "[", punctuation=punctuation, barred=barred))
            continue
        if barred:
            raise PhraseError(phrase, "'!' needs a choice in round brackets")
        nodes.append(_leaf(piece, phrase))
        at += 1
    if not nodes:
        raise PhraseError(phrase, "empty phrase or choice")
    return tuple(nodes), at


def _choices(pieces: list[str], at: int, closing: str, phrase: str) -> tuple[tuple[tuple[_Node, ...], ...], int]:
    choices = []
    while True:
        nodes, at = _sequence(pieces, at, phrase)
        choices.append(nodes)
        if at >= len(pieces) or pieces[at] not in ("|", closing):
            raise PhraseError(phrase, f"missing {closing!r}")
        at += 1
        if pieces[at - 1] == closing:
            return tuple(choices), at


def _leaf(piece: str, phrase: str) -> _Node:
    if piece == "...":
        return _Node(regex=_GAP, gap=True)
    if piece == ".":
        return _Node(regex=r"(?=\n|\Z)", punctuation=True)
    if piece in (",", ":", "?", "+", "/"):
        return _Node(regex=re.escape(piece), openings=(piece,), punctuation=True)
    word = piece.strip("~*")
    if not re.fullmatch(r"[\w'.]+", word) or word != word.lower() or (piece[0] == "~" and piece[-1] == "*"):
        raise PhraseError(phrase, f"cannot read {piece!r}")
    spellings = _slips(word) if piece[0] == "~" else [word]
    starred = piece[-1] == "*"
    length = _STEM_LENGTH if starred and len(word) < _OPENING_LENGTH else _OPENING_LENGTH
    known = [part[:length] for spelling in spellings for part in _OPENING.findall(spelling)[:1]]
    anywhere = unspaced(word[0]) or unspaced(word[-1]) or (starred and len(word) < _STEM_LENGTH)
    openings = () if anywhere else tuple(known)
    spelled = re.escape(word)
    if piece[0] == "~":
        spelled = f"{word[0]}{_choice([re.escape(w[1:]).replace(_BLANK, SPACE) for w in spellings])}"
    word_end = "" if unspaced(word[-1]) else _WORD_END
    return _Node(regex=spelled + (r"\w*" if starred else "") + word_end, openings=openings)


def unspaced(letter: str) -> bool:
    """Whether a letter is of a script that sets words without space, so that no bound of a word is to be asked for."""
    return bool(_UNSPACED.match(letter))


def _slips(word: str) -> list[str]:
    """A word and its commonest typing slips, none of which touches the first letter; cut in two, as dictation does."""
    inner = range(1, len(word))
    swapped = [word[:i] + word[i + 1] + word[i] + word[i + 2 :] for i in inner[:-1]]
    left_out = [word[:i] + word[i + 1 :] for i in inner]
    doubled = [word[:i] + word[i] + word[i:] for i in inner]
    cut = [f"{word[:i]} {word[i:]}" for i in range(_LEFT_BY_A_CUT, len(word) - _LEFT_BY_A_CUT + 1)]
    return list(dict.fromkeys((word, *swapped, *left_out, *doubled, *cut)))


def rarest_openings(nodes: tuple[_Node, ...]) -> frozenset[str]:
    """Openings of words of which a phrase needs one, those that reports hold least often; none where none is known."""
    needed: list[frozenset[str]] = []
    for node in nodes:
        if node.optional or node.barred or node.gap:
            continue
        parts = [rarest_openings(choice) for choice in node.choices] or [frozenset(node.openings)]
        if all(parts):
            needed.append(frozenset().union(*parts))
    return min(needed, key=lambda openings: (len(openings & _COMMON), len(openings)), default=frozenset())


def word_openings(text: str) -> frozenset[str]:
    """The first characters of each word, and signs; a scanner that opens with none need not look at a sentence."""
    openings = _OPENING.findall(text)
    return frozenset([*openings, *[opening[:_STEM_LENGTH] for opening in openings]])


_COMMON = word_openings(
    "the a of in is are was has have been no not and or with without to from at on for there this which may , : no"
    " normal clear stable unchanged seen noted mild small large right left both bilateral upper lower lobe base lung"
    " lungs pulmonary heart cardiac pleural pleura chest thoracic mediastinal mediastinum size contour silhouette focal"
    " acute within limits air increased prominent medial lateral interval spine bony calcified granuloma"
)


def expand_start(nodes: tuple[_Node, ...]) -> Iterator[tuple[_Node, ...]]:
    """Writes out the choices a phrase starts with, so that each result starts with a plain word or sign."""
    first, rest = nodes[0], nodes[1:]
    if not first.choices:
        yield nodes
        return
    for choice in first.choices:
        yield from expand_start(choice + rest)
    if first.optional and rest:
        yield from expand_start(rest)


def phrase_regex(nodes: tuple[_Node, ...], head: bool) -> str:
    """The regular expression of a sequence; with ``head``, what follows its first gap is captured."""
    out, opened = "", False
    before: _Node | None = None  # the last element that is sure to be there
    for node, previous in zip(nodes, (None, *nodes), strict=False):
        body = _choice([phrase_regex(choice, False) for choice in node.choices]) if node.choices else node.regex
        space = _AROUND_PUNCTUATION if node.punctuation or (before and before.punctuation) else SPACE
        if node.barred:
            out += f"(?! *{body})"
            continue
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
    return out + (")" if opened else "")


def _choice(regexes: list[str]) -> str:
    if all(regex.endswith(_WORD_END) for regex in regexes):
        # Said once for all, which saves a third of the time to compile.
        return f"(?:{'|'.join(regex.removesuffix(_WORD_END) for regex in regexes)}){_WORD_END}"
    return f"(?:{'|'.join(regexes)})"
