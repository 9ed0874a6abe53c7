"""The study's report: one HTML page that needs nothing beside it, and the same tables and figures as files."""

import re
from collections.abc import Sequence
from pathlib import Path

import yaml
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

import radtune
from radtune.files import git_commit, manifest_path, now, write_bytes
from radtune.study.cells import Kind
from radtune.study.drawing import INK, PAPER, Drawing
from radtune.study.ensembles import ensemble_figures, ensemble_tables, systems_of
from radtune.study.figures import all_figures, calibration_figures
from radtune.study.findings import error_list
from radtune.study.formats import MISSING, Table, write_table
from radtune.study.results import Reported, Results
from radtune.study.tables import all_tables

PAGE = "report.html"


def write_report(results: Results, reported: Reported) -> tuple[Path, list[Table]]:
    """Writes ``tables/``, ``figures/`` and ``report.html`` in the study's folder; gives the page and its tables."""
    run_dir = results.study.run_dir
    tables, figures = all_parts(results, reported)
    for table in tables:
        write_table(run_dir / "tables", table)
    names = {part.name for part in (*tables, *figures)}
    # What the study had before it was changed, and has no more. What is there in one form alone is somebody's own.
    for folder, first, *others in (("tables", ".csv", ".md", ".tex"), ("figures", ".svg", ".png")):
        for path in (run_dir / folder).glob(f"*{first}"):
            forms = [path, *map(path.with_suffix, others)]
            if path.stem not in names and all(map(Path.exists, forms)):
                for form in forms:
                    form.unlink()
    for figure in figures:
        write_bytes(run_dir / "figures" / f"{figure.name}.svg", figure.svg.encode())
        write_bytes(run_dir / "figures" / f"{figure.name}.png", figure.png)
    write_bytes(run_dir / PAGE, report_html(results, reported, tables, figures).encode())
    return run_dir / PAGE, tables


def all_parts(results: Results, reported: Reported) -> tuple[list[Table], list[Drawing]]:
    """Every table and figure; what ensembles say is worked out once for both."""
    tables, figures = all_tables(results, reported), all_figures(results, reported)
    for test in results.study.tests.values():
        systems = systems_of(results, test)
        tables += [table for table in ensemble_tables(results.study, systems, test) if table.rows]
        figures += [*ensemble_figures(systems, test), *calibration_figures(results, test, systems)]
    return tables, figures


def report_html(results: Results, reported: Reported, tables: Sequence[Table], figures: Sequence[Drawing]) -> str:
    """The page, as text."""
    study = results.study
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent), autoescape=True, undefined=StrictUndefined, trim_blocks=True
    )
    environment.globals.update(inline_svg=inline_svg, missing=MISSING)
    planned = [(cell.name, test) for cell, test in study.scores]
    listed, unlisted = error_list(results)
    # This page's own manifest is written after it.
    manifests = sorted(set(study.run_dir.rglob("*manifest.json")) - {manifest_path(study.run_dir / PAGE)})
    tasks = {test.task.name for test in study.tests.values()}
    return environment.get_template("report.html.j2").render(
        study=study,
        quoted=[figure for figure in reported.figures if figure.task in tasks],
        results=results,
        reported=reported,
        others={Kind.BASE: "base model", Kind.RULE_LABELER: "rule labeler", Kind.TEACHER: "teacher"},
        tables=tables,
        figures=figures,
        errors=listed,
        unlisted=unlisted,
        planned=len(planned),
        unscored=[f"{cell} ({test})" for cell, test in planned if (cell, test) not in results.metrics],
        study_yaml=yaml.safe_dump(dict(study.values), sort_keys=False, allow_unicode=True),
        manifests=[(str(path.relative_to(study.run_dir)), path.read_text("utf-8")) for path in manifests],
        version=radtune.__version__,
        commit=git_commit(),
        created=now(),
    )


def inline_svg(figure: Drawing) -> Markup:
    """A figure for the page: its ink and ground are the page's, its ids cannot meet those of another figure."""
    svg = figure.svg[figure.svg.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
    svg = re.sub(r'(\bid="|href="#|url\(#)', rf"\1{figure.name}-", svg)
    svg = svg.replace(INK, "currentColor").replace(PAPER, "none")
    # The drawing is ours, from matplotlib, which escapes the text in it.
    return Markup(svg.replace("<svg", '<svg aria-hidden="true"', 1))  # noqa: S704
