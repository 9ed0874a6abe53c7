"""Tables of scores: the paper's Tables 3 and 4 with its numbers beside ours, and those behind its Figures 3 and 4."""

from collections.abc import Iterator

from radtune.findings import FINDINGS
from radtune.score.evaluation import Metrics
from radtune.study.plan import Cell, Kind, rate_text
from radtune.study.reported import Reported, ReportedTable
from radtune.study.results import Results
from radtune.study.table import MISSING, NOT_TRAINED, TASK_TITLES, Column, Table, Value, row_label
from radtune.tasks import multiple_choice

_MODEL = Column("model", "Model", text=True)
_SIZES = [
    Column("total", "Total", "Fine-tuning data"),
    Column("wcm", "WCM", "Fine-tuning data"),
    Column("mimic", "MIMIC", "Fine-tuning data"),
]
_INTERVAL = Column("f1_ci95", "F1 95 % CI", interval=True)


def _score_columns(prefix: str = "", group: str = "") -> list[Column]:
    return [Column(f"{prefix}{name.lower()}", name, group) for name in ("Precision", "Recall", "F1")]


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
                    metrics.micro.f1 - paper.f1 if metrics and paper else None,
                ]
            )
    columns = [_MODEL, *_SIZES, *_score_columns(), _INTERVAL, *_score_columns("paper_", "Paper")]
    columns.append(Column("f1_minus_paper", "ΔF1", "Paper", signed=True))
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


def _sizes(cell: Cell) -> list[Value]:
    if cell.kind in (Kind.RULE_LABELER, Kind.TEACHER):
        return [NOT_TRAINED] * 3
    return [cell.total, cell.wcm, cell.mimic]


def _scores(metrics: Metrics | None) -> list[Value]:
    """Precision, recall, F1 and its interval."""
    if metrics is None:
        return [MISSING] * 4
    return [metrics.micro.precision, metrics.micro.recall, metrics.micro.f1, metrics.micro.ci95["f1"]]


def figure_3_table(results: Results) -> Table:
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
    return Table("figure_3", "Figure 3: multiple choice by learning rate", columns, rows)


def figure_4_table(results: Results) -> Table:
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
    title = "Figure 4: joint against separate training"
    return Table("figure_4", title, [*columns, *_score_columns(), _INTERVAL], rows)


def class_table(results: Results) -> Table:
    """Multiple choice by class: F1 of base, best mix, rule labeler and teacher."""
    shown = list(class_cells(results))
    columns = [Column("class", "Class", text=True), Column("support", "Gold cases")]
    columns += [Column(cell.name, title, "F1") for cell, title, _ in shown]
    rows: list[list[Value]] = []
    for name in FINDINGS if shown else ():
        scores = [metrics.per_class[name] for _, _, metrics in shown]
        f1s = [score.f1 if score.support + score.fp else NOT_TRAINED for score in scores]
        rows.append([name, scores[0].support, *f1s])
    return Table("classes", "Multiple choice by class", columns, rows, sortable=True)


def class_cells(results: Results) -> Iterator[tuple[Cell, str, Metrics]]:
    """Base, best mix, rule labeler and teacher on multiple choice, those that are scored: cell, title, scores."""
    task = multiple_choice.NAME
    yield from ((cell, "Base model", metrics) for cell, metrics in results.scored(Kind.BASE, task))
    best = results.best_mix(task)
    if best:
        yield best[0], f"Best mix ({best[0].wcm:,} + {best[0].mimic:,})", best[1]
    for kind in (Kind.RULE_LABELER, Kind.TEACHER):
        yield from ((cell, row_label(results.study, cell), metrics) for cell, metrics in results.scored(kind, task))
