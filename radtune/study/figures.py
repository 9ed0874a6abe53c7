"""The study's figures: F1 by amount of data, by learning rate, and joint against separate training."""

import io
from collections.abc import Sequence
from dataclasses import dataclass

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FormatStrFormatter, FuncFormatter, MaxNLocator

from radtune.metrics.evaluation import Metrics
from radtune.study.plan import Cell, Kind, rate_text
from radtune.study.results import Reported, Results
from radtune.study.tables import TASK_TITLES, row_label
from radtune.tasks import multiple_choice

# Okabe & Ito's palette, which readers with any form of colour blindness can tell apart; lines differ in dash as well.
BLUE, ORANGE, GREEN, VERMILION, PURPLE, GREY = "#0072B2", "#E69F00", "#009E73", "#D55E00", "#CC79A7", "#808080"
# The report page replaces these two by the colours of the reader's theme.
INK, PAPER = "#202428", "#fefefe"

_STYLE = {
    "figure.facecolor": PAPER,
    "savefig.facecolor": PAPER,
    "axes.facecolor": "none",
    "axes.edgecolor": INK,
    "axes.labelcolor": INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.grid.axis": "y",
    "grid.color": GREY,
    "grid.alpha": 0.3,
    "grid.linewidth": 0.6,
    "text.color": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "font.size": 10,
    "legend.frameon": False,
    "legend.fontsize": 9,
    "legend.handlelength": 2.6,
    # Text stays text: it can be searched, read aloud, and takes the page's font.
    "svg.fonttype": "none",
    "svg.hashsalt": "radtune",
}
# Inches. Narrow enough to be read on a phone at its own size.
_SIZE = (5.0, 3.9)


@dataclass(frozen=True)
class Drawing:
    """A figure: ``name`` is its file's, ``title`` says what it shows."""

    name: str
    title: str
    svg: str
    png: bytes


def all_figures(results: Results, reported: Reported) -> list[Drawing]:
    """Every figure that the study has scores for."""
    found = [f1_by_size(results, reported, task) for task in results.tasks]
    found.append(f1_by_learning_rate(results))
    found += [joint_against_separate(results, task) for task in results.study.separate]
    return [drawing for drawing in found if drawing is not None]


def f1_by_size(results: Results, reported: Reported, task: str) -> Drawing | None:
    """F1 of base and mixes by total training rows, with rule labeler and teacher as lines across."""
    mixes, base = results.scored(Kind.MIX, task), results.only(Kind.BASE, task)
    if not mixes:
        return None
    with mpl.rc_context(_STYLE):
        figure, axes = _axes("Rows of fine-tuning data (both tasks)")
        points = [(0, base)] if base else []
        points += [(cell.total, metrics) for cell, metrics in sorted(mixes, key=lambda pair: pair[0].total)]
        _line(axes, points, BLUE, "o", f"{results.study.model_name}, fine-tuned")
        if base is not None:
            axes.axhline(base.micro.f1, color=INK, linestyle="--", linewidth=1.2, label="Base model")
        for kind, colour, dash in ((Kind.RULE_LABELER, VERMILION, "-."), (Kind.TEACHER, GREEN, ":")):
            for cell, metrics in results.scored(kind, task):
                label = row_label(results.study, cell)
                axes.axhline(metrics.micro.f1, color=colour, linestyle=dash, linewidth=1.6, label=label)
        if reported.has_mixes(results):
            rows = [row for row in reported.tables[task].rows if row.wcm is not None and row.mimic is not None]
            xs = [(row.wcm or 0) + (row.mimic or 0) for row in rows]
            axes.plot(xs, [row.f1 for row in rows], color=GREY, marker="x", linewidth=1, label="Paper")
        axes.set_xlim(left=0)
        _thousands(axes)
        return _drawing(f"f1_by_size_{task}", f"{TASK_TITLES[task]}: F1 by amount of data", figure, axes)


def f1_by_learning_rate(results: Results) -> Drawing | None:
    """Multiple choice by learning rate (the paper's Figure 3)."""
    scored = results.scored(Kind.LEARNING_RATE, multiple_choice.NAME)
    points = [(cell.learning_rate, metrics) for cell, metrics in scored if cell.learning_rate is not None]
    points.sort(key=lambda point: point[0])
    if not points:
        return None
    with mpl.rc_context(_STYLE):
        rows = scored[0][0].mimic
        figure, axes = _axes("Learning rate")
        _line(axes, points, BLUE, "o", f"Trained on {rows:,} MIMIC rows")
        axes.set_xscale("log")
        axes.set_xticks([rate for rate, _ in points], [rate_text(rate) for rate, _ in points], minor=False)
        axes.minorticks_off()
        return _drawing(
            "f1_by_learning_rate", f"{TASK_TITLES[multiple_choice.NAME]}: F1 by learning rate", figure, axes
        )


def joint_against_separate(results: Results, task: str) -> Drawing | None:
    """F1 of training on one task alone, and on both, by rows of that task (the paper's Figure 4)."""
    separate, joint = (_by_rows(results.scored(kind, task), task) for kind in (Kind.SEPARATE, Kind.MIX))
    if not separate:
        return None
    with mpl.rc_context(_STYLE):
        figure, axes = _axes("Rows of this task's fine-tuning data")
        _line(axes, separate, ORANGE, "s", "This task alone", linestyle="--")
        _line(axes, joint, BLUE, "o", "Both tasks jointly")
        axes.set_xlim(left=0)
        _thousands(axes)
        return _drawing(f"joint_separate_{task}", f"{TASK_TITLES[task]}: joint against separate training", figure, axes)


def _by_rows(scored: Sequence[tuple[Cell, Metrics]], task: str) -> list[tuple[int, Metrics]]:
    return sorted(((cell.rows(task), metrics) for cell, metrics in scored), key=lambda point: point[0])


def _axes(x_label: str) -> tuple[Figure, Axes]:
    # Made without pyplot, which would keep every figure and look for a display.
    figure = Figure(figsize=_SIZE, layout="constrained")
    axes = figure.subplots()
    axes.set_xlabel(x_label)
    axes.set_ylabel("Micro F1 (band: 95 % interval)")
    axes.yaxis.set_major_formatter(FormatStrFormatter("%.2f"))
    axes.yaxis.set_major_locator(MaxNLocator(6, steps=[1, 2, 5, 10]))
    return figure, axes


def _line(
    axes: Axes, points: Sequence[tuple[float, Metrics]], colour: str, marker: str, label: str, linestyle: str = "-"
) -> None:
    if not points:
        return
    xs = [x for x, _ in points]
    low, high = zip(*(metrics.micro.ci95["f1"] for _, metrics in points), strict=True)
    f1s = [metrics.micro.f1 for _, metrics in points]
    axes.plot(xs, f1s, color=colour, marker=marker, linestyle=linestyle, label=label, clip_on=False)
    if len(points) > 1:
        axes.fill_between(xs, low, high, color=colour, alpha=0.18, linewidth=0)
    else:
        axes.vlines(xs, low, high, color=colour, alpha=0.5)


def _thousands(axes: Axes) -> None:
    axes.xaxis.set_major_locator(MaxNLocator(6))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda x, _: f"{x:,.0f}"))


def _drawing(name: str, title: str, figure: Figure, axes: Axes) -> Drawing:
    bottom, top = axes.get_ylim()
    axes.set_ylim(max(0.0, bottom), min(1.0, top) if top > 1 else top)
    figure.legend(loc="outside lower center", ncols=2)
    svg, png = io.StringIO(), io.BytesIO()
    # Without a date the same scores give the same file.
    figure.savefig(svg, format="svg", metadata={"Date": None, "Title": title})
    figure.savefig(png, format="png", dpi=200, metadata={"Title": title})
    return Drawing(name, title, svg.getvalue(), png.getvalue())
