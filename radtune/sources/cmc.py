"""The paediatric reports of the Medical NLP Challenge of 2007 (Pestian et al., BioNLP 2007), as a CSV of them."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from radtune.config import key
from radtune.report import Report
from radtune.sources import table

SOURCE = "cmc"


@dataclass
class Keys:
    """Keys of this source."""

    input: Path = key("A CSV with report_id, history and impression.")


def read(keys: Keys) -> Iterator[Report]:
    """Reads the reports: the texts that are coded are clinical history and impression. Patients are unknown."""
    columns = table.Keys(input=keys.input, findings_column="history", impression_column="impression")
    for report in table.read(columns, SOURCE):
        # A history is no finding, yet read with the impression.
        history = f"History: {report.findings}\n" if report.findings else ""
        yield replace(report, findings="", text=f"{history}Impression: {report.impression}")
