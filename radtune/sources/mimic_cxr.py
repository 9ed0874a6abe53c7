"""MIMIC-CXR's reports as PhysioNet ships them: ``mimic-cxr-reports.zip``, or its ``files/`` unpacked."""

import re
from collections.abc import Iterator
from pathlib import Path

from radtune.config import InputError
from radtune.report import Report, report_from_text
from radtune.sources.members import decode, read_members

# files/p10/p10000032/s50414267.txt (https://physionet.org/content/mimic-cxr/2.0.0/).
_NAME = re.compile(r"(?:^|/)p(\d+)/s(\d+)\.txt$")


def read_mimic_cxr(path: Path) -> Iterator[Report]:
    """Reads MIMIC-CXR.

    Args:
        path: ``mimic-cxr-reports.zip``, streamed, or a folder that holds ``pXX/pXXXXXXXX/sXXXXXXXX.txt`` at any depth.

    Yields:
        Reports whose ``report_id`` is the official tables' ``study_id`` and whose ``patient_id`` is their
        ``subject_id``.

    Raises:
        InputError: As :func:`radtune.sources.members.read_members`; or a report is not UTF-8, or stands twice.
    """
    seen: set[str] = set()
    for member in read_members(path, _NAME, "files/p10/p10000032/s50414267.txt"):
        subject, study = member.name.groups()
        if study in seen:
            raise InputError(f"{member.where}: report {study!r} stands twice")
        seen.add(study)
        yield report_from_text(study, subject, decode(member), "mimic_cxr")
