"""Which reports of a source are kept: sections, duplicates, excluded ids, and a sample that nests."""

import hashlib
import heapq
import re
import tempfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from radtune.config import InputError
from radtune.files import jsonl_line, open_text, read_csv_rows, read_jsonl, write_whole
from radtune.findings import find_id_column
from radtune.reports import Report


@dataclass(frozen=True)
class Selection:
    """What is kept of a source.

    Attributes:
        require_sections: Drop reports with neither Findings nor Impression, as the paper did (section 2.2).
        drop_duplicates: Drop reports whose text is exactly that of an earlier one.
        excluded: Ids of reports to leave out, as :func:`read_ids` gives them.
        sample: How many reports to keep; None for all.
        seed: Of the sample.
    """

    require_sections: bool = True
    drop_duplicates: bool = False
    excluded: frozenset[str] = frozenset()
    sample: int | None = None
    seed: int = 0


@dataclass
class Counts:
    """What became of the reports of a source: those read are the kept ones and four kinds of dropped ones.

    Attributes:
        unmatched_exclude_ids: How many of the ids to exclude belong to no report.
    """

    read: int = 0
    kept: int = 0
    excluded: int = 0
    without_sections: int = 0
    duplicates: int = 0
    not_sampled: int = 0
    unmatched_exclude_ids: int = 0

    def __str__(self) -> str:
        dropped = {
            "excluded": self.excluded,
            "without Findings or Impression": self.without_sections,
            "with the text of an earlier one": self.duplicates,
            "not drawn": self.not_sampled,
        }
        parts = [f"{number:,} {reason}" for reason, number in dropped.items() if number]
        return f"{self.read:,} read" + "".join(f", {part}" for part in parts)


def priority(seed: int, report_id: str) -> bytes:
    """A report's place in the draw of a sample: the reports with the smallest priorities are drawn.

    So a sample holds every smaller sample of the same seed, and does not depend on the order of the reports.
    """
    return hashlib.sha256(f"{seed}:{report_id}".encode()).digest()


def write_selection(output: Path, reports: Iterable[Report], selection: Selection) -> Counts:
    """Writes the kept reports as ``reports.jsonl``, in the order of the source, whole or not at all.

    Memory grows with the reports' ids (and digests of their texts, if duplicates are dropped), not with their texts:
    a sample is drawn from a temporary file beside the output.

    Args:
        output: The file.
        reports: The source.
        selection: What to keep.

    Returns:
        What became of the reports.

    Raises:
        InputError: None or fewer than ``sample`` reports are left, or a report is empty and sections are not required.
    """
    counts = Counts()
    with write_whole(output) as stream:
        eligible = _eligible(reports, selection, counts)
        if selection.sample is None:
            for report in eligible:
                stream.write(jsonl_line(report))
                counts.kept += 1
        else:
            # This file has mode 0600 and no name, so no kill leaves patients' text behind.
            with tempfile.TemporaryFile(dir=Path(output).parent) as spool:
                drawn = heapq.nsmallest(selection.sample, _spool(eligible, spool, selection.seed))
                for offset in sorted(offset for _, offset in drawn):
                    spool.seek(offset)
                    stream.write(spool.readline().decode())
                counts.kept = len(drawn)
            left = counts.read - counts.excluded - counts.without_sections - counts.duplicates
            if left < selection.sample:
                raise InputError(f"sample={selection.sample}: there are only {left} reports to draw from ({counts})")
            counts.not_sampled = left - counts.kept
        if not counts.kept:
            raise InputError(f"no report is left ({counts})")
    return counts


def _eligible(reports: Iterable[Report], selection: Selection, counts: Counts) -> Iterator[Report]:
    excluded_seen: set[str] = set()
    texts_seen: set[bytes] = set()
    for report in reports:
        counts.read += 1
        if report.report_id in selection.excluded:
            excluded_seen.add(_bare(report.report_id))
            counts.excluded += 1
            continue
        if not report.has_sections and selection.require_sections:
            counts.without_sections += 1
            continue
        if not report.text:
            raise InputError(f"report {report.report_id!r} is empty (require_sections=true drops such reports)")
        if selection.drop_duplicates:
            digest = hashlib.blake2b(report.text.encode(), digest_size=16).digest()
            if digest in texts_seen:
                counts.duplicates += 1
                continue
            texts_seen.add(digest)
        yield report
    counts.unmatched_exclude_ids = len(set(map(_bare, selection.excluded)) - excluded_seen)


def _spool(reports: Iterable[Report], spool: IO[bytes], seed: int) -> Iterator[tuple[bytes, int]]:
    """Writes reports to the temporary file; yields the priority and the offset of each."""
    offset = 0
    for report in reports:
        length = spool.write(jsonl_line(report).encode())
        yield priority(seed, report.report_id), offset
        offset += length


def read_ids(path: Path) -> frozenset[str]:
    """Reads report ids: one a line, the id column of a CSV, or the ``report_id`` of JSON lines.

    MIMIC-CXR's ids may be written as its files are named, with an ``s``: ``s50414267`` gives ``50414267`` as well.

    Raises:
        InputError: The file is absent, empty, no text, or a line is no id.
    """
    path = Path(path)
    ids: set[str] = set()
    if path.name.endswith((".csv", ".csv.gz")):
        column = ""
        for _, row in read_csv_rows(path):
            column = column or find_id_column(row, path)
            ids.add(row[column].strip())
    elif path.name.endswith((".jsonl", ".jsonl.gz")):
        for number, row in read_jsonl(path):
            if not isinstance(row.get("report_id"), str):
                raise InputError(f"{path}:{number}: no report_id")
            ids.add(row["report_id"].strip())
    else:
        ids = _id_lines(path)
    ids.discard("")
    if not ids:
        raise InputError(f"{path}: no ids")
    return frozenset(ids | set(map(_bare, ids)))


def _bare(report_id: str) -> str:
    """An id without the ``s`` of MIMIC-CXR's file names."""
    return report_id[1:] if re.fullmatch(r"s\d+", report_id) else report_id


def _id_lines(path: Path) -> set[str]:
    with open_text(path) as stream:
        ids = set()
        for number, line in enumerate(stream, start=1):
            if len(line.split()) > 1 or "," in line:
                raise InputError(f"{path}:{number}: expected one id a line (or a .csv with a header)")
            ids.add(line.strip())
    return ids
