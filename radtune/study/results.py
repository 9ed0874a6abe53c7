"""What a study's cells scored."""

from dataclasses import dataclass

from radtune.config import InputError
from radtune.label_files import LabelFile, read_labels
from radtune.score.evaluation import Metrics, read_metrics
from radtune.score.inputs import GOLD, LENIENT, combine_gold, read_gold, respell
from radtune.study import paths
from radtune.study.plan import Cell, Kind, Study, cells
from radtune.tasks import load_task
from radtune.tasks.legacy import TASK_NAMES


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
            path = paths.metrics(study, cell, task)
            if not path.exists():
                continue
            metrics = read_metrics(path)
            if metrics.task != task:
                raise InputError(f"{path}: scores of task {metrics.task!r}, expected {task!r}")
            found[cell.name, task] = metrics
    return Results(study, planned, found)


def read_study_gold(study: Study, task: str) -> LabelFile:
    """What is right of a task's test reports, as evaluate.py takes it.

    Raises:
        InputError: It cannot be read.
    """
    test, asked = study.tests[task], load_task(task)
    columns, rule = test.get("gold_columns", []), test.get("gold_rule")
    sides = read_gold(paths.gold(study, task), asked, test.get("gold_column"), columns, rule, test.get("id_column"))
    sides = {name: _respelt(study, task, side) for name, side in sides.items()}
    return combine_gold(asked, [sides[name] for name in columns], rule) if rule else sides[GOLD]


def read_predictions(study: Study, cell: Cell, task: str) -> LabelFile:
    """What a cell predicted of a task's test reports, as evaluate.py takes it.

    Raises:
        InputError: It cannot be read.
    """
    return _respelt(study, task, read_labels(paths.predictions(study, cell, task), load_task(task)))


def _respelt(study: Study, task: str, file: LabelFile) -> LabelFile:
    return respell(load_task(task), file)[0] if study.tests[task].get("spelling") == LENIENT else file
