"""Labels reports with a task's rules: each class positive, negative, uncertain or not mentioned, and No Finding.

    python scripts/label_by_rules.py reports=reports.jsonl output=labels.csv
    python scripts/label_by_rules.py reports=notes.csv output=labels.csv explain=true task=my_task.yaml
    python scripts/label_by_rules.py --text "No pneumothorax. Possible small left effusion."

The table has the layout of MIMIC-CXR's official label tables: 1 positive, 0 negative, -1 uncertain, blank not
mentioned. `explain=true` writes the evidence beside it (labels.explain.jsonl), one report a line: each mention, its
offsets in the report's text, and the cue that decided it; it holds patients' words, so keep it where the reports are
kept. The rules of 13 chest findings stand in radtune/rules/chest/lexicon.toml and cues.toml.
"""

import os
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from radtune.config import InputError, key, run_command
from radtune.files import check_outputs, jsonl_line, write_manifest, write_whole
from radtune.label_files import label_columns, write_label_table
from radtune.labels import State
from radtune.progress import progress
from radtune.report import Report, report_from_text
from radtune.rules import Mention, label_report, label_reports, rules_for
from radtune.rules.display import evidence_text
from radtune.sources import table
from radtune.tasks import DEFAULT_RULES_TASK, load_task, text_of


@dataclass
class LabelConfig:
    """Keys of this command."""

    reports: Path | None = key("reports.jsonl, or a CSV or Parquet with an id and findings/impression or text.", None)
    output: Path | None = key("Label table to write (CSV).", None)
    explain: Path | None = key("JSONL of the evidence to write; true: beside the output. Holds report text.", None)
    id_column: str | None = key("Column of the reports' ids, where its name does not tell.", None)
    text_column: str | None = key("Column of the reports' text, where its name does not tell.", None)
    task: str = key("The task whose classes are labelled: a name, or a path of a task file.", DEFAULT_RULES_TASK)
    text: str | None = key("One report; its labels and evidence are printed, nothing is written. Also --text.", None)


def main(config: LabelConfig) -> None:
    """Labels a file of reports, or one report given on the command line."""
    config = replace(config, explain=_explain_path(config))
    _check(config)
    task = load_task(config.task)
    rules = rules_for(task)
    if config.text is not None:
        colours = sys.stdout.isatty() and not os.environ.get("NO_COLOR")
        text = text_of(task, report_from_text("text", None, config.text, "text"))
        print(evidence_text(text, label_report(text, rules), colours))
        return
    started = time.perf_counter()
    rows: dict[str, dict[str, State]] = {}
    with write_whole(config.explain) if config.explain else nullcontext() as explanations:
        labelled = label_reports(_read(config), task, evidence=config.explain is not None)
        for report, found in progress(labelled, "reports"):
            rows[report.report_id] = found.labels
            if explanations:
                text = text_of(task, report)
                mentions = [_evidence(text, mention) for mention in found.mentions]
                row = {"report_id": report.report_id, "labels": found.labels, "mentions": mentions}
                explanations.write(jsonl_line(row))
        if not rows:
            raise InputError(f"{config.reports}: no reports")
        write_label_table(config.output, task, rows)
    seconds = time.perf_counter() - started
    counts = {name: Counter(labels.get(name) for labels in rows.values()) for name in label_columns(task)}
    positives = {name: count[State.PRESENT] for name, count in counts.items()}
    for path in filter(None, (config.output, config.explain)):
        write_manifest(path, config, [config.reports, *task.files], n_reports=len(rows), positives=positives)
    print("\n".join(count_lines(counts)))
    print(f"{config.output}: {len(rows):,} reports in {seconds:.1f} s, {len(rows) / seconds:,.0f} reports/s")


def _check(config: LabelConfig) -> None:
    if config.text is not None:
        if config != LabelConfig(text=config.text, task=config.task):
            raise InputError("text= stands with task= alone, without reports=, output= and other keys")
        return
    for name in ("reports", "output"):
        if getattr(config, name) is None:
            raise InputError(f"missing required key: {name} (give reports= and output=, or text=)")
    check_outputs([config.output, config.explain], [config.reports])


def _explain_path(config: LabelConfig) -> Path | None:
    if str(config.explain) == "true" and config.output is not None:
        return config.output.with_name(f"{config.output.stem}.explain.jsonl")
    return None if str(config.explain) == "false" else config.explain


def _read(config: LabelConfig) -> Iterator[Report]:
    if config.id_column or config.text_column:
        return table.read(table.Keys(input=config.reports, id_column=config.id_column, text_column=config.text_column))
    return table.read_any_reports(config.reports)


def _evidence(text: str, mention: Mention) -> dict[str, Any]:
    words = {"text": text[mention.start : mention.end], "cue": None}
    if mention.cue_start is not None:
        words["cue"] = text[mention.cue_start : mention.cue_end]
    return {**mention._asdict(), **words}


def count_lines(counts: dict[str, Counter[State | None]]) -> list[str]:
    """A table of how many reports have each value of each class."""
    lines = [f"{'':<28}{'positive':>10}{'uncertain':>11}{'negative':>10}{'blank':>10}"]
    for name, count in counts.items():
        states = (State.PRESENT, State.UNCERTAIN, State.ABSENT, None)
        present, uncertain, absent, blank = (count[state] for state in states)
        lines.append(f"{name:<28}{present:>10,}{uncertain:>11,}{absent:>10,}{blank:>10,}")
    return lines


def option_as_key(arguments: Sequence[str]) -> list[str]:
    """Turns ``--text REPORT`` and ``--text=REPORT`` into the key ``text=REPORT``."""
    words = list(arguments)
    if "--text" in words[:-1]:
        at = words.index("--text")
        words[at : at + 2] = [f"--text={words[at + 1]}"]
    return [word.removeprefix("--") if word.startswith("--text=") else word for word in words]


if __name__ == "__main__":
    run_command(main, LabelConfig, option_as_key(sys.argv[1:]))
