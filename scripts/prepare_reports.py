"""Makes reports.jsonl, which every other command reads, from a source of chest X-ray reports.

    python scripts/prepare_reports.py source=mimic_cxr input=mimic-cxr-reports.zip output=mimic.jsonl sample=100000
    python scripts/prepare_reports.py source=mimic_cxr input=files/ output=mimic.jsonl exclude_ids=curated_100.csv
    python scripts/prepare_reports.py source=openi input=data/openi/reports.csv output=openi.jsonl
    python scripts/prepare_reports.py source=table input=notes.csv text_column=NOTE output=wcm.jsonl
    python scripts/prepare_reports.py source=synthetic count=1000 output=synthetic.jsonl gold_labels=gold.csv

Only Findings and Impression are kept. What was dropped, and why, is printed and stands in the manifest.
"""

import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from radtune.config import InputError, key, run_command
from radtune.files import check_outputs, write_jsonl, write_manifest
from radtune.findings import write_label_table
from radtune.progress import progress
from radtune.report import Report, read_reports
from radtune.sources.mimic_cxr import read_mimic_cxr
from radtune.sources.openi import read_openi
from radtune.sources.select import Selection, read_ids, write_selection
from radtune.sources.synthetic import COHORTS, SyntheticReport, generate
from radtune.sources.table import Columns, read_table
from radtune.tasks import open_ended


@dataclass
class PrepareConfig:
    """Keys of this command."""

    source: str = key("Where the reports come from.", choices=("mimic_cxr", "openi", "table", "synthetic"))
    output: Path = key("reports.jsonl to write.")
    input: Path | None = key("The source's file or folder; source=synthetic has none.", None)
    require_sections: bool = key("Drop reports with neither Findings nor Impression.", True)
    drop_duplicates: bool = key("Drop reports whose text is exactly that of an earlier or excluded one.", False)
    exclude_ids: Path | None = key("Ids to leave out, a test set's: one a line, or a table with an id column.", None)
    sample: int | None = key("How many to draw; all if left out. A smaller draw is part of a larger one.", None)
    seed: int = key("Seed of the draw, and of synthetic reports.", 0)
    id_column: str | None = key("source=table: ids of reports; else report_id, study_id or uid.", None)
    patient_column: str | None = key("source=table: ids of patients; else patient_id or subject_id.", None)
    text_column: str | None = key("source=table: whole reports; else text, report_text, note_text, ...", None)
    findings_column: str | None = key("source=table: Findings; else findings.", None)
    impression_column: str | None = key("source=table: Impression; else impression.", None)
    count: int | None = key("source=synthetic: how many to make.", None)
    cohort: str = key("source=synthetic: whose reports they resemble.", "mimic", choices=COHORTS)
    gold_labels: Path | None = key("source=synthetic: label table of the truth, to write.", None)
    gold_phrases: Path | None = key("source=synthetic: JSONL of the true phrases, to write.", None)


_COLUMN_KEYS = ("id_column", "patient_column", "text_column", "findings_column", "impression_column")
_SYNTHETIC_KEYS = ("count", "gold_labels", "gold_phrases")


def main(config: PrepareConfig) -> None:
    """Prepares the reports."""
    _check(config)
    excluded = read_ids(config.exclude_ids) if config.exclude_ids else frozenset()
    selection = Selection(config.require_sections, config.drop_duplicates, excluded, config.sample, config.seed)
    truths: list[SyntheticReport] = []
    where = str(config.input) if config.input else f"source={config.source}"
    counts = write_selection(config.output, progress(_reports(config, truths), "reports"), selection, where)
    inputs = [config.input, config.exclude_ids]
    write_manifest(config.output, config, inputs, counts=dataclasses.asdict(counts))
    print(f"{config.output}: {counts.kept:,} reports ({counts})")
    if excluded:
        print(f"{config.exclude_ids}: ids that belong to no report: {counts.unmatched_exclude_ids:,}")
    if truths:
        _write_gold(config, truths)


def _check(config: PrepareConfig) -> None:
    for source, keys in (("table", _COLUMN_KEYS), ("synthetic", _SYNTHETIC_KEYS)):
        for name in keys:
            if getattr(config, name) is not None and config.source != source:
                raise InputError(f"{name} is for source={source}, not {config.source}")
    if config.source == "synthetic" and config.input is not None:
        raise InputError("source=synthetic has no input")
    needed = "count" if config.source == "synthetic" else "input"
    if getattr(config, needed) is None:
        raise InputError(f"source={config.source} needs {needed}=")
    for name in ("count", "sample"):
        if getattr(config, name) is not None and getattr(config, name) < 1:
            raise InputError(f"{name} must be at least 1")
    check_outputs([config.output, config.gold_labels, config.gold_phrases], [config.input, config.exclude_ids])


def _reports(config: PrepareConfig, truths: list[SyntheticReport]) -> Iterator[Report]:
    """The source's reports; a synthetic one's truth goes to ``truths``."""
    if config.source == "mimic_cxr":
        yield from read_mimic_cxr(config.input)
    elif config.source == "openi":
        yield from read_openi(config.input)
    elif config.source == "table":
        yield from read_table(config.input, Columns(*(getattr(config, name) for name in _COLUMN_KEYS)))
    else:
        for made in generate(config.count, config.seed, config.cohort):
            truths.append(made)
            yield made.report


def _write_gold(config: PrepareConfig, truths: list[SyntheticReport]) -> None:
    kept = {report.report_id for report in read_reports(config.output)}
    truths = [truth for truth in truths if truth.report.report_id in kept]
    if config.gold_labels:
        write_label_table(config.gold_labels, {truth.report.report_id: truth.labels for truth in truths})
        write_manifest(config.gold_labels, config)
    if config.gold_phrases:
        write_jsonl(config.gold_phrases, map(_gold_phrases, truths))
        write_manifest(config.gold_phrases, config)


def _gold_phrases(truth: SyntheticReport) -> dict[str, object]:
    text = truth.report.text
    phrases = [open_ended.Phrase(p.phrase, p.icd10, *open_ended.locate(p.phrase, text)) for p in truth.phrases]
    return {
        "report_id": truth.report.report_id,
        "phrases": [dataclasses.asdict(phrase) for phrase in phrases],
        "labels": [phrase.phrase for phrase in phrases],
    }


if __name__ == "__main__":
    run_command(main, PrepareConfig)
