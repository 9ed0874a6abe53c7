"""Text as readers of it expect: what word processors, PDF and web pages put between the letters is taken out.

Reports stay as they were given. Whoever looks for words looks in the copy made here, and finds its way back by offsets.
"""

import html
import re
import unicodedata
from collections import Counter
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
    "\u2026\u2028-\u202f\u2032\u2033\u2043\u205f-\u206f\u2212\u2219\u25a0\u25aa\u25cf\u25e6\u2610-\u2612\u3000\u3001\uf0a7\uf0b7"
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
_MAY_BE_CUT = re.compile(r"-[ \t]*+\n|page[ \t]++\d|Page[ \t]++\d|PAGE[ \t]++\d")
_SIGNS = str.maketrans({
    **dict.fromkeys("\u2010\u2011\u2012\u2013\u2014\u2015\u2212", "-"),
    **dict.fromkeys("\u2018\u2019\u201a\u201b\u2032\xb4", "'"), **dict.fromkeys("\u201c\u201d\u201e\u201f\u2033", '"'),
    **dict.fromkeys("\xb7\u2023\u2043\u2219\u25a0\u25aa\u25cf\u25e6\uf0a7\uf0b7", "\u2022"),
    "\u2610": "[ ]", "\u2611": "[x]", "\u2612": "[x]",
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


# Words that reports cannot do without and other languages do not have, by ISO 639-1 code. English first: it wins ties.
_FUNCTION_WORDS = {
    "en": "the of and is are no with there to for at has been was not from evidence normal clear lungs heart chest"
    " unchanged stable left right within limits seen both without mild small large which this that views or as by on"
    " findings could cannot be likely severe redemonstrated bone joint tear has through please versus"
    " above below low upper lower new old year ribs fever cough pain eval line lines tube worse today",
    "de": "der das und ist sind nicht kein keine keinen keiner im mit von zum zur bei ohne beidseits unauff\xe4llig"
    " hinweis auf des dem den ein eine einer eines sich auch nach wie herz lunge lungen erguss rechts links sowie"
    " befund beurteilung keinerlei beidseitig normal gro\xdf nachweis f\xfcr \xfcber regelrecht verschattung"
    " ausschluss ausgeschlossen pneumonie fraktur kardiomegalie atelektase pleuraerguss rechten linken",
    "fr": "le la les des du une est sont pas avec sans dans sur aux au et ou droite gauche par pour absence il"
    " n'y pleural \xe9panchement poumon poumons c\u0153ur coeur cardiaque d'\xe9panchement ces cette"
    " thoracique pulmonaire normale pneumopathie opacit\xe9 cardiom\xe9galie",
    "es": "el la los las del una es son con sin en y por para se no derecho izquierdo derecha izquierda pulmones"
    " pulmonar derrame coraz\xf3n silueta card\xedaca sin observa observan t\xf3rax hallazgos neumon\xeda"
    " neumot\xf3rax fractura cardiomegalia",
    "it": "il lo gli le della del delle dei una \xe8 sono con senza nel nella non di si destra sinistra versamento"
    " polmoni polmonare cuore ombra cardiaca per alterazioni torace pleurico polmonite frattura",
    "pt": "o os as da do das dos uma \xe9 s\xe3o com sem em n\xe3o e na no direito esquerdo direita esquerda derrame"
    " pulm\xf5es pulmonar cora\xe7\xe3o sil\xeancia t\xf3rax \xe1rea card\xedaca",
    "nl": "de het een van en is zijn geen met niet op bij zonder voor aan rechts links longen hart beiderzijds wordt"
    " worden aanwijzingen pleuravocht normaal thorax",
    "sv": "och \xe4r inte ingen inga med av p\xe5 utan f\xf6r till en ett h\xf6ger v\xe4nster lungor hj\xe4rta"
    " hj\xe4rtat som den det",
    "da": "og er ikke ingen med af p\xe5 uden for til et h\xf8jre venstre lunger hjerte som den det",
    "pl": "i w jest s\xe1 nie bez z na do oraz p\u0142uc p\u0142uca serce sylwetka prawej lewej zmian o",
    "fi": "ja ei ole ovat sek\xe4 tai my\xf6s keuhkot keuhkoissa syd\xe4n kokoinen kokoiset oikealla vasemmalla"
    " nestett\xe4 pleuranestett\xe4 ilman muutoksia todeta n\xe4y n\xe4kyy normaali normaalin normaalit molemmin",
    "id": "dan di tidak tampak dengan pada yang dalam batas kesan paru kanan kiri jantung kedua baik tak corakan tajam"
    " efusi",
    "tr": "ve bir ile i\xe7in olan olarak yok var izlenmedi izlenmektedir sa\u011f sol akci\u011fer kalp normaldir",
}
_LANGUAGE_WORDS = {code: frozenset(words.split()) for code, words in _FUNCTION_WORDS.items()}
# Of other languages, words of which one tells where no English one stands ("Kein Pneumothorax."): long ones, and those
# that deny. Of 622 such texts of English reports (Open-i, CMC) none has one, but for the words left out.
_DENIALS = frozenset(("kein", "ohne", "pas", "sans", "sin", "sem", "geen", "bez"))
_TELLING = _DENIALS | (
    {word for words in _LANGUAGE_WORDS.values() for word in words - _LANGUAGE_WORDS["en"] if len(word) > 4}
    - {"pleural", "thorax", "t\xf3rax", "pulmonar"}
)
# Where letters of a script are more than a third of a text's, its language is not English, whatever its words are.
_SCRIPTS = {
    "ja": "\u3040-\u30ff", "ko": "\uac00-\ud7af", "zh": "\u4e00-\u9fff", "ru": "\u0400-\u04ff", "el": "\u0370-\u03ff",
    "ar": "\u0600-\u06ff", "he": "\u0590-\u05ff", "th": "\u0e00-\u0e7f", "hi": "\u0900-\u097f",
}  # fmt: skip
_WORD = re.compile(r"[^\W\d_]+(?:'[^\W\d_]+)?")
# Of English shorthand: "no e/o effusion" has three words of Portuguese, "-ve" one of Turkish, "\xf8 effusion" a letter.
_SHORTHAND = re.compile(r"\b\w/\w\b|[+-]ve\b|\b\xf8\b")
_READ_FOR_LANGUAGE = 4000
# ISO 639-2's code for a language that is none of these. Of Open-i's 3,080 reports, those of eight words or more are
# English function words to a ninth at least.
OTHER = "und"
# Words of a text from which on it has some that its language cannot do without.
_TERSE = 16


def language_of(text: str) -> str:
    """The ISO 639-1 code of a report's language, by its script and function words; empty where they do not tell.

    Three words that English lacks are asked for, and more than English ones, so a few foreign names do not make a
    report foreign; where there is no English one, a single one of :data:`_TELLING`.
    """
    text = text[:_READ_FOR_LANGUAGE].lower()
    words = text.split()
    if text.isascii() and words and 4 * sum(map(_LANGUAGE_WORDS["en"].__contains__, words)) >= len(words):
        return "en"  # as nearly all are, in a quarter of the time
    if not text.isascii():
        for code, letters in _SCRIPTS.items():
            if 3 * len(re.findall(f"[{letters}]", text)) > len(re.findall(r"[^\W\d_]", text)):
                return code
    text = _SHORTHAND.sub(" ", text)
    counts = Counter(_WORD.findall(text))
    found = {code: sum(counts[word] for word in counts.keys() & words) for code, words in _LANGUAGE_WORDS.items()}
    best = max(found, key=lambda code: found[code])
    # Plain letters may be terse English: "Severe synovitis. Probable meniscal tear."
    plain = not any(letter > "\x7f" and letter.isalpha() for letter in text)  # "± effusion" is
    enough = _TERSE if plain else _TERSE // 2
    if found[best] < 3 and counts.total() >= enough and 16 * found["en"] < counts.total():
        return OTHER
    tells = best == "en" or (not found["en"] and not _TELLING.isdisjoint(counts))
    return best if found[best] >= (1 if tells else 3) else ""
