"""The study's figures: F1 by amount of data, the paper's Figures 3 and 4, F1 by class, and learning curves."""

from collections.abc import Sequence

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FormatStrFormatter, MaxNLocator

from radtune.score.evaluation import Metrics
from radtune.study.curves import Curve, read_curves
from radtune.study.drawing import (
    BLUE,
    GREEN,
    GREY,
    INK,
    ORANGE,
    PURPLE,
    STYLE,
    VERMILION,
    Drawing,
    finish,
    new_axes,
    thousands,
)
from radtune.study.plan import Cell, Kind, rate_text
from radtune.study.reported import Reported
from radtune.study.results import Results
from radtune.study.score_tables import class_cells
from radtune.study.table import TASK_TITLES, row_label
from radtune.tasks import multiple_choice
from radtune.tasks.legacy import TASK_NAMES

# The paper's Figure 4a is multiple choice, 4b open ended.
_PANELS = dict(zip(TASK_NAMES, "ab", strict=True))
_CURVES = {
    Kind.MIX: ("curves_mixes", "Learning curves: mixes"),
    Kind.LEARNING_RATE: ("curves_learning_rates", "Learning curves: learning rates"),
    Kind.SEPARATE: ("curves_separate", "Learning curves: one task alone"),
}


def all_figures(results: Results, reported: Reported) -> list[Drawing]:
    """Every figure that the study has scores or logs for."""
    found = [f1_by_size(results, reported, task) for task in results.tasks]
    found.append(figure_3(results))
    found += [figure_4(results, reported, task) for task in TASK_NAMES if task in results.study.separate]
    found.append(f1_by_class(results))
    curves = read_curves(results)
    found += [learning_curves([pair for pair in curves if pair[0].kind == kind], kind) for kind in _CURVES]
    return [drawing for drawing in found if drawing is not None]


def f1_by_size(results: Results, reported: Reported, task: str) -> Drawing | None:
    """F1 of base and mixes by total training rows, with rule labeler and teacher as lines across."""
    mixes, base = results.scored(Kind.MIX, task), results.only(Kind.BASE, task)
    if not mixes:
        return None
    with mpl.rc_context(STYLE):
        figure, axes = _f1_axes("Rows of fine-tuning data (both tasks)")
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
        thousands(axes)
        return _f1_drawing(f"f1_by_size_{task}", f"{TASK_TITLES[task]}: F1 by amount of data", figure, axes)


def figure_3(results: Results) -> Drawing | None:
    """The paper's Figure 3: multiple choice by learning rate."""
    scored = results.scored(Kind.LEARNING_RATE, multiple_choice.NAME)
    points = [(cell.learning_rate, metrics) for cell, metrics in scored if cell.learning_rate is not None]
    points.sort(key=lambda point: point[0])
    if not points:
        return None
    with mpl.rc_context(STYLE):
        figure, axes = _f1_axes("Learning rate")
        _line(axes, points, BLUE, "o", f"Trained on {scored[0][0].mimic:,} MIMIC rows")
        base = results.only(Kind.BASE, multiple_choice.NAME)
        if base is not None:
            axes.axhline(base.micro.f1, color=INK, linestyle="--", linewidth=1.2, label="Base model")
        axes.set_xscale("log")
        axes.set_xticks([rate for rate, _ in points], [rate_text(rate) for rate, _ in points], minor=False)
        axes.minorticks_off()
        title = f"Figure 3: {TASK_TITLES[multiple_choice.NAME].lower()} by learning rate"
        return _f1_drawing("figure_3", title, figure, axes)


def figure_4(results: Results, reported: Reported, task: str) -> Drawing | None:
    """The paper's Figure 4: F1 of training on one task alone, and on both, by rows of that task.

    What the paper's text says of its own is marked where the study has its sizes.
    """
    separate, joint = (_by_rows(results.scored(kind, task), task) for kind in (Kind.SEPARATE, Kind.MIX))
    if not separate:
        return None
    with mpl.rc_context(STYLE):
        figure, axes = _f1_axes("Rows of this task's fine-tuning data")
        _line(axes, separate, ORANGE, "s", "This task alone", linestyle="--")
        _line(axes, joint, BLUE, "o", "Both tasks jointly")
        panel = _PANELS[task]
        paper = [(point.rows, point.f1) for point in reported.figures if point.title == f"Figure 4{panel}"]
        if paper and joint and reported.has_mixes(results):
            axes.plot(*zip(*paper, strict=True), "x", color=GREY, markersize=7, label="Paper")
        thousands(axes)
        title = f"Figure 4{panel}: {TASK_TITLES[task].lower()}, joint against separate training"
        return _f1_drawing(f"figure_4{panel}", title, figure, axes)


def f1_by_class(results: Results) -> Drawing | None:
    """Bars of F1 by class for base and best mix, with rule labeler and teacher as marks; classes that occur."""
    shown = list(class_cells(results))
    if not shown:
        return None
    occurring = [name for name, score in reversed(shown[0][2].per_class.items()) if score.support]
    bars = [cell for cell in shown if cell[0].kind in (Kind.BASE, Kind.MIX)]
    height = 0.8 / max(1, len(bars))
    with mpl.rc_context({**STYLE, "axes.grid.axis": "x"}):
        figure, axes = new_axes("F1", "", (4.5, 5.4))
        at = np.arange(len(occurring))
        for cell, label, metrics in shown:
            f1s = [metrics.per_class[name].f1 for name in occurring]
            if cell.kind in (Kind.BASE, Kind.MIX):
                place = at + height * ((len(bars) - 1) / 2 - bars.index((cell, label, metrics)))
                axes.barh(place, f1s, height, color=GREY if cell.kind == Kind.BASE else BLUE, label=label)
            else:
                colour, marker = (VERMILION, "D") if cell.kind == Kind.RULE_LABELER else (GREEN, "o")
                axes.plot(
                    f1s, at, marker, color=colour, markersize=6, markeredgecolor=INK, markeredgewidth=0.6,
                    clip_on=False, label=label,
                )  # fmt: skip
        axes.set_yticks(at, [f"{name} ({shown[0][2].per_class[name].support:,})" for name in occurring])
        axes.tick_params(axis="y", length=0)
        axes.set_xlim(0, 1)
        return finish("f1_by_class", f"{TASK_TITLES[multiple_choice.NAME]}: F1 by class (gold cases)", figure)


def learning_curves(curves: Sequence[tuple[Cell, Curve]], kind: Kind) -> Drawing | None:
    """Loss by optimizer step of the cells of a kind: a moving mean, each step's own loss behind it."""
    if not curves:
        return None
    with mpl.rc_context(STYLE):
        figure, axes = new_axes("Optimizer step", "Loss (moving mean)")
        for i, (cell, curve) in enumerate(curves):
            colour = (BLUE, ORANGE, GREEN, VERMILION, PURPLE, GREY)[i % 6]
            dash = ("-", "--", ":")[i // 6 % 3]
            steps, losses = np.array(curve.training).T
            axes.plot(steps, losses, color=colour, alpha=0.25, linewidth=0.8)
            window = max(1, len(steps) // 15)
            means = np.convolve(losses, np.ones(window) / window, mode="valid")
            axes.plot(steps[window - 1 :], means, dash, color=colour, linewidth=1.8, label=_curve_label(cell))
            if curve.validation:
                axes.plot(*np.array(curve.validation).T, "o", color=colour, markersize=4)
        thousands(axes)
        axes.set_ylim(bottom=0)
        name, title = _CURVES[kind]
        return finish(name, title, figure)


def _curve_label(cell: Cell) -> str:
    if cell.learning_rate is not None:
        return f"lr {rate_text(cell.learning_rate)}"
    if cell.kind == Kind.SEPARATE:
        return f"{TASK_TITLES[cell.tasks[0]].lower()}, {cell.total:,}"
    return f"{cell.wcm:,} + {cell.mimic:,} rows"


def _by_rows(scored: Sequence[tuple[Cell, Metrics]], task: str) -> list[tuple[int, Metrics]]:
    return sorted(((cell.rows(task), metrics) for cell, metrics in scored), key=lambda point: point[0])


def _f1_axes(x_label: str) -> tuple[Figure, Axes]:
    figure, axes = new_axes(x_label, "Micro F1 (band: 95 % interval)")
    axes.yaxis.set_major_formatter(FormatStrFormatter("%.2f"))
    axes.yaxis.set_major_locator(MaxNLocator(6, steps=[1, 2, 5, 10]))
    return figure, axes


def _f1_drawing(name: str, title: str, figure: Figure, axes: Axes) -> Drawing:
    bottom, top = axes.get_ylim()
    axes.set_ylim(max(0.0, bottom), min(1.0, top) if top > 1 else top)
    return finish(name, title, figure)


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
