"""The paper's Tables 5 and 6, errors by kind, and the list of all of them."""

from collections import Counter
from collections.abc import Iterable, Sequence

from radtune.findings import FINDINGS
from radtune.score.errors import FALSE_POSITIVE, ErrorKind
from radtune.study.errors import KIND_TITLES, SIDE_TITLES, WORDINGS, StudyError, shown_errors
from radtune.study.plan import Cell, Kind
from radtune.study.reported import Reported
from radtune.study.results import Results
from radtune.study.table import TASK_TITLES, Column, Table, Value
from radtune.tasks import multiple_choice, open_ended

_SIDE, _KIND = Column("side", "Error", text=True), Column("kind", "Kind", text=True)
_COUNT, _SHARE = Column("count", "Count"), Column("share", "Share")
# The paper's Table 5 has the wordings as one kind.
_PARAPHRASED = "Paraphrase, see Table 6"
# A page with more would be slow on a phone; errors.jsonl has them all.
MOST_LISTED = 1000


def error_table(results: Results, reported: Reported) -> Table:
    """Table 5: the best mix's open-ended errors by kind, beside the paper's counts."""
    found = shown_errors(results, open_ended.NAME)
    columns = [_SIDE, _KIND, _COUNT, _SHARE, Column("paper_count", "Count", "Paper"), *_texts(results, "Example")]
    if found is None:
        return Table("table_5", "", columns, [])
    cell, errors = found
    rows: list[list[Value]] = []
    for side, title in SIDE_TITLES.items():
        for kinds in (WORDINGS, *((kind,) for kind in ErrorKind if kind not in WORDINGS)):
            some = [error for error in errors if error.side == side and error.kind in kinds]
            paper = [row.count for row in reported.errors if row.side == side and set(row.kinds) == set(kinds)]
            if some or paper:
                name = _PARAPHRASED if kinds == WORDINGS else KIND_TITLES[kinds[0]]
                example = [_most_common(error.label for error in some)] if results.study.show_text else []
                rows.append([title, name, len(some), _share(len(some), errors), sum(paper) or None, *example])
    return Table("table_5", f"Table 5: open-ended errors of {_whose(results, cell)}", columns, rows)


def wording_table(results: Results) -> Table:
    """Table 6: why labels that mean a finding of the other side do not match it."""
    found = shown_errors(results, open_ended.NAME)
    columns = [
        Column("reason", "Reason", text=True),
        *(Column(side, f"{title}s") for side, title in SIDE_TITLES.items()),
        *_texts(results, "Generated", "Gold", group="Example"),
    ]
    title = "Table 6: paraphrases by reason"
    if found is None:
        return Table("table_6", title, columns, [])
    rows: list[list[Value]] = []
    for kind in WORDINGS:
        some = [error for error in found[1] if error.kind == kind]
        examples = _pair(some) if results.study.show_text else []
        rows.append([KIND_TITLES[kind], *(sum(e.side == side for e in some) for side in SIDE_TITLES), *examples])
    return Table("table_6", title, columns, rows)


def class_error_table(results: Results) -> Table:
    """The best mix's multiple-choice errors by kind and by the class that has most of them."""
    found = shown_errors(results, multiple_choice.NAME)
    columns = [_SIDE, _KIND, _COUNT, _SHARE, Column("class", "Most often", text=True)]
    if found is None:
        return Table("errors_multiple_choice", "", columns, [])
    cell, errors = found
    rows: list[list[Value]] = []
    for side, title in SIDE_TITLES.items():
        for kind in ErrorKind:
            some = [error for error in errors if error.side == side and error.kind == kind]
            if some:
                name = _most_common(_shown(results, error) for error in some)
                rows.append([title, KIND_TITLES[kind], len(some), _share(len(some), errors), name])
    title = f"Multiple-choice errors of {_whose(results, cell)}"
    return Table("errors_multiple_choice", title, columns, rows)


def error_list(results: Results) -> Table:
    """Every error of the best mixes, one a row, at most :data:`MOST_LISTED` a task.

    Names of classes are shown always, phrases and sentences only where the study shows text.
    """
    show = results.study.show_text
    columns = [Column("task", "Task", text=True), Column("report_id", "Report", text=True), _SIDE]
    columns += [Column("kind", "Kind", text=True, prose=True), Column("label", "Label", text=True, prose=True)]
    columns += _texts(results, "Other side", "Sentence")
    rows: list[list[Value]] = []
    for task in results.tasks:
        _, errors = shown_errors(results, task) or (None, [])
        for error in errors[:MOST_LISTED]:
            label = _shown(results, error) if task == multiple_choice.NAME else error.label if show else None
            texts = [label, error.other, error.sentence] if show else [label]
            rows.append([TASK_TITLES[task], error.report_id, error.side.upper(), KIND_TITLES[error.kind], *texts])
    return Table("errors", "Every error", columns, rows, sortable=True)


def _texts(results: Results, *titles: str, group: str = "") -> list[Column]:
    """Columns of phrases, where the study shows text."""
    shown = titles if results.study.show_text else ()
    return [Column(title.lower().replace(" ", "_"), title, group, text=True, prose=True) for title in shown]


def _shown(results: Results, error: StudyError) -> str | None:
    """A class by its name. Any other name is the model's own words, which it may have from the report."""
    return error.label if results.study.show_text or error.label in FINDINGS else "another name"


def _whose(results: Results, cell: Cell) -> str:
    name = results.study.model_name
    return f"{name}, fine-tuned on {cell.wcm:,} + {cell.mimic:,}" if cell.kind == Kind.MIX else f"{name}, base"


def _share(count: int, errors: Sequence[StudyError]) -> float | None:
    return count / len(errors) if errors else None


def _most_common(labels: Iterable[str | None]) -> str | None:
    counts = Counter(label for label in labels if label is not None)
    return next((label for label, _ in counts.most_common(1)), None)


def _pair(errors: Sequence[StudyError]) -> list[Value]:
    """A generated label and its gold one."""
    for error in errors:
        if error.label is not None and error.other is not None:
            pair: list[Value] = [error.label, error.other]
            return pair if error.side == FALSE_POSITIVE else pair[::-1]
    return [None, None]
