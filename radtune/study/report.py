"""The study's report: one HTML page that needs nothing beside it, and the same tables and figures as files."""

import dataclasses
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import yaml
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

import radtune
from radtune.files import git_commit, manifest_path, now, open_text, write_whole
from radtune.score.evaluation import Metrics
from radtune.study import paths
from radtune.study.drawing import INK, PAPER, Drawing
from radtune.study.error_tables import error_list
from radtune.study.errors import shown_errors
from radtune.study.figures import all_figures
from radtune.study.formats import column_groups, printed_rows, write_table
from radtune.study.plan import Cell, Kind, Study
from radtune.study.reported import Reported, ReportedRow
from radtune.study.results import Results
from radtune.study.table import MISSING, TASK_TITLES, Table
from radtune.study.tables import all_tables

TEMPLATE = "report.html.j2"
PAGE = "report.html"


@dataclass(frozen=True)
class Headline:
    """A task's result in a few numbers.

    Attributes:
        title: The task in words.
        best: The best mix, or None if none has been scored.
        metrics: Its scores.
        mixes: How many mixes it is the best of.
        others: By name, F1 of base, rule labeler and teacher, those that have been scored.
        paper: The paper's best mix.
        paper_others: By name, the paper's F1 of base, rule labeler and teacher.
    """

    title: str
    best: Cell | None
    metrics: Metrics | None
    mixes: int
    others: list[tuple[str, float]]
    paper: ReportedRow
    paper_others: list[tuple[str, float]]


def write_report(results: Results, reported: Reported) -> tuple[Path, list[Table]]:
    """Writes ``tables/``, ``figures/`` and ``report.html`` in the study's folder.

    Args:
        results: The study's scores, so far as it ran.
        reported: The paper's.

    Returns:
        The page's path, and the tables on it.
    """
    run_dir = paths.run_dir(results.study)
    tables, figures = all_tables(results, reported), all_figures(results, reported)
    for table in tables:
        write_table(run_dir / "tables", table)
    for figure in figures:
        _write_figure(run_dir / "figures", figure)
    page = run_dir / PAGE
    with write_whole(page) as stream:
        stream.write(report_html(results, reported, tables, figures))
    return page, tables


def _write_figure(folder: Path, figure: Drawing) -> None:
    with write_whole(folder / f"{figure.name}.svg") as stream:
        stream.write(figure.svg)
    # PNG is bytes, which write_whole does not take; figures hold no patient text and are made anew by a second run.
    (folder / f"{figure.name}.png").write_bytes(figure.png)


def report_html(results: Results, reported: Reported, tables: list[Table], figures: list[Drawing]) -> str:
    """The page, as text."""
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent), autoescape=True, undefined=StrictUndefined, trim_blocks=True
    )
    environment.globals.update(
        column_groups=column_groups, printed_rows=printed_rows, inline_svg=inline_svg, missing=MISSING
    )
    planned = [(cell, task) for cell in results.cells for task in cell.tasks]
    listed = error_list(results)
    found = [shown_errors(results, task) for task in results.tasks]
    return environment.get_template(TEMPLATE).render(
        study=results.study,
        reported=reported,
        headlines=[headline(results, reported, task) for task in results.tasks],
        tables={table.name: table for table in tables},
        figures={figure.name: figure for figure in figures},
        errors=listed,
        unlisted=sum(len(pair[1]) for pair in found if pair) - len(listed.rows),
        planned=len(planned),
        unscored=[f"{cell.name} ({task})" for cell, task in planned if (cell.name, task) not in results.metrics],
        study_yaml=_study_yaml(results.study),
        manifests=list(_manifests(paths.run_dir(results.study))),
        version=radtune.__version__,
        commit=git_commit(),
        created=now(),
    )


def headline(results: Results, reported: Reported, task: str) -> Headline:
    """A task's result in a few numbers, beside the paper's."""
    best = results.best_mix(task)
    names = {Kind.BASE: "base model", Kind.RULE_LABELER: "rule labeler", Kind.TEACHER: "teacher"}
    paper = reported.tables[task].rows
    return Headline(
        title=TASK_TITLES[task],
        best=best[0] if best else None,
        metrics=best[1] if best else None,
        mixes=len(results.scored(Kind.MIX, task)),
        others=[(name, m.micro.f1) for kind, name in names.items() if (m := results.only(kind, task))],
        paper=max((row for row in paper if row.kind == Kind.MIX), key=lambda row: row.f1),
        paper_others=[(names[row.kind], row.f1) for row in paper if row.kind in names],
    )


def inline_svg(figure: Drawing) -> Markup:
    """A figure for the page: its ink and ground are the page's, its ids cannot meet those of another figure."""
    svg = figure.svg[figure.svg.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
    svg = re.sub(r'(\bid="|href="#|url\(#)', rf"\1{figure.name}-", svg)
    svg = svg.replace(INK, "currentColor").replace(PAPER, "none")
    # The drawing is ours, from matplotlib, which escapes the text in it.
    return Markup(svg.replace("<svg", '<svg aria-hidden="true"', 1))  # noqa: S704


def _study_yaml(study: Study) -> str:
    def plain(value: object) -> object:
        if isinstance(value, dict):
            return {name: plain(v) for name, v in value.items()}
        return str(value) if isinstance(value, Path) else value

    return yaml.safe_dump(plain(dataclasses.asdict(study)), sort_keys=False, allow_unicode=True)


def _manifests(run_dir: Path) -> Iterator[tuple[str, str]]:
    """Every manifest of the run but this page's own: its name within the run's folder, and its text."""
    for path in sorted(set(run_dir.rglob("*manifest.json")) - {manifest_path(run_dir / PAGE)}):
        with open_text(path) as stream:
            yield str(path.relative_to(run_dir)), stream.read()
