"""Radiology reports: the row every stage reads, its file, and the Findings and Impression sections."""

import re
from collections.abc import Iterator
from dataclasses import dataclass, fields
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import Any

from radtune.config import InputError
from radtune.files import read_jsonl
from radtune.privacy import looks_like_name, say
from radtune.regions import shows_chest


@dataclass(frozen=True)
class Report:
    """One radiology report, reduced to the two sections that the paper used (section 2.2).

    Attributes:
        report_id: Unique in its file; MIMIC-CXR's study_id, Open-i's uid.
        patient_id: None where unknown.
        findings: The Findings section, stripped; empty if the report has none.
        impression: The Impression section, likewise.
        text: What a labeler or a model reads: both sections under their headings, or the whole body of a report
            that has no headings.
        source: Where it comes from, e.g. ``mimic_cxr``.
        modality: How its images were made, e.g. ``CR`` or ``CT``; None where unknown.
        body_part: What they show, e.g. ``CHEST``; None where unknown.
        images: Their files; None where there are none.
    """

    report_id: str
    patient_id: str | None
    findings: str
    impression: str
    text: str
    source: str
    modality: str | None = None
    body_part: str | None = None
    images: tuple[str, ...] | None = None

    @property
    def has_sections(self) -> bool:
        """Whether a Findings or an Impression section was found."""
        return bool(self.findings or self.impression)


def report_from_sections(report_id: str, patient_id: str | None, findings: str, impression: str, source: str) -> Report:
    """Builds a report from its two sections; its text carries both under their headings."""
    findings, impression = findings.strip(), impression.strip()
    parts = [f"{name}: {body}" for name, body in (("Findings", findings), ("Impression", impression)) if body]
    return Report(report_id, patient_id, findings, impression, "\n".join(parts), source)


def report_from_text(report_id: str, patient_id: str | None, body: str, source: str) -> Report:
    """Builds a report from free text: its Findings and Impression if it has either, else its whole body."""
    findings, impression = split_sections(body)
    if findings or impression:
        return report_from_sections(report_id, patient_id, findings, impression, source)
    return Report(report_id, patient_id, "", "", body.strip(), source)


def is_chest(report: Report) -> bool:
    """Whether a report is about the chest; where nothing tells, it is (:func:`radtune.regions.shows_chest`)."""
    return shows_chest(report.text, report.body_part, report.modality)


# Every repeat below is bounded or possessive (`++`), so a line of a million blanks costs one pass, not a million.
_BLANK = r"[^\S\n]"
_AND = rf"{_BLANK}*+(?:and|&|/|,|\+){_BLANK}*+"
# "Clinical findings" and "clinical impression" are the referrer's, so they are other sections.
_QUALIFIER = (
    r"(?:chest|lungs?|pulmonary|thora(?:x|cic)|radiograph(?:ic)?|radiolog(?:y|ic(?:al)?)|imaging|x-?ray|ct"
    rf"|additional|other|incidental|key|main|major|pertinent|final|overall){_BLANK}++"
)
_FINDINGS = rf"(?:{_QUALIFIER}){{0,3}}(?:findings?|observations?)(?:{_AND}(?:impressions?|conclusions?))?"
_IMPRESSION = (
    rf"(?:{_QUALIFIER}){{0,3}}(?:impressions?|conclusions?|opinion)"
    rf"(?:{_AND}(?:recommendations?|conclusions?|findings?))?"
)
# Sections that may follow Findings or Impression and so end them.
_OTHER = (
    rf"(?:clinical{_BLANK}++)?(?:history|indications?|information|data)|clinical{_BLANK}++(?:findings?|impressions?)"
    rf"|reason{_BLANK}++for{_BLANK}++(?:the{_BLANK}++)?(?:exam(?:ination)?|study)|examinations?|exam"
    rf"|comparisons?(?:{_BLANK}++(?:studies|study|exams?|films?))?|techniques?|procedures?|recommendations?"
    rf"|notifications?|attestation|(?:final|preliminary|provisional|addend(?:um|a)){_BLANK}++report|addend(?:um|a)"
    rf"|(?:preliminary|provisional){_BLANK}++findings?{_BLANK}++impression|wet{_BLANK}++read"
    rf"|(?:electronically{_BLANK}++)?(?:signed|dictated){_BLANK}++by"
)
_HEADING = re.compile(
    rf"^{_BLANK}*+[#*_=>-]*+{_BLANK}*+"
    rf"(?:(?P<findings>{_FINDINGS})|(?P<impression>{_IMPRESSION})|(?P<other>{_OTHER}))"
    rf"(?:{_BLANK}*+\([^()\n]{{1,40}}\))?{_BLANK}*+[*_]*+{_BLANK}*+"
    rf"(?:(?P<colon>:\**+)|(?P<alone>[-=]*+{_BLANK}*+$)|(?P<dash>[-–—]++{_BLANK}++(?=\S))"
    rf"|(?P<wide>(?<={_BLANK}{_BLANK})(?=\S)|(?<=\t)(?=\S)))",
    re.IGNORECASE | re.MULTILINE,
)
# Inside a line only the unmistakable names open a section, and only with a capital and a colon.
_INLINE = re.compile(
    rf"(?<={_BLANK})(?=[A-Z])(?i:(?P<findings>{_FINDINGS})|(?P<impression>{_IMPRESSION})"
    rf"|(?P<other>(?:clinical{_BLANK}++)?(?:history|indication)|clinical{_BLANK}++(?:findings?|impressions?)"
    rf"|comparisons?|techniques?|examination|recommendations?|notification|addendum)){_BLANK}*+:"
)
_KINDS = ("findings", "impression", "other")


def split_sections(body: str) -> tuple[str, str]:
    """Finds the Findings and the Impression of a report.

    Headings may be upper or lower case, with or without a colon, marked up, inside a line, combined ("FINDINGS AND
    IMPRESSION", counted as findings), repeated (bodies are joined by a newline), or absent (the section is empty).
    """
    body = body.replace("\r\n", "\n").replace("\r", "\n")
    sections: dict[str, list[str]] = {kind: [] for kind in _KINDS}
    for (kind, _, start), (_, end, _) in pairwise([*_headings(body), ("", len(body), len(body))]):
        sections[kind].append(_without_rules(body[start:end]))
    return "\n".join(filter(None, sections["findings"])), "\n".join(filter(None, sections["impression"]))


def _headings(body: str) -> list[tuple[str, int, int]]:
    """Kind, start and end of each heading, in order."""
    # By where the name ends, so that an indented heading that both patterns find counts once.
    found: dict[int, tuple[str, int, int]] = {}
    for pattern, opens in ((_HEADING, _opens_line), (_INLINE, _opens_inside)):
        for match in pattern.finditer(body):
            kind = next(kind for kind in _KINDS if match[kind])
            if opens(match, kind):
                found.setdefault(match.end(kind), (kind, match.start(), match.end()))
    return sorted(found.values(), key=lambda heading: heading[1])


def _opens_line(match: re.Match[str], kind: str) -> bool:
    """Whether these words at the start of a line are a heading, or a sentence that was wrapped there."""
    name = match[kind]
    if match["wide"] is not None:
        return name.isupper()
    if match["colon"] and kind != "other":
        return True
    return name[0].isupper() or _ends_sentence(match.string, match.start())


def _opens_inside(match: re.Match[str], kind: str) -> bool:
    return kind != "other" or match[kind].isupper() or _ends_sentence(match.string, match.start())


def _ends_sentence(body: str, index: int) -> bool:
    """Whether a sentence, a heading or a paragraph ends before this place."""
    newlines = 0
    while index and body[index - 1].isspace():
        index -= 1
        newlines += body[index] == "\n"
    return index == 0 or newlines > 1 or body[index - 1] in ".!?:)]_"


def _without_rules(section: str) -> str:
    """A section's body without the blank lines and ruled lines around it, stripped."""
    lines = section.split("\n")
    filled = [number for number, line in enumerate(lines) if line.strip(" \t_=*~-")]
    return "\n".join(lines[filled[0] : filled[-1] + 1]).strip() if filled else ""


_FIELDS = tuple(field.name for field in fields(Report))
_MAY_BE_NULL = ("patient_id", "modality", "body_part", "images")
# Only an id and a text are needed: reports that others wrote as JSONL may carry no more.
_LEFT_OUT = {"findings": "", "impression": "", "source": ""}


def read_reports(path: Path) -> Iterator[Report]:
    """Reads ``reports.jsonl``; ids are stripped, and fields that are not used are named on standard error."""
    seen: set[str] = set()
    unused: dict[str, None] = {}
    for number, row in read_jsonl(path):
        report = _report(f"{path}:{number}", row)
        if report.report_id in seen:
            raise InputError(f"{path}:{number}: report_id {report.report_id!r} stands twice")
        seen.add(report.report_id)
        unused |= dict.fromkeys(name for name in row if name not in _FIELDS)
        yield report
    say_unused(path, tuple(unused))


def _report(where: str, row: dict[str, Any]) -> Report:
    for name in ("report_id", "text"):
        if name not in row:
            raise InputError(f"{where}: no {name!r}")
    values = dict.fromkeys(_FIELDS) | _LEFT_OUT | {name: row[name] for name in _FIELDS if name in row}
    for name, value in values.items():
        if name in ("report_id", "patient_id") and isinstance(value, int) and not isinstance(value, bool):
            values[name] = value = str(value)
        if name == "images" and isinstance(value, list) and all(isinstance(image, str) for image in value):
            values[name] = tuple(value) or None
        elif not ((isinstance(value, str) and name != "images") or (value is None and name in _MAY_BE_NULL)):
            expected = "a list of strings" if name == "images" else "a string"
            raise InputError(f"{where}: {name!r} is {type(value).__name__}, expected {expected}")
    # Label tables join by these, and their cells are stripped.
    values["report_id"] = values["report_id"].strip()
    for name in ("patient_id", "modality", "body_part"):
        values[name] = (values[name] or "").strip() or None
    if not values["report_id"]:
        raise InputError(f"{where}: empty report_id")
    if not values["text"].strip():
        raise InputError(f"{where}: report {values['report_id']!r} is empty")
    return Report(**values)


@cache
def say_unused(path: Path, names: tuple[str, ...]) -> None:
    """Says on standard error, once for a file, which of its fields nothing reads."""
    if names:
        named = ", ".join(names) if all(map(looks_like_name, names)) else f"{len(names)} of them"
        say(f"{path}: fields that are not used: {named}")
