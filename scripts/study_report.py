"""Writes a study's tables, figures and report page from the scores that it has so far, and prints the paper's tables.

python scripts/study_report.py study=configs/study/mini.yaml
"""

import radtune  # isort: skip  # noqa: F401  (first: Ctrl-C is one line from here on)
from dataclasses import dataclass
from pathlib import Path

from radtune.command import run_command
from radtune.config import key
from radtune.files import write_manifest
from radtune.study.formats import plain_text
from radtune.study.plan import read_study
from radtune.study.report import write_report
from radtune.study.results import read_reported, read_results


@dataclass
class StudyReportConfig:
    """Keys of this command."""

    study: Path = key("The study's YAML.")
    run_dir: Path | None = key("Where the study ran, if not where its YAML says.", None)
    limit: int | None = key("Most reports of each kind, if not what its YAML says.", None, ge=1)


def main(config: StudyReportConfig) -> None:
    """Writes and prints."""
    study = read_study(config.study, run_dir=config.run_dir, limit=config.limit)
    page, tables = write_report(read_results(study), read_reported(study.settings.reported))
    scores = [study.evaluation(cell.name, test) for cell, test in study.scores]
    write_manifest(page, config, [config.study, *scores])
    for table in tables:
        if table.printed:
            print(plain_text(table.without_quotes), end="\n\n")
    print(page)


if __name__ == "__main__":
    run_command(main, StudyReportConfig)
