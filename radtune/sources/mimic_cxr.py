"""MIMIC-CXR's reports as PhysioNet ships them: ``mimic-cxr-reports.zip``, or its ``files/`` unpacked."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from radtune.config import InputError, key
from radtune.report import Report, report_from_text
from radtune.sources.members import decode, read_members

# files/p10/p10000032/s50414267.txt (https://physionet.org/content/mimic-cxr/2.0.0/).
_NAME = re.compile(r"(?:^|/)p(\d+)/s(\d+)\.txt$")


@dataclass
class Keys:
    """Keys of this source."""

    input: Path = key("mimic-cxr-reports.zip, or a folder that holds pXX/pXXXXXXXX/sXXXXXXXX.txt at any depth.")


def read(keys: Keys) -> Iterator[Report]:
    """Reads MIMIC-CXR; report and patient ids are the official tables' ``study_id`` and ``subject_id``."""
    seen: set[str] = set()
    for member in read_members(keys.input, _NAME, "files/p10/p10000032/s50414267.txt"):
        subject, study = member.name.groups()
        if study in seen:
            raise InputError(f"{member.where}: report {study!r} stands twice")
        seen.add(study)
        yield report_from_text(study, subject, decode(member), "mimic_cxr")
