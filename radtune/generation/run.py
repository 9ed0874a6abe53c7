"""A run over many reports that can be stopped at any moment and goes on where it was.

Finished rows are kept in ``OUTPUT.partial``, a ledger: appended one by one, whole or not at all, by one process at a
time. When the last is there, all are written to the output in the order of the reports and the ledger goes.
"""

import json
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from radtune.files import manifest_path, sha256_text, write_jsonl
from radtune.generation.models import Model
from radtune.generation.predictions import Asking, predict
from radtune.progress import progress
from radtune.reports import Report
from radtune.tasks import Status
from radtune.teacher.ledger import Ledger


@dataclass
class Outcome:
    """What a run did.

    Attributes:
        asked: Reports asked about now; the others were there from a run before.
        interrupted: Whether it was stopped before the last report.
        statuses: Rows in the output by status.
    """

    asked: int = 0
    interrupted: bool = False
    statuses: Counter[str] = field(default_factory=Counter)


def partial_path(output: Path) -> Path:
    """Where a run keeps its finished rows: ``predictions.jsonl`` -> ``predictions.jsonl.partial``."""
    return Path(output).with_name(f"{Path(output).name}.partial")


def run(reports: Sequence[Report], asking: Asking, model: Model, output: Path) -> Outcome:
    """Asks about every report that has no row yet, and writes the rows.

    Stopped with Ctrl-C, it writes the rows that there are; killed, it leaves them in the ledger. Either way the same
    command goes on from there. Rows without an answer are asked for again.

    Args:
        reports: The reports.
        asking: What to ask.
        model: What answers.
        output: Where the rows go, in the order of the reports.

    Returns:
        What was done.

    Raises:
        InputError: The engine gives up (the rows so far are kept), or a file cannot be written.
    """
    # A row that another model or another question made is not taken over.
    made_with = json.dumps([model.settings, asdict(asking) | {"task": asking.task.name}], sort_keys=True)
    keys = {report.report_id: sha256_text(f"{made_with}\n{report.report_id}\n{report.text}") for report in reports}
    outcome = Outcome()
    path = partial_path(output)
    with Ledger(path) as ledger:
        missing = [report for report in reports if keys[report.report_id] not in ledger]
        troubles: Counter[str] = Counter()

        def figures() -> str:
            return ", ".join(f"{count:,} {status}" for status, count in troubles.items())

        # Rows without an answer are no part of the ledger: they are asked for again.
        unanswered: dict[str, dict[str, Any]] = {}
        try:
            answered = predict(missing, asking, model.engine, model.name, model.adapter)
            for report, row in progress(answered, "reports", len(missing), figures):
                outcome.asked += 1
                if row["status"] == Status.FAILED:
                    unanswered[report.report_id] = row
                else:
                    ledger.append(keys[report.report_id], row)
                if row["status"] != Status.OK:
                    troubles[row["status"]] += 1
        except KeyboardInterrupt:
            outcome.interrupted = True

        def rows() -> Iterator[dict[str, Any]]:
            for report in reports:
                row = ledger.get(keys[report.report_id]) or unanswered.get(report.report_id)
                if row is not None:
                    row.pop("key_sha256", None)
                    outcome.statuses[row["status"]] += 1
                    yield row

        if outcome.interrupted:
            if not len(ledger):
                return outcome
            # One of an earlier run would vouch for rows that are not there.
            manifest_path(output).unlink(missing_ok=True)
        write_jsonl(output, rows())
        if not outcome.interrupted and not unanswered:
            path.unlink()
    return outcome
