"""Labels with their evidence: where it stands in what was read, and one report as a terminal shows it."""

from collections.abc import Iterator, Mapping
from itertools import groupby
from operator import itemgetter
from typing import NamedTuple

from radtune.rules.engine import ReportLabels
from radtune.rules.sentence import Mention

_WIDTH = 100  # narrower than most terminals, so that a line of marks stays below its words

_CUE = "cue"
# Of several marks on one character the last wins: a mention over a cue, what counts more in the sum over the rest.
_ORDER = (_CUE, "ignored", "negative", "uncertain", "positive")
_SIGNS = {_CUE: "^", "ignored": ".", "negative": "-", "uncertain": "?", "positive": "+"}
# Select Graphic Rendition, ECMA-48: underlined, faint, green, yellow, red.
_COLOURS = {_CUE: "4", "ignored": "2", "negative": "32", "uncertain": "33", "positive": "1;31"}


def evidence_text(text: str, found: ReportLabels, colours: bool) -> str:
    """Labels, the text with its evidence marked in a terminal's colours or by signs below, a line for each mention."""
    lines = [f"{value:>2}  {name}" for name, value in found.labels.items()]
    lines += ["", *_marked(text, found.mentions, colours), ""]
    names = [_coloured(mark, mark) if colours else f"{_SIGNS[mark]} {mark}" for mark in _ORDER[::-1]]
    lines.append("marks: " + ", ".join(names))
    return "\n".join([*lines, *(_mention_line(text, mention) for mention in found.mentions)])


def _marked(text: str, mentions: tuple[Mention, ...], colours: bool) -> Iterator[str]:
    marks: list[str] = [""] * len(text)
    spans = [(m.status, m.start, m.end) for m in mentions]
    spans += [(_CUE, m.cue_start, m.cue_end) for m in mentions if m.cue_start is not None and m.cue_end is not None]
    for mark, start, end in sorted(spans, key=lambda span: _ORDER.index(span[0])):
        marks[start:end] = [mark] * (end - start)
    for start, end in _lines(text):
        # A report is data: whatever it holds, it must not steer the terminal.
        shown = "".join(c if c.isprintable() else " " for c in text[start:end])
        if colours:
            runs = groupby(zip(shown, marks[start:end], strict=True), key=itemgetter(1))
            yield "".join(_coloured(mark, "".join(letter for letter, _ in run)) for mark, run in runs)
            continue
        yield shown
        if below := "".join(_SIGNS.get(mark, " ") for mark in marks[start:end]).rstrip():
            yield below


def _coloured(mark: str, words: str) -> str:
    return f"\x1b[{_COLOURS[mark]}m{words}\x1b[m" if mark else words


def _lines(text: str) -> Iterator[tuple[int, int]]:
    """Start and end of each line to show: the text's own lines, long ones cut at a blank."""
    at = 0
    for line in text.split("\n"):
        end = at + len(line)
        while end - at > _WIDTH:
            blank = text.rfind(" ", at + 1, at + _WIDTH)
            cut = blank + 1 if blank > 0 else at + _WIDTH
            yield at, cut
            at = cut
        yield at, end
        at = end + 1


def _mention_line(text: str, mention: Mention) -> str:
    cue = ""
    if mention.cue_start is not None:
        cue = f", cue {text[mention.cue_start : mention.cue_end]!r} at {mention.cue_start}-{mention.cue_end}"
    return (
        f"{mention.start}-{mention.end} {text[mention.start : mention.end]!r}: {mention.finding} {mention.status}"
        f" (rule {mention.rule}{cue}; phrase {mention.phrase!r})"
    )


class Place(NamedTuple):
    """From a start to before an end in a column's cell, in characters."""

    column: str
    start: int
    end: int


class Places:
    """Finds places of a report's text in cells, by their columns.

    A report's text is made of its sections, and a section of whole lines, so each line is looked for in the cells,
    in order.
    """

    def __init__(self, text: str, cells: Mapping[str, str]) -> None:
        self._lines: list[tuple[int, int, str, int]] = []  # start and end in the text; column, and start in its cell
        column, behind = "", 0
        at = 0
        for line in text.split("\n"):
            # The heading that a section gets in the text does not stand in a cell of its own.
            heading = next((name for name in ("Findings: ", "Impression: ") if line.startswith(name)), "")
            start, words = at + len(heading), line[len(heading) :].strip()
            start += line[len(heading) :].find(words)
            likely = sorted(cells, key=lambda name: (name.lower() not in heading.lower(), -len(cells[name])))
            for name, begin in [*([] if heading else [(column, behind)]), *((name, 0) for name in likely)]:
                place = cells.get(name, "").find(words, begin) if words else -1
                if place >= 0:
                    column, behind = name, place + len(words)
                    self._lines.append((start, start + len(words), name, place))
                    break
            at += len(line) + 1

    def find(self, start: int, end: int) -> Place | None:
        """The place of a part of the text; None where its words stand in no cell."""
        first = self._line(start)
        last = self._line(end - 1)
        if first is None or last is None or first[2] != last[2]:
            return None
        return Place(first[2], first[3] + start - first[0], last[3] + end - last[0])

    def _line(self, at: int) -> tuple[int, int, str, int] | None:
        return next((line for line in self._lines if line[0] <= at < line[1]), None)
