"""The figures of a run, step by step: ``history.jsonl``, cut back where a run goes on, and the curve drawn from it."""

import io
import json
import os
from contextlib import suppress
from pathlib import Path
from typing import Any

from radtune.config import InputError
from radtune.files import read_jsonl, write_bytes, write_jsonl


class History:
    """A run's figures, each row flushed as it comes; ``rows`` is what the file holds."""

    def __init__(self, path: Path, upto_step: int, validated_step: int) -> None:
        """Opens the file and drops what a run that stopped had done after its last checkpoint.

        Of its rows, those up to a step stay, and validations up to another.
        """
        self.path = path
        self.rows: list[dict[str, Any]] = []
        if upto_step and path.is_file():
            # A killed process may leave half a line, and only at the end.
            with suppress(InputError):
                for _, row in read_jsonl(path):
                    if row["step"] <= (validated_step if "validation_loss" in row else upto_step):
                        self.rows.append(row)
        write_jsonl(path, self.rows)
        self._stream = open(path, "a", encoding="utf-8")  # noqa: SIM115  (as long as the run)

    def add(self, **figures: Any) -> None:
        """Appends a row; an InputError where the disk is full."""
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


def draw_curve(rows: list[dict[str, Any]], path: Path, title: str) -> None:
    """Draws a history's loss, validation loss and F1 over steps as a PNG."""
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
