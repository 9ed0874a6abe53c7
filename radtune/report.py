"""Radiology reports: the row every stage reads, its file, and the Findings and Impression sections."""

import os
from collections.abc import Iterator
from dataclasses import dataclass, field, fields, replace
from functools import cache
from pathlib import Path
from typing import Any

from radtune.config import InputError
from radtune.files import read_jsonl
from radtune.privacy import looks_like_name, say
from radtune.regions import modality_named, region_named, shows_chest
from radtune.sections import split_sections
from radtune.tables import id_cell


@dataclass(frozen=True)
class Report:
    """One radiology report, reduced to the two sections that the paper used (section 2.2).

    Attributes:
        report_id: Unique in its file; MIMIC-CXR's study_id, Open-i's uid.
        findings: The section, stripped; empty if the report has none. ``impression`` likewise.
        text: What a labeler or a model reads: both sections under their headings, or the whole body of a report
            that has no headings.
        modality: How its images were made, e.g. ``CR`` or ``CT``; ``body_part`` is what they show, e.g. ``CHEST``.
        images: Their files, as seen from the folder of the file of reports.
        indication: Why they were made; no part of the text.
        headings: Those of the text it comes from, in capitals.
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
    indication: str = ""
    headings: tuple[str, ...] | None = field(default=None, compare=False)

    @property
    def has_sections(self) -> bool:
        """Whether a Findings or an Impression section was found."""
        return bool(self.findings or self.impression)


def report_from_sections(report_id: str, patient_id: str | None, findings: str, impression: str, source: str) -> Report:
    """Builds a report from its two sections; its text carries both under their headings."""
    findings, impression = _said(findings), _said(impression)
    parts = [f"{name}: {body}" for name, body in (("Findings", findings), ("Impression", impression)) if body]
    return Report(report_id, patient_id, findings, impression, "\n".join(parts), source)


def report_from_text(report_id: str, patient_id: str | None, body: str, source: str) -> Report:
    """Builds a report from free text: its Findings and Impression if it has either, else its whole body."""
    found = split_sections(body)
    report = report_from_sections(report_id, patient_id, found.findings, found.impression, source)
    text = report.text or (_said(body) if found.is_whole else "")
    said = {"modality": modality_named(found.title), "body_part": region_named(found.title)}
    return replace(report, text=text, **said, headings=found.headings)


def _said(text: str) -> str:
    """A text, stripped; nothing where it has no letter: ``.``, ``???`` and ``0`` are no report of a normal chest."""
    return text.strip() if any(map(str.isalpha, text)) else ""


def moved(report: Report, old: Path, new: Path) -> Report:
    """A report of one file written to another: its images are seen from there."""
    if not report.images or (base := image_base(old)).resolve() == (to := image_base(new)).resolve():
        return report
    return replace(report, images=tuple(os.path.relpath(base / image, to) for image in report.images))


def image_base(path: Path) -> Path:
    """The folder that images are named from in a file of reports; a folder of images is its own."""
    return path if path.is_dir() else path.parent


def is_chest(report: Report) -> bool:
    """Whether a report is about the chest; where nothing tells, it is (:func:`radtune.regions.shows_chest`)."""
    return shows_chest(report.text, report.body_part, report.modality)


_FIELDS = tuple(field.name for field in fields(Report))
_LISTS = ("images", "headings")
_MAY_BE_NULL = ("patient_id", "modality", "body_part", *_LISTS)
# Only an id and a text or images are needed: reports that others wrote as JSONL may carry no more.
_LEFT_OUT = {"findings": "", "impression": "", "source": "", "indication": ""}


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
    for name in ("report_id", *(() if row.get("images") else ("text",))):
        if name not in row:
            raise InputError(f"{where}: no {name!r}")
    values = dict.fromkeys(_FIELDS) | _LEFT_OUT | {"text": ""} | {name: row[name] for name in _FIELDS if name in row}
    # Label tables join by these, and their cells are stripped.
    values |= {"report_id": id_cell(where, "report_id", row), "patient_id": id_cell(where, "patient_id", row) or None}
    for name, value in values.items():
        if name in _LISTS and isinstance(value, list) and all(isinstance(item, str) for item in value):
            values[name] = tuple(value) or None
        elif not ((isinstance(value, str) and name not in _LISTS) or (value is None and name in _MAY_BE_NULL)):
            expected = "a list of strings" if name in _LISTS else "a string"
            raise InputError(f"{where}: {name!r} is {type(value).__name__}, expected {expected}")
    for name in ("modality", "body_part"):
        values[name] = (values[name] or "").strip() or None
    if not values["report_id"]:
        raise InputError(f"{where}: empty report_id")
    if not _said(values["text"]) and not values["images"]:
        raise InputError(f"{where}: report {values['report_id']!r} is empty")
    return Report(**values)


@cache
def say_unused(path: Path, names: tuple[str, ...]) -> None:
    """Says on standard error, once for a file, which of its fields nothing reads."""
    if names:
        named = ", ".join(names) if all(map(looks_like_name, names)) else f"{len(names)} of them"
        say(f"{path}: fields that are not used: {named}")
