"""Joins JSON lines of different reports, such as the answers of models that were each asked about a part of them.

python scripts/join_rows.py inputs=[fold_1.jsonl,fold_2.jsonl] output=predictions.jsonl
"""

import radtune  # isort: skip  # noqa: F401  (first: Ctrl-C is one line from here on)
from dataclasses import dataclass
from pathlib import Path

from radtune.command import run_command
from radtune.config import InputError, key
from radtune.files import check_outputs, read_jsonl, write_jsonl, write_manifest


@dataclass
class JoinConfig:
    """Keys of this command."""

    inputs: list[Path] = key("JSON lines, each with a report_id that no other has.")
    output: Path = key("The JSON lines to write, in this order.")


def main(config: JoinConfig) -> None:
    """Reads, checks and writes."""
    check_outputs([], config.inputs, [config.output])
    rows = {}
    for path in config.inputs:
        for number, row in read_jsonl(path):
            if (report_id := row.get("report_id")) in rows or report_id is None:
                raise InputError(f"{path}:{number}: {'no report_id' if report_id is None else 'a report stands twice'}")
            rows[report_id] = row
    write_jsonl(config.output, rows.values())
    write_manifest(config.output, config, config.inputs, rows=len(rows))
    print(f"{config.output}: {len(rows):,} rows")


if __name__ == "__main__":
    run_command(main, JoinConfig)
