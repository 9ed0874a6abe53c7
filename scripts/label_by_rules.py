"""Labels reports with a task's rules: each class positive, negative, uncertain or not mentioned, and No Finding.

    python scripts/label_by_rules.py reports=reports.jsonl output=labels.csv
    python scripts/label_by_rules.py reports=notes.csv output=labels.csv explain=true task=my_task.yaml
    python scripts/label_by_rules.py text="No pneumothorax. Possible small left effusion."

The table has the layout of MIMIC-CXR's official label tables: 1 positive, 0 negative, -1 uncertain, blank not
mentioned. `explain=true` writes the evidence beside it (labels.explain.jsonl), one report a line: each mention, its
offsets in the column it was read from, and the cue that decided it; it holds patients' words, so keep it where the
reports are kept. The rules of 13 chest findings stand in radtune/rules/chest/lexicon.toml and cues.toml
(docs/labeler.md); `rules=FOLDER` takes your own. Reports of other regions of the body stay blank and are counted
(`any_body_part=true` labels them), and a file in another language is refused (`any_language=true`).
"""

import radtune  # isort: skip  # noqa: F401  (first: Ctrl-C is one line from here on)
import os
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import dataclass, replace
from itertools import repeat
from pathlib import Path
from typing import Any

from radtune.command import run_command
from radtune.config import InputError, key
from radtune.files import check_outputs, jsonl_line, write_manifest, write_whole
from radtune.label_files import label_columns, write_label_table
from radtune.labels import State
from radtune.progress import progress
from radtune.report import report_from_text
from radtune.rules import NOT_CHEST, Mention, ReportLabels, label_if_meant, label_reports, rules_for
from radtune.rules.display import Place, Places, evidence_text
from radtune.sources import table
from radtune.tables import check_table_name, is_jsonl, read_table
from radtune.tasks import DEFAULT_RULES_TASK, Task, load_task, text_of, with_rules


@dataclass
class LabelConfig:
    """Keys of this command."""

    reports: Path | None = key(
        "reports.jsonl, or a table (CSV, Excel, Parquet) with an id and findings/impression or text.", None
    )
    output: Path | None = key("Label table to write (CSV).", None)
    explain: bool = key("Write the evidence, too, as JSONL beside the output. Holds report text.", False)
    id_column: str | None = key("Column of the reports' ids, where its name does not tell.", None)
    text_column: str | None = key("Column of the reports' text, where its name does not tell.", None)
    task: str = key("The task whose classes are labelled: a name, or a path of a task file.", DEFAULT_RULES_TASK)
    rules: Path | None = key("Folder with a lexicon.toml (and cues.toml) that labels it in place of the task's.", None)
    alternatives: str | None = key(
        "What A or B is: uncertain, both of them, or positive, as coders of whole reports take it.",
        None,
        ("uncertain", "positive"),
    )
    any_body_part: bool = key("Label reports of other regions of the body, too.", False)
    any_language: bool = key("Label reports in other languages, too.", False)
    text: str | None = key("One report; its labels and evidence are printed, nothing is written.", None)

    @property
    def evidence(self) -> Path | None:
        """Where the evidence is written, where it is asked for: beside the output."""
        return self.output.with_name(f"{self.output.stem}.explain.jsonl") if self.explain and self.output else None


def main(config: LabelConfig) -> None:
    """Labels a file of reports, or one report given on the command line."""
    _check(config)
    task = with_rules(load_task(config.task), config.rules, config.alternatives)
    rules_for(task)  # what is wrong with them is said before a report is read
    if config.text is not None:
        _print_one(config.text, task, config)
        return
    started = time.perf_counter()
    rows: dict[str, dict[str, State]] = {}
    left_out: Counter[str] = Counter()
    with write_whole(config.evidence) if config.evidence else nullcontext() as explanations:
        labelled = label_reports(
            table.read_any_reports(config.reports, config.id_column, config.text_column),
            task,
            evidence=config.explain,
            any_body_part=config.any_body_part,
            any_language=config.any_language,
        )
        cells = _cells(config) if explanations else repeat(None)
        for (report, found), row in zip(progress(labelled, "reports"), cells, strict=False):
            rows[report.report_id] = found.labels
            if found.left_out:
                left_out[found.left_out] += 1
                _check_language(config, left_out, len(rows), at_least=_ENOUGH)
            if explanations:
                explanations.write(jsonl_line(_explanation(text_of(task, report), report.report_id, found, row)))
        _check_language(config, left_out, len(rows))
        write_label_table(config.output, task, rows)
    seconds = time.perf_counter() - started
    counts = {name: Counter(labels.get(name) for labels in rows.values()) for name in label_columns(task)}
    positives = {name: count[State.PRESENT] for name, count in counts.items()}
    facts = {"n_reports": len(rows), "positives": positives, "left_out": dict(left_out)}
    for path in filter(None, (config.output, config.evidence)):
        write_manifest(path, config, [config.reports, *task.files], **facts)
    print("\n".join(count_lines(counts)))
    for reason, count in left_out.most_common():
        what, option = f"language {reason!r}", "any_language"
        if reason == NOT_CHEST:
            what, option = reason, "any_body_part"
        print(f"{what}: {count:,} reports, left blank ({option}=true labels them)")
    print(f"{config.output}: {len(rows):,} reports in {seconds:.1f} s, {len(rows) / seconds:,.0f} reports/s")


# Reports read before a file that is mostly in another language is refused; a shorter one is when all are read.
_ENOUGH = 100


def _print_one(given: str, task: Task, config: LabelConfig) -> None:
    report = report_from_text("text", None, given, "text")
    found = label_if_meant(report, task, config.any_body_part, config.any_language)
    if found.left_out == NOT_CHEST:
        print(f"{NOT_CHEST}: left blank (any_body_part=true labels it)\n")
    elif found.left_out:
        raise InputError(f"text: in another language than the rules ({found.left_out!r}); any_language=true labels it")
    places = Places(text_of(task, report), {"text": given})
    mentions = [_moved(mention, places) for mention in found.mentions]
    colours = sys.stdout.isatty() and not os.environ.get("NO_COLOR")
    print(evidence_text(given, replace(found, mentions=tuple(filter(None, mentions))), colours))


def _where(mention: Mention, places: Places) -> tuple[Place | None, Place | None]:
    """Where a mention and its cue stand in what was read."""
    has_cue = mention.cue_start is not None and mention.cue_end is not None
    cue = places.find(mention.cue_start, mention.cue_end) if has_cue else None
    return places.find(mention.start, mention.end), cue


def _moved(mention: Mention, places: Places) -> Mention | None:
    """The mention where its words stand in the text given."""
    place, cue = _where(mention, places)
    if place is None:
        return None
    cue_start, cue_end = (cue.start, cue.end) if cue else (None, None)
    return mention._replace(start=place.start, end=place.end, cue_start=cue_start, cue_end=cue_end)


def _check_language(config: LabelConfig, left_out: Counter[str], read: int, at_least: int = 1) -> None:
    """Refuses a file most of whose reports are in other languages than the rules."""
    foreign = left_out.total() - left_out[NOT_CHEST]
    if read >= at_least and 2 * foreign > read:
        language = max((count, code) for code, count in left_out.items() if code != NOT_CHEST)[1]
        raise InputError(
            f"{config.reports}: {foreign} of {read} reports are in another language than the rules, most in "
            f"{language!r}: give rules of it (rules=FOLDER with a cues.toml), or any_language=true to label them so"
        )


def _check(config: LabelConfig) -> None:
    if config.text is not None:
        if config.reports or config.output or config.explain or config.id_column or config.text_column:
            raise InputError("text= stands without reports=, output= and the keys of files")
        return
    for name in ("reports", "output"):
        if getattr(config, name) is None:
            raise InputError(f"missing required key: {name} (give reports= and output=, or text=)")
    check_outputs([config.output, config.evidence], [config.reports])
    check_table_name(config.output)


def _cells(config: LabelConfig) -> Iterator[dict[str, str] | None]:
    """What each report of a table was read from; None of reports.jsonl, whose text is what is labelled."""
    if is_jsonl(config.reports):
        yield from repeat(None)
    for _, row in read_table(config.reports):
        yield {name: cell for name, cell in row.items() if isinstance(cell, str)}


def _explanation(text: str, report_id: str, found: ReportLabels, cells: dict[str, str] | None) -> dict[str, Any]:
    places = Places(text, cells) if cells is not None else None
    mentions = [_evidence(text, mention, places) for mention in found.mentions]
    row: dict[str, Any] = {"report_id": report_id, "labels": found.labels, "mentions": mentions}
    return row | ({"left_out": found.left_out} if found.left_out else {})


def _evidence(text: str, mention: Mention, places: Places | None) -> dict[str, Any]:
    """A mention and its cue, their words, and where these stand in the column that they were read from."""
    words = text[mention.start : mention.end]
    cue_words = None if mention.cue_start is None else text[mention.cue_start : mention.cue_end]
    row: dict[str, Any] = {**mention._asdict(), "text": words, "cue": cue_words, "column": "text"}
    place, cue = _where(mention, places) if places else (None, None)
    row |= place._asdict() if place else {}
    return row | ({"cue_start": cue.start, "cue_end": cue.end} if cue else {})


def count_lines(counts: dict[str, Counter[State | None]]) -> list[str]:
    """A table of how many reports have each value of each class."""
    width = max(26, *map(len, counts)) + 2
    lines = [f"{'':<{width}}{'positive':>10}{'uncertain':>11}{'negative':>10}{'blank':>10}"]
    for name, count in counts.items():
        states = (State.PRESENT, State.UNCERTAIN, State.ABSENT, None)
        present, uncertain, absent, blank = (count[state] for state in states)
        lines.append(f"{name:<{width}}{present:>10,}{uncertain:>11,}{absent:>10,}{blank:>10,}")
    return lines


if __name__ == "__main__":
    run_command(main, LabelConfig)
