"""The study's tables: the paper's Tables 3 and 4 with its numbers beside ours, and those behind the figures."""

from collections.abc import Iterator
from dataclasses import dataclass

from radtune.findings import FINDINGS
from radtune.metrics.evaluation import Metrics
from radtune.study.plan import Cell, Kind, Study, rate_text
from radtune.study.results import Reported, ReportedTable, Results
from radtune.tasks import Status, multiple_choice, open_ended

Value = str | int | float | tuple[float, float] | None

# What stands where a cell has no score yet, and where a row has nothing to do with fine-tuning (as in the paper).
MISSING = "missing"
NOT_TRAINED = "-"

TASK_TITLES = {multiple_choice.NAME: "Multiple choice", open_ended.NAME: "Open ended"}


@dataclass(frozen=True)
class Column:
    """A column of a table.

    Attributes:
        name: In CSV, unique in its table.
        title: In print.
        group: Printed over neighbours that share it.
        text: Whether its values are names, aligned to the left.
        interval: Whether its values are pairs; in CSV these become two columns.
        bar: Whether the report page draws its values (0 to 1) as bars.
    """

    name: str
    title: str
    group: str = ""
    text: bool = False
    interval: bool = False
    bar: bool = False


@dataclass(frozen=True)
class Table:
    """A table: ``name`` is its file's; each row has one value per column."""

    name: str
    title: str
    columns: list[Column]
    rows: list[list[Value]]


_MODEL = Column("model", "Model", text=True)
_SIZES = [
    Column("total", "Total", "Fine-tuning data"),
    Column("wcm", "WCM", "Fine-tuning data"),
    Column("mimic", "MIMIC", "Fine-tuning data"),
]
_INTERVAL = Column("f1_ci95", "F1 95 % CI", interval=True)


def _score_columns(prefix: str = "", group: str = "") -> list[Column]:
    return [Column(f"{prefix}{name.lower()}", name, group) for name in ("Precision", "Recall", "F1")]


def all_tables(results: Results, reported: Reported) -> list[Table]:
    """Every table of a study, those that would be empty left out."""
    found = []
    for task in results.tasks:
        found.append(score_table(results, reported, task))
        if not reported.has_mixes(results):
            found.append(paper_table(reported, task))
    found += [learning_rate_table(results), joint_separate_table(results), class_table(results), detail_table(results)]
    return [table for table in found if table.rows]


def score_table(results: Results, reported: Reported, task: str) -> Table:
    """Table 3 or 4: precision, recall and F1 of base, mixes, rule labeler and teacher, beside the paper's."""
    rows: list[list[Value]] = []
    for kind in (Kind.BASE, Kind.MIX, Kind.RULE_LABELER, Kind.TEACHER):
        for cell in results.of_kind(kind, task):
            paper = reported.row(cell, task)
            metrics = results.metrics.get((cell.name, task))
            rows.append(
                [
                    row_label(results.study, cell),
                    *_sizes(cell),
                    *_scores(metrics),
                    *((paper.precision, paper.recall, paper.f1) if paper else (None, None, None)),
                ]
            )
    columns = [_MODEL, *_SIZES, *_score_columns(), _INTERVAL, *_score_columns("paper_", "Paper")]
    table = reported.tables[task]
    return Table(_file_name(table), f"{table.title}: {TASK_TITLES[task].lower()}, micro-averaged", columns, rows)


def paper_table(reported: Reported, task: str) -> Table:
    """The paper's own table, whole, for studies that train on other amounts."""
    table = reported.tables[task]
    rows: list[list[Value]] = []
    for row in table.rows:
        sizes: list[Value] = [NOT_TRAINED] * 3
        if row.wcm is not None and row.mimic is not None:
            sizes = [row.wcm + row.mimic, row.wcm, row.mimic]
        rows.append([row.model, *sizes, row.precision, row.recall, row.f1])
    title = f"{table.title} as reported ({reported.source}, section {table.section})"
    return Table(f"{_file_name(table)}_paper", title, [_MODEL, *_SIZES, *_score_columns()], rows)


def _file_name(table: ReportedTable) -> str:
    return table.title.lower().replace(" ", "_")


def row_label(study: Study, cell: Cell) -> str:
    """What a table calls the labeler, teacher or model of a cell."""
    if cell.kind == Kind.RULE_LABELER:
        return "Rule labeler"
    if cell.kind == Kind.TEACHER:
        return f"{study.teacher['model']}{' (simulated)' if study.teacher.get('simulated') else ''}"
    return study.model_name


def _sizes(cell: Cell) -> list[Value]:
    if cell.kind in (Kind.RULE_LABELER, Kind.TEACHER):
        return [NOT_TRAINED] * 3
    return [cell.total, cell.wcm, cell.mimic]


def _scores(metrics: Metrics | None) -> list[Value]:
    """Precision, recall, F1 and its interval."""
    if metrics is None:
        return [MISSING] * 4
    return [metrics.micro.precision, metrics.micro.recall, metrics.micro.f1, metrics.micro.ci95["f1"]]


def learning_rate_table(results: Results) -> Table:
    """What Figure 3 shows: multiple choice by learning rate."""
    rows: list[list[Value]] = [
        [rate_text(cell.learning_rate), cell.mimic, *_scores(results.metrics.get((cell.name, multiple_choice.NAME)))]
        for cell in results.of_kind(Kind.LEARNING_RATE, multiple_choice.NAME)
        if cell.learning_rate is not None
    ]
    columns = [
        Column("learning_rate", "Learning rate", text=True),
        Column("mimic", "MIMIC rows"),
        *_score_columns(),
        _INTERVAL,
    ]
    return Table("learning_rates", "Learning rates (the paper's Figure 3)", columns, rows)


def joint_separate_table(results: Results) -> Table:
    """What Figure 4 shows: each task trained alone, and jointly, by rows of that task."""
    rows: list[list[Value]] = []
    for task in results.study.separate:
        for kind, training in ((Kind.SEPARATE, "separate"), (Kind.MIX, "joint")):
            rows += [
                [TASK_TITLES[task], training, cell.rows(task), *_scores(results.metrics.get((cell.name, task)))]
                for cell in results.of_kind(kind, task)
            ]
    columns = [
        Column("task", "Task", text=True),
        Column("training", "Training", text=True),
        Column("rows", "Rows of the task"),
    ]
    title = "Joint against separate training (the paper's Figure 4)"
    return Table("joint_separate", title, [*columns, *_score_columns(), _INTERVAL], rows)


def class_table(results: Results) -> Table:
    """Multiple choice by class: F1 of base, best mix, rule labeler and teacher."""
    shown = list(_class_cells(results))
    columns = [Column("class", "Class", text=True), Column("support", "Gold cases")]
    columns += [Column(cell.name, title, "F1", bar=True) for cell, title, _ in shown]
    rows: list[list[Value]] = []
    for name in FINDINGS if shown else ():
        scores = [metrics.per_class[name] for _, _, metrics in shown]
        f1s = [score.f1 if score.support + score.fp else NOT_TRAINED for score in scores]
        rows.append([name, scores[0].support, *f1s])
    return Table("classes", "Multiple choice by class", columns, rows)


def _class_cells(results: Results) -> Iterator[tuple[Cell, str, Metrics]]:
    task = multiple_choice.NAME
    yield from ((cell, "Base model", metrics) for cell, metrics in results.scored(Kind.BASE, task))
    best = results.best_mix(task)
    if best:
        yield best[0], f"Best mix ({best[0].wcm:,} + {best[0].mimic:,})", best[1]
    for kind in (Kind.RULE_LABELER, Kind.TEACHER):
        yield from ((cell, row_label(results.study, cell), metrics) for cell, metrics in results.scored(kind, task))


def detail_table(results: Results) -> Table:
    """Every cell and task: reports, what became of the model calls, and the stricter scores."""
    seen = {status for metrics in results.metrics.values() for status in metrics.status_counts}
    statuses = [str(status) for status in Status if status in seen]
    columns = [
        Column("cell", "Cell", text=True),
        Column("task", "Task", text=True),
        Column("reports", "Reports"),
        *(Column(status, status, "Answers") for status in statuses),
        Column("f1", "F1"),
        Column("f1_one_to_one", "F1 one-to-one"),
        Column("f1_macro", "F1 macro"),
        Column("other_names", "Names outside the 13"),
    ]
    rows: list[list[Value]] = []
    for cell in results.cells:
        for task in cell.tasks:
            metrics = results.metrics.get((cell.name, task))
            if metrics is None:
                rows.append([cell.name, task, MISSING, *[None] * (len(columns) - 3)])
                continue
            rows.append(
                [
                    cell.name,
                    task,
                    metrics.n_reports,
                    *(metrics.status_counts.get(status, 0) for status in statuses),
                    metrics.micro.f1,
                    metrics.one_to_one.f1 if metrics.one_to_one else None,
                    metrics.macro.get("f1"),
                    sum(metrics.other_names["predictions"].values()) if metrics.macro else None,
                ]
            )
    return Table("cells", "Every cell", columns, rows)
