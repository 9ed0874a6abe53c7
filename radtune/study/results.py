"""What a study's cells scored, and what the paper reports for them."""

from dataclasses import dataclass
from pathlib import Path

import yaml

from radtune.config import InputError
from radtune.files import open_text
from radtune.metrics.evaluation import Metrics, read_metrics
from radtune.study.plan import Cell, Kind, Study, cells, metrics_path
from radtune.tasks import TASK_NAMES

REPORTED_FILE = Path(__file__).resolve().parents[2] / "configs" / "study" / "reported.yaml"


@dataclass(frozen=True)
class Results:
    """Scores of a study, so far as it ran.

    Attributes:
        study: The study.
        cells: Its cells, in the order of the paper's tables.
        metrics: By cell name and task; a cell that has not been scored is absent.
    """

    study: Study
    cells: list[Cell]
    metrics: dict[tuple[str, str], Metrics]

    @property
    def tasks(self) -> list[str]:
        """The tasks that the study tests, in the order of the paper's tables."""
        return [task for task in TASK_NAMES if task in self.study.tests]

    def of_kind(self, kind: Kind, task: str) -> list[Cell]:
        """The planned cells of a kind that are scored on a task."""
        return [cell for cell in self.cells if cell.kind == kind and task in cell.tasks]

    def scored(self, kind: Kind, task: str) -> list[tuple[Cell, Metrics]]:
        """Those of them that have a score."""
        return [(c, m) for c in self.of_kind(kind, task) if (m := self.metrics.get((c.name, task))) is not None]

    def only(self, kind: Kind, task: str) -> Metrics | None:
        """The score of a kind that has one cell: base, rule labeler, teacher."""
        return next((metrics for _, metrics in self.scored(kind, task)), None)

    def best_mix(self, task: str) -> tuple[Cell, Metrics] | None:
        """The mix with the highest micro F1 on a task."""
        return max(self.scored(Kind.MIX, task), key=lambda pair: pair[1].micro.f1, default=None)


def read_results(study: Study) -> Results:
    """Reads the metrics of every cell that has been scored.

    Raises:
        InputError: A metrics.json is broken or of another task.
    """
    planned = cells(study)
    found = {}
    for cell in planned:
        for task in cell.tasks:
            path = metrics_path(study, cell, task)
            if not path.exists():
                continue
            metrics = read_metrics(path)
            if metrics.task != task:
                raise InputError(f"{path}: scores of task {metrics.task!r}, expected {task!r}")
            found[cell.name, task] = metrics
    return Results(study, planned, found)


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
class Reported:
    """The paper's numbers: ``tables`` by task."""

    source: str
    tables: dict[str, ReportedTable]
    figures: list[ReportedPoint]

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
        return Reported(values["source"], tables, [ReportedPoint(**point) for point in values["figures"]])
    except (yaml.YAMLError, KeyError, TypeError, ValueError):
        raise InputError(f"{path}: not in the form of {REPORTED_FILE.name}") from None
