"""Open-i's Indiana University chest X-ray reports: the XML files of ``NLMCXR_reports.tgz``, or a CSV of them."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from xml.etree.ElementTree import Element

from defusedxml import DefusedXmlException
from defusedxml.ElementTree import ParseError, fromstring

from radtune.config import InputError, key
from radtune.report import Report, report_from_sections
from radtune.sources import table
from radtune.sources.members import Member, read_members

SOURCE = "openi"
# ecgen-radiology/1.xml
_NAME = re.compile(r"(?:^|/)\d+\.xml$")
_UID = re.compile(r"CXR(\d+)")


@dataclass
class Keys:
    """Keys of this source."""

    input: Path = key("The folder ecgen-radiology, its .tgz, or a CSV with uid, findings and impression.")


def read(keys: Keys) -> Iterator[Report]:
    """Reads Open-i; a report's id is the number of the collection's id: ``1`` for ``CXR1``. Patients are unknown."""
    if keys.input.name.endswith((".csv", ".csv.gz")):
        columns = {"id_column": "uid", "findings_column": "findings", "impression_column": "impression"}
        yield from table.read(table.Keys(input=keys.input, **columns), SOURCE)
        return
    seen: set[str] = set()
    for member in read_members(keys.input, _NAME, "ecgen-radiology/1.xml"):
        report = _report(member)
        if report.report_id in seen:
            raise InputError(f"{member.where}: report {report.report_id!r} stands twice")
        seen.add(report.report_id)
        yield report


def _report(member: Member) -> Report:
    try:
        root = fromstring(member.data)
    except ParseError as error:
        raise InputError(f"{member.where}:{error.position[0]}: not valid XML") from None
    except DefusedXmlException:
        raise InputError(f"{member.where}: declares XML entities, which no report does") from None
    except (ValueError, LookupError):
        raise InputError(f"{member.where}: not valid XML: unknown encoding") from None
    uid = root.find("uId")
    number = _UID.fullmatch(uid.get("id", "")) if uid is not None else None
    if number is None:
        raise InputError(f'{member.where}: no <uId id="CXR..."/>')
    return report_from_sections(number[1], None, _section(root, "FINDINGS"), _section(root, "IMPRESSION"), SOURCE)


def _section(root: Element, label: str) -> str:
    texts = ("".join(node.itertext()).strip() for node in root.iter("AbstractText") if node.get("Label") == label)
    return "\n".join(filter(None, texts))
