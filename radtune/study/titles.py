"""What a study's tables and figures are called: parts of the page, rows, systems."""

from collections.abc import Sequence

from radtune.study.cells import Cell, Kind
from radtune.study.formats import slug
from radtune.study.plan import Study
from radtune.study.results import Reported
from radtune.study.settings import ALL, OURS, STOCK, TEACHER, Test

# Parts of the report page.
DATA, SCORES, FIGURES, FINDINGS, ERRORS, TRAINING = "data", "scores", "figures", "findings", "errors", "training"
ENSEMBLES = "ensembles"
BASE_TITLE, LINEAR_TITLE = "Base model", "Linear model"
RECIPE_TITLES = {OURS: "our recipe", STOCK: "torchtune's recipe"}


def lower_first(title: str) -> str:
    """A title within a sentence; one that opens with an acronym stays."""
    return title if title[1:2].isupper() else title[:1].lower() + title[1:]


def row_label(study: Study, cell: Cell) -> str:
    """What a table calls the labeler, teacher or model of a cell."""
    model = LINEAR_TITLE if cell.kind == Kind.LINEAR else study.settings.model_name
    if cell.kind == Kind.ENSEMBLE:
        ensemble = study.settings.ensembles[cell.ensemble]
        return f"{ensemble.title or cell.ensemble}, {ensemble.members} members"
    return labeler_title(study, cell.name) or model


def labeler_title(study: Study, name: str) -> str:
    """What a table calls the rules, another labeler or the teacher; empty for what is none of them."""
    teacher = study.settings.teacher
    if name == TEACHER:
        return f"{teacher['model']}{' (simulated)' if teacher.get('simulated') else ''}"
    labeler = study.labeler(name)
    return labeler.title if labeler else ""


def mix_text(cell: Cell) -> str:
    """A cell's rows by cohort: ``6,000 + 3,000``."""
    return " + ".join(ALL if count is None else f"{count:,}" for count in cell.rows.values())


def system_title(study: Study, cell: Cell) -> str:
    """What tables of several systems call a cell."""
    if cell.kind == Kind.VARIANT:
        return f"{cell.name}: {' '.join(f'{name}={str(value).lower()}' for name, value in cell.asked.items())}"
    if not cell.cohorts:
        return BASE_TITLE if cell.kind == Kind.BASE else row_label(study, cell)
    # Where several cohorts teach one task, by which of them.
    others = {other.kind for other in study.cells if other.cohorts != cell.cohorts and other.kind == cell.kind}
    rows = f" on {' + '.join(study.titles[name] for name in cell.cohorts)}" if others else ""
    seed = "" if cell.seed is None else f", seed {cell.seed}"
    by = LINEAR_TITLE if cell.kind == Kind.LINEAR else f"Fine-tuned by {RECIPE_TITLES.get(cell.recipe)}"
    return f"{by}{rows}{seed}"


def told_apart(study: Study, cells: Sequence[Cell]) -> list[str]:
    """Titles of cells as systems, with a cell's name where several would have one title."""
    titles = [system_title(study, cell) for cell in cells]
    return [f"{t} ({c.name})" if titles.count(t) > 1 else t for t, c in zip(titles, cells, strict=True)]


def figure_names(reported: Reported, kind: Kind, test: Test) -> tuple[str, str]:
    """The name of a figure's file, and what its title opens with: the paper's number where it has such a figure."""
    figure = reported.figure(kind, test.task.name) if test.name == test.task.name else None
    if figure is None:
        return f"{kind}_{test.name}", test.title
    return slug(figure.title), f"{figure.title}: {lower_first(test.title)}"


def rows_of_task(study: Study, cell: Cell, test: Test) -> int:
    """Training rows of a test's task."""
    return sum(n or 0 for name, n in cell.rows.items() if study.cohorts[name].task.name == test.task.name)
