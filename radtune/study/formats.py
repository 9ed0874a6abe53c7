"""What a table is, and its forms: CSV, Markdown, LaTeX and plain text."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import groupby, pairwise
from pathlib import Path

from radtune.files import write_bytes
from radtune.tables import write_csv


@dataclass(frozen=True)
class Spread:
    """Mean and standard deviation over several seeds."""

    mean: float
    deviation: float


Value = str | int | float | tuple[float, float] | Spread | None
# A column: its title, or the heading over it and its neighbours, and its title.
Key = str | tuple[str, str]
Row = dict[Key, Value]

# What stands where a cell has no score yet, and where a row has nothing to do with fine-tuning (as in the paper).
MISSING = "missing"
NOT_TRAINED = "-"


@dataclass(frozen=True)
class Column:
    """A column in print: ``text`` holds names, ``prose`` may run over several lines."""

    title: str
    group: str
    text: bool
    prose: bool


@dataclass(frozen=True)
class Table:
    """A table.

    Attributes:
        name: Its file's.
        title: In print.
        part: The part of the report page that it stands in.
        rows: Values by column; a column that a row does not have is blank there.
        sortable: Whether the report page sorts its rows by a column when asked.
        signed: Columns of differences, printed with their sign.
        prose: Columns of long texts.
        quotes: Columns with the words of reports.
        printed: Whether a terminal shows it at the end of a study.
    """

    name: str
    title: str
    part: str
    rows: Sequence[Row]
    sortable: bool = False
    signed: tuple[Key, ...] = ()
    prose: tuple[Key, ...] = ()
    quotes: tuple[Key, ...] = ()
    printed: bool = False

    @cached_property
    def keys(self) -> list[Key]:
        """Its columns from left to right."""
        return list(dict.fromkeys(key for row in self.rows for key in row))

    @property
    def without_quotes(self) -> "Table":
        """What may be printed: a terminal's text is kept in more places than the study's folder."""
        rows = [{key: value for key, value in row.items() if key not in self.quotes} for row in self.rows]
        return replace(self, rows=rows)

    @cached_property
    def columns(self) -> list[Column]:
        """How they are printed."""
        return [self._column(key) for key in self.keys]

    def _column(self, key: Key) -> Column:
        words = [value for row in self.rows if isinstance(value := row.get(key), str)]
        # 3e-4 and <0.001 are numbers in print.
        text = any(word not in (MISSING, NOT_TRAINED) and word[:1] not in "<0123456789" for word in words)
        group, title = key if isinstance(key, tuple) else ("", key)
        return Column(title, group, text, key in self.prose)

    @property
    def groups(self) -> list[tuple[str, int]]:
        """Headings from left to right with the number of columns under each; none where there is no heading."""
        return [(group, len(list(members))) for group, members in groupby(column.group for column in self.columns)]

    @cached_property
    def texts(self) -> list[list[str]]:
        """Its rows in print.

        A name that repeats the one above it in the first column is left blank, as in the paper, except where rows may
        be sorted.
        """
        rows = [[value_text(row.get(key), key in self.signed) for key in self.keys] for row in self.rows]
        for above, row in reversed([] if self.sortable else list(pairwise(rows))):
            row[0] = "" if row[0] == above[0] else row[0]
        return rows


def value_text(value: Value, signed: bool = False) -> str:
    """A value in print: two decimals, as in the paper; thousands separated; a difference with its sign."""
    if value is None:
        return ""
    if isinstance(value, Spread):
        return f"{value.mean:.2f} ± {value.deviation:.2f}"
    if isinstance(value, tuple):
        low, high = (value_text(end, signed) for end in value)
        return f"{low} to {high}" if signed else f"{low}–{high}"
    if isinstance(value, float):
        if not signed:
            return f"{value:.2f}"
        # What rounds to 0 has no sign.
        return f"{value:+.2f}".replace("-", "−") if round(value, 2) else "0.00"
    return f"{value:,}" if isinstance(value, int) else value


def time_text(seconds: float) -> str:
    """A time, roughly."""
    return f"{seconds / 3600:,.1f} hours" if seconds > 5400 else f"{max(1, round(seconds / 60)):,} min"


def slug(text: str) -> str:
    """A title as the name of a file or column."""
    return "_".join("".join(c if c.isalnum() else " " for c in text.replace("Δ", "delta ")).lower().split())


def write_table(folder: Path, table: Table) -> None:
    """Writes ``NAME.csv``, ``NAME.md`` and ``NAME.tex`` in a folder."""
    write_csv(folder / f"{table.name}.csv", _csv_rows(table))
    for suffix, text in ((".md", markdown(table)), (".tex", latex(table))):
        write_bytes(folder / f"{table.name}{suffix}", text.encode())


def _csv_rows(table: Table) -> Iterator[list[Value]]:
    """A column for each number: two of an interval, or of mean and standard deviation."""
    names = [slug(" ".join(key) if isinstance(key, tuple) else key) for key in table.keys]
    ends = [_ends(row.get(key) for row in table.rows) for key in table.keys]
    yield [f"{name}{end}" for name, pair in zip(names, ends, strict=True) for end in pair]
    for row in table.rows:
        cells: list[Value] = []
        for key, pair in zip(table.keys, ends, strict=True):
            value = row.get(key)
            values = (value.mean, value.deviation) if isinstance(value, Spread) else value
            given = values if isinstance(values, tuple) else (values, None if "_sd" in pair else values)
            cells += [round(v, 4) if isinstance(v, float) else v for v in given[: len(pair)]]
        yield cells


def _ends(values: Iterable[Value]) -> tuple[str, ...]:
    kinds = {type(value) for value in values}
    return ("", "_sd") if Spread in kinds else ("_low", "_high") if tuple in kinds else ("",)


def markdown(table: Table) -> str:
    """The table in Markdown, its title as a paragraph above it."""
    # Markdown has no heads over several columns.
    titles = [f"{column.group} {column.title}".strip() for column in table.columns]
    lines = [titles, ["---" if column.text else "---:" for column in table.columns], *table.texts]
    body = "".join(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in line)} |\n" for line in lines)
    return f"**{table.title}**\n\n{body}"


_LATEX_SPECIAL = str.maketrans(
    {c: f"\\{c}" for c in "&%$#_{}"}
    | {"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\^{}", "–": "--"}
    | {"−": "$-$", "<": "$<$", ">": "$>$", "Δ": r"$\Delta$", "±": r"$\pm$", "“": "``", "”": "''", "…": r"\ldots{}"}
)


def latex(table: Table) -> str:
    """The table as a LaTeX float; needs the booktabs package."""
    rules, first = [], 1
    for title, n in table.groups:
        rules += [rf"\cmidrule(lr){{{first}-{first + n - 1}}}"] if title else []
        first += n
    spans = [rf"\multicolumn{{{n}}}{{c}}{{{_latex_text(title)}}}" for title, n in table.groups]
    lines = [
        r"\begin{table}",
        r"\centering",
        rf"\caption{{{_latex_text(table.title)}}}",
        rf"\begin{{tabular}}{{{''.join('l' if column.text else 'r' for column in table.columns)}}}",
        r"\toprule",
        *([_latex_row(spans), " ".join(rules)] if rules else []),
        _latex_row([_latex_text(column.title) for column in table.columns]),
        r"\midrule",
        *(_latex_row(map(_latex_text, row)) for row in table.texts),
        r"\bottomrule",
        r"\end{tabular}",
        r"\end{table}",
    ]
    return "\n".join([*lines, ""])


def _latex_text(text: str) -> str:
    return text.translate(_LATEX_SPECIAL)


def _latex_row(cells: Iterable[str]) -> str:
    return " & ".join(cells) + r" \\"


def plain_text(table: Table) -> str:
    """The table for a terminal, its columns aligned."""
    lines = [[column.title for column in table.columns], *table.texts]
    widths = [max(map(len, cells)) for cells in zip(*lines, strict=True)]
    heads, first = [], 0
    for title, n in table.groups:
        heads.append(title.center(sum(widths[first : first + n]) + 2 * (n - 1)))
        first += n
    aligned = [
        [
            f"{cell:{'<' if column.text else '>'}{width}}"
            for column, cell, width in zip(table.columns, line, widths, strict=True)
        ]
        for line in lines
    ]
    shown = [heads, *aligned] if "".join(heads).strip() else aligned
    return "\n".join([table.title, *("  ".join(line).rstrip() for line in shown)])
