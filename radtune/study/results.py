"""What a study's cells scored, and what the paper reports: its tables, and the numbers that its text quotes."""

import statistics
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from radtune.config import InputError, from_mapping, read_yaml
from radtune.files import manifest_path, read_json, read_jsonl
from radtune.label_files import LENIENT, LabelFile, read_labels, respell
from radtune.score.errors import ErrorKind, LabelError
from radtune.score.evaluation import Metrics, read_metrics
from radtune.score.inputs import one_gold
from radtune.study.cells import Cell, Kind
from radtune.study.made_from import read_stamp, stamp_path
from radtune.study.plan import Study, opponents
from radtune.study.settings import GOLD_KEYS, Test
from radtune.tables import is_jsonl
from radtune.tasks.lists import fold_space


@dataclass(frozen=True)
class ReportedRow:
    """A row of a table of scores; ``mix`` has the rows by cohort, nothing where nothing is fine-tuned."""

    kind: Kind
    model: str
    precision: float
    recall: float
    f1: float
    mix: dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class ReportedTable:
    """The paper's table of scores of a task."""

    title: str
    section: str
    rows: list[ReportedRow]


@dataclass(frozen=True)
class ReportedFigure:
    """A figure, and the numbers that the text quotes from it: of ``learning_rate`` or ``separate`` training."""

    title: str
    kind: Kind
    section: str
    task: str
    points: list[dict[str, float]]


@dataclass(frozen=True)
class ReportedErrors:
    """The paper's table of a task's errors: ``side`` (fp or fn), kinds and count; and the title of that of wordings."""

    title: str
    wordings: str
    task: str
    rows: list[dict[str, int | str | list[str]]]


@dataclass(frozen=True)
class Reported:
    """A paper's numbers: ``tables`` of scores by task, ``datasets`` of Table 1, ``agreement`` by Cohen's kappa.

    ``per_report`` are averages over reports, by task; their ``rule`` is one of :class:`radtune.score.codes.CodeScores`.
    """

    source: str = ""
    tables: dict[str, ReportedTable] = field(default_factory=dict)
    figures: list[ReportedFigure] = field(default_factory=list)
    datasets: list[dict[str, int | str]] = field(default_factory=list)
    errors: list[ReportedErrors] = field(default_factory=list)
    agreement: list[dict[str, int | float | str]] = field(default_factory=list)
    per_report: dict[str, list[dict[str, float | str]]] = field(default_factory=dict)

    def row(self, cell: Cell, task: str) -> ReportedRow | None:
        """The paper's row for a cell: the one of its kind and, for a mix, of its rows."""
        rows = self.tables[task].rows if task in self.tables else []
        same = [row for row in rows if row.kind == cell.kind and (cell.kind != Kind.MIX or row.mix == cell.rows)]
        return next(iter(same), None)

    def has_mixes(self, study: Study) -> bool:
        """Whether every mix of a study is one of the paper's."""
        paper = [row.mix for table in self.tables.values() for row in table.rows]
        return all(cell.rows in paper for cell in study.cells if cell.kind == Kind.MIX)

    def figure(self, kind: Kind, task: str) -> ReportedFigure | None:
        """The paper's figure of this kind for a task."""
        return next((figure for figure in self.figures if (figure.kind, figure.task) == (kind, task)), None)


def read_reported(path: Path | None) -> Reported:
    """Reads a paper's numbers; of a study that asks for none, none.

    Raises:
        InputError: The file is absent or not in its form.
    """
    return from_mapping(Reported, read_yaml(path), str(path)) if path else Reported()


@dataclass(frozen=True)
class Results:
    """Scores of a study, so far as it ran: by names of cell and test; a cell that has not been scored is absent.

    ``comparisons`` have those with other cells, by their names.
    """

    study: Study
    metrics: Mapping[tuple[str, str], Metrics]
    comparisons: Mapping[tuple[str, str], Mapping[str, Metrics]] = field(default_factory=dict)

    def groups(self, kind: Kind, test: str) -> list[tuple[Cell, list[Metrics]]]:
        """The planned cells of a kind, those of several seeds as one, with what has been scored."""
        found: dict[str, tuple[Cell, list[Metrics]]] = {}
        for cell in self.of_kind(kind, test):
            _, scores = found.setdefault(cell.group, (cell, []))
            scores += [metrics] if (metrics := self.metrics.get((cell.name, test))) else []
        return list(found.values())

    def of_kind(self, kind: Kind, test: str) -> list[Cell]:
        """The planned cells of a kind that are scored on a test."""
        return [cell for cell, name in self.study.scores if cell.kind == kind and name == test]

    def scored(self, kind: Kind, test: str) -> list[tuple[Cell, Metrics]]:
        """Those of them that have a score."""
        return [(c, m) for c in self.of_kind(kind, test) if (m := self.metrics.get((c.name, test))) is not None]

    def only(self, kind: Kind, test: str) -> Metrics | None:
        """The score of a kind that has one cell: base, rule labeler, teacher."""
        return next((metrics for _, metrics in self.scored(kind, test)), None)

    def kinds(self, test: str) -> set[Kind]:
        """What has been scored on a test."""
        return {cell.kind for cell in self.study.cells if (cell.name, test) in self.metrics}

    def best_mix(self, test: str) -> tuple[Cell, Metrics] | None:
        """The mix with the highest micro F1 on a test; of several seeds the first of the highest mean."""
        groups = [(cell, scores) for cell, scores in self.groups(Kind.MIX, test) if scores]
        best = max(groups, key=lambda group: statistics.fmean(m.micro.f1 for m in group[1]), default=None)
        return (best[0], best[1][0]) if best else None


def read_results(study: Study) -> Results:
    """Reads the metrics of every cell that has been scored.

    Raises:
        InputError: A metrics.json is broken or of another task.
    """
    found = {}
    comparisons = {(cell.name, test): _compared(study, cell, test) for cell, test in study.scores}
    study = replace(study, cells=[replace(cell, rows=_counted(study, cell)) for cell in study.cells])
    for cell, test in study.scores:
        path, task = study.evaluation(cell.name, test), study.tests[test].task.name
        if path.exists():
            found[cell.name, test] = read_metrics(path)
            if found[cell.name, test].task != task:
                raise InputError(f"{path}: scores of task {found[cell.name, test].task!r}, expected {task!r}")
    return Results(study, found, comparisons)


def _compared(study: Study, cell: Cell, test: str) -> dict[str, Metrics]:
    """A cell's comparisons with those that the plan compares it with: rows counted since do not decide."""
    paths = {
        other: study.evaluation(cell.name, test, f"against_{other}.json") for other in opponents(study, cell, test)
    }
    return {other: read_metrics(path) for other, path in paths.items() if path.exists()}


def _counted(study: Study, cell: Cell) -> Mapping[str, int | None]:
    """A cell's rows, with the number of those that are taken whole once they are built; of folds their mean."""
    parts = [replace(cell, fold=fold) for fold in range(1, cell.folds + 1)] or [cell]
    paths = [manifest_path(study.instructions(part)) for part in parts]
    if None not in cell.rows.values() or not all(path.exists() for path in paths):
        return cell.rows
    counts = [read_json(path)["counts"] for path in paths]

    def mean(cohort: str) -> int:
        return round(statistics.fmean(count[study.cohorts[cohort].task.name]["train"] for count in counts))

    return {name: mean(name) if n is None else n for name, n in cell.rows.items()}


def reports_per_second(results: "Results", cell: Cell, test: str) -> float | None:
    """How fast a cell's answers to a test were made, its command's start and a linear model's learning included.

    None where they were given, or a start was stopped.
    """
    asked, metrics = results.study.tests[test].asked, results.metrics.get((cell.name, test))
    names = [f"{cell.name}_fold_{fold}" for fold in range(1, cell.folds + 1)] or [cell.name]
    rule = "ask_linear" if cell.kind == Kind.LINEAR else "predict"
    jobs = [f"{rule}/{name}/{asked}" for name in names]
    jobs = [f"label_test_by_rules/{asked}/{cell.name}"] if cell.kind == Kind.RULE_LABELER else jobs
    seconds = [read_stamp(stamp_path(results.study, job)).get("seconds") for job in jobs]
    return metrics.n_reports / sum(seconds) if metrics and None not in seconds else None


def gold_of(test: Test) -> LabelFile:
    """What is right of a test's reports, as evaluate.py takes it.

    Raises:
        InputError: It cannot be read.
    """
    return one_gold(test.gold, test.task, *map(test.evaluation.get, GOLD_KEYS), slips=_is_lenient(test))


def predictions_of(study: Study, cell: str, test: Test) -> LabelFile:
    """What a cell predicted of a test's reports, as evaluate.py takes it.

    Raises:
        InputError: It cannot be read.
    """
    labeler = study.labeler(cell)
    found = read_labels(study.predictions(cell, test.name), test.task, labeler.column if labeler else None)
    lenient = _is_lenient(test)
    return respell(test.task, found, slips=lenient)[0] if lenient or not is_jsonl(found.path) else found


def _is_lenient(test: Test) -> bool:
    return test.evaluation.get("spelling") == LENIENT


def read_errors(results: Results, test: str) -> tuple[Cell, list[LabelError]] | None:
    """The errors of a test's best mix (as in the paper), or of the base model of a study without any.

    Texts are None where errors.jsonl was written without them; then the label is the empty string.

    Raises:
        InputError: Naming file and line: errors.jsonl is not such a file.
    """
    best = results.best_mix(test) or next(iter(results.scored(Kind.BASE, test)), None)
    if best is None or not (path := results.study.evaluation(best[0].name, test, "errors.jsonl")).exists():
        return None
    found = []
    for number, row in read_jsonl(path):
        try:
            label, other, sentence = (
                None if (text := row.get(name)) is None else fold_space(text) for name in ("label", "other", "sentence")
            )
            found.append(
                LabelError(row["report_id"], row["side"], label or "", ErrorKind(row["kind"]), other, sentence)
            )
        except (AttributeError, KeyError, TypeError, ValueError):
            raise InputError(f"{path}:{number}: not an error of this version of evaluate.py") from None
    return best[0], found
