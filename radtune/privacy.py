"""What may stand in a message: what looks like a name, in quotes; anything else is said not to be shown.

Where a file's fields are mixed up or its header is missing, a report stands where a name should.
"""

import difflib
import re
import sys
from collections.abc import Iterable
from typing import Any, TextIO

NOT_SHOWN = "(not shown)"
# Longer than any class and any column of MIMIC-CXR's tables.
_MAX_NAME = 40
_MAX_WORDS = 3
# Control characters but tab and line feed, and Unicode's marks of direction.
_STEERING = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069]")
# One word, or the path of a key: classes[3].parent.
# A header has some column of these; a row of short cells ("CXR1, Metastatic disease") has not.
_HEADER = re.compile(
    r"(?:^|[^a-z])(?:\w*id|key|n[ro]|number|mrn|patient|subject|person|accession|notes?|reports?|texts?|body|findings?"
    r"|impressions?|labels?|gold|phrases?|read(?:er)?|rater|annotator|date|time|age|sex|gender|modality|source|site"
    r"|study|exam|case|history|comparison|columns?|scores?|split|codes?|class(?:es)?|status|images?|name)(?![a-z])",
    re.IGNORECASE,
)
_WORD = re.compile(rf"[\w-]{{0,{_MAX_NAME}}}(?:[.\[][\w\]-]{{0,{_MAX_NAME}}}){{0,9}}")


def shown(value: object) -> str:
    """A value that should be one word (a key, task, status or engine): in quotes, or :data:`NOT_SHOWN`."""
    return repr(value) if isinstance(value, str) and _WORD.fullmatch(value) else NOT_SHOWN


def printable(text: str) -> str:
    """A text whose characters that steer a terminal, or turn the direction of writing, stand as escapes."""
    return _STEERING.sub(lambda found: found[0].encode("unicode_escape").decode(), text)


class ToPeople:
    """A stream that writes texts :func:`printable`, and is the one below in all else."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        """Writes a text that may hold anything that data holds."""
        return self._stream.write(printable(text))

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


def say(line: str) -> None:
    """A line on standard error, which bars of progress share: they steer the terminal, the line does not."""
    print(printable(line), file=sys.stderr, flush=True)


def looks_like_name(name: str) -> bool:
    """Whether this may be the name of a column or class: a few words, no sentence, no id. Blank counts as one."""
    if not name:
        return True  # pandas leaves the index without a name
    is_sentence = len(name) > _MAX_NAME or len(name.split()) > _MAX_WORDS or re.search(r"[.,;:!?](?:\s|$)", name)
    is_broken = re.search(r'["{}<>=\x00-\x1f]', name)  # of a quoted cell, or of JSON
    is_id = re.fullmatch(r"[^\W\d_]?[\W\d_]+", name) or re.search(r"\d{4}", name)
    return not (is_sentence or is_broken or is_id)


def nearest(name: str, known: Iterable[str]) -> str:
    """A ``; did you mean X?`` for a misspelt name, or the empty string when nothing is near."""
    folded = {other.casefold(): other for other in known}
    close = difflib.get_close_matches(name.casefold(), folded, n=1)
    return f"; did you mean {folded[close[0]]!r}?" if close else ""


def shown_columns(names: Iterable[str]) -> str:
    """The columns of a table: by name, or only their number where they look like a row of a table without a header."""
    names = list(names)
    if _are_header(names):
        return f"columns: {', '.join(names)}"
    return f"{len(names)} columns; is the header missing?"


def no_column(name: str, names: Iterable[str]) -> str:
    """That a column asked for is absent: with the nearest name and the others, if they may be shown."""
    names = list(names)
    near = nearest(name, names) if _are_header(names) else ""
    return f"no column {name!r}{near}; {shown_columns(names)}"


def _are_header(names: list[str]) -> bool:
    return all(map(looks_like_name, names)) and any(map(_HEADER.search, names))
