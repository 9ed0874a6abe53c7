r"""Makes a label table of a task's classes from one with other names, such as another collection's gold.

    python scripts/map_labels.py task=multiple_choice input=nih_gold.csv output=gold.csv \
        names='{Effusion: Pleural Effusion, Mass: Lung Lesion, Nodule: Lung Lesion}'

Columns that are not named are left out, and classes that no column counts as stay blank. Where several columns count as
one class, it is present if it is in one of them, else uncertain, else absent.
"""

import radtune  # isort: skip  # noqa: F401  (first: Ctrl-C is one line from here on)
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from radtune.command import run_command
from radtune.config import InputError, key, nearest
from radtune.files import check_outputs, write_manifest
from radtune.label_files import write_label_table
from radtune.privacy import no_column
from radtune.tables import check_table_name, find_id_column, id_cell, is_missing, read_table
from radtune.tasks import load_task

# Cells, the most certain first.
_CELLS = {"1": 1, "1.0": 1, "-1": -1, "-1.0": -1, "0": 0, "0.0": 0}


@dataclass
class MapLabelsConfig:
    """Keys of this command."""

    task: str = key("Whose classes are written: a name, or the path of a task file.")
    input: Path = key("The label table: 1, 0, -1 or blank by report and name.")
    output: Path = key("The label table to write (CSV).")
    names: dict[str, str] = key("By column of the input, the class that it counts as.")
    id_column: str | None = key("Column of the reports' ids, where its name does not tell.", None)


def main(config: MapLabelsConfig) -> None:
    """Reads, maps and writes."""
    task = load_task(config.task)
    for name in config.names.values():
        if name not in task.classes:
            raise InputError(f"names: {task.name} has no class {name!r}{nearest(name, task.classes)}")
    if not config.names:
        raise InputError("names: none given: every cell would be blank")
    check_table_name(config.output)
    check_outputs([config.output], [config.input])
    rows: dict[str, dict[str, int | None]] = {}
    for number, row in read_table(config.input):
        where = f"{config.input}:{number}"
        for name in config.names:
            if name not in row:
                raise InputError(f"{config.input}: {no_column(name, row)}")
        report_id = id_cell(where, find_id_column(row, config.input, config.id_column), row)
        if not report_id or report_id in rows:
            raise InputError(f"{where}: {'a report stands twice' if report_id else 'a report without an id'}")
        rows[report_id] = _mapped(where, row, config.names)
    write_label_table(config.output, task, rows)
    write_manifest(config.output, config, [config.input, *task.files], n_reports=len(rows))
    print(f"{config.output}: {len(rows):,} reports")


def _mapped(where: str, row: dict[str, Any], names: dict[str, str]) -> dict[str, int | None]:
    found: dict[str, list[int]] = {name: [] for name in names.values()}
    for column, name in names.items():
        cell = "" if is_missing(row[column]) else str(row[column]).strip()
        if cell and cell not in _CELLS:
            raise InputError(f"{where}: {column}: expected 1, 0, -1 or blank")
        found[name] += [_CELLS[cell]] if cell else []
    order = list(dict.fromkeys(_CELLS.values()))
    return {name: min(states, key=order.index, default=None) for name, states in found.items()}


if __name__ == "__main__":
    run_command(main, MapLabelsConfig)
