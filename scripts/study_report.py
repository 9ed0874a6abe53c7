"""Writes a study's tables, figures and report page from the scores that it has so far, and prints the paper's tables.

python scripts/study_report.py study=configs/study/mini.yaml
"""

from dataclasses import dataclass
from pathlib import Path

from radtune.config import key, run_command
from radtune.files import write_manifest
from radtune.study import paths
from radtune.study.formats import plain_text
from radtune.study.plan import read_study
from radtune.study.report import write_report
from radtune.study.reported import read_reported
from radtune.study.results import read_results


@dataclass
class StudyReportConfig:
    """Keys of this command."""

    study: Path = key("The study's YAML.")
    run_dir: Path | None = key("Where the study ran, if not where its YAML says.", None)


def main(config: StudyReportConfig) -> None:
    """Writes and prints."""
    study = read_study(config.study)
    study.run_dir = config.run_dir or study.run_dir
    results = read_results(study)
    page, tables = write_report(results, read_reported())
    scores = [paths.metrics(study, cell, task) for cell in results.cells for task in cell.tasks]
    write_manifest(page, config, [config.study, *scores])
    for table in tables:
        if table.name.startswith("table_"):
            print(plain_text(table), end="\n\n")
    print(page)


if __name__ == "__main__":
    run_command(main, StudyReportConfig)
