"""Any table of reports, as :mod:`radtune.tables` reads it, its columns found by name or given."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

from radtune.config import InputError, key
from radtune.images import ENDINGS
from radtune.privacy import no_column, say, shown_columns
from radtune.report import Report, read_reports, report_from_sections, report_from_text, say_unused
from radtune.sources.check import Look, say_look
from radtune.sources.members import MAX_REPORT_BYTES
from radtune.tables import FORMATS, find_column, find_id_column, id_cell, is_jsonl, is_missing, read_table

SOURCE = "table"

TEXT_COLUMNS = ("text", "report_text", "note_text", "report", "note")
# Names looked for, in any case, where a column is not given.
_NAMES = {
    "patient": ("patient_id", "subject_id"),
    "findings": ("findings",),
    "impression": ("impression",),
    "text": TEXT_COLUMNS,
    "modality": ("modality",),
    "body_part": ("body_part",),
    "images": ("images", "image"),
    "indication": ("indication", "clinical_indication", "history", "clinical_history"),
}
_TEXTS = ("findings", "impression", "text", "modality", "body_part", "indication")
# What each row of our own ``reports.jsonl`` has, also of earlier versions.
_ALWAYS = {"report_id", "patient_id", "findings", "impression", "text", "source"}
# Columns that hospitals keep patients' ids in.
PATIENTS = re.compile(
    r"(?:.*[_ -])?(?:e?mrn?|empi|pat(?:ient(?:en)?)?|subject|person|medical[_ -]?record)"
    r"(?:[_ -]?(?:id|nr|no|num|number|key|mrn))?",
    re.IGNORECASE,
)


@dataclass
class Keys:
    """Keys of this source."""

    input: Path = key(f"A {FORMATS}, or a folder of images.")
    id_column: str | None = key("Ids of reports; else report_id, study_id or uid.", None)
    patient_column: str | None = key("Ids of patients; else patient_id or subject_id.", None)
    text_column: str | None = key("Whole reports; else text, report_text, note_text, ...", None)
    findings_column: str | None = key("Findings; else findings.", None)
    impression_column: str | None = key("Impression; else impression.", None)
    modality_column: str | None = key("How the images were made; else modality.", None)
    body_part_column: str | None = key("What the images show; else body_part.", None)
    images_column: str | None = key("Files of images, seen from the table's folder; else images or image.", None)
    indication_column: str | None = key("Beside images, why they were made; else indication, history, ...", None)


def read(keys: Keys, source: str = SOURCE) -> Iterator[Report]:
    """Reads a table of reports, row by row: a section from its column where that is filled, else from the text column.

    A row with neither is a report with an empty text. Columns that are not used are named on standard error, and those
    of them that look like patients' ids, whose reports could otherwise stand in training and test at once. Of a folder
    of images each is a report, and our own ``reports.jsonl`` is read as it stands.
    """
    path = keys.input
    if path.is_dir() or _is_ours(keys):
        yield from _folder(path) if path.is_dir() else read_reports(path)
        return
    used: dict[str, str | None] = {}
    names: dict[str, Any] = {}
    seen: set[str] = set()
    for number, row in read_table(path):
        if not used or not row.keys() <= names.keys():
            # JSON lines may leave out what a report has not, and so may the first of them.
            names |= row
            used = _find_columns(list(names), keys)
        where = f"{path}:{number}"
        report_id, patient_id = (id_cell(where, used[name], row) for name in ("id", "patient"))
        if not report_id:
            raise InputError(f"{where}: empty {used['id']}")
        if report_id in seen:
            raise InputError(f"{where}: {used['id']} {report_id!r} stands twice; join the rows of a report first")
        seen.add(report_id)
        findings, impression, text, modality, body_part, indication = (_text(where, used[name], row) for name in _TEXTS)
        whole = "" if findings and impression else text
        report = report_from_text(report_id, patient_id or None, whole, source)
        if findings or impression:
            sections = findings or report.findings, impression or report.impression
            report = report_from_sections(report_id, patient_id or None, *sections, source)
        said = {"modality": modality or report.modality, "body_part": body_part or report.body_part}
        if images := _images(where, used["images"], row):
            # Kept for these alone: of a report its findings and impression are.
            said["indication"] = indication
        yield replace(report, **said, images=images)
    if not seen:
        raise InputError(f"{path}: no rows")
    unused = tuple(name for name in names if name not in used.values())
    say_unused(path, unused)
    if not used["patient"] and (patients := list(filter(PATIENTS.fullmatch, unused))):
        say(f"{path}: {patients[0]} looks like ids of patients (patient_column={patients[0]})")


def _is_ours(keys: Keys) -> bool:
    """Whether a file is a ``reports.jsonl`` of our own: another's text, whatever its fields' names, is to be parted.

    The text of ours is made of its sections, behind a history where a source keeps one, or has none.
    """
    if not is_jsonl(keys.input) or any(column for name, column in vars(keys).items() if name != "input"):
        return False
    row = next((row for _, row in read_table(keys.input)), {})
    if not _ALWAYS <= row.keys() <= {field.name for field in fields(Report)}:
        return False
    made = report_from_sections("", None, str(row["findings"]), str(row["impression"]), "").text
    text = str(row["text"])
    return not made or text == made or (text.endswith(made) and text.startswith("History: "))


def reports_of(path: Path, **columns: str | None) -> Iterator[Report]:
    """What :func:`read` reads, by columns of :class:`Keys`."""
    return read(Keys(input=path, **columns))


def _folder(folder: Path) -> Iterator[Report]:
    """A report without a text for each image of a folder, by the name of its file without the ending."""
    seen: dict[str, str] = {}
    for path in sorted(folder.iterdir()):
        if path.suffix.lower() in ENDINGS:
            if path.stem in seen:
                raise InputError(f"{folder}: {seen[path.stem]} and {path.name} would be one report; rename one")
            seen[path.stem] = path.name
            yield Report(path.stem, None, "", "", "", SOURCE, images=(path.name,))
    if not seen:
        raise InputError(f"{folder}: expected {FORMATS}, or a folder of images ({', '.join(ENDINGS)})")


def read_any_reports(path: Path, id_column: str | None = None, text_column: str | None = None) -> Iterator[Report]:
    """Reads reports for people, who are told what the file holds."""
    look = Look()
    yield from look.pass_on(reports_of(path, id_column=id_column, text_column=text_column))
    say_look(path, tuple(look.lines()))


def _find_columns(names: Sequence[str], keys: Keys) -> dict[str, str | None]:
    """Where what stands: in the columns given, else in those of a known name."""
    given = {name.removesuffix("_column"): column for name, column in vars(keys).items() if name != "input"}
    found: dict[str, str | None] = {name: find_column(names, known) for name, known in _NAMES.items()}
    # A text column given alone keeps the sections' columns from being looked for, and the reverse.
    if given["findings"] or given["impression"]:
        found["text"] = None
    if given["text"]:
        found["findings"] = found["impression"] = None
    for name, column in given.items():
        if column:
            found[name] = find_column(names, (column,))
            if not found[name]:
                raise InputError(f"{keys.input}: {no_column(column, names)}")
    found["id"] = find_id_column(names, keys.input, given["id"])
    texts = [found[name] for name in ("findings", "impression", "text") if found[name]]
    if len({*texts} - {found["id"], found["patient"]}) < len(texts):
        raise InputError(f"{keys.input}: a column of texts is given for something else, too")
    if not any(found[name] for name in ("text", "findings", "impression", "images")):
        raise InputError(
            f"{keys.input}: no column findings, impression or text; {shown_columns(names)} (text_column=...)"
        )
    return found


def _text(where: str, column: str | None, row: dict[str, Any]) -> str:
    value = row.get(column) if column else None
    if is_missing(value):
        return ""
    if not isinstance(value, str):
        raise InputError(f"{where}: {column} is {type(value).__name__}, expected text")
    if len(value) > MAX_REPORT_BYTES:
        raise InputError(f"{where}: {column} is longer than {MAX_REPORT_BYTES:,} characters, which no report is")
    # Whichever program wrote the file last: the same report is not asked about, and paid for, once more.
    return value.replace("\r\n", "\n").replace("\r", "\n").strip()


def _images(where: str, column: str | None, row: dict[str, Any]) -> tuple[str, ...] | None:
    """The files of a row's images: a list of them, or the one that its cell names."""
    value = row.get(column) if column else None
    files = value if isinstance(value, list) else [_text(where, column, row)]
    if not all(isinstance(file, str) for file in files):
        raise InputError(f"{where}: {column} is no list of file names")
    return tuple(filter(None, files)) or None
