"""Tasks whose labels are phrases: which words of the report name something that has an ICD-10-CM code?"""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, ClassVar

from radtune.labels import BILATERAL, LEFT, NO_SIDE, RIGHT, SIDES, Answer, Phrase, State, Status, side_of
from radtune.tasks.class_list import strict_schema
from radtune.tasks.lists import final_answer, fold_space, read_json, read_list, unique, write_list
from radtune.tasks.rendering import TaskPrompt, Wording

if TYPE_CHECKING:
    import numpy as np

    from radtune.tasks.counting import Counts

# A code beside a phrase in the reasoning. The dot is often left out; a leaf has three to seven letters and digits.
# T10, T11 and T12 are vertebrae: ICD-10-CM has no such codes.
_CODE = re.compile(r"\b(?!T1[0-2]\b)([A-Z]\d[0-9AB](?:\.?[0-9A-Z]{1,4})?)\b")
_SCHEME, _MORE = r"(?:ICD-10(?:-CM)?:?\s*)?", r"(?:\s*[,;/]\s*[A-Z]\d[0-9A-Z.]+)*"
# Beside a phrase, with a sign between or, as B12 is none, a dot in it.
_CODE_BEHIND = re.compile(rf"(?:\s*[(\[:=|,–—-]\s*|\s(?=[A-Z]\d\w\.)){_SCHEME}{_CODE.pattern}{_MORE}[)\]]?$")
_CODE_BEFORE = re.compile(
    rf"[(\[]?{_SCHEME}{_CODE.pattern}{_MORE}(?P<sign>[)\]]?\s*[:=|–—-]\s*|[)\]]\s*|\s+)(?P<phrase>.+)"
)
_CODE_ALONE = re.compile(_SCHEME + _CODE.pattern + _MORE)
# What may stand before the phrase on its line of reasoning: bullet, number, quote, emphasis.
_BEFORE_PHRASE = re.compile(r"[\s\d.)*•\-'\"‘’“”`]*")
# Where a JSON answer has its list.
_JSON_KEYS = ("phrases",)
# What a table says, and how its columns may be headed.
_COLUMNS = {
    "phrase": re.compile(r"finding|phrase|diagnos|condition|abnormalit|observation", re.IGNORECASE),
    "icd10": re.compile(r"icd|code", re.IGNORECASE),
    "side": re.compile(r"side|lateral", re.IGNORECASE),
}
_HEADER = "| Finding | ICD-10-CM code | Side |\n| --- | --- | --- |"
# A row of a table, and the one below its header.
_ROW, _RULE = re.compile(r"^\s*\|(.*?)\|?\s*$", re.MULTILINE), re.compile(r"[\s:|-]+")
# What says that there is nothing; and how a phrase begins that says it of one finding.
NOTHING = re.compile(
    r"\W*(?:no (?:acute |significant |abnormal )*(?:findings?|abnormalit(?:y|ies)|disease)|none(?: seen)?|nil|n/a|0"
    r"|normal(?: (?:study|exam(?:ination)?|chest|report|film))?|unremarkable|negative|clear)?\W*",
    re.IGNORECASE,
)
SAYS_ABSENT = re.compile(
    r"\W*(?:no(?! longer| (?:(?!or )\w+ ){0,2}changes? (?:in|of|to))|without|denies|absence of|free of|negative for"
    r"|resolved|clear of)\s|.*(?:[(:]|\s[–—-])\s*(?:absent|negative|no|none|denied|not seen|ruled out)\)?\Z",
    re.IGNORECASE,
)
# Words, of which camelCase has several, in the name of a column or key that says whether a finding is there, that it is
# not, or anything; and what each says of one that is there, the last of one that is not.
_NAMED = r"(?:(?<![A-Za-z])|(?<=[a-z])(?=[A-Z]))(?i:{})(?![a-z])"
_STATE = re.compile(_NAMED.format("presen(?:t|ce)|stat(?:e|us)|assert(?:ed|ion)|polarity|detected|certain(?:ty)?"))
_NO_STATE = re.compile(_NAMED.format("not|negat(?:ed|ion|ive)|absen(?:t|ce)|exclu(?:ded|sion)|uncertain(?:ty)?"))
_VALUE = re.compile(_NAMED.format("value"))
_THERE = re.compile(
    r"(?:y|yes|true|present|positive|detected|asserted|affirmed|confirmed|definite|certain|active|acute|chronic|new"
    r"|stable|unchanged|final|ok|1(?:\.0)?|x|✓|✔|✅)?",
    re.IGNORECASE,
)
_NOT_DENIED = re.compile(r"(?:n|no|none|false|0(?:\.0)?)?", re.IGNORECASE)
_NOT_THERE = re.compile(r"n|no|false|negative|absent|uncertain|(?:0|-1)(?:\.0)?", re.IGNORECASE)
# Two phrases mean the same place of a report if their overlap is at least this share of what they span together, so
# that "small left effusion" and "left effusion" mean one thing, "effusion" and a whole sentence two.
_SAME_PLACE = 0.5


@dataclass(frozen=True)
class PhraseList:
    """A task of phrases; attributes and methods are those of :class:`radtune.tasks.class_list.ClassList`.

    With ``table``, an answer is a Markdown table of findings with their codes and sides, not a list of phrases.
    """

    name: str
    title: str
    wording: Wording
    certainty: tuple[State, ...]
    sections: tuple[str, ...]
    files: tuple[Path, ...] = ()
    table: bool = False

    matching = "two consecutive words"
    rules = None
    alternatives = "uncertain"
    none = ""
    classes: tuple[str, ...] = ()
    parents: ClassVar[Mapping[str, str]] = MappingProxyType({})
    synonyms: ClassVar[Mapping[str, tuple[str, ...]]] = MappingProxyType({})
    doubted: ClassVar[Mapping[str, str]] = MappingProxyType({})

    @property
    def opening(self) -> str:
        """How an answer begins."""
        return _HEADER.partition("\n")[0] if self.table else "Output: ["

    def prompt(self, use: str, report_id: str = "", seed: int = 0, vote: int = 0) -> TaskPrompt:
        """The instruction of a use; its pieces are ``{examples}`` and ``{reasoned_examples}``."""
        return self.wording.prompt(use, report_id, seed, vote, self._encode_example)

    def canonical(self, name: str) -> str | None:
        """No phrase is a class."""
        return None

    def distinct(self, labels: Iterable[str]) -> tuple[str, ...]:
        """Phrases with white space folded, without repeats."""
        return unique(labels)

    def known(self, labels: Iterable[str]) -> tuple[list[str], list[str]]:
        """All phrases are known."""
        return list(labels), []

    def encode(self, labels: Sequence[str]) -> str:
        """The answer for a list of phrases; ``[]`` for none."""
        return self._encode_example(tuple(map(Phrase, labels)))

    def _encode_example(self, phrases: Sequence[Phrase]) -> str:
        if not self.table:
            return write_list([phrase.phrase for phrase in phrases])
        rows = [f"| {phrase.phrase} | {phrase.icd10 or ''} | {side_of(phrase)} |" for phrase in phrases]
        return "\n".join([_HEADER, *(rows or ["| No finding | | |"])])

    def grammar(self) -> None:
        """The answers are open."""
        return

    def read(self, response: str, text: str = "", finished: bool = True, as_json: bool = False) -> Answer:
        """Reads an answer: phrases with their place in the report and the code that its reasoning gives.

        A code that stands inside the list, ``'small effusion (J90)'``, is taken out of its phrase where the report has
        the phrase without it.
        """
        response = final_answer(response, _JSON_KEYS if as_json else ())
        if as_json and (found := self._read_json(response, text)) is not None:
            return found
        if self.table and (rows := _read_table(response)) is not None:
            # Where a table was cut off, nothing tells.
            return _answer(rows, text) if finished else Answer((), status=Status.TRUNCATED)
        answer = read_list(response, finished)
        reasoning = _Reasoning(answer.rest)
        phrases: dict[str, Phrase] = {}
        for label in answer.labels:
            place, code = locate(label, text), reasoning.code(label)
            inside = code_beside(label) if place == (None, None) else None
            if inside and locate(inside[0], text) != (None, None):
                label, code = inside
                place = locate(label, text)
            phrases.setdefault(label.casefold(), Phrase(label, code, *place))
        labels = tuple(phrase.phrase for phrase in phrases.values())
        return Answer(labels, status=answer.status, phrases=tuple(phrases.values()), rest=answer.rest)

    def json_schema(self) -> dict[str, Any]:
        """The value of ``response_format.json_schema``: phrases, each with its code or null (and its side)."""
        side = {"side": {"type": "string", "enum": list(SIDES)}} if self.table else {}
        item = strict_schema("", {"phrase": {"type": "string"}, "icd10": {"type": ["string", "null"]}} | side)["schema"]
        return strict_schema(self.name, {_JSON_KEYS[0]: {"type": "array", "items": item}})

    def _read_json(self, response: str, text: str) -> Answer | None:
        items = read_json(response, _JSON_KEYS)
        if items is None:
            return None
        keys = {"phrase", "icd10", "side"} if self.table else {"phrase", "icd10"}
        for item in items:
            if not isinstance(item, dict) or item.keys() != keys:
                return None
            if not isinstance(item["phrase"], str) or not isinstance(item["icd10"], str | None):
                return None
            if item.get("side") not in (None, *SIDES):
                return None
        return _answer([Phrase(item["phrase"], item["icd10"] or None, side=item.get("side")) for item in items], text)

    def same(self, a: Phrase, b: Phrase) -> bool:
        """Whether two phrases mean one finding: equal, in one place of the report, or matching by the paper's rule.

        Where both stand in the report, their places decide, since a report may have two findings of one name.
        """
        if fold_space(a.phrase).casefold() == fold_space(b.phrase).casefold():
            return True
        if a.start is not None and a.end is not None and b.start is not None and b.end is not None:
            overlap = min(a.end, b.end) - max(a.start, b.start)
            return overlap > 0 and overlap / (max(a.end, b.end) - min(a.start, b.start)) >= _SAME_PLACE
        from radtune.tasks.matching import phrases_match

        return phrases_match(a.phrase, b.phrase)

    def order(self, label: str) -> int:
        """Phrases have no order but the report's."""
        return 0

    def count(
        self, predicted: Sequence[Answer], gold: Sequence[Answer], judged: "np.ndarray | None" = None
    ) -> "Counts":
        """Counts as :class:`radtune.tasks.counting.Counts`, by the paper's rule and three stricter ones."""
        from radtune.tasks.counting import count_phrases

        return count_phrases(predicted, gold)

    def matches(self, predicted: Sequence[str], gold: Sequence[str]) -> "np.ndarray":
        """Which predicted phrase matches which gold one of one report, by the paper's rule."""
        from radtune.tasks.matching import match_matrix

        return match_matrix(predicted, gold)


def is_code(label: str) -> bool:
    """Whether a label is a code, or several, without a phrase."""
    return bool(_CODE_ALONE.fullmatch(label.strip()))


def code_beside(label: str) -> tuple[str, str] | None:
    """A phrase and the code beside it, the first of several, as in ``edema (J81.0)``; None where there is none."""
    if (found := _CODE_BEHIND.search(label)) and found.start():
        return label[: found.start()], found[1]
    found = _CODE_BEFORE.fullmatch(label)
    return (found["phrase"], found[1]) if found and (found["sign"].strip() or "." in found[1]) else None


def in_doubt(name: str, said: str) -> bool:
    """Whether what a column or key of this name says of a finding leaves it open, or denies, that it is there."""
    if _NO_STATE.search(name):
        return not _NOT_DENIED.fullmatch(said)
    if _STATE.search(name):
        return not _THERE.fullmatch(said)
    return bool(_VALUE.search(name) and _NOT_THERE.fullmatch(said))


def _answer(phrases: Iterable[Phrase], text: str) -> Answer:
    """An answer of phrases, each once, and with its place in the text; one on either side is bilateral."""
    found: dict[str, Phrase] = {}
    for phrase in phrases:
        if name := fold_space(phrase.phrase):
            start, end = locate(name, text)
            first = found.setdefault(name.casefold(), replace(phrase, phrase=name, start=start, end=end))
            if {first.side, phrase.side} == {LEFT, RIGHT}:
                found[name.casefold()] = replace(first, side=BILATERAL)
    return Answer(tuple(phrase.phrase for phrase in found.values()), phrases=tuple(found.values()))


def _read_table(response: str) -> list[Phrase] | None:
    """The findings of the last Markdown table of an answer, by its header or in our order; None without a table.

    Nor are there any of one that says of some row that it is absent, or may be.
    """
    rows = [[cell.strip(" *`") for cell in row[1].split("|")] for row in _ROW.finditer(response)]
    rules = [number for number, row in enumerate(rows) if _RULE.fullmatch("|".join(row)) and "-" in "|".join(row)]
    if not rules or not rules[-1]:
        return None
    header = rows[rules[-1] - 1]
    places = {name: i for name, known in _COLUMNS.items() for i, cell in enumerate(header) if known.search(cell)}
    others = {i for i in range(len(header)) if i not in (places.get("icd10"), places.get("side"))}
    doubted = (in_doubt(header[i], row[i]) for row in rows[rules[-1] + 1 :] for i in others if i < len(row))
    if "phrase" not in places or any(doubted):
        return None
    found = []
    for row in rows[rules[-1] + 1 :]:
        cells = {name: row[i] if i < len(row) else "" for name, i in places.items()}
        code, side = _CODE.search(cells.get("icd10", "").upper()), cells.get("side", "").lower()
        if not NOTHING.fullmatch(cells["phrase"]):
            said = next((known for known in SIDES if side.startswith(known)), NO_SIDE if side in ("n/a", "-") else None)
            found.append(Phrase(cells["phrase"], code[1] if code else None, side=said))
    return found


class _Reasoning:
    """The lines behind a list, as texts of their own to search: a long answer has thousands of lines and of phrases."""

    def __init__(self, rest: str) -> None:
        self._lines = rest.splitlines()
        lower = [line.lower() for line in self._lines]
        self._anywhere = "\n".join(lower)
        self._openings = "\n" + "\n".join(_BEFORE_PHRASE.sub("", line, count=1) for line in lower)

    def code(self, phrase: str) -> str | None:
        """The code behind a phrase: on the line that opens with it, else on the first that has it."""
        wanted = phrase.lower()
        number = self._openings.count("\n", 0, self._openings.find(f"\n{wanted}") + 1) - 1
        if number < 0:
            found = self._anywhere.find(wanted)
            number = self._anywhere.count("\n", 0, found) if found >= 0 else -1
        if number < 0:
            return None
        line = self._lines[number]
        # Behind the phrase, since it may itself hold something that looks like a code.
        code = _CODE.search(line, line.lower().find(wanted) + len(wanted))
        return code[1] if code else None


def locate(phrase: str, text: str) -> tuple[int | None, int | None]:
    """Where a phrase stands in a text, case and white space folded: as whole words if it can, else (None, None)."""
    words = fold_space(phrase).split(" ")
    if not words[0]:
        return None, None
    pattern = r"\s+".join(map(re.escape, words))
    found = re.search(rf"(?<!\w){pattern}(?!\w)", text, re.IGNORECASE) or re.search(pattern, text, re.IGNORECASE)
    return (found.start(), found.end()) if found else (None, None)
