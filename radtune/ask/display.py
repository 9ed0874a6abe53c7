"""One report's row, for reading."""

import unicodedata
from collections.abc import Mapping
from typing import Any

# Unicode's categories of what is no letter but an order to the terminal: control (ESC, NUL, C1) and format characters
# (bidirectional overrides), half surrogate pairs, separators of lines and paragraphs.
_ORDERS = ("Cc", "Cf", "Cs", "Zl", "Zp")


def row_text(row: Mapping[str, Any]) -> str:
    """A row of predictions in words: each label with its evidence and score, or what became of the answer.

    Args:
        row: As :func:`radtune.ask.rows.make_row` makes it.

    Returns:
        Lines; they may hold words of the report. Characters that would steer a terminal are escaped.
    """
    evidence = {found["label"]: found for found in row.get("evidence", ())}
    scores = row.get("scores", {})
    lines = []
    for label in row["labels"]:
        line = label + (f"  {scores[label]:.2f}" if label in scores else "")
        found = evidence.get(label)
        if found is not None:
            quote = f"“{found['quote']}”" if found["quote"] else "no evidence given"
            at = f"at {found['start']}-{found['end']}" if found["start"] is not None else "no support in the report"
            line += f"  {quote} ({at})" if found["quote"] else f"  {quote}"
        lines.append(line)
    if row["status"] != "ok":
        lines.append(f"no answer that can be read ({row['status']}): {row['response'] or row.get('error', '')}")
    elif not lines:
        lines.append("no label")
    lines += [f"denied: {label}" for label in row.get("denied", ())]
    others = [f"{name} {score:.2f}" for name, score in scores.items() if name not in row["labels"]]
    if others:
        lines.append("others: " + ", ".join(others))
    if cut := row.get("cut_words", 0):
        words = "1 word of the report's middle was" if cut == 1 else f"{cut:,} words of the report's middle were"
        lines.append(f"({words} not shown to the model)")
    # A model's answer is data: whatever it holds, it must not steer the terminal.
    return "".join(map(_shown, "\n".join(lines)))


def _shown(letter: str) -> str:
    """A character as it is, or its escape where it would steer the terminal."""
    if letter in "\n\t" or unicodedata.category(letter) not in _ORDERS:
        return letter
    return letter.encode("unicode_escape").decode("ascii")
