"""Which of a report's line breaks end a statement, and which of the gaps in a line stand between cells.

A line break and a gap become an end, a colon or a blank: as many characters as they were.
"""

import re
from collections.abc import Iterator
from functools import partial
from itertools import groupby, pairwise

SENTENCE_END = "\n"

# "Effusion - none." and "Effusion? None." answer themselves, "Effusion? Y (left)", whose bracket is a blank, too.
ANSWER = (
    r"(?:yes\b|[yn](?: {2}| *+(?:[.,\n]|\Z))|(?:none|no|nil|absent|neg(?:ative)?|unlikely|excluded"
    r"|(?:not|none) {1,9}(?:seen|present|identified|visible|visuali[sz]ed|evident|detected)) *+(?:[.,\n]|\Z)"
    r"|(?:present|pos(?:itive)?|possible|probable|suspected|equivocal|questionable)(?: {2}| *+(?:[.,\n]|\Z))"
    r"|no {1,3}(?:evidence|acute|significant|definite|visible|change|fluid)\b)"
)
ADJECTIVE = (
    r"(?:normal|clear|enlarged|big|prominent|borderline|dilated|mild(?:ly)?|small|large|widened|unremarkable|intact"
    r"|unchanged|stable|moderate(?:ly)?|free|within normal|wnl|nad|not (?:enlarged|widened|dilated|prominent))\b"
)
# A line break ends a statement before a blank line, a list item or a heading ("Lungs: ..."). Elsewhere it depends on
# whether the lines are wrapped prose or a list without periods. A wrapped line ends where the next word had no room, so
# a line with room left was ended on purpose.
_OPENS = re.compile(
    r"[ \t]*(?:\Z|\(?\d{1,2}[.)](?!\d)|[a-z]\)[ \t]|[-*#\u2022>][ \t]|\[?[A-Z][A-Za-z /&]{2,40}\]?:"
    r"|[A-Z][A-Za-z/]*(?: [A-Za-z/]+){0,3}(?:[ \t]*+(?:[=|]|\.{3})| *+\t|[ \t]++--?[ \t]))"
)
# "Pneumothorax - No" asks for no more, whatever its last word is, before a line that begins so or with a capital.
_ROW = (
    r"[ \t]*+[A-Za-z/]++(?: [A-Za-z/]++){0,3}(?: ?[\[(][A-Za-z]++ ?/ ?[A-Za-z]++[\])])?"
    r"(?:[ \t]*+(?:[:;=|?]|\.{3,}+)| *+\t|[ \t]++(?:--?|/)(?=[ \t])| {3,}+)"
)
_ANSWERED = re.compile(
    rf"[ \t]*+(?:[-*>][ \t]++)?{_ROW}[ \t]*+"
    r"(?:no|new|left|right|small|mild|moderate|severe|large|trace|minimal|possible)[ \t]*+\Z",
    re.IGNORECASE,
)
_NEXT_ROW = re.compile(rf"[ \t]*[A-Z]|{_ROW}")
# Signs and words that ask for more at a line's end ...
_LAST = re.compile(r"(?:\w++\.?|[,:?/(&-])\Z")
_LAST_LENGTH = 20  # characters that hold any of these
# "... effusion on the right", before a line with a capital.
_AT_A_SIDE = re.compile(r"\bon (?:the )?(?:left|right)\s*\Z", re.IGNORECASE)
_ENDS_OPEN = frozenset((
    ",", ":", "?", "/", "(", "&", "-", "and", "or", "of", "no", "the", "a", "an", "with", "without", "in", "for", "to",
    "is", "are", "at", "by", "may", "nor", "not", "left", "right", "mild", "small", "be", "been", "has", "have", "was",
    "were", "that", "whether", "which", "cannot", "could", "might", "any", "than", "from", "into", "as", "on", "over",
    "within", "near", "evidence", "negative", "focal", "acute", "new", "large", "moderate", "severe", "minimal",
    "trace", "tiny", "definite", "significant", "suspicious", "visible", "discrete", "bilateral", "bibasilar",
    "basilar", "basal", "upper", "lower", "middle", "mid", "pleural", "pulmonary", "interstitial", "airspace", "rib",
    "lung", "heart", "cardiac", "mediastinal", "vascular", "slight", "slightly", "mildly", "moderately", "possible",
    "probable", "likely", "increased", "decreased", "stable", "unchanged", "more", "less", "size", "vs", "vs.",
    "versus", "but", "if", "due", "patchy", "hazy", "this", "these", "other", "there", "it", "does",
))  # fmt: skip
# ... and words that no statement begins with.
_GOES_ON = re.compile(
    r"[ \t]*(?:[,)/?]|(?:is|are|was|were|be|been|being|has|have|had|remains?|appears?|seen|identified|noted|present"
    r"|visuali[sz]ed|evident|detected|demonstrated|and|or|nor|of|in|at|on|to|for|from|with|without|within|by|than|not"
    r"|which|that|as|but|cannot|may|might|could|should|would|versus|vs|if|due|involving|over|overlying|along|near"
    r"|since|because|resolved|suspected|excluded|again|today|unlikely|unchanged|possible|probable|likely)\b)"
)
# A name, no sentence, on a line of its own, and its answer on the next.
_NAME_ALONE = re.compile(
    r"[ \t]*(?:[A-Z][a-z]{2,20}: )?(?!No\b|NO\b)[A-Z][A-Za-z/]*"
    r"(?: (?!(?:is|are|was|were|no|not|looks?|appears?|remains?|seems?)\b)[A-Za-z/&]+){0,3}[ \t]*\Z"
)
_ANSWER_ALONE = re.compile(
    r"[ \t]*(?:absent|negative|yes|present|(?:none|no|nil|not)(?: (?:seen|present|identified|visible|evident))?"
    r"|(?:not |mildly |slightly |moderately |markedly )?(?:normal(?: in size)?|enlarged|widened|dilated|borderline"
    r"|clear|sharp|free|intact|unremarkable|stable|unchanged|blunted|within normal limits|wnl|nad)(?: bilaterally)?)"
    r"[ \t]*\.?[ \t]*\Z",
    re.IGNORECASE,
)
# "PTX -", above a line that ends in a sign, too.
_SIGN_AT_END = re.compile(r".*\w [-+\xb1/]{1,3}[ \t]*\Z")
# What a list below says of its items: "Negative for:", "The following are not seen:", and an item of it.
_LEADS = re.compile(
    r"[ \t]*(?:[A-Za-z]{2,20}: ?)?(?:[A-Za-z ,]{1,40}\b)?(?:no|none|(?:not|no longer) [a-z]+|absent|negatives?"
    r"|without|excluded?|ruled out|rule out|negative for|(?:evidence|signs?) of|following|resolved|removed|discontinued"
    r"|(?:possible|probable|likely|suspected|questionable)(?: [a-z]+)?)(?: (?:any of )?(?:the following|these))?"
    r"(?: (?:is|are|was|were) (?:not )?(?:seen|present|identified|excluded))?[ \t]*:[ \t]*\Z",
    re.IGNORECASE,
)
_ITEM = re.compile(
    r"([ \t]*(?:[-*\u2022>]|\(?\d{1,2}[.)]|\(?[a-z]\))?[ \t]*)"
    r"((?!(?:no|there|not|none|the)\b)[A-Za-z/-]+"
    r"(?: (?!(?:is|are|has|have|was|were|no|not|there)\b)[A-Za-z0-9/-]+){0,5})"
    r"[ \t]*[.,;]?[ \t]*\Z",
    re.IGNORECASE,
)
_SHORT_LINE = 45
# Prose is not wrapped as narrowly as this.
_WRAPPED_FROM = 60
# In a report all in capitals, only words that hardly stand within a phrase tell.
_CAPITALISED = re.compile(r"[ \t]*(?:[A-Z][a-z]|(?:NO|THERE|THE|SMALL|MILD|MODERATE|STABLE|UNCHANGED)\b)")
_PUNCTUATED = re.compile(r"[.;!?](?<=[^\s\d].)(?:\s|\Z)")

# Three blanks or a tab stand between columns, unless every gap in the text is as wide.
_WIDE_GAP = re.compile(
    r"(?<=[^\s:])(?<![;,.] no)(?: {3,}|[ ]*\t[ \t]*)(?=[^\s:])(?!(?:or|and|nor|of|is|are|in|on|with)\b)"
)
_NARROW_GAP = re.compile(r"\S {1,2}\S")
_CELL = re.compile(r"(?:[A-Za-z]{2,20}: )?[A-Za-z][A-Za-z /]{1,30}\Z")
# Leaders, a sign of equality and a tab stand for a colon: "Pneumothorax .... No".
_LEADER = re.compile(
    r"\A([ \t]*+(?:[-*>][ \t]++|\d{1,2}[ \t]++)?[A-Z/]++(?: [A-Z/]++){0,3})"
    rf"(?:[ \t]*+(?:=|\.{{3,}}+)[ \t]*+| *+\t[ \t]*+| {{3,}}+)(?={ANSWER}|{ADJECTIVE}|[yn]\b)",
    re.IGNORECASE,
)
# A line of boxes to tick.
_BOX = re.compile(r"\[(?: {0,3}|[xX-])\]")


def fold_lines(text: str) -> str:
    """A text of several lines, in which only those breaks are left that end a statement."""
    lines = text.replace("\r\n", " \n").replace("\r", "\n").split("\n")
    out: list[str] = []
    # Lines between blank ones are folded alike.
    for filled, group in groupby(lines, key=lambda line: bool(line.strip())):
        block = list(group)
        out += _fold_block(block) if filled else block
    return SENTENCE_END.join(out)


def _fold_block(lines: list[str]) -> Iterator[str]:
    """Lines of one paragraph, those that were wrapped joined by a blank."""
    joined = fold_cells(lines[0])
    if len(lines) > 1:
        breaks = partial(
            _breaks, widest=max(map(len, map(str.rstrip, lines))), prose=any(map(_PUNCTUATED.search, lines))
        )
        listed: re.Match[str] | bool | None = False
        for before, line in pairwise(lines):
            listed = (listed or (before.rstrip()[-1:] == ":" and bool(_LEADS.match(before)))) and _ITEM.match(line)
            if listed:
                # No statement ends there, and none of the words by which one in a list ends.
                joined += f">{' ' * len(listed[1])}{listed[2]}".ljust(len(line) + 1)
                continue
            if _ANSWER_ALONE.match(line) and _NAME_ALONE.match(before) and not _ends_open(before):
                joined += ":"
            elif breaks(before, line):
                yield joined
                joined = ""
            else:
                joined += " "
            joined += fold_cells(line)
    yield joined


def _breaks(before: str, line: str, widest: int, prose: bool) -> bool:
    """Whether the break between two lines of a paragraph ends a statement.

    ``prose`` tells whether any line of it is punctuated, ``widest`` the length of its longest line.
    """
    if _OPENS.match(line) or (_ANSWERED.match(before) and _NEXT_ROW.match(line)):
        return True
    if before.rstrip()[-1:] in "-+" and _SIGN_AT_END.match(before) and _SIGN_AT_END.match(line):
        return True
    if "[" in before and "[" in line and _BOX.search(before) and _BOX.search(line):
        return True
    if (_ends_open(before) and not (_AT_A_SIDE.search(before) and _CAPITALISED.match(line))) or _GOES_ON.match(line):
        return False
    word = line.split(maxsplit=1)[0]
    if prose and word[0].islower() and len(before) > _SHORT_LINE and before.rstrip()[-1] not in ".:;":
        return False
    had_room = len(before.rstrip()) + 1 + len(word) <= widest
    if not prose:
        return had_room or widest < _WRAPPED_FROM
    return had_room or (len(before) <= _SHORT_LINE and bool(_CAPITALISED.match(line)))


def _ends_open(line: str) -> bool:
    last = _LAST.search(line.rstrip()[-_LAST_LENGTH:])
    return last is not None and last[0].lower() in _ENDS_OPEN


def fold_cells(line: str) -> str:
    """A line with its cells apart: the first is a heading where there are but two."""
    if "|" in line:
        cells = line.split("|")
        filled = [number for number, cell in enumerate(cells) if cell.strip()]
        signs = [SENTENCE_END] * (len(cells) - 1)
        for at, after in pairwise(filled):
            if (
                after == at + 1
                and _CELL.match(cells[at].strip())
                and (at == filled[0] or signs[at - 1] == SENTENCE_END)
            ):
                signs[at] = ":"
        return "".join(cell + sign for cell, sign in zip(cells, [*signs, ""], strict=True))
    if "=" in line or "\t" in line or "..." in line or ("   " in line and _NARROW_GAP.search(line)):
        line = _LEADER.sub(lambda name: f"{name[1]}:".ljust(len(name[0])), line)
    if ("   " in line or "\t" in line) and _NARROW_GAP.search(line):
        return _WIDE_GAP.sub(lambda gap: SENTENCE_END.ljust(len(gap[0])), line)
    return line
