"""What the study's figures have in common: colours, axes, and the two files of each."""

import io
from dataclasses import dataclass

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator

# Okabe & Ito's palette, which readers with any form of colour blindness can tell apart; lines differ in dash as well.
BLUE, ORANGE, GREEN, VERMILION, PURPLE, GREY = "#0072B2", "#E69F00", "#009E73", "#D55E00", "#CC79A7", "#808080"
# The report page replaces these two by the colours of the reader's theme.
INK, PAPER = "#202428", "#fefefe"

STYLE = {
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
    # A model may have a dollar sign in its name.
    "text.parse_math": False,
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
_SIZE = (4.5, 3.6)


@dataclass(frozen=True)
class Drawing:
    """A figure: ``name`` is its file's, ``title`` says what it shows."""

    name: str
    title: str
    svg: str
    png: bytes


def new_axes(x_label: str, y_label: str, size: tuple[float, float] = _SIZE) -> tuple[Figure, Axes]:
    """A figure with one pair of axes; its size in inches."""
    # Made without pyplot, which would keep every figure and look for a display.
    figure = Figure(figsize=size, layout="constrained")
    axes = figure.subplots()
    axes.set_xlabel(x_label)
    axes.set_ylabel(y_label)
    return figure, axes


def thousands(axes: Axes) -> None:
    """Whole numbers along x, from 0, with separators."""
    axes.set_xlim(left=0)
    axes.xaxis.set_major_locator(MaxNLocator(6, integer=True))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda x, _: f"{x:,.0f}"))


def finish(name: str, title: str, figure: Figure) -> Drawing:
    """Adds the legend, and draws."""
    figure.legend(loc="outside lower center", ncols=2)
    svg, png = io.StringIO(), io.BytesIO()
    # Without a date the same scores give the same file.
    figure.savefig(svg, format="svg", metadata={"Date": None, "Title": title})
    figure.savefig(png, format="png", dpi=200, metadata={"Title": title})
    return Drawing(name, title, svg.getvalue(), png.getvalue())
