"""One report's labels as a terminal shows them, with the evidence marked in its text."""

from collections.abc import Iterator
from itertools import groupby
from operator import itemgetter

from radtune.rules.engine import Mention, ReportLabels

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
