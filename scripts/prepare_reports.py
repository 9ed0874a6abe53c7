"""Makes reports.jsonl, which every other command reads, from a source of reports.

    python scripts/prepare_reports.py source=mimic_cxr input=mimic-cxr-reports.zip output=mimic.jsonl sample=100000
    python scripts/prepare_reports.py source=mimic_cxr input=files/ output=mimic.jsonl exclude_ids=curated_100.csv
    python scripts/prepare_reports.py source=openi input=data/openi/reports.csv output=openi.jsonl
    python scripts/prepare_reports.py source=table input=notes.csv text_column=NOTE output=wcm.jsonl
    python scripts/prepare_reports.py source=synthetic count=1000 output=synthetic.jsonl gold_labels=gold.csv

Only Findings and Impression are kept. What was dropped, and why, is printed and stands in the manifest.
"""

import radtune  # isort: skip  # noqa: F401  (first: Ctrl-C is one line from here on)
import dataclasses
import typing
from dataclasses import fields
from pathlib import Path
from typing import Any

from radtune.command import run_command
from radtune.config import from_mapping, key
from radtune.files import check_outputs, write_jsonl, write_manifest
from radtune.label_files import write_label_table
from radtune.labels import Phrase
from radtune.progress import progress
from radtune.report import moved, read_reports
from radtune.sources import sources, synthetic
from radtune.sources.check import Look, say_look
from radtune.sources.select import Selection, write_selection
from radtune.tables import check_table_name
from radtune.tasks import load_task, task_names
from radtune.tasks.phrase_list import locate

SOURCES = sources()
_COMMON = [
    ("source", str, key("Where the reports come from.", choices=tuple(SOURCES))),
    ("output", Path, key("reports.jsonl to write.")),
]
_NAMES = {name for name, _, _ in _COMMON} | {field.name for field in fields(Selection)}


def _with_source_keys() -> Any:
    """The common keys, and those of every source, none of which is required until the source is known."""
    found: dict[str, tuple[Any, list[str]]] = {}
    for name, source in SOURCES.items():
        hints = typing.get_type_hints(source.Keys)
        for field in fields(source.Keys):
            meaning = f"source={name}: {field.metadata['help']}"
            found.setdefault(field.name, (hints[field.name] | None, []))[1].append(meaning)
    own = [(name, hint, key(" ".join(help), None)) for name, (hint, help) in found.items() if name not in _NAMES]
    return dataclasses.make_dataclass("PrepareConfig", [*_COMMON, *own], bases=(Selection,))


PrepareConfig = _with_source_keys()


def main(config: Any) -> None:
    """Prepares the reports."""
    source = SOURCES[config.source]
    taken = _NAMES - {field.name for field in fields(source.Keys)}
    given = {name: value for name, value in vars(config).items() if name not in taken and value is not None}
    keys = from_mapping(source.Keys, given, f"source={config.source}")
    inputs = [config.input, config.exclude_ids, config.only_ids]
    check_table_name(config.gold_labels)
    check_outputs([config.gold_labels], inputs, [config.output, config.gold_phrases])
    where, look = config.input or Path(f"source={config.source}"), Look()
    read = (moved(report, where, config.output) for report in source.read(keys))
    reports = look.pass_on(progress(read, "reports"))
    counts = write_selection(config.output, reports, config, str(where), config.id_column)
    say_look(where, tuple(look.lines()))
    write_manifest(config.output, config, inputs, counts=dataclasses.asdict(counts), headings=dict(look.headings))
    print(f"{config.output}: {counts.kept:,} reports ({counts})")
    unmatched = {config.exclude_ids: counts.unmatched_exclude_ids, config.only_ids: counts.unmatched_only_ids}
    for path, count in unmatched.items():
        if path:
            print(f"{path}: ids that belong to no report: {count:,}")
    if isinstance(keys, synthetic.Keys) and (keys.gold_labels or keys.gold_phrases):
        _write_gold(config, keys)


def _write_gold(config: Any, keys: synthetic.Keys) -> None:
    """Writes the truth of the reports that were kept."""
    kept = {report.report_id for report in read_reports(config.output)}
    made = synthetic.generate(keys.count, keys.seed, keys.cohort)
    truths = {truth.report.report_id: truth for truth in made if truth.report.report_id in kept}
    if keys.gold_labels:
        labels = {report_id: truth.labels for report_id, truth in truths.items()}
        named = synthetic.findings(keys.cohort)
        task = next(task for task in map(load_task, task_names()) if named <= set(task.classes))
        write_label_table(keys.gold_labels, task, labels)
        write_manifest(keys.gold_labels, config)
    if keys.gold_phrases:
        write_jsonl(keys.gold_phrases, map(_gold_phrases, truths.values()))
        write_manifest(keys.gold_phrases, config)


def _gold_phrases(truth: synthetic.SyntheticReport) -> dict[str, Any]:
    text = truth.report.text
    return {
        "report_id": truth.report.report_id,
        "phrases": [dataclasses.asdict(Phrase(p.phrase, p.icd10, *locate(p.phrase, text))) for p in truth.phrases],
        "labels": [phrase.phrase for phrase in truth.phrases],
    }


if __name__ == "__main__":
    run_command(main, PrepareConfig)
