"""The reading copy of a report: the same length as its text, in lower case, with the ends of statements marked.

Offsets in the copy are offsets in the text. Rules see only the copy, so they need not know about capitals, line
breaks, list numbers, tables, typographic signs or headings.
"""

import re

from radtune.rules.lines import ADJECTIVE, ANSWER, SENTENCE_END, fold_cells, fold_lines


class _Signs(dict[int, str]):
    """By code point the one character that rules know for it; of a sign that they do not know, a blank."""

    def __missing__(self, code: int) -> str:
        self[code] = chr(code) if re.match(r"[\w',:?+/#<>.\-\n\xb1]", chr(code)) else " "
        return self[code]


# Typed by dictation software and word processors; U+3002 is the period of Chinese and Japanese.
_SIGNS = _Signs(str.maketrans({
    "\u2018": "'", "\u2019": "'", "\u2010": "-", "\u2011": "-", "\u2012": "-", "\u2013": "-", "\u2014": "-",
    "\u2191": "+", ";": SENTENCE_END, "!": SENTENCE_END, "\u2022": SENTENCE_END, "\u3002": SENTENCE_END,
}))  # fmt: skip

# Boxes to tick; those of a line that begins with a name stand behind their names: "Effusion [x] Edema [ ]".
_UNTICKED, _TICKED = r"(?:\[(?: {0,3}|no?|-)\]|\( {1,3}\))", r"(?:\[(?:x|\u2713|\u221a|y|yes)\]|\(x\))"
_BOX = rf"(?:{_UNTICKED}|{_TICKED})"
_BOXES_BEHIND = re.compile(
    rf"(?m)^ *+(?:[a-z ]{{1,20}}: *+){{0,2}}[a-z][^\[\]:\n]{{1,40}}(?:{_BOX}.*|: *+{_BOX}(?:.*{_BOX})?) *$"
)
# The answers of one name, one of them ticked: "Effusion: [ ] none [x] small".
_OPTION = (
    r"(?:no|none|yes|absent|present|normal|abnormal|clear|right|left|bilateral|small|mild|moderate|large|severe|trace"
    r"|one|single|multiple|several|enlarged|borderline|widened|wide|possible|probable|equivocal|indeterminate|unknown)\b"
)
_OPTIONS = re.compile(
    r"(?m)^((?:[a-z]{2,20}: )?[ -]*+[a-z][a-z /]{1,40}?) *+:? *+"
    rf"(?={_BOX} *+{_OPTION}[^\[(\n]*{_BOX} *+{_OPTION}).*$"
)
_BOXED = re.compile(rf" *+:? *+(?:(?P<no>{_UNTICKED})|{_TICKED})([^\[(\n]*)")
_BOX_BEHIND = re.compile(
    rf"\b(?P<dropped>yes|no|present|absent):? *+{_UNTICKED} ?|:? *+(?:(?P<no>{_UNTICKED})|{_TICKED}) ?"
)
# What stands for a word: places that a report's de-identification left, a finding's sign in brackets, boxes to tick.
_MARKS = re.compile(
    r"(?P<gap>\[\*\*[^\]\n]{0,80}\*\*\])|(?P<absent>\((?:-|n|neg|negative|absent|none|no|nil)\) ?|(?<!\w)-ve(?!\w),?"
    r"|(?<=[a-z] )\[(?:-|n|neg|negative|absent|none|no|nil)\](?= *(?:[,;.\n]|\Z)))"
    r"|(?P<present>\((?:\+|y|pos|positive|present|yes)\) ?|(?<!\w)\+ve(?!\w),?)"
    r"|(?P<choice>[(\[](?:yes|no|y|n|present) ?/ ?(?:yes|no|y|n|absent)[)\]])"
    rf"|(?P<dropped>{_UNTICKED} ?(?:yes|no|present|absent)\b|{_TICKED}(?= ?(?:yes|no|present|absent)\b))"
    rf"|(?P<unticked>{_UNTICKED})|(?P<ticked>{_TICKED})"
    r"|(?P<number>\((?:\d{1,2}|[a-h]|i{1,3})\)(?= ?[a-z]))"
)
# "-ve for effusion", but "effusion -ve, edema +ve".
_DENIES = re.compile(r" {1,9}[a-z]")
# "1) No effusion 2) Mild edema", "a) ... b) ..." on one line.
_LIST_NUMBER = re.compile(r"\s(?=(?:\d{1,2}|[a-h]|i{1,3}|iv|v)\)\s)")
# "Effusion;No"
_CELLS = re.compile(r"(?<=[a-z]);(?= ?(?:yes|no|y|n|present|absent|none|nil)[ .]*(?:\n|\Z))")
_MINUS = re.compile(r": -(?= ?(?:[.,\n]|\Z))")
# A finding's answer behind it, as a sign, a letter or a word: "Effs +, PTX -, edema ±", "Edema Y / Nodule N".
_PLUS_OR_MINUS = re.compile(r"\+ ?/ ?-|\+-|-/\+")
_SIGNED = re.compile(
    r"(?<=[a-z)])(?P<sign> {1,3}(?:-{1,2}|\+{1,4}|\xb1|[yn]|no|yes)|\+{1,4}|\xb1)"
    r"(?P<end> *(?:,(?!\d)|/(?! ?[-yn]\b)|(?=[.;\n]|\Z)))"
)
# "Edema, N. Effusion, Y (left)."
_LETTER = re.compile(r"(?<=[a-z]),(?= [yn] *(?:[.\n(]|\Z))")
_BEFORE_SIGNED = re.compile(r",(?= ?[a-z #]{1,40}:n *(?:[.\n]|\Z))")
# "CTR 15/29": centimeters of the heart and the chest.
_RATIO = re.compile(r"(?<=ctr |tio |tr: |io: )(\d\d(?:\.\d)?) ?/ ?([23]\d(?:\.\d)?)(?![\d/])")
# "Mass \u2717 Effusion \u2713"
_CHECKED = re.compile(r"(?<=[a-z)])[ :] ?(?:(?P<no>[\u2717\u2718])|[\u2713\u2714])(?: *,| (?=\w)|(?= *(?:\n|\Z)))")
# Answers for either side, or for lobes: "Effusion R: none, L: small". Where one has it, those without say no more.
_SIDE = r"\(?\b(?:right|left|rt|lt|r|l|[rl][uml][lz]|lingula)\b\)?"
_BLANK = r" *+(?:[\n-][ -]*+)?+"  # without a second way to read a run of blanks, of which padded columns have thousands
_AT_A_PLACE = rf"{_SIDE}(?: (?:base|lung|side|apex|zone))?(?: ?[:=]| -(?= \w\w))? ?"
_AT_SIDE = (
    rf"{_AT_A_PLACE}(?P<said>(?:(?!{_SIDE}| ?/ )(?:[^\n,;:.|]|\.(?=\d))){{1,40}}+)(?P<end>(?: ?[,;/.])?+{_BLANK})"
)
_AT_SIDES = re.compile(
    r"(?P<name>(?:^|(?<=[\n.,;:])|(?<=[\n.,;:] ))[ -]*[a-z][a-z /-]{1,40}?)"
    rf"(?P<at>(?=[ :,/(\n-])(?: ?[:,/-])?+{_BLANK}\(?)"
    rf"(?P<sides>(?:{_AT_SIDE}){{2,6}}+)".replace("?P<said>", "?:").replace("?P<end>", "?:")
)
_ONE_SIDE = re.compile(_AT_SIDE)
_NONE = re.compile(
    r"(?:none|nil|no|n|absent|neg|negative|clear|sharp|free|normal|0|-|resolved|gone|removed|out"
    r"|(?:not|no longer|none) (?:seen|present))? *\Z"
)
# Where these find nothing, neither does the other, which is slower.
_SIDE_NAMED = re.compile(
    r":(?:(?<=\b[rl]:)|(?<=\b[rl]t:)|(?<=left:)|(?<=right:)|(?<=(?:base|lung):)|(?<=\b[rl][uml][lz]:)|(?<= :)"
    r"|(?<!findings:)(?<!impression:)(?= ?(?:right|left|[rl]t?)\b))"
)
_SIDES_ANSWERED = (
    " r -", " l -", "rt -", "lt -", "right -", "left -", " r 0", " l 0", " r n", " l n", "ll no", "ml no", "ul no",
    "lingula no", "right no", "left no",
)  # fmt: skip
# A form's blanks around what was filled in, and its fields: "Effusion ___none___", "<Edema: none> <Effusion: small>".
_BLANKS = re.compile(r"(?<=[a-z])_+|(?<!_)_++(?=[a-z])")
# Marks of a heading, or a rule; one alone may be a fracture.
_HASHES = re.compile("##++")
# A period ends a sentence, but not in numbers, "vs." and other abbreviations; "clear.No" is a missing space, as is
# "pneumonia.2.Small". A dash between spaces, a question mark behind a word, and the colon of a
# section's heading end one too; the colon of other headings ("Pneumothorax: none") belongs to its
# statement.
_SENTENCE_END = re.compile(
    # Only a shorter word, and no number, may be abbreviated.
    r"\.(?:(?!\w)(?:(?<=\d\.)|(?<=\w{7}\.)|(?<!\b(?:vs|dr|pl)\.)(?! (?:neg|pos)\b(?! for))"
    r"(?<!\b(?:e\.g|i\.e|d\.d|c\.p|mod|min)\.)(?<!\b(?:susp|prob|poss|incr|decr)\.)(?<!\bs[lm]\.)"
    r"(?!(?<=\b(?:bilat|equiv)\.) (?![a-z/ ]{1,30}:))"
    r"(?<!\b(?:approx|interv)\.)(?<!\bno\.(?=\s\d)))"
    r"|(?<=[a-z]{3}\.)(?=[a-z]{2})|(?<!\d\.)(?=\d{1,2}[.)] ?[a-z])|(?<=[\s.]\d\.)(?=[a-z])|(?<=^\d\.)(?=[a-z]))"
    rf"|-(?<=\s-)(?=\s)(?!\s{{1,9}}+(?:{ANSWER}|{ADJECTIVE}))"
    r"|:(?:(?<=\bfindings:)|(?<=\bimpression:)|(?<=\bconclusion:))"
)
# "FINDINGS --- no effusion --- PICC", but "Pneumothorax -- none".
_RULE = re.compile(rf"(?<= )--++(?= )(?! {{1,9}}+(?:{ANSWER}|(?:normal|clear|enlarged|widened|unremarkable)\b))")
# "Opacity left base ?pneumonia" asks about what comes behind.
_QUESTION = re.compile(
    rf"(?<=[\w?]\?)\s(?:(?=\s*+no evidence of\b)|(?!\s{{0,9}}+{ANSWER}))"
    r"|(?<=\w) (?=\?(?!(?:enlarged|widened|big|large|prominent)\b)\w)"
)
# "Heart - enlarged", "Pneumothorax - none": the dash stands for a colon.
_DASH_AS_COLON = re.compile(
    r"(?:^|(?<=\n))( *+[a-z][a-z/]{1,20}+(?: [a-z/]{1,20}+){0,2}(?:, (?:left|right))? )"
    rf"-(?= {{1,3}}+(?:{ANSWER}|{ADJECTIVE}))"
)
# "- No effusion - Mild cardiomegaly" are two items.
_DENIED_ITEM = re.compile(r"((?:^|(?<=\n)|(?<=- ))no (?:[^\n-]|(?<! )-(?! )){1,60} )-(?= )")
# "Is there an effusion?", and on the next line "A. No."
_ANSWER_MARK = re.compile(r"(?<=\?)([ \t]{0,9}\n[ \t]{0,9})(?:a|ans|answer)[.:)](?=\s)")
# "Pneumothorax? - none seen."
_ASKED_BEFORE = re.compile(rf"\?( *)[-:](?= *+{ANSWER})")
# Headings of what is not there.
_NOT_SEEN = r"(?:not|no longer) (?:seen|present|identified|visible|found|demonstrated|detected|evident|noted)"
_LISTS_ABSENT = re.compile(
    r"(?:^|(?<=\n)|(?<=[.:] ))( *)((?:(?:pertinent|relevant|significant|important) )*(?:negatives?|(?:absent|negative)"
    rf"(?: findings?| are)?|findings? (?:{_NOT_SEEN}|absent)|nil|excluded|ruled out|{_NOT_SEEN}"
    rf"|(?:the following|these)(?: findings?)?(?: (?:is|are|was|were|have|has))? (?:{_NOT_SEEN}|absent|excluded"
    r"|resolved|cleared)|(?:looked|checked|searched) for (?:and|but) (?:not|none) (?:seen|found|present)"
    r"|none of (?:the following|these) (?:is|are|was|were) (?:seen|present|identified|visible|found)"
    r"|(?:negative for|no (?:evidence|signs?) of any of) the following)) *:"
)
# "Small effusion, pneumothorax: none": what has a size is a statement, and no part of the name.
_BEFORE_A_NAME = re.compile(
    r"((?:^|(?<=[\n:]))[ -]*(?:tiny|trace|minimal|small|mild|moderate|large|severe|bilateral|no) [^,:\n]{3,40}),"
    r"(?= ?[a-z][a-z /]{1,30}:)"
)
# The colon of a heading but these, without which there is none of those, for which a text is searched slowly.
_OTHER_HEADING = re.compile(r":(?:(?<!findings:)(?<!impression:)|(?<=absent findings:)|(?<=negative findings:))")
# A text without any sign, whose signs were dictated as words.
_DICTATED = re.compile(r"(?<= )(?:(?P<end>period|full stop|new (?:line|paragraph))|(?P<comma>comma)|colon)(?= |\Z)")
_SIGN = re.compile(r"[.,:;]")
# "Effusion: none, edema: mild": behind a heading and what it says comes the next one.
_NEXT_HEADING = re.compile(
    r"(:(?:[^:\n]{1,80}?(?=,)| {0,2}(?:no|none|nil|yes|absent|present|normal|negative|y|n|0|\?|\d?\++)(?= )))[ ,]"
    r"(?=[ ,]{0,3}[a-z][a-z'/]{1,20}+(?: [a-z/]{1,20}+){0,3}? ?:(?! ?(?!0(?![\d.:])|\d\+)\d))"
)


def reading_copy(text: str) -> str:
    """The text in lower case with every statement's end turned into one :data:`SENTENCE_END`, length unchanged."""
    copy = fold_lines(text) if "\n" in text or "\r" in text else fold_cells(text)
    lower = copy.lower()
    if len(lower) != len(copy):
        # A few capitals, such as the dotted I of Turkish, have a longer lower case.
        lower = "".join(c.lower()[0] for c in copy)
    if "_" in lower:
        lower = _BLANKS.sub(lambda blank: " " * len(blank[0]), lower)
    if "##" in lower:
        lower = _HASHES.sub(lambda hashes: " " * len(hashes[0]), lower)
    if "> <" in lower:
        lower = lower.replace("> <", f" {SENTENCE_END} ")
    if " * " in lower:
        lower = lower.replace(" * ", f" {SENTENCE_END} ")
    if ")" in lower:
        lower = _LIST_NUMBER.sub(SENTENCE_END, lower)
    if "[" in lower or "(x)" in lower:
        lower = _OPTIONS.sub(_ticked_of, lower)
        lower = _BOXES_BEHIND.sub(
            lambda line: _BOX_BEHIND.sub(_box_behind, line[0]),
            lower,
        )
    if "(" in lower or "[" in lower or "-ve" in lower or "+ve" in lower:
        lower = _MARKS.sub(_word_for, lower)
    if (" period" in lower or " full stop" in lower) and not _SIGN.search(lower):
        lower = _DICTATED.sub(
            lambda word: {"end": ".", "comma": ",", None: ":"}[word.lastgroup].ljust(len(word[0])), lower
        )
    if ";" in lower:
        lower = _CELLS.sub(":", lower)
    if not lower.isascii():
        lower = _CHECKED.sub(_answered_by_box, lower)
    if "/" in lower and "ct" in lower:
        lower = _RATIO.sub(lambda ratio: f"{100 * float(ratio[1]) / float(ratio[2]):.0f}".ljust(len(ratio[0])), lower)
    lower = lower.translate(_SIGNS)
    if any(map(lower.__contains__, (", n.", ", n\n", ", n ", ", y.", ", y\n", ", y "))):
        lower = _LETTER.sub(":", lower)
    dashed, plus = " -" in lower, "+" in lower
    if plus:
        lower = _PLUS_OR_MINUS.sub(lambda sign: "\xb1".ljust(len(sign[0])), lower)
    if _SIDE_NAMED.search(lower) or any(map(lower.__contains__, _SIDES_ANSWERED)):
        lower = _AT_SIDES.sub(_of_the_sides, lower)
    if (
        dashed
        or plus
        or any(map(lower.__contains__, (" n,", " y,", " no,", " yes,")))
        or ("/" in lower and any(map(lower.__contains__, (" n/", " y/", " n /", " y /"))))
        or not lower.isascii()
    ):
        lower = _BEFORE_SIGNED.sub(SENTENCE_END, _SIGNED.sub(_answered_by_sign, lower))
    if dashed:
        lower = _RULE.sub(lambda rule: SENTENCE_END.ljust(len(rule[0])), _MINUS.sub(":no", lower))
        lower = _DASH_AS_COLON.sub(r"\1:", _DENIED_ITEM.sub(rf"\1{SENTENCE_END}", lower))
    if _OTHER_HEADING.search(lower):
        lower = _BEFORE_A_NAME.sub(rf"\1{SENTENCE_END}", lower)
        lower = _LISTS_ABSENT.sub(lambda name: f"{name[1]}no:".ljust(len(name[0])), lower)
    if "?" in lower:
        lower = _ANSWER_MARK.sub(lambda mark: mark[1].ljust(len(mark[0])), lower)
    lower = _SENTENCE_END.sub(SENTENCE_END, lower)
    if "?" in lower:
        lower = _ASKED_BEFORE.sub(r"?\1 ", lower)
        lower = _QUESTION.sub(SENTENCE_END, lower)
    if lower.count(":") > 1:
        lower = _NEXT_HEADING.sub(rf"\1{SENTENCE_END}", lower)
    return lower


def _of_the_sides(found: re.Match[str]) -> str:
    """A name and what is said of its sides, but of those that have it not where another has."""
    sides = list(_ONE_SIDE.finditer(found["sides"]))
    none = [bool(_NONE.match(side["said"])) for side in sides]
    if not any(none):
        return found[0]
    if all(none):
        none[-1] = False
    said = found["name"] + ":".ljust(len(found["at"]))
    for number, (side, lacks) in enumerate(zip(sides, none, strict=True), start=1):
        end = side["end"]
        body = side[0][: len(side[0]) - len(end)].replace(":", " ")
        if number < len(sides):
            end = ("" if lacks or none[number] else ",")[: len(end)].ljust(len(end))
        said += (" " * len(body) if lacks else body) + end
    return said


def _answered_by_sign(sign: re.Match[str]) -> str:
    absent = sign["sign"].strip() in ("-", "--", "n", "no")
    word = ":n".ljust(len(sign["sign"])) if absent else sign["sign"]
    return word + (sign["end"][:-1] + SENTENCE_END if sign["end"].strip() else sign["end"])


def _box_behind(box: re.Match[str]) -> str:
    return " " * len(box[0]) if box["dropped"] else _answered_by_box(box)


def _answered_by_box(box: re.Match[str]) -> str:
    word = ":n" if box["no"] else ""
    return word.ljust(len(box[0]) - 1) + SENTENCE_END[: len(box[0]) - len(word)]


def _ticked_of(line: re.Match[str]) -> str:
    """A name and those of its boxes that are ticked."""
    boxes = _BOXED.sub(
        lambda box: " " * len(box[0]) if box["no"] else box[2].rjust(len(box[0])), line[0][len(line[1]) :]
    )
    return f"{line[1]}:{boxes[1:]}"


def _word_for(mark: re.Match[str]) -> str:
    denies = mark[0] == "-ve" and _DENIES.match(mark.string, mark.end())
    words = {
        "gap": "xxxx", "absent": " no" if denies else ":no", "present": "", "choice": "", "dropped": "",
        "unticked": f"{SENTENCE_END}no"[-len(mark[0]) :], "ticked": SENTENCE_END, "number": SENTENCE_END,
    }  # fmt: skip
    word = words[mark.lastgroup or ""].ljust(len(mark[0]))
    # "Edema (-) effusion (+)", "edema -ve, effusion +ve"
    return word[:-1] + SENTENCE_END if mark[0].endswith((") ", ",")) else word
