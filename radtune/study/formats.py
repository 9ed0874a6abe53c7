"""Tables as CSV, Markdown, LaTeX and plain text."""

import csv
from collections.abc import Iterator, Sequence
from itertools import groupby
from pathlib import Path

from radtune.files import write_whole
from radtune.study.table import Table, Value


def value_text(value: Value, signed: bool = False) -> str:
    """A value in print: two decimals, as in the paper; thousands separated; a difference with its sign."""
    if value is None:
        return ""
    if isinstance(value, tuple):
        low, high = (value_text(end, signed) for end in value)
        return f"{low} to {high}" if signed else f"{low}–{high}"
    if isinstance(value, float):
        if not signed:
            return f"{value:.2f}"
        # What rounds to 0 has no sign.
        return f"{value:+.2f}".replace("-", "−") if round(value, 2) else "0.00"
    return f"{value:,}" if isinstance(value, int) else value


def printed_rows(table: Table) -> list[list[str]]:
    """Rows as text.

    A name that repeats the one above it in the first column is left blank, as in the paper, except where rows may be
    sorted.
    """
    rows = []
    above: Value = None
    for row in table.rows:
        texts = [value_text(value, column.signed) for value, column in zip(row, table.columns, strict=True)]
        rows.append(["" if row[0] == above and not table.sortable else texts[0], *texts[1:]])
        above = row[0]
    return rows


def column_groups(table: Table) -> list[tuple[str, int]]:
    """Group titles from left to right with the number of columns under each; no title where there is no group."""
    return [(group, len(list(members))) for group, members in groupby(column.group for column in table.columns)]


def write_table(folder: Path, table: Table) -> None:
    """Writes ``NAME.csv``, ``NAME.md`` and ``NAME.tex`` in a folder."""
    with write_whole(folder / f"{table.name}.csv") as stream:
        csv.writer(stream, lineterminator="\n").writerows(_csv_rows(table))
    for suffix, text in ((".md", markdown(table)), (".tex", latex(table))):
        with write_whole(folder / f"{table.name}{suffix}") as stream:
            stream.write(text)


def _csv_rows(table: Table) -> Iterator[list[Value]]:
    names = ((f"{c.name}_low", f"{c.name}_high") if c.interval else (c.name,) for c in table.columns)
    yield [name for pair in names for name in pair]
    for row in table.rows:
        cells: list[Value] = []
        for column, value in zip(table.columns, row, strict=True):
            values = value if isinstance(value, tuple) else (value, value) if column.interval else (value,)
            cells += [round(v, 4) if isinstance(v, float) else v for v in values]
        yield cells


def markdown(table: Table) -> str:
    """The table in Markdown, its title as a paragraph above it."""
    # Markdown has no heads over several columns.
    titles = [f"{column.group} {column.title}".strip() for column in table.columns]
    lines = [titles, ["---" if column.text else "---:" for column in table.columns], *printed_rows(table)]
    body = "".join(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in line)} |\n" for line in lines)
    return f"**{table.title}**\n\n{body}"


_LATEX_SPECIAL = str.maketrans(
    {c: f"\\{c}" for c in "&%$#_{}"}
    | {"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\^{}", "–": "--"}
    | {"−": "$-$", "<": "$<$", ">": "$>$", "Δ": r"$\Delta$", "“": "``", "”": "''", "…": r"\ldots{}"}
)


def latex(table: Table) -> str:
    """The table as a LaTeX float; needs the booktabs package."""
    groups = column_groups(table)
    lines = [
        r"\begin{table}",
        r"\centering",
        rf"\caption{{{table.title.translate(_LATEX_SPECIAL)}}}",
        rf"\begin{{tabular}}{{{''.join('l' if column.text else 'r' for column in table.columns)}}}",
        r"\toprule",
    ]
    if any(title for title, _ in groups):
        spans = [rf"\multicolumn{{{n}}}{{c}}{{{title.translate(_LATEX_SPECIAL)}}}" for title, n in groups]
        lines += [_latex_row(spans), " ".join(_rules(groups))]
    lines += [_latex_row([column.title.translate(_LATEX_SPECIAL) for column in table.columns]), r"\midrule"]
    lines += [_latex_row([cell.translate(_LATEX_SPECIAL) for cell in row]) for row in printed_rows(table)]
    return "\n".join([*lines, r"\bottomrule", r"\end{tabular}", r"\end{table}", ""])


def _latex_row(cells: Sequence[str]) -> str:
    return " & ".join(cells) + r" \\"


def _rules(groups: Sequence[tuple[str, int]]) -> Iterator[str]:
    first = 1
    for title, n in groups:
        if title:
            yield rf"\cmidrule(lr){{{first}-{first + n - 1}}}"
        first += n


def plain_text(table: Table) -> str:
    """The table for a terminal, its columns aligned."""
    rows = printed_rows(table)
    widths = [max(map(len, (column.title, *(row[i] for row in rows)))) for i, column in enumerate(table.columns)]
    lines = [table.title]
    groups = column_groups(table)
    if any(title for title, _ in groups):
        first = 0
        heads = []
        for title, n in groups:
            heads.append(title.center(sum(widths[first : first + n]) + 2 * (n - 1)))
            first += n
        lines.append("  ".join(heads).rstrip())
    for row in ([column.title for column in table.columns], *rows):
        aligned = (
            cell.ljust(width) if column.text else cell.rjust(width)
            for column, cell, width in zip(table.columns, row, widths, strict=True)
        )
        lines.append("  ".join(aligned).rstrip())
    return "\n".join(lines)
