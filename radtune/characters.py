"""Text as readers of it expect: what word processors, PDF and web pages put between the letters is taken out.

Reports stay as they were given. Whoever looks for words looks in the copy made here, and finds its way back by offsets.
"""

import html
import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache


@dataclass(frozen=True, slots=True)
class Normalised:
    """A text without oddities of its file, and where each of its characters stood.

    Attributes:
        text: The text.
        offsets: For each character of ``text`` where it, or what it was made of, begins in the text as given; then the
            length of that.
    """

    text: str
    offsets: Sequence[int]

    def span(self, start: int, end: int) -> tuple[int, int]:
        """Where a part of ``text`` begins and ends in the text as given."""
        begin = self.offsets[start]
        # Part of a ligature is all of it.
        return begin, max(self.offsets[end], self.offsets[end - 1] + 1) if end > start else begin


# A hyphen at a line's end cut a word in two ("pneumo-/thorax"), unless it joins words that stand alone, too.
_JOINED_TO = re.compile(
    r"(?:air|center|cross|fluid|free|fully|ground|half|high|large|left|long|low|lower|middle|multi|near|poorly|right"
    r"|second|short|single|small|soft|stable|third|three|tree|two|upper|well|wide|\w)\Z",
    re.IGNORECASE,
)
_JOINS = re.compile(
    r"(?:aerated|age|appearing|based|bearing|bud|defined|dependent|expanded|fluid|free|glass|grade|in|inflated|like"
    r"|old|operative|ray|related|shaped|sided|sized?|solid|term|to|up|views?|years?)(?!\w)",
    re.IGNORECASE,
)
_LETTER = r"[^\W\d_]"
_LINE_END = r"[ \t]{0,8}\r?\n[ \t]{0,8}"
_PAGE_NUMBER = r"[-–—=| \t]{0,8}page[ \t]{1,3}\d{1,3}[ \t]{0,3}(?:of|/)[ \t]{0,3}\d{1,3}[-–—=| \t]{0,8}"
# Single characters that stand for others, for a blank, a line end or nothing: controls, blanks of other widths, soft
# hyphens, marks without width, combining marks, ligatures, typographic signs, bullets, full-width forms.
_SINGLE = (
    "\x00-\x08\x0b-\x1f\x7f-\xa0\xad\xb4\xb7\xc6\xe6\u0152\u0153\u0300-\u036f\u061c\u1680\u180e\u2000-\u201f\u2023"
    "\u2026\u2028-\u202f\u2032\u2033\u2043\u205f-\u206f\u2212\u2219\u25a0\u25aa\u25cf\u25e6\u3000\u3001\uf0a7\uf0b7"
    "\ufb00-\ufb06\ufe00-\ufe0f\ufeff\uff01-\uffef"
)
_ODD = re.compile(
    rf"(?P<cut>(?<={_LETTER})[-\u2010\xad]{_LINE_END}(?={_LETTER}))"
    rf"|(?P<line>(?:\r?\n[ \t\r\n]{{0,8}})?(?:\f|\v|(?<=\n){_PAGE_NUMBER}(?=\r?\n|\Z))(?:[ \t\r\n]{{0,8}}\r?\n)?"
    r"|\r\n?|</?(?:br|p|div|li|tr|ul|ol|h\d)\b[^<>\n]{0,80}>|\\\.br\\|\\X0[AD]\\|\\par(?![a-z]) ?|(?:\\r)?\\n|\\r"
    # HL7's sign between repeated fields; "~5 mm" is about.
    r"|(?<=[^\s~])~++(?=[^\s\d~]))"
    r"|(?P<tag></?(?:b|i|u|em|strong|span|font|td|th|pre|html|body)\b[^<>\n]{0,80}>)"
    r"|(?P<entity>&(?:#\d{1,6}|#x[0-9a-f]{1,5}|[a-z]{2,8}\d?);)"
    rf"|(?P<combined>{_LETTER}[\u0300-\u036f]++)|(?P<single>[{_SINGLE}])",
    re.IGNORECASE,
)
# Where these find nothing, neither does the other, which is ten times slower.
_MAY_BE_ODD = re.compile(rf"[{_SINGLE}<&\\~]")
_MAY_BE_CUT = re.compile(r"-[ \t]*+\n|(?i:page)[ \t]++\d")
_SIGNS = str.maketrans({
    **dict.fromkeys("\u2010\u2011\u2012\u2013\u2014\u2015\u2212", "-"),
    **dict.fromkeys("\u2018\u2019\u201a\u201b\u2032\xb4", "'"), **dict.fromkeys("\u201c\u201d\u201e\u201f\u2033", '"'),
    **dict.fromkeys("\xb7\u2023\u2043\u2219\u25a0\u25aa\u25cf\u25e6\uf0a7\uf0b7", "\u2022"),
    "\u3001": ",", "\xc6": "AE", "\xe6": "ae", "\u0152": "OE", "\u0153": "oe",
})  # fmt: skip


def normalise(text: str) -> Normalised:
    """A copy of a text in which words are found, in one pass; linear in its length.

    Ligatures and full-width forms are written out; soft hyphens and characters without width go; blanks of any width
    are blanks; quotes, dashes and bullets have one form each; words cut at a line's end are whole again; page breaks
    with their numbers, HTML, RTF and HL7 line breaks are line ends; letters carry their marks.
    """
    if not (_MAY_BE_ODD.search(text) or ("\n" in text and _MAY_BE_CUT.search(text))):
        return Normalised(text, range(len(text) + 1))
    pieces: list[str] = []
    offsets: list[int] = []
    at = 0
    for match in _ODD.finditer(text):
        start, end = match.span()
        plain = _plain(match)
        pieces += text[at:start], plain
        offsets += range(at, start)
        offsets += [start] * len(plain)
        at = end
    offsets += range(at, len(text) + 1)
    return Normalised("".join((*pieces, text[at:])), offsets)


def _plain(match: re.Match[str]) -> str:
    """What stands for an odd place of a text."""
    found = match[0]
    match match.lastgroup:
        case "single":
            return _plain_character(found)
        case "cut":
            return _hyphen(match)
        case "line":
            return "\n"
        case "tag":
            return ""
        case "combined":
            return unicodedata.normalize("NFC", found)
        case _:
            character = html.unescape(found)
            return "".join(map(_plain_character, character)) if character != found else found


@cache
def _plain_character(character: str) -> str:
    if re.match(f"[^{_SINGLE}]", character):
        return character
    if character in "\x85\u2028\u2029":
        return "\n"
    category = unicodedata.category(character)
    if category in ("Cf", "Mn"):
        return ""
    if category in ("Cc", "Zs"):
        return " "
    return unicodedata.normalize("NFKC", character.translate(_SIGNS))


def _hyphen(match: re.Match[str]) -> str:
    """What is left of a hyphen and the line end behind it: nothing within a word."""
    text, start, end = match.string, match.start(), match.end()
    if match[0][0] == "\xad":
        return ""
    if text[end].isupper() and not text[start - 1].isupper():
        return "-\n"  # "Lungs-" closes a heading; a word goes on in small letters
    before = text[max(0, start - 20) : start].rpartition(" ")[2].rpartition("\n")[2]
    return "-" if _JOINED_TO.match(before) or _JOINS.match(text, end) else ""
