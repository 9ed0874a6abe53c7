"""Which reports of a source are kept: sections, duplicates, excluded ids, and a sample that nests."""

import hashlib
import heapq
import json
import tempfile
import zlib
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from radtune.config import InputError, key
from radtune.files import jsonl_line, open_text, read_lines, write_whole
from radtune.report import Report
from radtune.tables import find_column, find_id_column, id_cell, is_table, normal_id, read_table


@dataclass
class Selection:
    """Keys that say what is kept of a source."""

    require_sections: bool = key("Drop reports with neither Findings nor Impression, as the paper did.", True)
    drop_duplicates: bool = key(
        "Of reports with the same text, addenda aside, keep the last, and none of an excluded one's text.", False
    )
    exclude_ids: Path | None = key("Ids to leave out, a test set's: one a line, or a table with an id column.", None)
    only_ids: Path | None = key("Ids to keep alone, as exclude_ids names them: the reports of a gold file.", None)
    sample: int | None = key("How many to draw; all if left out. A smaller draw is part of a larger one.", None, ge=1)
    limit: int | None = key("At most so many of them, for a trial: the last of the draw.", None, ge=1)
    seed: int = key("Seed of the draw, and of synthetic reports.", 0)
    fold: list[int] = key("Of what is left, part K of N alone: [K, N]. Reports with the same text are in one part.", [])


@dataclass
class Counts:
    """What became of the reports of a source: those read are the kept ones and six kinds of dropped ones."""

    read: int = 0
    kept: int = 0
    excluded: int = 0
    not_named: int = 0
    """How many are not among the ids to keep alone."""
    without_sections: int = 0
    duplicates: int = 0
    not_sampled: int = 0
    other_folds: int = 0
    unmatched_exclude_ids: int = 0
    """How many of the ids to exclude belong to no report, ``unmatched_only_ids`` of those to keep alone."""
    unmatched_only_ids: int = 0

    def __str__(self) -> str:
        dropped = {
            "excluded": self.excluded,
            "not in only_ids": self.not_named,
            "without Findings or Impression (require_sections=false keeps them)": self.without_sections,
            "with the text of another": self.duplicates,
            "not drawn": self.not_sampled,
            "in other folds": self.other_folds,
        }
        parts = [f"{number:,} {reason}" for reason, number in dropped.items() if number]
        return f"{self.read:,} read" + "".join(f", {part}" for part in parts)


def priority(seed: int, report_id: str) -> bytes:
    """A report's place in the draw of a sample: the reports with the smallest priorities are drawn.

    So a sample holds every smaller sample of the same seed, and does not depend on the order of the reports.
    """
    return hashlib.sha256(f"{seed}:{report_id}".encode()).digest()


def write_selection(
    output: Path, reports: Iterable[Report], selection: Selection, where: str, id_column: str | None = None
) -> Counts:
    """Writes the kept reports as ``reports.jsonl``, in the order of the source, whole or not at all.

    Memory grows with the reports' ids (and digests of their texts, if duplicates are dropped), not with their texts:
    which are kept is known at the source's end, so they wait in a temporary file beside the output. ``where`` is what
    to call the source in a message, ``id_column`` what the source calls its ids; the file of excluded ids may, too.
    """
    counts = Counts()
    with write_whole(output) as stream:
        for line in selected(reports, selection, where, id_column, counts, Path(output).parent):
            stream.write(line)
    return counts


def selected(
    reports: Iterable[Report],
    selection: Selection,
    where: str,
    id_column: str | None = None,
    counts: Counts | None = None,
    folder: Path | None = None,
) -> Iterator[str]:
    """The rows of the kept reports, which are counted; see :func:`write_selection`. They wait in ``folder``."""
    counts = counts or Counts()
    if selection.fold and not (len(selection.fold) == 2 and 1 <= selection.fold[0] <= selection.fold[1]):
        raise InputError("fold: expected [K, N], with K from 1 to N")
    # The temporary file has mode 0600 and no name, so no kill leaves patients' text behind.
    with tempfile.TemporaryFile(dir=folder) as spool:
        columns = [id_column] if id_column else []
        excluded = read_ids(selection.exclude_ids, columns) if selection.exclude_ids else frozenset()
        only = read_ids(selection.only_ids, columns) if selection.only_ids else None
        drawn = left = _eligible(reports, selection, excluded, only, counts, spool, where)
        if selection.sample is not None:
            if len(left) < selection.sample:
                raise InputError(
                    f"{where}: sample={selection.sample}: there are only {len(left)} reports to draw from ({counts})"
                )
            drawn = heapq.nsmallest(selection.sample, left, key=left.__getitem__)
        if selection.limit is not None:
            # The last: a sample of the same table, on which a study tests, has its first.
            drawn = heapq.nlargest(selection.limit, drawn, key=left.__getitem__)
        counts.not_sampled = len(left) - len(drawn)
        if not drawn:
            raise InputError(f"{where}: no report is left ({counts})")
        for offset in sorted(drawn):
            spool.seek(offset)
            line = spool.readline().decode()
            if not selection.fold or _part(line, selection.fold[1]) == selection.fold[0]:
                counts.kept += 1
                yield line
        counts.other_folds = len(drawn) - counts.kept
        if not counts.kept:
            raise InputError(f"{where}: no report is left ({counts})")


def _eligible(
    reports: Iterable[Report],
    selection: Selection,
    excluded: frozenset[str],
    only: frozenset[str] | None,
    counts: Counts,
    spool: IO[bytes],
    where: str,
) -> dict[int, bytes]:
    """Writes the reports that may be kept to the temporary file; counts the others.

    Returns:
        Where each begins there, with its :func:`priority`.
    """
    seen, excluded_texts = set[str](), set[bytes]()
    places: dict[bytes, int] = {}  # by what no two kept reports share
    found: dict[int, bytes] = {}
    offset = 0
    for report in reports:
        counts.read += 1
        digest = _digest(report) if selection.drop_duplicates and report.text else report.report_id.encode()
        seen.add(form := normal_id(report.report_id))
        if form in excluded:
            excluded_texts.add(digest)
            counts.excluded += 1
        elif only is not None and form not in only:
            counts.not_named += 1
        elif not report.has_sections and selection.require_sections:
            counts.without_sections += 1
        elif not report.text and not report.images:
            raise InputError(
                f"{where}: report {report.report_id!r} is empty (require_sections=true drops such reports)"
            )
        else:
            if digest in places:
                del found[places[digest]]
            places[digest] = offset
            found[offset] = priority(selection.seed, report.report_id)
            offset += spool.write(jsonl_line(report).encode())
    for digest in excluded_texts & places.keys():
        del found[places[digest]]
    counts.unmatched_exclude_ids, counts.unmatched_only_ids = len(excluded - seen), len((only or frozenset()) - seen)
    counts.duplicates = counts.read - counts.excluded - counts.not_named - counts.without_sections - len(found)
    return found


def _digest(report: Report) -> bytes:
    """The same for reports whose texts differ in nothing but addenda: the later is the corrected copy."""
    text = report.text.partition("Addendum: ")[0].strip().removesuffix("Impression:")
    return hashlib.blake2b((text or report.text).encode(), digest_size=16).digest()


def _part(line: str, parts: int) -> int:
    """The part, counted from 1, that a report's row is in."""
    row = json.loads(line)
    return 1 + zlib.crc32((row["text"] or row["report_id"]).encode()) % parts


def read_ids(path: Path, id_columns: Collection[str] = ()) -> frozenset[str]:
    """Reads report ids, one a line or the id column of a table, in their normal form (:func:`normal_id`).

    Of a table, that is the first of ``id_columns`` that it has, else one of the usual names.
    """
    ids = frozenset(map(normal_id, _id_column(path, id_columns) if is_table(path) else _id_lines(path))) - {""}
    if not ids:
        raise InputError(f"{path}: no ids")
    return ids


def _id_column(path: Path, id_columns: Collection[str]) -> Iterator[str]:
    column = ""
    for number, row in read_table(path):
        column = column or find_column(row, id_columns) or find_id_column(row, path)
        report_id = id_cell(f"{path}:{number}", column, row)
        if not report_id:
            raise InputError(f"{path}:{number}: empty {column}")
        yield report_id


def _id_lines(path: Path) -> Iterator[str]:
    with open_text(path) as stream:
        for number, line in enumerate(read_lines(path, stream), start=1):
            if len(line.split()) > 1 or "," in line:
                raise InputError(f"{path}:{number}: expected one id a line (or a .csv with a header)")
            yield line
