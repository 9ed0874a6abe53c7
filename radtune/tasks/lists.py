"""Lists in a model's answer: writing them, and reading whatever a model makes of them.

Nothing is evaluated: a hand-written scanner takes the first list it finds, with straight, typographic or no quotes.
What a model thinks aloud goes first, here and nowhere else: a list in there is a draft.
"""

import json
import re
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from typing import Any

from radtune.labels import Answer, Status


@dataclass(frozen=True)
class ClosedList:
    """All lists that may be answered: any of the names, in their order, or the one word for none.

    Attributes:
        names: The classes, in the order of answers.
        none: What stands in the list where there is none, e.g. ``Normal``.
    """

    names: tuple[str, ...]
    none: str

    def encode(self, names: Collection[str]) -> str:
        """The list of these names, in their order, as models are trained to write it."""
        return write_list([name for name in self.names if name in names] or [self.none])


# Which quotes end an item, by the quote that opens it: models mix straight and typographic ones.
_CLOSING = {"'": "'’‘", "‘": "’'", "’": "’'", "`": "'`’", '"': '"”“', "“": '”"'}
# A quote ends its item only before a comma, a bracket or the end of the line, so that an apostrophe does not.
_QUOTED = {
    opening: re.compile(rf"((?:\\.|[^\\])*?)[{closing}](?=\s*[,\]]|[^\S\n]*\n)", re.DOTALL)
    for opening, closing in _CLOSING.items()
}
# An item without quotes may hold a bracketed word: [opacity [left], edema].
_BARE = re.compile(r"[^\[\],]+(?:\[[^\[\]]*\][^\[\],]*)*")
_BETWEEN = re.compile(r"[\s,]*")
_ESCAPED = re.compile(r"\\(.)", re.DOTALL)
# What needs a backslash inside an item: the backslash, its quote, and a typographic quote that would end it.
_NEEDS_ESCAPE = {"'": re.compile(r"[\\']|[’‘](?=\s*[,\]])"), '"': re.compile(r'[\\"]|[”“](?=\s*[,\]])')}
# Lists that are no answer: citations, and the prompts' own "[disease1, disease2, …]" and "[phrase 1, phrase 2, …]",
# which a model may repeat before it answers. Labels that look like these are written in quotes.
_NO_ANSWER = re.compile(r"\[(?:\s*\d[\d\s,]*\]|disease1,|phrase 1,)")
# Lines with boxes, ticked or not, or with a list each behind a bullet or number.
_LINES = re.compile(
    r"\[[ xX✓✔✗]?\][ \t]*\w[^\n\[]*\n\W{0,4}\[[ xX✓✔✗]?\][ \t]*\w"
    r"|^[ \t]*(?:[-*•]|\d+[.)])[ \t]*\[[^\[\]\n]*\][ \t]*\n[ \t]*(?:[-*•]|\d+[.)])[ \t]*\[",
    re.MULTILINE,
)
# What heads a list of something else: of what is absent; or, where another list follows, of what may be, was, or stands
# beside the answer.
_OTHER_LIST = re.compile(
    r"(?<![a-z])(?:(?P<absent>absent|negatives?|negated|denied|excluded|ruled[ _-]out|not[ _](?:present|found|seen)"
    r"|no[ _]evidence)|possible|uncertain|differential|prior|previous|history|old|before|options|candidates|reason\w*"
    r"|confidence|codes|evidence|quotes?)(?:[ _]\w+){0,2}['\"*`]{0,3}\s?[:=]?[\s*`]{0,3}\Z",
    re.IGNORECASE,
)

# Marks around what a model thinks: tags of DeepSeek, Qwen, Phi, EXAONE, Seed and others, brackets (Magistral), tokens
# of Kimi, Command A, OpenThinker, Gemma and MedGemma, and the channels of gpt-oss, also as they are left when a server
# drops special tokens ("analysisWe need ... assistantfinal['...']"). In quotes of their own they are an item of a list.
_THOUGHT = (
    r"(?:\w+[:_])?(?:think\w*|thoughts?|reason\w*|reflection|analysis|rationale|scratch_?pad|(?:inner_)?monologue)"
)
# Any other tag is one of thoughts where a list follows its end, but for those of an answer and of HTML.
_OF_ANSWER = (
    r"(?:answer|output|response|results?|final\w*|list|labels?|json|diseases?|findings?|phrases?|evidence|report"
    r"|[abipsu]|br|em|strong|span|div|ul|ol|li|table|tr|td|th|code|pre|h\d)\b"
)
_OPENING, _ENDING = (
    re.compile(rf"(?:(?<!['\"‘“])(?:{marks}))|(?:(?:{marks})(?!['\"’”]))", re.IGNORECASE)
    for marks in (
        rf"(?:<|&lt;)\|?\s*{_THOUGHT}(?:\s[^<>]*)?\|?(?:>|&gt;)|\[{_THOUGHT}\]|◁think▷|```{_THOUGHT}\b|<unused94>"
        r"|<\|(?:START_THINKING|begin_of_thought)\|>|<\|channel>\s*thought\b"
        r"|<\|channel\|>\s*(?:analysis|commentary)\b|\A\s*(?-i:analysis(?=[A-Z]))"
        rf"|(?m:^)[^\S\n]*(?:\(|\{{\{{?|~~?)\s*{_THOUGHT}\s*(?:\)|\}}\}}?|~~?)",
        rf"(?:<|&lt;)\|?\s*/\s*{_THOUGHT}\s*\|?(?:>|&gt;)|\[/{_THOUGHT}\]|◁/think▷|<unused95>|<channel\|>"
        rf"|</\s*(?!{_OF_ANSWER})[a-z][\w:-]*\s*>(?=\s*(?:<[a-z]+>)?[^<\[{{]{{0,60}}[\[{{])"
        rf"|(?:\(|\{{\{{?|~~?)\s*(?:/|end\s(?:of\s)?)\s*{_THOUGHT}\s*(?:\)|\}}\}}?|~~?)"
        r"|<\|(?:END_THINKING|end_of_thought)\|>"
        r"|<\|channel\|>\s*final\b[^<]*<\|message\|>|assistant(?:\s*\n\s*)?final",
    )
)
# Thoughts without marks: an answer that opens with such a heading, behind which a list may stand at once, or sets out
# on its way; and the line with which it comes to the point.
_HEADED = re.compile(
    rf"[^\w\[{{'\"‘“`]*(?:{_THOUGHT}(?:\W+process)?[^\w\n]*(?P<heading>:|\n)|{_THOUGHT}\s*[)*}}~_]"
    rf"|(?:{_THOUGHT}\s+)?(?:step|stage|phase)\W{{0,3}}(?:1|one|i)\b|let(?:['’]s|\s+me|\s+us)\s+\w|first(?:ly)?,)"
    r"|\s*[💭🤔🧠]",
    re.IGNORECASE,
)
_POINT = re.compile(
    r"^[^\w\n]{0,9}(?:(?:my|the)\s+)?(?:final\s+)?(?:answer|output|response|result|list)\b[^\w\[{\n]{0,9}(?::|$)"
    r"|^\s*[✅✔🎯👉📝]",
    re.I | re.M,
)
# One that comes to the point behind words and a list. No prompt of ours has it, so no next example begins with it.
_ANSWERED = re.compile(r"^[^\w\n]{0,9}(?:(?:my|the)\s+)?(?:final\s+)?answer\b[^\w\[{\n]{0,9}(?::|$)", re.I | re.M)
# A line that puts another list in the place of those before it; words between two lists, or before one, that leave it
# open which of them is meant.
_REPLACES = re.compile(
    r"^[^\w\n]{0,9}(?:(?:my|the|so)\s+){0,2}(?:final|revised|corrected|correction|updated)\b[^\[{\n]{0,40}:(?=[\s*`]*\[)",
    re.I | re.M,
)
_LONGEST_HEADING = 60
_BETWEEN_LISTS = re.compile(r"[\]}]([^\[\]{}]*+)(?=[\[{])")
_TAKEN_BACK = re.compile(
    r"\b(?:wait|actually|correction|reconsider\w*|scratch that|on (?:second thoughts?|reflection))\b", re.I
)
_DENIED = re.compile(r"\bnot\s*(?=\[\s*['\"‘“])", re.I)
# A bracket that never closes costs a pass over the answer; more of them than this, and it is no answer.
_MOST_BRACKETS = 8


def fold_space(text: str) -> str:
    """Text with every run of white space as one blank, and none at its ends."""
    return " ".join(text.split())


def unique(labels: Iterable[str]) -> tuple[str, ...]:
    """Labels with white space folded; blank ones and repeats (case aside) dropped, first spelling kept."""
    kept: dict[str, str] = {}
    for label in map(fold_space, labels):
        if label:
            kept.setdefault(label.casefold(), label)
    return tuple(kept.values())


def write_list(labels: Iterable[str]) -> str:
    """A list as models are trained to write it: ``['small effusion', "Kerley's lines"]``."""
    return f"[{', '.join(_quoted(label) for label in unique(labels))}]"


def _quoted(label: str) -> str:
    quote = '"' if "'" in label and '"' not in label else "'"
    return quote + _NEEDS_ESCAPE[quote].sub(lambda found: "\\" + found[0], label) + quote


def read_list(response: str, finished: bool = True) -> Answer:
    """Reads the first list of an answer.

    The list may stand anywhere ("The diseases are: [...]"), run over lines, be nested, and have its items in straight
    or typographic quotes or bare. Where no list closes, a line of nothing but quoted items is taken: the form shown
    in the paper's Figure 1b, or a list whose bracket was forgotten. Thoughts, citations (``[1]``) and
    the prompt's own placeholders are passed over. A list of objects or tuples is not guessed at. Without a list, the
    status is truncated if the model was cut off by its token limit (not ``finished``), else unparsed.
    """
    response = final_answer(response)
    unread = Answer((), status=Status.UNPARSED if finished else Status.TRUNCATED)
    start = response.find("[")
    for _ in range(_MOST_BRACKETS):
        if start < 0:
            break
        items, end = _scan(response, start + 1)
        if items is None:
            return unread
        if end >= 0 and not _NO_ANSWER.match(response, start):
            return Answer(unique(items), rest=response[end:].strip())
        # A bracket that never closes: nothing after it can be told from the list, unless another list opens there.
        start = response.find("[", max(start + 1, end))
    return (_read_line(response) if finished else None) or unread


def final_answer(response: str, keys: Collection[str] = ()) -> str:
    """An answer without what a reasoning model writes before it; empty where it cannot be told from that.

    ``keys`` are those of a JSON answer, which may stand in it once.
    """
    ends = [found.end() for found in _ENDING.finditer(response)]
    said = response[ends[-1] :] if ends else response
    if _OPENING.search(said) or sum(said.count(f'"{key}"') for key in keys) > 1:
        return ""
    headed, begins = None if ends else _HEADED.match(said), said.find("[")
    points = [found.end() for found in (_POINT if headed else _ANSWERED).finditer(said, headed.end() if headed else 0)]
    if headed and not points and not (headed["heading"] and said[headed.end() :].lstrip("* \n")[:1] in ("[", "{")):
        return ""
    # What stands behind the first list is a reason of an answer that opens with it, or with its heading.
    if points and (headed or (re.search(r"\w", said[: max(begins, 0)]) and points[0] > begins)):
        said = said[points[-1] :]
    if replacing := [found.end() for found in _REPLACES.finditer(said, max(0, said.find("[")))]:
        said = said[replacing[-1] :]
    between, begins = _BETWEEN_LISTS.findall(said), max(said.find("["), 0)
    other = _OTHER_LIST.search(said[max(begins - _LONGEST_HEADING, 0) : begins])
    in_doubt = (other and (other["absent"] or between)) or _DENIED.search(said) or _LINES.search(said)
    return "" if in_doubt or any(map(_TAKEN_BACK.search, between)) else said


def read_json(said: str, keys: Collection[str]) -> list[Any] | None:
    """The list of a JSON answer that holds nothing but one of these keys, in a fence or not; None if it is none."""
    try:
        # What stands around the object is not held to the schema, and so no part of the answer.
        answer, _ = json.JSONDecoder().raw_decode(said, max(said.find("{"), 0))
    except (ValueError, RecursionError):
        return None
    if not isinstance(answer, dict) or len(answer) != 1 or not isinstance(found := next(iter(answer.values())), list):
        return None
    return found if next(iter(answer)) in keys else None


def _read_line(response: str) -> Answer | None:
    """A line of quoted items alone, with an opening bracket or, where the answer has no bracket at all, without."""
    position, brackets = 0, "[" in response
    for line in response.splitlines(keepends=True):
        position += len(line)
        opened = brackets and "[" in line
        if opened or not brackets:
            body = line.partition("[")[2] if opened else line.strip().removeprefix("Output:")
            items, end = _scan(f"{body}]", 0, quoted_only=True)
            if items and end == len(body) + 1:
                return Answer(unique(items), rest=response[position:].strip())
    return None


def _scan(text: str, position: int, quoted_only: bool = False) -> tuple[list[str] | None, int]:
    """Reads items up to the bracket that closes the list.

    Returns:
        The items and the position after the bracket, -1 if it never closes; None for a list of objects or tuples.
    """
    items: list[str] = []
    depth = 1
    while (position := _BETWEEN.match(text, position).end()) < len(text):  # type: ignore[union-attr]
        letter = text[position]
        if letter in "[]":
            depth += 1 if letter == "[" else -1
            position += 1
            if depth == 0:
                return items, position
        elif letter in _CLOSING:
            quoted = _QUOTED[letter].match(text, position + 1)
            if quoted is None:
                return items, -1
            items.append(_ESCAPED.sub(r"\1", quoted[1]))
            position = quoted.end()
        elif letter == "{" or (letter == "(" and text[position + 1 : position + 2] in _CLOSING):
            return None, -1
        elif quoted_only:
            return items, -1
        else:
            bare = _BARE.match(text, position)
            assert bare is not None  # noqa: S101  (the letter is none of those that it excludes)
            items.append(bare[0])
            position = bare.end()
    return items, -1
