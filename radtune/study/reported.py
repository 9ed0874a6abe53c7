"""What the paper reports: the numbers of its tables, and those that its text quotes from its figures."""

from dataclasses import dataclass
from pathlib import Path

import yaml

from radtune.config import InputError
from radtune.files import open_text
from radtune.study.plan import Cell, Kind
from radtune.study.results import Results

REPORTED_FILE = Path(__file__).resolve().parents[2] / "configs" / "study" / "reported.yaml"


@dataclass(frozen=True)
class ReportedRow:
    """A row of the paper's Table 3 or 4; ``wcm`` and ``mimic`` are None where nothing is fine-tuned."""

    kind: Kind
    model: str
    precision: float
    recall: float
    f1: float
    wcm: int | None = None
    mimic: int | None = None


@dataclass(frozen=True)
class ReportedTable:
    """One of the paper's two tables."""

    title: str
    section: str
    rows: list[ReportedRow]


@dataclass(frozen=True)
class ReportedPoint:
    """A number that the paper's text quotes from one of its figures."""

    title: str
    section: str
    task: str
    rows: int
    learning_rate: float | None
    f1: float


@dataclass(frozen=True)
class ReportedDataset:
    """A row of the paper's Table 1; ``usage`` is training or evaluation."""

    task: str
    usage: str
    dataset: str
    annotator: str
    reports: int


@dataclass(frozen=True)
class ReportedErrors:
    """A count of the paper's Table 5: ``side`` fp or fn, and which of our kinds it takes together."""

    side: str
    kinds: list[str]
    count: int


@dataclass(frozen=True)
class ReportedAgreement:
    """Cohen's kappa of two annotators, from the paper's section 2.2."""

    a: str
    b: str
    reports: int
    kappa: float


@dataclass(frozen=True)
class Reported:
    """The paper's numbers: ``tables`` by task."""

    source: str
    tables: dict[str, ReportedTable]
    figures: list[ReportedPoint]
    datasets: list[ReportedDataset]
    errors: list[ReportedErrors]
    agreement: list[ReportedAgreement]

    def row(self, cell: Cell, task: str) -> ReportedRow | None:
        """The paper's row for a cell: the one of its kind and, for a mix, of its row counts."""
        for row in self.tables[task].rows:
            if row.kind == cell.kind and (cell.kind != Kind.MIX or (row.wcm, row.mimic) == (cell.wcm, cell.mimic)):
                return row
        return None

    def has_mixes(self, results: Results) -> bool:
        """Whether every mix of a study is one of the paper's."""
        paper = {(row.wcm, row.mimic) for table in self.tables.values() for row in table.rows}
        return all((cell.wcm, cell.mimic) in paper for cell in results.cells if cell.kind == Kind.MIX)


def read_reported(path: Path = REPORTED_FILE) -> Reported:
    """Reads the paper's numbers.

    Raises:
        InputError: The file is absent or not in its form.
    """
    with open_text(path) as stream:
        text = stream.read()
    try:
        values = yaml.safe_load(text)
        tables = {
            task: ReportedTable(
                table["title"],
                table["section"],
                [ReportedRow(**{**row, "kind": Kind(row["kind"])}) for row in table["rows"]],
            )
            for task, table in values["tables"].items()
        }
        return Reported(
            values["source"],
            tables,
            [ReportedPoint(**point) for point in values["figures"]],
            [ReportedDataset(**row) for row in values["datasets"]],
            [ReportedErrors(**row) for row in values["errors"]],
            [ReportedAgreement(**row) for row in values["agreement"]],
        )
    except (yaml.YAMLError, KeyError, TypeError, ValueError):
        raise InputError(f"{path}: not in the form of {REPORTED_FILE.name}") from None
