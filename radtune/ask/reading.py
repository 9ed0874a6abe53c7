"""The reports that a model is asked about: all of a file, or one."""

import sys
from pathlib import Path

from radtune.config import InputError
from radtune.report import Report, report_from_text
from radtune.sources.table import read_any_reports


def read_reports_to_ask(path: Path) -> list[Report]:
    """Reads reports from any file that holds some.

    Raises:
        InputError: There are none, or none of them has text.
    """
    reports = list(read_any_reports(path))
    if not any(report.text.strip() for report in reports):
        raise InputError(f"{path}: {'none of the reports has text' if reports else 'no reports'}")
    return reports


def read_report(text: str | None) -> Report:
    """One report from a text, or from standard input where that is None.

    Raises:
        InputError: It is empty or no UTF-8, or standard input is closed or a terminal.
    """
    if text is None and (sys.stdin is None or sys.stdin.isatty()):
        raise InputError("give reports= and output=, or text=, or a report on standard input")
    try:
        text = sys.stdin.read() if text is None else text
        text.encode()
    except UnicodeError:
        raise InputError("the report is not UTF-8") from None
    if not text.strip():
        raise InputError("the report is empty")
    return report_from_text("text", None, text, "text")
