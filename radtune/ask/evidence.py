"""What a model quotes as evidence for its labels, and where that stands in the report.

Models write evidence in many forms, and nothing in an answer is guessed beyond these rules:

- A quotation is what stands in quotes on one line. Names of classes in there are words of the report, no labels. On a
  line without quotes, words that stand in the report are a quotation too.
- A label is named by a part of a line that is nothing but its name (``**Edema**:``, ``| Edema |``, ``"Edema":``,
  ``Evidence for Edema``), or in passing ("the patient has edema").
- On a line that opens with a quotation, it belongs to the label behind it; else to the one before it, on its line or
  on lines before.
"""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from radtune.ask.quotations import COLON, JOINT, WORD, Reader, Span, class_key, read_line
from radtune.tasks import open_ended
from radtune.tasks.open_ended import locate


@dataclass(frozen=True)
class Evidence:
    """The words that a label rests on.

    Attributes:
        label: The label.
        quote: What the model quotes; None where it gives nothing. Of an open-ended phrase, the phrase itself.
        start: Its offset in the report's text, in characters; None where it is not in the report or says nothing.
        end: The offset after it.
    """

    label: str
    quote: str | None
    start: int | None
    end: int | None

    @property
    def supported(self) -> bool:
        """Whether the quotation is in the report, and more than empty words ("no", "there is")."""
        return self.start is not None


def find_evidence(task: str, labels: Sequence[str], rest: str, report_text: str) -> list[Evidence]:
    """Finds the evidence for each label: of the quotations that belong to it, the first that stands in the report.

    A quotation stands in the report if it is found there, case and white space folded, and supports its label if one
    of its words of two or more letters is no empty word (a function word, a negation, "present", a heading).

    Args:
        task: The task's name.
        labels: The labels of an answer.
        rest: What follows the list in the answer.
        report_text: The report.

    Returns:
        One for each label, in their order. Where no quotation supports a label, it has the first one without offsets.
    """
    reader = Reader(labels, report_text)
    if task == open_ended.NAME:
        return [_best(reader, label, [label]) for label in labels]
    quotes = _quotes_by_class(rest, reader)
    return [_best(reader, label, quotes.get(class_key(label), ())) for label in labels]


def _best(reader: Reader, label: str, quotes: Sequence[str]) -> Evidence:
    for quote in quotes:
        if reader.stands(quote) and (place := locate(quote, reader.report_text)) != (None, None):
            return Evidence(label, quote, *place)
    return Evidence(label, quotes[0] if quotes else None, None, None)


def _quotes_by_class(rest: str, reader: Reader) -> dict[str, list[str]]:
    """What is quoted for each class, by its key, in the order of the answer."""
    found: dict[str, list[str]] = defaultdict(list)
    current: tuple[str, ...] = ()  # what quotations on following lines belong to
    waiting = False  # whether it has none so far
    for line in filter(WORD.search, rest.splitlines()):
        spans = read_line(line, reader, current if waiting else ())
        parts = list(_parts(line, spans))
        if _quotation_leads(line, spans, waiting):
            shared, current = _before_names(parts), ()
        else:
            shared, current = _behind_names(parts, current)
        # Several classes named together share their line's quotations, but not those of the lines below.
        current = current if len(current) == 1 else ()
        if spans:
            waiting = bool(current) and spans[-1].key is not None
        for keys, quote in shared:
            for key in keys:
                found[key].append(quote)
    return found


def _parts(line: str, spans: Sequence[Span]) -> Iterator[tuple[str, ...] | str]:
    """Quotations, and the classes between them, those that are named together ("edema and effusion") in one."""
    together: tuple[str, ...] = ()
    for number, span in enumerate(spans):
        if span.key is None:
            yield span.quote
            continue
        together += () if span.key in together else (span.key,)
        following = spans[number + 1] if number + 1 < len(spans) else None
        if following is None or not following.key or not JOINT.fullmatch(line[span.end : following.start]):
            yield together
            together = ()


def _behind_names(
    parts: Sequence[tuple[str, ...] | str], current: tuple[str, ...]
) -> tuple[list[tuple[tuple[str, ...], str]], tuple[str, ...]]:
    """Each quotation with the classes before it, and the classes that were named last."""
    shared = []
    for part in parts:
        if isinstance(part, str):
            shared.append((current, part))
        else:
            current = part
    return shared, current


def _before_names(parts: Sequence[tuple[str, ...] | str]) -> list[tuple[tuple[str, ...], str]]:
    """Each quotation with the classes behind it; one that trails the last of them with that."""
    following = next(part for part in reversed(parts) if not isinstance(part, str))
    shared = []
    for part in reversed(parts):
        if isinstance(part, str):
            shared.append((following, part))
        else:
            following = part
    return shared[::-1]


def _quotation_leads(line: str, spans: Sequence[Span], waiting: bool) -> bool:
    """Whether a line opens with the quotation of a label behind it, and not with that of a label on the line above."""
    name = next((number for number, span in enumerate(spans) if span.key), 0)
    if name == 0:
        return False
    colon = COLON.match(line, spans[name].end)
    if colon and (name + 1 < len(spans) or not WORD.search(line, colon.end())):
        return False  # the label has quotations of its own, on this line or below
    between = line[spans[name - 1].end : spans[name].start]
    return not waiting or not WORD.search(between)
