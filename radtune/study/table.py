"""What a table is, and what its cells are called."""

from dataclasses import dataclass

from radtune.study.plan import Cell, Kind, Study
from radtune.tasks import multiple_choice, open_ended

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
        signed: Whether its numbers are differences, printed with their sign.
        prose: Whether its values may run over several lines on the report page.
    """

    name: str
    title: str
    group: str = ""
    text: bool = False
    interval: bool = False
    signed: bool = False
    prose: bool = False


@dataclass(frozen=True)
class Table:
    """A table.

    Attributes:
        name: Its file's.
        title: In print.
        columns: From left to right.
        rows: One value per column each.
        sortable: Whether the report page sorts its rows by a column when asked.
    """

    name: str
    title: str
    columns: list[Column]
    rows: list[list[Value]]
    sortable: bool = False


def row_label(study: Study, cell: Cell) -> str:
    """What a table calls the labeler, teacher or model of a cell."""
    if cell.kind == Kind.RULE_LABELER:
        return "Rule labeler"
    return teacher_label(study) if cell.kind == Kind.TEACHER else study.model_name


def teacher_label(study: Study) -> str:
    """What a table calls the teacher."""
    return f"{study.teacher['model']}{' (simulated)' if study.teacher.get('simulated') else ''}"
