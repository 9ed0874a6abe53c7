"""The reading copy of a report: the same length as its text, in lower case, with sentence ends marked.

Offsets in the copy are offsets in the report. Rules see only the copy, so they need not know about capitals, line
breaks, list numbers, typographic signs or headings.
"""

import re
from itertools import pairwise

SENTENCE_END = "\n"


class _Signs(dict[int, str]):
    """By code point the one character that rules know for it; of a sign that they do not know, a blank."""

    def __missing__(self, code: int) -> str:
        self[code] = chr(code) if re.match(r"[\w',:?+/.\-\n]", chr(code)) else " "
        return self[code]


# Typed by dictation software and word processors; U+3002 is the period of Chinese and Japanese.
_SIGNS = _Signs(str.maketrans({
    "\u2018": "'", "\u2019": "'", "\u2010": "-", "\u2011": "-", "\u2012": "-", "\u2013": "-", "\u2014": "-",
    ";": SENTENCE_END, "!": SENTENCE_END, "\u2022": SENTENCE_END, "\u3002": SENTENCE_END,
}))  # fmt: skip

# A line break ends a sentence before a blank line, a list item or a heading ("Lungs: ..."). Elsewhere dictation wraps
# long lines, so it ends one only behind a short line that does not ask for more, before a capitalised word.
_CONTINUING = (
    r"(?:[,:?]|\b(?:and|or|of|no|the|a|an|with|without|in|for|to|is|are|at|by|may|nor|not|left|right|mild|small"
    r"|be|been|has|have|was|were|that|whether|which|cannot|could|might|any|than|from|into|as))"
)
_SHORT_LINE = 45
_OPENS = re.compile(r"[ \t]*(?:\Z|\d{1,2}[.)][ \t]|[-*\u2022][ \t]|[A-Z][A-Za-z /&]{2,40}:)")
# In a report all in capitals, only words that hardly stand within a phrase tell.
_CAPITALISED = re.compile(r"[ \t]*(?:[A-Z][a-z]|(?:NO|THERE|THE|SMALL|MILD|MODERATE|STABLE|UNCHANGED)\b)")
_ENDS_OPEN = re.compile(rf"{_CONTINUING}[ \t]*\Z", re.IGNORECASE)
# A period ends a sentence, but not in numbers, "vs." and other abbreviations; "clear.No" is a missing space. A dash
# between spaces, a question mark behind a word, and the colon of a section's heading end one too; the colon of other
# headings ("Pneumothorax: none") belongs to its sentence.
# "1) No effusion 2) Mild edema" on one line.
_LIST_NUMBER = re.compile(r"\s(?=\d{1,2}\)\s)")
# "Effusion - none." and "Effusion? None." answer themselves.
_ANSWER = r"(?:yes\b|(?:none|no|nil|absent|negative|not {1,9}(?:seen|present)) *+(?:[.\n]|\Z))"
_SENTENCE_END = re.compile(
    r"\.(?:(?!\w)(?<!\bvs\.)(?<!\bdr\.)(?<!\be\.g\.)(?<!\bi\.e\.)(?<!\bapprox\.)|(?<=[a-z]{3}\.)(?=[a-z]{2}))"
    rf"|-(?<=\s-)(?=\s)(?!\s{{1,9}}{_ANSWER})|\s(?<=\w\?\s)(?!\s{{0,9}}{_ANSWER})|:(?:(?<=\bfindings:)|(?<=\bimpression:)|(?<=\bconclusion:))"
)


def reading_copy(text: str) -> str:
    """The text in lower case with every sentence end turned into one :data:`SENTENCE_END`, length unchanged."""
    copy = _fold_lines(text) if "\n" in text or "\r" in text else text
    lower = copy.lower()
    if len(lower) != len(copy):
        # A few capitals, such as the dotted I of Turkish, have a longer lower case.
        lower = "".join(c.lower()[0] for c in copy)
    if ")" in lower:
        lower = _LIST_NUMBER.sub(SENTENCE_END, lower)
    return _SENTENCE_END.sub(SENTENCE_END, lower.translate(_SIGNS))


def _fold_lines(text: str) -> str:
    text = text.replace("\r\n", " \n").replace("\r", "\n")
    lines = text.split("\n")
    out = [lines[0]]
    for before, line in pairwise(lines):
        out.append((SENTENCE_END if _breaks(before, line) else " ") + line)
    return "".join(out)


def _breaks(before: str, line: str) -> bool:
    """Whether the break between two lines ends a sentence."""
    if not before.strip() or _OPENS.match(line):
        return True
    return len(before) <= _SHORT_LINE and bool(_CAPITALISED.match(line)) and not _ENDS_OPEN.search(before)
