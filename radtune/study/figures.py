"""The study's figures: F1 by amount of data, the paper's Figures 3 and 4, F1 by class, and learning curves."""

import json
import math
import re
import statistics
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import PercentFormatter

from radtune.files import open_text
from radtune.score.evaluation import ClassScore, Metrics
from radtune.score.scores import Score
from radtune.study.cells import Cell, Kind, rate_text
from radtune.study.drawing import (
    BLUE,
    GREEN,
    GREY,
    INK,
    LINES,
    ORANGE,
    PURPLE,
    VERMILION,
    Drawing,
    beyond,
    f1_axes,
    finish,
    new_axes,
    thousands,
)
from radtune.study.ensembles import System
from radtune.study.findings import class_cells
from radtune.study.formats import slug
from radtune.study.plan import Study
from radtune.study.results import Reported, Results
from radtune.study.settings import Test
from radtune.study.titles import (
    ENSEMBLES,
    FIGURES,
    FINDINGS,
    LINEAR_TITLE,
    TRAINING,
    figure_names,
    lower_first,
    mix_text,
    row_label,
    rows_of_task,
    told_apart,
)

# Classes in a figure: as many as can be read on a phone.
MOST_CLASSES = 25
# Scores in a bin of which the share that is there is drawn.
_FEWEST = 10
_CURVES = {
    "mixes": (Kind.MIX, Kind.CROSS_CHECK),
    "learning rates": (Kind.LEARNING_RATE,),
    "one task alone": (Kind.SEPARATE,),
}
# torchtune's DiskLogger: `Step 12 | loss:0.31 lr:0.003 tokens_per_second_per_gpu:120.5`.
_STEP = re.compile(r"^Step (\d+) \| (.*)$")
_LOSS = re.compile(r"\b(loss|validation_loss):(-?(?:\d[\d.]*(?:e[-+]?\d+)?|inf|nan))")


@dataclass
class Curve:
    """Loss by optimizer step, counted from 1; ``validation`` where the recipe measures it."""

    training: list[tuple[int, float]] = field(default_factory=list)
    validation: list[tuple[int, float]] = field(default_factory=list)


def all_figures(results: Results, reported: Reported) -> list[Drawing]:
    """Every figure that the study has scores or logs for, but for those of ensembles and of class scores."""
    study, tests = results.study, results.study.tests.values()
    found = [f1_by_size(results, reported, test) for test in tests]
    found += [f1_by_rate(results, reported, test) for test in tests]
    found += [separate_figure(results, reported, study.tests[name]) for name in study.settings.separate]
    found += [f1_by_class(results, test) for test in tests]
    found += [drawing for test in tests for drawing in f1_by_group(results, test)]
    found += [learning_curves(study, name) for name in _CURVES]
    return [drawing for drawing in found if drawing is not None]


def f1_by_size(results: Results, reported: Reported, test: Test) -> Drawing | None:
    """F1 of base and mixes by total training rows, with rule labeler and teacher as lines across."""
    if not results.scored(Kind.MIX, test.name):
        return None
    axes = f1_axes("Rows of fine-tuning data (all tasks)", results.study.settings.seeds)
    titles, base = results.study.titles, results.groups(Kind.BASE, test.name)
    for kind, start, colours, dash, label in (
        (Kind.MIX, base, (BLUE, PURPLE), "-", f"{results.study.settings.model_name}, fine-tuned"),
        (Kind.LINEAR, [], (ORANGE, GREY), "--", LINEAR_TITLE),
    ):
        groups = results.groups(kind, test.name)
        # A line for the mixes of each of several cohorts that teach the same.
        taught = list(dict.fromkeys(tuple(cell.cohorts) for cell, _ in groups))
        for number, cohorts in enumerate(taught):
            own = [group for group in groups if tuple(group[0].cohorts) == cohorts]
            on = f" on {' + '.join(titles[name] for name in cohorts)}" if len(taught) > 1 else ""
            points = [(cell.total, scores) for cell, scores in [*start, *own]]
            _line(axes, points, colours[number % 2], "os"[number % 2], label + on, dash)
    for kind, colour, dash in (
        (Kind.BASE, INK, "--"), (Kind.RULE_LABELER, VERMILION, "-."), (Kind.ANNOTATOR, VERMILION, "-."),
        (Kind.TEACHER, GREEN, ":"),
    ):  # fmt: skip
        _across(axes, results, kind, test, colour, dash)
    if reported.has_mixes(results.study) and test.task.name in reported.tables:
        rows = [row for row in reported.tables[test.task.name].rows if row.kind in (Kind.BASE, Kind.MIX)]
        xs, f1s = [sum(row.mix.values()) for row in rows], [row.f1 for row in rows]
        axes.plot(xs, f1s, color=GREY, marker="x", linewidth=1, label="Paper")
    thousands(axes)
    return finish(f"f1_by_size_{test.name}", f"{test.title}: F1 by amount of data", FIGURES, axes)


def f1_by_rate(results: Results, reported: Reported, test: Test) -> Drawing | None:
    """The paper's Figure 3: F1 by learning rate."""
    scored = [group for group in results.groups(Kind.LEARNING_RATE, test.name) if group[1]]
    if not scored:
        return None
    axes = f1_axes("Learning rate", results.study.settings.seeds)
    points = [(cell.learning_rate or 0, scores) for cell, scores in scored]
    _line(axes, points, BLUE, "o", f"Trained on {scored[0][0].total:,} rows")
    _across(axes, results, Kind.BASE, test, INK, "--")
    axes.set_xscale("log")
    axes.set_xticks([rate for rate, _ in points], [rate_text(rate) for rate, _ in points], minor=False)
    axes.minorticks_off()
    name, title = figure_names(reported, Kind.LEARNING_RATE, test)
    return finish(name, f"{title} by learning rate", FIGURES, axes)


def separate_figure(results: Results, reported: Reported, test: Test) -> Drawing | None:
    """The paper's Figure 4: F1 of training on one task alone, and on all, by rows of that task.

    What the paper's text says of its own is marked where the study has its sizes.
    """
    if not results.scored(Kind.SEPARATE, test.name):
        return None
    axes = f1_axes("Rows of this task's fine-tuning data", results.study.settings.seeds)
    for kind, colour, marker, label in (
        (Kind.SEPARATE, ORANGE, "s", "This task alone"), (Kind.MIX, BLUE, "o", "All tasks jointly")
    ):  # fmt: skip
        points = [(rows_of_task(results.study, cell, test), m) for cell, m in results.groups(kind, test.name)]
        _line(axes, points, colour, marker, label, "--" if kind == Kind.SEPARATE else "-")
    paper = reported.figure(Kind.SEPARATE, test.task.name)
    if paper and results.best_mix(test.name) and reported.has_mixes(results.study):
        xs, f1s = [point["rows"] for point in paper.points], [point["f1"] for point in paper.points]
        axes.plot(xs, f1s, "x", color=GREY, markersize=7, label="Paper")
    thousands(axes)
    name, title = figure_names(reported, Kind.SEPARATE, test)
    return finish(name, f"{title}, joint against separate training", FIGURES, axes)


def f1_by_class(results: Results, test: Test) -> Drawing | None:
    """Bars of F1 by class for base and best mix, with rule labeler and teacher as marks; classes that occur."""
    shown = list(class_cells(results, test.name)) if test.task.classes else []
    if not shown:
        return None
    support = {name: score.support for name, score in shown[0][2].per_class.items() if score.support}
    kept = sorted(support, key=lambda name: -support[name])[:MOST_CLASSES]
    occurring = {name: f"{name} ({count:,})" for name, count in support.items() if name in kept}
    most = f", the {MOST_CLASSES} most frequent" if len(support) > MOST_CLASSES else ""
    axes = _bars(shown, occurring, lambda metrics, name: metrics.per_class[name])
    return finish(f"f1_by_class_{test.name}", f"{test.title}: F1 by class (gold cases){most}", FINDINGS, axes)


def f1_by_group(results: Results, test: Test) -> list[Drawing]:
    """The same by modality, or another column of the test's reports, with intervals."""
    found, shown = [], list(class_cells(results, test.name))
    for column, groups in (shown[0][2].by if shown else {}).items():
        titles = {value: f"{value} ({group.n_reports:,})" for value, group in groups.items()}
        axes = _bars(shown, titles, lambda metrics, name, column=column: metrics.by[column][name].micro, intervals=True)
        title = f"{test.title}: F1 by {column} (reports)"
        found.append(finish(f"f1_by_{slug(column)}_{test.name}", title, FINDINGS, axes))
    return found


def calibration_figures(results: Results, test: Test, systems: Sequence[System] = ()) -> list[Drawing]:
    """How often classes of a score are there, and F1 where a reader takes doubtful reports.

    Of ensembles and what stands beside them when calibrated, and dotted as they are; else of each cell with scores.
    """
    scored = [(system.title, *reversed(system.calibrations)) for system in systems]
    if not systems:
        cells = [(results.study.cell(cell), one) for (cell, name), one in results.metrics.items() if name == test.name]
        cells = [(cell, one.calibration) for cell, one in cells if one.calibration]
        titles = told_apart(results.study, [cell for cell, _ in cells])
        scored = [(title, found) for title, (_, found) in zip(titles, cells, strict=True)]
    if not scored:
        return []
    reliability = new_axes("Mean score", f"Share that is there (of {_FEWEST} or more)")
    # Bands of several systems would hide one another.
    asked = "Share of the reports that a reader takes"
    handed = f1_axes(asked, ()) if len(scored) == 1 else new_axes(asked, "Micro F1")
    reliability.plot((0, 1), (0, 1), color=GREY, linewidth=1, label="Probabilities")
    for number, ((colour, marker), (label, *both)) in enumerate(zip(LINES, scored, strict=False)):
        errors = ", before ".join(f"{found.error:.3f}" for found in both)
        dashes = ("-", ":") if systems else (("-", "--", "-.")[number % 3],)
        for found, dash in zip(both, dashes, strict=True):
            style = {"color": colour, "linestyle": dash, "marker": marker, "markersize": 4}
            named = found is both[0]
            bins = [(one.score, one.share) for one in found.bins if one.count >= _FEWEST]
            reliability.plot(*zip(*bins, strict=True), **style, label=f"{label}: error {errors}" if named else None)
            shares = [point.share for point in found.curve]
            handed.plot(shares, [point.f1 for point in found.curve], **style, label=label if named else None)
        if len(scored) == 1:
            band = zip(*(point.ci95 for point in both[0].curve), strict=True)
            handed.fill_between(shares, *band, color=colour, alpha=0.18)
    handed.xaxis.set_major_formatter(PercentFormatter(1, 0))
    part, dotted = (ENSEMBLES, " (dotted: before calibration)") if systems else (FINDINGS, "")
    dotted += beyond(scored, f"tables/calibration_{test.name}.csv" if systems else "evaluations/*/metrics.json")
    title = f"F1 where a reader takes the most doubtful reports{dotted}"
    return [
        finish(f"reliability_{test.name}", f"{test.title}: are scores probabilities?{dotted}", part, reliability),
        finish(f"handed_over_{test.name}", f"{test.title}: {title}", part, handed),
    ]


def _bars(
    shown: Sequence[tuple[Cell, str, Metrics]],
    titles: Mapping[str, str],
    score: Callable[[Metrics, str], Score | ClassScore],
    intervals: bool = False,
) -> Axes:
    """Bars of F1 of base and best mix, by what has a title, the first on top; the others' as marks."""
    bars = [label for cell, label, _ in shown if cell.kind in (Kind.BASE, Kind.MIX)]
    height = 0.8 / max(1, len(bars))
    axes = new_axes("F1", "", (4.5, max(2.5, 1 + 0.37 * len(titles))), grid="x")
    at = np.arange(len(titles))
    for cell, label, metrics in shown:
        scores = [score(metrics, name) for name in reversed(titles)]
        f1s = [found.f1 for found in scores]
        if label in bars:
            place = at + height * ((len(bars) - 1) / 2 - bars.index(label))
            axes.barh(place, f1s, height, color=GREY if cell.kind == Kind.BASE else BLUE, label=label)
            if intervals:
                axes.hlines(place, *zip(*(found.ci95["f1"] for found in scores), strict=True), color=INK, linewidth=0.8)
            continue
        colour, marker = (VERMILION, "D") if cell.kind == Kind.RULE_LABELER else (GREEN, "o")
        edge = {"markeredgecolor": INK, "markeredgewidth": 0.6}
        axes.plot(f1s, at, marker, color=colour, markersize=6, **edge, clip_on=False, label=label)
    axes.set_yticks(at, list(titles.values())[::-1])
    axes.tick_params(axis="y", length=0)
    axes.set_xlim(0, 1)
    return axes


def learning_curves(study: Study, name: str) -> Drawing | None:
    """Loss by optimizer step of the cells of a kind: a moving mean, each step's own loss behind it."""
    trained = [cell for cell in study.cells if cell.trained and cell.kind in _CURVES[name]]
    curves = [(cell, curve) for cell in trained if (curve := newest_curve(study.training(cell.name))) is not None]
    if not curves:
        return None
    axes = new_axes("Optimizer step", "Loss (moving mean)")
    for i, (cell, curve) in enumerate(curves):
        colour = (BLUE, ORANGE, GREEN, VERMILION, PURPLE, GREY)[i % 6]
        dash = ("-", "--", ":")[i // 6 % 3]
        steps, losses = np.array(curve.training).T
        axes.plot(steps, losses, color=colour, alpha=0.25, linewidth=0.8)
        window = max(1, len(steps) // 15)
        means = np.convolve(losses, np.ones(window) / window, mode="valid")
        axes.plot(steps[window - 1 :], means, dash, color=colour, linewidth=1.8, label=_curve_label(study, cell))
        if curve.validation:
            axes.plot(*np.array(curve.validation).T, "o", color=colour, markersize=4)
    thousands(axes)
    axes.set_ylim(bottom=0)
    return finish(f"curves_{name.replace(' ', '_')}", f"Learning curves: {name}", TRAINING, axes)


def _curve_label(study: Study, cell: Cell) -> str:
    seed = "" if cell.seed is None else f", seed {cell.seed}"
    if cell.learning_rate is not None:
        return f"lr {rate_text(cell.learning_rate)}{seed}"
    if cell.kind == Kind.SEPARATE:
        return f"{lower_first(study.tests[cell.tests[0]].title)}, {mix_text(cell)}{seed}"
    return f"{mix_text(cell)} rows{f', {cell.recipe}' if cell.kind == Kind.CROSS_CHECK else ''}{seed}"


def newest_curve(folder: Path) -> Curve | None:
    """The losses in the newest log of a training folder; None if there is no log with losses.

    A log is a ``.jsonl`` of our recipe, or a ``.txt`` by torchtune's DiskLogger, of which each start leaves one.
    """
    logs = [sorted(folder.rglob(pattern), key=lambda path: path.stat().st_mtime_ns) for pattern in ("*.txt", "*.jsonl")]
    for path in reversed([*logs[0], *logs[1]]):
        curve = Curve()
        for step, values in _log_rows(path):
            for name, points in (("loss", curve.training), ("validation_loss", curve.validation)):
                if isinstance(loss := values.get(name), float) and math.isfinite(loss):
                    points.append((step, loss))
        if curve.training:
            return curve
    return None


def _log_rows(path: Path) -> Iterator[tuple[int, dict[str, object]]]:
    with open_text(path) as stream:
        for line in stream:
            if match := _STEP.match(line):
                yield int(match[1]), {name: float(value) for name, value in _LOSS.findall(match[2])}
                continue
            # Others: a logger's, or the last line of a training that is still running, or was killed.
            with suppress(ValueError):
                row = json.loads(line)
                if isinstance(row, dict) and isinstance(row.get("step"), int):
                    yield row["step"], row


def _across(axes: Axes, results: Results, kind: Kind, test: Test, colour: str, dash: str) -> None:
    for number, (cell, metrics) in enumerate(results.scored(kind, test.name)):
        label = "Base model" if kind == Kind.BASE else row_label(results.study, cell)
        # Further ones in dashes of their own.
        pattern = (0, (1 + 2 * number, 2)) if number else dash
        axes.axhline(metrics.micro.f1, color=colour, linestyle=pattern, linewidth=1.4, label=label)


def _line(
    axes: Axes, points: Sequence[tuple[float, Sequence[Metrics]]], colour: str, marker: str, label: str, dash: str = "-"
) -> None:
    """A line through F1; its band is the interval, or, of several seeds, a standard deviation to either side."""
    points = sorted((point for point in points if point[1]), key=lambda point: point[0])
    if not points:
        return
    xs, f1s = [x for x, _ in points], [statistics.fmean(m.micro.f1 for m in scores) for _, scores in points]
    low, high = zip(*map(_band, (scores for _, scores in points)), strict=True)
    axes.plot(xs, f1s, color=colour, marker=marker, linestyle=dash, label=label, clip_on=False)
    if len(points) > 1:
        axes.fill_between(xs, low, high, color=colour, alpha=0.18, linewidth=0)
    else:
        axes.vlines(xs, low, high, color=colour, alpha=0.5)


def _band(scores: Sequence[Metrics]) -> tuple[float, float]:
    if len(scores) == 1:
        low, high = scores[0].micro.ci95["f1"]
        return low, high
    f1s = [metrics.micro.f1 for metrics in scores]
    return statistics.fmean(f1s) - statistics.stdev(f1s), statistics.fmean(f1s) + statistics.stdev(f1s)
