"""One report's row, for reading."""

from collections.abc import Mapping
from typing import Any

from radtune.findings import NORMAL


def row_text(row: Mapping[str, Any]) -> str:
    """A row of predictions in words: each label with its evidence and score, or what became of the answer.

    Args:
        row: As :func:`radtune.generation.predictions.predict` makes it.

    Returns:
        Lines; they may hold words of the report.
    """
    evidence = {found["label"]: found for found in row.get("evidence", ())}
    scores = row.get("scores", {})
    lines = []
    for label in row["labels"]:
        line = label + (f"  {scores[label]:.2f}" if label in scores else "")
        found = evidence.get(label)
        if found is not None:
            quote = f"“{found['quote']}”" if found["quote"] else "no evidence given"
            at = f"at {found['start']}-{found['end']}" if found["start"] is not None else "not in the report"
            line += f"  {quote} ({at})" if found["quote"] else f"  {quote}"
        lines.append(line)
    if row["status"] != "ok":
        lines.append(f"no answer that can be read ({row['status']}): {row['response'] or row.get('error', '')}")
    elif not lines:
        lines.append(f"{NORMAL}: no label")
    lines += [f"denied: {label}" for label in row.get("denied", ())]
    others = [f"{name} {score:.2f}" for name, score in scores.items() if name not in row["labels"]]
    return "\n".join([*lines, *(["others: " + ", ".join(others)] if others else [])])
