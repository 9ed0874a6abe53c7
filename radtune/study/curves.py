"""Learning curves, read from what a training's metric logger wrote."""

import json
import math
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from radtune.files import open_text
from radtune.study import paths
from radtune.study.plan import Cell
from radtune.study.results import Results

# torchtune's DiskLogger: `Step 12 | loss:0.31 lr:0.003 tokens_per_second_per_gpu:120.5`.
_STEP = re.compile(r"^Step (\d+) \| (.*)$")


@dataclass
class Curve:
    """Loss by optimizer step, counted from 1; ``validation`` where the recipe measures it."""

    training: list[tuple[int, float]] = field(default_factory=list)
    validation: list[tuple[int, float]] = field(default_factory=list)


def read_curves(results: Results) -> list[tuple[Cell, Curve]]:
    """The curve of every cell whose training left a log."""
    found = ((cell, newest_curve(paths.training_dir(results.study, cell))) for cell in results.cells if cell.total)
    return [(cell, curve) for cell, curve in found if curve is not None]


def newest_curve(folder: Path) -> Curve | None:
    """The losses in the newest log of a training folder; None if there is no log with losses.

    A log is a ``.txt`` by torchtune's DiskLogger, or a ``.jsonl`` whose rows have ``step``, and ``loss`` or
    ``validation_loss``. A training that was started again has one log a start.
    """
    logs = [path for pattern in ("*.txt", "*.jsonl") for path in folder.rglob(pattern)]
    for path in sorted(logs, key=lambda path: path.stat().st_mtime_ns, reverse=True):
        curve = _read(path)
        if curve.training:
            return curve
    return None


def _read(path: Path) -> Curve:
    curve = Curve()
    for step, values in _text_rows(path) if path.suffix == ".txt" else _json_rows(path):
        for name, points in (("loss", curve.training), ("validation_loss", curve.validation)):
            loss = values.get(name)
            if isinstance(loss, float) and math.isfinite(loss):
                points.append((step, loss))
    return curve


def _text_rows(path: Path) -> Iterator[tuple[int, dict[str, object]]]:
    with open_text(path) as stream:
        for line in stream:
            match = _STEP.match(line)
            if match:
                pairs = (pair.rpartition(":") for pair in match[2].split())
                yield int(match[1]), {name: _number(value) for name, _, value in pairs}


def _json_rows(path: Path) -> Iterator[tuple[int, dict[str, object]]]:
    with open_text(path) as stream:
        for line in stream:
            try:
                row = json.loads(line)
            except ValueError:
                # The last line of a training that is still running, or was killed.
                continue
            if isinstance(row, dict) and isinstance(row.get("step"), int):
                yield row["step"], row


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None
