"""How figures are drawn: their colours, their axes, and the two forms that they are written in."""

import io
from collections.abc import Collection, Mapping
from dataclasses import dataclass

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FormatStrFormatter, FuncFormatter, MaxNLocator

from radtune.study.titles import FIGURES

# Okabe & Ito's palette, which readers with any form of colour blindness can tell apart; lines differ in dash as well.
BLUE, ORANGE, GREEN, VERMILION, PURPLE, GREY = "#0072B2", "#E69F00", "#009E73", "#D55E00", "#CC79A7", "#808080"
# The report page replaces these two by the colours of the reader's theme.
INK, PAPER = "#202428", "#fefefe"
STYLE = {
    "figure.facecolor": PAPER, "savefig.facecolor": PAPER, "axes.facecolor": "none",
    "axes.edgecolor": INK, "axes.labelcolor": INK, "text.color": INK, "xtick.color": INK, "ytick.color": INK,
    "axes.spines.top": False, "axes.spines.right": False,
    "axes.grid": True, "axes.grid.axis": "y", "grid.color": GREY, "grid.alpha": 0.3, "grid.linewidth": 0.6,
    "font.size": 10, "legend.frameon": False, "legend.fontsize": 9, "legend.handlelength": 2.6,
    "text.parse_math": False,  # a model may have a dollar sign in its name
    "svg.fonttype": "none",  # text stays text: it can be searched, read aloud, and takes the page's font
    "svg.hashsalt": "radtune",
}  # fmt: skip
# Signs of a legend's entry that leave room for another beside it.
_LONGEST = 25
# Colour and marker of each system in a figure of their scores: as many as can be told apart.
LINES = tuple((colour, "os^Dv*"[(i + j) % 6]) for j in (0, 3) for i, colour in enumerate(
    (BLUE, ORANGE, GREEN, VERMILION, PURPLE, INK)
))  # fmt: skip


@dataclass(frozen=True)
class Drawing:
    """A figure: ``name`` is its file's, ``title`` says what it shows, ``part`` of the report page it stands in."""

    name: str
    title: str
    part: str
    svg: str
    png: bytes


def new_axes(x_label: str, y_label: str, size: tuple[float, float] = (4.5, 3.6), grid: str = "y") -> Axes:
    """Axes of a figure of their own; its size in inches, narrow enough to be read on a phone at its own."""
    with mpl.rc_context({**STYLE, "axes.grid.axis": grid}):
        # Made without pyplot, which would keep every figure and look for a display.
        axes = Figure(figsize=size, layout="constrained").subplots()
        axes.set_xlabel(x_label)
        axes.set_ylabel(y_label)
        return axes


def thousands(axes: Axes) -> None:
    """Whole numbers along x, from 0, with separators."""
    axes.set_xlim(left=0)
    axes.xaxis.set_major_locator(MaxNLocator(6, integer=True))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda x, _: f"{x:,.0f}"))


def f1_axes(x_label: str, seeds: Collection[int | str]) -> Axes:
    """Axes of micro F1, which say what a band is: of several ``seeds`` a standard deviation, else an interval."""
    some = "± sd where seeds, else 95 % interval" if isinstance(seeds, Mapping) and seeds else "± sd"
    axes = new_axes(x_label, f"Micro F1 (band: {some if seeds else '95 % interval'})")
    axes.yaxis.set_major_formatter(FormatStrFormatter("%.2f"))
    axes.yaxis.set_major_locator(MaxNLocator(6, steps=[1, 2, 5, 10]))
    return axes


def beyond(systems: Collection[object], where: str) -> str:
    """What a title says of those for which there is no line left."""
    return f"; {len(systems) - len(LINES)} more in {where}" if len(systems) > len(LINES) else ""


def finish(name: str, title: str, part: str, axes: Axes) -> Drawing:
    """Adds the legend, and draws; an F1 is not drawn beyond 0 and 1."""
    if part == FIGURES:
        bottom, top = axes.get_ylim()
        axes.set_ylim(max(0.0, bottom), min(1.0, top))
    svg, png = io.StringIO(), io.BytesIO()
    with mpl.rc_context(STYLE):
        # As many columns as fit a phone.
        longest = max(map(len, axes.get_legend_handles_labels()[1]), default=0)
        axes.figure.legend(loc="outside lower center", ncols=2 if longest <= _LONGEST else 1)
        # Without a date the same scores give the same file.
        axes.figure.savefig(svg, format="svg", metadata={"Date": None, "Title": title})
        axes.figure.savefig(png, format="png", dpi=200, metadata={"Title": title})
    return Drawing(name, title, part, svg.getvalue(), png.getvalue())
