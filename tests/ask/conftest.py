"""Some reports, and where a ledger may stand."""

from pathlib import Path

import pytest

from radtune.report import Report, report_from_sections


@pytest.fixture
def reports() -> list[Report]:
    texts = (f"A zebra effusion, number {number}; mild edema of the lung." for number in range(10))
    return [report_from_sections(f"r{number}", None, text, "", "made") for number, text in enumerate(texts)]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "out" / "annotations.jsonl.ledger"
