"""The sections of a report: what the reader of the images found and concluded, without history, technique, signatures.

Headings are known by their words, also misspelt. A body without a Findings heading is kept where it is one: under the
name of a view, an organ or "Report", before the first heading, or after the history's end.
"""

import difflib
import re
import tomllib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from pathlib import Path

from radtune.characters import normalise
from radtune.regions import names_exam, title_of

FINDINGS, IMPRESSION, ADDENDUM = "findings", "impression", "addendum"
# What stands above the findings; of the exam, its title.
HISTORY, TECHNIQUE, COMPARISON, EXAM, DETAILS = "history", "technique", "comparison", "exam", "details"
# A part of the findings that may stand without their heading; a view's name in the place of the heading.
ORGAN, VIEW = "organ", "view"
# A first reading, which the final one replaces; what follows a report; where a report begins anew.
PRELIMINARY, CLOSING, BEGIN = "preliminary", "closing", "begin"
_FRONT = frozenset((HISTORY, TECHNIQUE, COMPARISON, EXAM, DETAILS))

_WORDS = tomllib.loads(Path(__file__).with_suffix(".toml").read_text(encoding="utf-8"))


def _one_of(patterns: Iterable[str]) -> str:
    joined = "|".join(patterns)
    return re.sub(r"\{([a-z]+)\}", lambda name: _WORDS[name[1]], joined)


_KINDS = {kind: re.compile(_one_of(patterns)) for kind, patterns in _WORDS["headings"].items()}
_OFTEN_MISSPELT = {name: kind for kind, names in _WORDS["often_misspelt"].items() for name in names}
_NEAR = 0.85
_PART = rf"(?:{_one_of(_WORDS['parts']['words'])})"
_ORGAN = re.compile(rf"{_PART}(?:(?: |/|, ?| ?& ?| and | of the | or ){_PART}){{0,5}}")
_SIDES = ("left", "right", "both", "bilateral")  # of what stands above them
_OF_A_VIEW = re.compile(_one_of(_WORDS["views"]["words"]))
_OPENINGS = f"(?:{_one_of(_WORDS['sentences']['openings'])})"
_OPENS_FINDINGS, _OPENS_IN_LOWER = re.compile(_OPENINGS), re.compile(_OPENINGS, re.IGNORECASE)
# Words of findings, by which an entry is none of the order: "Left base: consolidation".
_SPEAKS = re.compile(rf"\b(?:{_one_of(_WORDS['sentences']['speaks'])})\b", re.IGNORECASE)
# A line of a person, or of the patient's past: "Mrs. Smith, MRN 1234", "Doe John 1950-01-02", "Known COPD, ..."
_OF_A_PATIENT = re.compile(
    r".*?\b(?:Mrs?|Ms|Miss|Dr|MRN|DOB|(?:year|yr)s?[ -]old|[yY]/?o"
    r"|\d{4}-\d\d-\d\d|\d{1,2}[/.]\d{1,2}[/.](?:19|20)?\d\d)\b"
    r"|[ \t]*(?i:known|past|history|hx|h/o|smoker|evaluate|rule out|r/o|fell)\b"
)
# "Read: Dr. Jones", "Read: 3/3/2018", which is no answer.
_SIGNED = re.compile(r"\s*(?:Dr\b|\d{1,2}[/.-]\d|[^\n.:]{3,40}\b(?:MD|DO|M\.D|D\.O|MBBS)\b)")
# What makes an attestation more than one.
_ADDS = re.compile("except|but|however|also|addition|disagree|differ", re.IGNORECASE)

_SENTENCE_START = re.compile(r"(?<=[.?!:_])\s+(?=\w)|\n[ \t]*(?=\w)")
_PARAGRAPH = re.compile(r"\n(?:[ \t]*+\n)++[ \t]*+(?=\S)")
_NEW_LINE = re.compile(r"\n[ \t]*+(?=[A-Z\d])")
_LINE = re.compile(r"[^\n]+")
_LONGEST_TITLE = 13
# "Accession: 123", but "Enlarged heart: no".
_DETAIL = re.compile(
    r"[^\W\d][\w #]{1,29}:(?!\s*(?i:no|none|nil|not|yes|absent|present|negative|normal|clear|enlarged)\b)"
)
_BOX = re.compile(r"\[[xX -]\]")  # to tick, before a finding
_SENTENCE_ENDS = ".!?:)]_"
_RULE = " \t_=*~-"
# Of a heading, not of a time of day.
_COLON = re.compile(r":(?!(?<=\d:)\d)")
_MARK = re.compile(
    r"[ \t]*(?:[#*_=>\[\u2022-]+|\(?(?:\d{1,2}|[IVX]{1,4}|[A-Z])[.)]|(?i:section|part) \d{1,2}[,.)]?(?=[ \t]))?[ \t]*"
)
_REMARK = re.compile(r"\([^()\n]{1,40}\)\s*\Z")
_LINE_HEADING = re.compile(
    r"(?P<rule>[#*_=>|\u2022-]*+)[ \t]*+(?P<name>[^\W\d_](?:[\w/&,+.'#]|-(?=\w)|[ ](?![ \t])){0,50})"
    r"(?:[ \t]{0,3}\([^()\n]{1,40}\))?[*_]{0,3}"
    r"(?:(?P<alone>[ \t]*+[*_=-]*+[ \t]*+(?:[\d/:. -]|[AaPp][Mm]){0,25}\Z)|(?P<dash>[ \t]*+(?:-++|\|)[ \t]++(?=\S))"
    r"|(?P<wide>(?:[ ]{2}|\t)[ \t]*+(?=\S)))"
)
# Names that open a section wherever they stand before a colon; "report" or "answer" may also end a sentence there.
_NAMED = re.compile("finding|impress|conclus|observ", re.IGNORECASE)
# Findings that are not there, which their heading says, and where those end.
_DENIES = re.compile("negative|absent|positive", re.IGNORECASE)
_NAME_LENGTH = 60
_TITLE_LENGTH = 400


@dataclass(frozen=True)
class Sections:
    """What a report's text is made of.

    Attributes:
        findings: Its findings, empty if it has none.
        impression: Its impression, then its addenda; likewise.
        headings: The headings found, as written, in capitals; those of no known kind as well.
        title: What was examined, as far as it says so.
    """

    findings: str
    impression: str
    headings: tuple[str, ...] = ()
    title: str = ""

    @property
    def is_whole(self) -> bool:
        """Whether no heading tells what of the text is findings, and what is not."""
        return not any(map(heading_kind, self.headings))


@dataclass(frozen=True)
class _Part:
    """A heading and what stands under it, by places in the text: kind, name, heading, body."""

    kind: str | None
    name: str
    start: int
    body: int
    alone: bool = False  # on its line, without a colon


@lru_cache(maxsize=10_000)
def heading_kind(name: str) -> str | None:
    """The kind of section that a heading opens; None for one that is not known."""
    plain = " ".join(re.sub(r"\(s\)|[.#*_]", " ", name.lower()).split()).strip(" -:")
    if not plain:
        return None
    for kind, pattern in _KINDS.items():
        if pattern.fullmatch(plain):
            return kind
    if _ORGAN.fullmatch(plain) and plain not in _SIDES:
        return ORGAN
    if title_of(name) == name.strip() and _OF_A_VIEW.search(plain):
        return VIEW
    near = difflib.get_close_matches(plain, _OFTEN_MISSPELT, n=1, cutoff=_NEAR) if len(plain) > 5 else []
    return _OFTEN_MISSPELT[near[0]] if near else None


def split_sections(body: str) -> Sections:
    """Finds the findings and the impression of a report.

    Headings may be upper or lower case, with or without a colon, marked up, inside a line, combined ("FINDINGS AND
    IMPRESSION", counted as findings), repeated (bodies are joined by a newline), or absent: a text without any heading
    has no sections.
    """
    body = body.replace("\r\n", "\n").replace("\r", "\n")
    copy = normalise(body)
    parts = list(_parts(copy.text))
    if len({part.name for part in parts if part.kind == ORGAN and part.alone}) == 1:
        parts = [part for part in parts if part.kind != ORGAN or not part.alone]  # more likely a title
    known = [part for part in parts if part.kind]
    headings = tuple(dict.fromkeys(part.name.upper() for part in parts))
    if not known:
        return Sections("", "", headings, title_of(copy.text))
    sorter = _Sorter(copy.text, any(part.kind == FINDINGS for part in known))
    for part, following in pairwise([_Part(BEGIN, "", 0, 0), *known, _Part(None, "", len(copy.text), 0)]):
        sorter.take(part, following.start)
    spans = sorter.findings or sorter.weak or ([] if sorter.impression or sorter.addenda else sorter.preliminary)

    def joined(places: list[tuple[int, int]]) -> str:
        spans = (copy.span(*_without_rules(copy.text, start, end)) for start, end in places)
        return "\n".join(body[start:end] for start, end in spans if end > start)

    impression = joined(sorter.impression)
    addenda = [f"Addendum: {text}" for place in sorter.addenda if (text := joined([place]))]
    return Sections(joined(spans), "\n".join(filter(None, (impression, *addenda))), headings, "\n".join(sorter.titles))


class _Sorter:
    """Sorts the parts of a report by what is kept of them; holds places in its text."""

    def __init__(self, text: str, has_findings: bool) -> None:
        self.text = text
        self.has_findings = has_findings
        self.findings: list[tuple[int, int]] = []
        self.weak: list[tuple[int, int]] = []  # findings if there are no others
        self.impression: list[tuple[int, int]] = []
        self.addenda: list[tuple[int, int]] = []
        self.preliminary: list[tuple[int, int]] = []
        self.titles: list[str] = []
        self.into: list[tuple[int, int]] | None = None  # where the part before went; None, if nowhere

    def take(self, part: _Part, end: int) -> None:
        kind, start = self._kind_here(part, end), part.body
        if kind in (ORGAN, VIEW) and self.into is not None:
            self._add(part.start, end)  # a heading within a section
            return
        nothing_yet = not (self.findings or self.weak or self.impression or self.addenda)
        if kind in _FRONT or (kind == CLOSING and nothing_yet):
            if kind in (EXAM, DETAILS):
                lines = self.text[start:end][:_TITLE_LENGTH].strip().split("\n")
                self.titles += [line for line in lines if names_exam(line) or (kind == EXAM and line is lines[0])]
            self._rest(kind, start, end)
            return
        if kind == ORGAN or (kind == FINDINGS and _DENIES.search(part.name)):
            start = part.start
        elif kind == VIEW:
            self.titles.append(part.name)
        elif kind == BEGIN:
            start = self._prose(start, end)
        places = {FINDINGS: self.findings, IMPRESSION: self.impression, ADDENDUM: self.addenda}
        places |= {PRELIMINARY: self.preliminary, ORGAN: self.weak, VIEW: self.weak, BEGIN: self.weak}
        self.into = places.get(kind or "")
        self._add(start, end)
        if kind in (BEGIN, PRELIMINARY):
            self.into = None

    def _kind_here(self, part: _Part, end: int) -> str | None:
        """The kind of a part, where its place or what stands under it makes it another than its heading says."""
        name, under = part.name.lower(), (self.text, part.body, end)
        if part.kind == HISTORY and self.findings and name in ("diagnosis", "diagnoses", "dx"):
            return IMPRESSION
        if part.kind == HISTORY and self.impression and not self.findings and name == "details":
            return HISTORY if _OF_A_PATIENT.match(*under) else FINDINGS
        if part.kind == FINDINGS and name.endswith(("read", "reading")) and _SIGNED.match(*under):
            return CLOSING
        if part.kind == CLOSING and "attestation" in name and _ADDS.search(*under):
            return ADDENDUM
        return part.kind

    def _add(self, start: int, end: int) -> None:
        if self.into and self.into[-1][1] == start:
            self.into[-1] = (self.into[-1][0], end)
        elif self.into is not None and self.text[start:end].strip(_RULE + "\n"):
            self.into.append((start, end))

    def _rest(self, kind: str, start: int, end: int) -> None:
        """What of a history or technique is none any more."""
        text = self.text[start:end].rstrip()
        nothing_else = end == len(self.text) and not (self.impression or self.addenda)
        place = None
        if self.into is self.findings:  # within them, it is a remark
            place = _behind_line(text) if kind == TECHNIQUE else _where_findings_begin(text)
        elif self.into is self.impression:
            place = _where_findings_begin(text, paragraphs=False)
        elif not self.has_findings:
            self.into = self.weak
            places = (_where_findings_begin(text), self._behind_entry(start, text))
            place = min((at for at in places if at is not None), default=None)
            if kind == EXAM and (below := text.find("\n", len(text) - len(text.lstrip()))) >= 0:
                prose = self._prose(start + below, start + len(text)) - start
                place = prose if prose < len(text) else place
            if nothing_else:
                place = min((at for at in (place, _behind_line(text, ended=True)) if at is not None), default=None)
                place = _behind_line(text) if place is None else place
            if place is None and nothing_else:
                place = _behind_sentence(text) if kind in (HISTORY, TECHNIQUE, COMPARISON) else 0
        if place is not None:
            self._add(start + place, end)
        elif self.into is not self.findings:
            self.into = None

    def _behind_entry(self, start: int, text: str) -> int | None:
        """Where the line behind a heading and its entry begins, where that had room for more and sentences follow."""
        entry, *lines = text.split("\n")
        if (
            not entry.strip()
            or len(lines) < 2
            or text[-1] != "."
            or not lines[0][:1].isupper()
            or _DETAIL.match(lines[0])
            or _OF_A_PATIENT.match(lines[0])
        ):
            return None
        heading = start - self.text.rfind("\n", 0, start) - 1
        widest = max(heading + len(entry), *map(len, lines))
        return len(entry) + 1 if heading + len(entry) + 1 + len(lines[0].split()[0]) < widest else None

    def _prose(self, start: int, end: int) -> int:
        """Where the sentences before the first heading begin, behind titles, names and dates."""
        for line in _LINE.finditer(self.text, start, end):
            text = line[0].strip()
            if not text:
                continue
            long = len(text.split()) > _LONGEST_TITLE
            speaks = text[-1] != "?" and _SPEAKS.search(text)
            sentence = text[-1] in ".;" or long or _BOX.match(text) or speaks or _openings_in(text).match(text)
            goes_on = line.end() == end and self.text[end - 1] != "\n"  # with the first heading behind it
            says = ((long or goes_on) and text[-1] == ".") or speaks
            detail = _DETAIL.match(text) and (not says or _OF_A_PATIENT.match(text))
            if sentence and not title_of(text) and not detail:
                return line.start()
            if names_exam(text):
                self.titles.append(text)
        return end


def _openings_in(text: str) -> re.Pattern[str]:
    """What sentences of the images begin with; in a text without capitals none of them has one either."""
    return _OPENS_IN_LOWER if text.islower() else _OPENS_FINDINGS


def _where_findings_begin(text: str, paragraphs: bool = True) -> int | None:
    """Where a history or technique ends: at a sentence of the images or, unless told otherwise, a new paragraph."""
    opens = _openings_in(text)
    opening = (at.end() for at in _SENTENCE_START.finditer(text) if opens.match(text, at.end()))
    places = [next(opening, None)]
    if paragraphs:
        breaks = (at.end() for at in _PARAGRAPH.finditer(text, len(text) - len(text.lstrip())))
        place = next((at for at in breaks if not _OF_A_PATIENT.match(text, at)), None)
        places += [place] if place is not None and " " in text[place:] else []
    return min((place for place in places if place is not None), default=None)


def _behind_line(text: str, ended: bool = False) -> int | None:
    """Where a new line begins a sentence, behind one that ``ended``; else where a sentence of the images begins."""
    for at in _NEW_LINE.finditer(text, len(text) - len(text.lstrip())):
        if not ended or _ends_sentence(text, at.end()):
            return at.end()
    return None if ended else _where_findings_begin(text)


def _behind_sentence(text: str) -> int | None:
    """Where the second sentence begins, questions left out."""
    starts = [at.end() for at in _SENTENCE_START.finditer(text, len(text) - len(text.lstrip()))]
    sentences = pairwise([*starts, len(text)])
    return next((start for start, end in sentences if not text[start:end].rstrip().endswith("?")), None)


def _parts(text: str) -> Iterator[_Part]:
    """The headings of a text, in order."""
    start = 0
    for line in text.split("\n"):
        yield from _parts_of_line(text, start, line)
        start += len(line) + 1


def _parts_of_line(text: str, start: int, line: str) -> Iterator[_Part]:
    colons = list(_COLON.finditer(line)) if ":" in line else []
    if not colons:
        yield from _without_colon(text, start, line)
        return
    behind = 0
    for colon in colons:
        found = _before_colon(text, start, line, behind, colon.start())
        if found is None and behind == 0:
            found = next(_without_colon(text, start, line), None)
        if found:
            yield found
        behind = colon.end()


def _before_colon(text: str, start: int, line: str, behind: int, colon: int) -> _Part | None:
    """The heading that ends at a colon; a line may hold several."""
    begin = max(behind, colon - _NAME_LENGTH)
    prefix = _REMARK.sub("", line[begin:colon].rstrip(" \t*_]"))
    body = start + colon + 1 + len(re.match(r"\**", line[colon + 1 : colon + 4])[0])  # type: ignore[index]
    if begin == 0:
        mark = _MARK.match(prefix)
        name = prefix[mark.end() if mark else 0 :].strip()
        kind = heading_kind(name)
        if kind and (name[0].isupper() or kind == ORGAN or _NAMED.search(name) or _ends_sentence(text, start)):
            return _Part(kind, name, start, body)
        if kind is None and _looks_like_heading(name):
            return _Part(None, name, start, body)
    words = list(re.compile(r"\S+").finditer(prefix))[-5:]
    for word in words:
        name = prefix[word.start() :].strip("*_ ")
        place = start + begin + word.start()
        kind = heading_kind(name) if name[:1].isupper() else None
        if kind is None or not text[place - 1 : place].isspace() or not (name.isupper() or name[1:2].islower()):
            continue
        is_named = kind in (FINDINGS, IMPRESSION) and _NAMED.search(name)
        if is_named or (name.isupper() and kind not in (ORGAN, VIEW)) or _ends_sentence(text, place):
            return _Part(kind, name, place, body)
    return None


def _without_colon(text: str, start: int, line: str) -> Iterator[_Part]:
    """The heading that a line begins with, alone or before a dash or a wide blank."""
    indent = len(line) - len(line.lstrip())
    is_short = len(line) - indent <= _NAME_LENGTH
    if not (is_short or any(gap in line for gap in ("  ", "\t", "- "))):
        return
    match = _LINE_HEADING.match(line, indent)
    if match is None:
        return
    name = match["name"].strip()
    kind = None if ". " in name else heading_kind(name)  # "History of falls. Heart is normal" is none
    alone = match["alone"] is not None
    opens_organ = match["dash"] or (alone and _begins_paragraph(text, start))
    if kind is None or not {ORGAN: opens_organ, VIEW: False, CLOSING: alone and match["rule"]}.get(kind, True):
        return
    cell = kind == ORGAN and "|" in (match["dash"] or "")
    near = not cell and not any(pattern.fullmatch(name.lower()) for pattern in _KINDS.values())
    if (match["wide"] is not None or near) and not name.isupper():
        return
    if name[0].isupper() or _ends_sentence(text, start):
        yield _Part(kind, name, start, start + match.end(), alone)


def _looks_like_heading(name: str) -> bool:
    words = name.split()
    return (
        0 < len(words) < 5 and len(name) < 40 and name.replace(" ", "").replace("/", "").isalpha() and name[0].isupper()
    )


def _ends_sentence(text: str, index: int) -> bool:
    """Whether a sentence, a heading or a paragraph ends before this place."""
    last, newlines = _before(text, index)
    return last < 0 or newlines > 1 or text[last] in _SENTENCE_ENDS


def _begins_paragraph(text: str, index: int) -> bool:
    last, newlines = _before(text, index)
    return last < 0 or newlines > 1


def _before(text: str, index: int) -> tuple[int, int]:
    """Where the last character before a place stands that is no blank, -1 if none does, and the line ends between."""
    newlines = 0
    while index and text[index - 1].isspace():
        index -= 1
        newlines += text[index] == "\n"
    return index - 1, newlines


def _without_rules(text: str, start: int, end: int) -> tuple[int, int]:
    """Where a section's body begins and ends without the blank lines and ruled lines around it."""
    lines = [line for line in _LINE.finditer(text, start, end) if line[0].strip(_RULE)]
    if not lines:
        return start, start
    first, last = lines[0][0], lines[-1][0]
    return lines[0].end() - len(first.lstrip()), lines[-1].start() + len(last.rstrip())
