"""A run over many reports that can be stopped at any moment and goes on where it was.

Rows are kept in ``OUTPUT.ledger``: appended one by one, whole or not at all, by one process at a time. What is asked
for again the same way is taken from there, also after the run: a file that has grown costs only its new reports, and
rows that are to be verified are not made anew.
"""

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from radtune.ask.ledger import Ledger, ledger_path
from radtune.ask.predictions import Asking, empty_row, predict, verify
from radtune.engines.choose import Model
from radtune.engines.prompt import Engine
from radtune.files import manifest_path, sha256_text, write_jsonl
from radtune.labels import Status
from radtune.progress import progress
from radtune.report import Report


@dataclass
class Outcome:
    """What a run did.

    Attributes:
        asked: Reports asked about now; the others were there from a run before.
        interrupted: Whether it was stopped before the last report.
        statuses: Rows in the output by status.
        failed: Rows in the output without an answer; the same run asks for them again.
        empty: Rows in the output of reports without text.
    """

    asked: int = 0
    interrupted: bool = False
    statuses: Counter[str] = field(default_factory=Counter)
    failed: int = 0
    empty: int = 0


def run(reports: Sequence[Report], asking: Asking, verified: bool, model: Model, output: Path) -> Outcome:
    """Asks about every report that has no row yet, and writes the rows.

    Stopped with Ctrl-C, it writes the rows that there are; killed, it leaves them in the ledger. Either way the same
    command goes on from there. Rows without an answer are asked for again.

    Args:
        reports: The reports.
        asking: What to ask.
        verified: Whether each found label is asked about once more.
        model: What answers; loaded only if there is something to ask.
        output: Where the rows go, in the order of the reports.

    Returns:
        What was done.

    Raises:
        InputError: The engine gives up (the rows so far are kept), or a file cannot be written.
    """
    with Ledger(ledger_path(output)) as ledger:
        return _Run(reports, asking, verified, model, ledger).finish(output)


class _Run:
    """One run while it lasts."""

    def __init__(self, reports: Sequence[Report], asking: Asking, verified: bool, model: Model, ledger: Ledger) -> None:
        self._reports, self._asking, self._model, self._ledger = reports, asking, model, ledger
        # A row that another model or another question made is not taken over.
        made_with = json.dumps([model.settings, asdict(asking) | {"task": asking.task.name}], sort_keys=True)
        self._first = _keys(reports, made_with)
        self._last = _keys(reports, f"verified {made_with}") if verified else self._first
        self._verified = verified
        # Rows without an answer are no part of the ledger: they are asked for again.
        self._unanswered: dict[str, dict[str, Any]] = {}
        self._asked: set[str] = set()

    def finish(self, output: Path) -> Outcome:
        """Asks what is missing, and writes the rows."""
        outcome = Outcome()
        try:
            self._ask()
        except KeyboardInterrupt:
            outcome.interrupted = True
        outcome.asked = len(self._asked)
        if outcome.interrupted and not any(self._last[report.report_id] in self._ledger for report in self._reports):
            # What an earlier run has written stays.
            return outcome
        if outcome.interrupted:
            # That of an earlier run would vouch for rows that are not there.
            manifest_path(output).unlink(missing_ok=True)
        write_jsonl(output, self._rows(outcome))
        return outcome

    def _ask(self) -> None:
        missing = [
            report
            for report in self._reports
            if report.text.strip() and self._last[report.report_id] not in self._ledger
        ]
        unasked = [report for report in missing if self._first[report.report_id] not in self._ledger]
        if not missing:
            return
        engine = self._model.load()
        answered = predict(unasked, self._asking, engine, self._model.name, self._model.adapter)
        self._keep(answered, self._first, len(unasked), "reports")
        if self._verified:
            rows = [(report, row) for report in missing if (row := self._ledger.get(self._first[report.report_id]))]
            self._keep(self._verify(rows, engine), self._last, len(rows), "reports verified")

    def _verify(
        self, rows: Sequence[tuple[Report, dict[str, Any]]], engine: Engine
    ) -> Iterator[tuple[Report, dict[str, Any]]]:
        for report, row in verify(rows, self._asking, engine):
            row.pop("key_sha256", None)
            yield report, row

    def _keep(
        self, answered: Iterable[tuple[Report, dict[str, Any]]], keys: dict[str, str], total: int, what: str
    ) -> None:
        troubles: Counter[str] = Counter()

        def figures() -> str:
            return ", ".join(f"{count:,} {status}" for status, count in troubles.items())

        for report, row in progress(answered, what, total, figures):
            self._asked.add(report.report_id)
            if row["status"] == Status.FAILED:
                self._unanswered[report.report_id] = row
            else:
                self._ledger.append(keys[report.report_id], row)
            if row["status"] != Status.OK:
                troubles[row["status"]] += 1

    def _rows(self, outcome: Outcome) -> Iterator[dict[str, Any]]:
        for report in self._reports:
            row = self._ledger.get(self._last[report.report_id]) or self._unanswered.get(report.report_id)
            if row is not None:
                row.pop("key_sha256", None)
                outcome.failed += row["status"] == Status.FAILED
            elif not report.text.strip():
                row = empty_row(report, self._asking, self._model.name, self._model.adapter)
                row |= {"denied": []} if self._verified else {}
                outcome.empty += 1
            if row is not None:
                outcome.statuses[row["status"]] += 1
                yield row


def _keys(reports: Sequence[Report], made_with: str) -> dict[str, str]:
    return {report.report_id: sha256_text(f"{made_with}\n{report.report_id}\n{report.text}") for report in reports}
