"""The figures of a run, step by step: ``history.jsonl``, cut back where a run goes on, and the curve drawn from it."""

import io
import json
import os
from pathlib import Path
from typing import Any

from radtune.config import InputError
from radtune.files import read_jsonl, write_bytes, write_jsonl


class History:
    """A run's figures, each row flushed as it comes.

    Attributes:
        path: The file.
        rows: What is in it.
    """

    def __init__(self, path: Path, upto_step: int, validated_step: int) -> None:
        """Opens the file and drops what a run that stopped had done after its last checkpoint.

        Args:
            path: The file; made where it is absent.
            upto_step: The last step that stays.
            validated_step: The last validation that stays.
        """
        self.path = path
        self.rows: list[dict[str, Any]] = []
        if upto_step and path.is_file():
            self.rows = [
                row
                for row in _whole_rows(path)
                if row["step"] <= (validated_step if "validation_loss" in row else upto_step)
            ]
        write_jsonl(path, self.rows)
        self._stream = open(path, "a", encoding="utf-8")  # noqa: SIM115  (as long as the run)

    def add(self, **figures: Any) -> None:
        """Appends a row.

        Raises:
            InputError: The disk is full.
        """
        self.rows.append(figures)
        try:
            self._stream.write(json.dumps(figures) + "\n")
            self._stream.flush()
        except OSError as error:
            raise InputError(f"{self.path}: cannot write: {error.strerror}") from None

    def close(self) -> None:
        """Closes the file."""
        os.fsync(self._stream.fileno())
        self._stream.close()


def _whole_rows(path: Path) -> list[dict[str, Any]]:
    rows = []
    try:
        for _, row in read_jsonl(path):
            rows.append(row)
    except InputError:
        # A killed process may leave half a line, and only at the end.
        pass
    return rows


def draw_curve(rows: list[dict[str, Any]], path: Path, title: str) -> None:
    """Draws loss, validation loss and F1 over steps as a PNG.

    Args:
        rows: A history's.
        path: The picture.
        title: Its heading.

    Raises:
        InputError: It cannot be written.
    """
    # Half a second to import, and only the end of a run needs it.
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 4), layout="constrained")
    axes = figure.add_subplot()
    axes.set(xlabel="optimizer step", ylabel="loss (nats a trained token)", title=title)
    scores = axes.twinx()
    scores.set(ylabel="micro F1", ylim=(0, 1))
    f1_names = sorted({name for row in rows for name in row if name.endswith("_f1")})
    for number, name in enumerate(["loss", "validation_loss", *f1_names]):
        points = [(row["step"], row[name]) for row in rows if name in row]
        if points:
            where, style = (scores, "s--") if name.endswith("_f1") else (axes, "-" if name == "loss" else "o-")
            where.plot(*zip(*points, strict=True), style, color=f"C{number}", label=name.replace("_", " "))
    lines = [line for part in (axes, scores) for line in part.get_lines()]
    axes.legend(lines, [line.get_label() for line in lines], loc="upper right")
    picture = io.BytesIO()
    figure.savefig(picture, dpi=150, format="png")
    write_bytes(path, picture.getvalue())
