"""Weak labels: what a rule labeler or a teacher says of reports, to be trained on."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from radtune.config import InputError
from radtune.files import read_jsonl
from radtune.findings import read_label_table
from radtune.labels import Status
from radtune.report import Report, read_reports
from radtune.tasks import multiple_choice
from radtune.tasks.lists import row_status


@dataclass(frozen=True)
class LabelledReport:
    """A report and what its weak label says: classes or phrases; None where it has no label.

    One without a label is in no split, but may tell whose it is, and which text is excluded.
    """

    report: Report
    labels: Sequence[str] | None


def read_labels(path: Path, task: str) -> dict[str, Sequence[str]]:
    """Reads weak labels of one task: a label table, or ``annotations.jsonl``.

    Args:
        path: The file; a label table if it is a CSV.
        task: Multiple choice takes the classes marked 1; open ended the phrases of rows with status ok.

    Returns:
        Labels by report id; reports whose annotation has another status are left out.

    Raises:
        InputError: Naming file and line; or it is a label table, and the task open ended.
    """
    if path.name.endswith((".csv", ".csv.gz")):
        if task != multiple_choice.NAME:
            raise InputError(f"{path}: a label table has no phrases; {task} is trained on annotations.jsonl")
        table = read_label_table(path)
        return {report_id: table.positives(report_id) for report_id in table.rows}
    labels: dict[str, Sequence[str]] = {}
    seen: set[str] = set()
    for number, row in read_jsonl(path):
        where = f"{path}:{number}"
        report_id, answers = row.get("report_id"), row.get("labels")
        if not isinstance(report_id, str) or "status" not in row:
            raise InputError(f"{where}: expected an annotation with report_id and status")
        report_id, status = report_id.strip(), row_status(where, row, task)
        if answers is None:
            phrases = row.get("phrases")
            well_formed = isinstance(phrases, list) and all(isinstance(p, dict) and "phrase" in p for p in phrases)
            answers = [phrase["phrase"] for phrase in phrases] if well_formed else None
        if not isinstance(answers, list) or not all(isinstance(answer, str) for answer in answers):
            raise InputError(f"{where}: report {report_id!r} has neither labels nor phrases")
        if report_id in seen:
            raise InputError(f"{where}: report_id {report_id!r} stands twice")
        seen.add(report_id)
        if status == Status.OK:
            labels[report_id] = answers
    return labels


def join(reports_path: Path, labels_path: Path, task: str) -> list[LabelledReport]:
    """Puts reports and their weak labels together.

    Returns:
        Every report, with its label or None.

    Raises:
        InputError: No report has a label: the ids of the two files do not join.
    """
    labels = read_labels(labels_path, task)
    joined = [LabelledReport(report, labels.get(report.report_id)) for report in read_reports(reports_path)]
    if all(item.labels is None for item in joined):
        example = f"; e.g. {joined[0].report.report_id!r} has none" if joined else ""
        raise InputError(f"{labels_path}: no label for any of the {len(joined)} reports in {reports_path}{example}")
    return joined
