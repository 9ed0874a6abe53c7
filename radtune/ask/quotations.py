"""Names of classes and quotations on a line of a model's answer, in whatever quotes, tables or lists it writes them."""

import re
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from radtune.findings import FINDINGS
from radtune.tasks.lists import fold_space

_SINGLE, _DOUBLE = "'‘’`", '"“”„«»'
_QUOTE_MARK = re.compile(rf"(?<!\\)[{_SINGLE}{_DOUBLE}]")
# What stands around a name or a quotation and is none of it.
_AROUND = f" \t\r:;,.…-–—=<>→*•#_~|()[]{{}}{_SINGLE}{_DOUBLE}"
_SEPARATOR = re.compile(r"[:;,|()\[\]{}=>\t–—→•*#]|\.(?!\S)|(?<!\S)-|-(?!\S)|__")
_INTRODUCED = re.compile(
    r"(?:the\s)?(?:supporting\s)?(?:evidence|support|quotes?|text|label|class|disease|diagnosis|finding|condition)"
    r"(?:\s(?:for|of|is|the))*\s|for\s",
    re.IGNORECASE,
)
# Bounded, since it is tried behind each of what may be thousands of quotes in a row.
COLON = re.compile(r"[\s*_'\"‘’“”`]{0,8}:")
# Behind a key of JSON; behind a quotation of one word, a label stands without quotes.
_VALUE = re.compile(r"\s{0,8}:\s{0,8}[\[{'\"]")
# What may stand around a name on its part of a line, introduction and blanks included.
_LONGEST_AROUND = 100
JOINT = re.compile(r"(?:[\s,/&*]|and\b)*", re.IGNORECASE)
_GAP = re.compile(r"[\s_-]+")
WORD = re.compile(r"[^\W\d_]+")
# Words that name no finding: function words, headings, and words that say no more than that something is there.
_EMPTY_WORDS = frozenset(
    WORD.findall(
        "a an the this that these those it its he she his her they their there which who as at by for from in into of "
        "on or and but to with within without than then also is are was were be been being has have had do does did "
        "may might can could should would will no not none nor neither never yes any some other evidence findings "
        "finding impression report patient present seen noted positive negative"
    )
)
# On a line whose parts are tried one by one, a single word ("pattern", "heart") is found in a report by chance.
_FEWEST_WORDS_OF_A_PART = 2


class Span(NamedTuple):
    """A stretch of a line: a quotation, or the name of a class.

    Attributes:
        start: Its offset in the line.
        end: The offset after it.
        quote: What is quoted; of a name in quotes, the name.
        key: The folded name of the class; None for a quotation.
        alone: Whether the name is all that its part of the line holds.
    """

    start: int
    end: int
    quote: str
    key: str | None = None
    alone: bool = False


def class_key(name: str) -> str:
    """A class's name, case and the gaps between its words folded."""
    return _GAP.sub(" ", name).strip().casefold()


class Reader:
    """Knows the names to look for and the report that quotations must stand in."""

    def __init__(self, labels: Sequence[str], report_text: str) -> None:
        self.labels = {class_key(label) for label in labels} - {""}
        # What follows a class that was not found (or was voted down) is no evidence for the label before it.
        self.names = self.labels | {class_key(name) for name in FINDINGS}
        spelled = sorted((r"[\s_-]+".join(map(re.escape, name.split(" "))) for name in self.names), key=len)
        self.pattern = re.compile(rf"(?<![^\W_])(?:{'|'.join(reversed(spelled))})(?![^\W_])", re.IGNORECASE)
        self.report_text = report_text
        self._folded = fold_space(report_text).casefold()

    def stands(self, quote: str, fewest_words: int = 1) -> bool:
        """Whether a quotation says something and is in the report."""
        words = WORD.findall(quote.casefold())
        if len(words) < fewest_words or all(len(word) == 1 or word in _EMPTY_WORDS for word in words):
            return False
        # Folded strings, since a pattern for each of thousands of quotations would take seconds.
        return fold_space(quote).casefold() in self._folded


def read_line(line: str, reader: Reader, waiting: tuple[str, ...]) -> list[Span]:
    """The names and quotations of a line, in their order; of names in passing only those that count.

    Args:
        line: The line.
        reader: What to look for.
        waiting: The class named last, while it has no quotation.
    """
    quoted = list(_quoted_spans(line, reader))
    spans, at = [], 0
    for span in [*quoted, Span(len(line), len(line), "")]:
        spans += [*_unquoted_names(line, at, span.start, reader), span]
        at = span.end
    spans = [span for span in _with_repeated_names(line, spans[:-1], waiting) if span.key or span.quote]
    if all(span.key for span in spans):
        return _with_unquoted(line, spans, reader, bool(waiting))
    if spans[0].alone:
        # The line is about the class that it opens with. Another that its prose compares it with opens nothing.
        return [span for number, span in enumerate(spans) if _counts(line, spans, number, reader)]
    return spans


def _counts(line: str, spans: Sequence[Span], number: int, reader: Reader) -> bool:
    span = spans[number]
    if not span.key or span.alone:
        return True
    quoted_next = number + 1 < len(spans) and spans[number + 1].key is None
    return quoted_next and span.key in reader.labels and not WORD.search(line[span.end : spans[number + 1].start])


def _quoted_spans(line: str, reader: Reader) -> Iterator[Span]:
    """What stands in quotes: quotations, and names of classes (``"Edema": …``). Keys of JSON are blank quotations."""
    for start, end in _quotes(line):
        words = line[start + 1 : end - 1].strip(_AROUND)
        if class_key(words) in reader.names:
            yield Span(start, end, words, class_key(words), alone=True)
        else:
            is_key = " " not in words and _VALUE.match(line, end)
            yield Span(start, end, "" if is_key else words)


def _quotes(line: str) -> Iterator[tuple[int, int]]:
    """Where quotes open and after they close, whatever mix of straight and typographic ones the model uses.

    An apostrophe within a word neither opens nor closes one, and what nothing on its line closes opens none.
    """
    marks = [found.start() for found in _QUOTE_MARK.finditer(line)]
    if len(marks) < 2:
        return
    closing = [at for at in marks if line[at] in _DOUBLE or not line[at + 1 : at + 2].isalnum()]
    last = {kind: max((at for at in closing if line[at] in kind), default=-1) for kind in (_SINGLE, _DOUBLE)}
    closes, opened = set(closing), -1
    for at in marks:
        kind = _SINGLE if line[at] in _SINGLE else _DOUBLE
        if opened < 0:
            opened = at if at < last[kind] and not (at and line[at - 1].isalnum()) else -1
        elif line[opened] in kind and at in closes:
            yield opened, at + 1
            opened = -1


def _unquoted_names(line: str, start: int, end: int, reader: Reader) -> Iterator[Span]:
    """Names of classes in a stretch without quotes."""
    for cell_start, cell_end in _cells(line, start, end):
        for found in reader.pattern.finditer(line, cell_start, cell_end):
            # The comparison comes second: a part may be long and hold many names.
            alone = len(found[0]) >= cell_end - cell_start - _LONGEST_AROUND
            alone = alone and _is_nothing_but(line[cell_start:cell_end], found[0])
            yield Span(found.start(), found.end(), found[0], class_key(found[0]), alone)


def _is_nothing_but(part: str, name: str) -> bool:
    """Whether a part of a line is a name, with or without the words that introduce one."""
    words = part.strip(_AROUND)
    introduced = _INTRODUCED.match(words)
    return words == name or (introduced is not None and words[introduced.end() :] == name)


def _cells(line: str, start: int, end: int) -> Iterator[tuple[int, int]]:
    for separator in _SEPARATOR.finditer(line, start, end):
        yield start, separator.start()
        start = separator.end()
    yield start, end


def _with_repeated_names(line: str, spans: Sequence[Span], waiting: tuple[str, ...]) -> list[Span]:
    """A quoted name beside the same name is the report's word: ``Edema: "edema"``."""
    result: list[Span] = []
    for number, span in enumerate(spans):
        if span.key and line[span.start] in _SINGLE + _DOUBLE:
            before = (result[-1].key,) if result else waiting
            repeats = span.key in before and not COLON.match(line, span.end)
            following = spans[number + 1 : number + 2]
            led = any(name.key == span.key and line[name.start] not in _SINGLE + _DOUBLE for name in following)
            span = span._replace(key=None, alone=False) if repeats or led else span
        result.append(span)
    return result


def _with_unquoted(line: str, names: Sequence[Span], reader: Reader, waiting: bool) -> list[Span]:
    """The spans of a line without quotes: the names that are labels, and the words that stand in the report."""
    heads = [span for span in names if span.alone]
    if not heads:
        quotations = _unquoted(line, 0, len(line), reader)
        # Below a label that waits for it, the line is its evidence; elsewhere it is that of the classes it names.
        if quotations and waiting:
            return quotations
        end = len(line)
        return quotations + [span._replace(start=end, end=end) for span in names] if quotations else list(names)
    first = heads[0]
    # The rest of the line is tried as a whole, since a quotation may itself name classes, between commas or colons.
    # Of "Edema, Pleural Effusion" it is another label.
    rest = Span(first.end, len(line), line[first.end :].strip(_AROUND))
    listed = len(heads) > 1 and JOINT.fullmatch(line[first.end : heads[1].start])
    if not listed and class_key(rest.quote) not in reader.names - {first.key} and reader.stands(rest.quote):
        return [first, rest]
    spans, at = [], 0
    for head in heads:
        spans += [*_unquoted(line, at, head.start, reader), head]
        at = head.end
    return spans + _unquoted(line, at, len(line), reader)


def _unquoted(line: str, start: int, end: int, reader: Reader) -> list[Span]:
    """What of a stretch stands in the report: all of it, else its parts."""
    whole = Span(start, end, line[start:end].strip(_AROUND))
    if reader.stands(whole.quote, _FEWEST_WORDS_OF_A_PART):
        return [whole]
    parts = (Span(a, b, line[a:b].strip(_AROUND)) for a, b in _cells(line, start, end) if (a, b) != (start, end))
    return [part for part in parts if reader.stands(part.quote, _FEWEST_WORDS_OF_A_PART)]
