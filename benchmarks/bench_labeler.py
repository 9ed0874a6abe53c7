"""Measures the rule labeler: speed on one core and on all, start-up, very long reports, and agreement with Open-i.

    python benchmarks/bench_labeler.py
    OPENI_DIR=~/openi python benchmarks/bench_labeler.py runs=7

Figures are medians of alternating runs, each starting with no sentence remembered. Without the Open-i reports, speed
is measured on synthetic ones. The reports are halved by a hash of their text: rules are written looking at the half
`dev`, never at `held-out`. Two golds are scored: the MeSH coding, and NIH's where nih_gold.csv is there (the eight
classes that both have, mass and nodule as one), each with both readings of "A or B".
"""

import hashlib
import os
import re
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from radtune.command import run_command
from radtune.config import key
from radtune.label_files import read_labels
from radtune.labels import State
from radtune.report import Report
from radtune.rules import ReportLabels, label_report, label_reports, rules_for
from radtune.sources.synthetic import generate
from radtune.sources.table import reports_of
from radtune.tables import read_table
from radtune.tasks import DEFAULT_RULES_TASK, load_task, with_rules

TASK = load_task(DEFAULT_RULES_TASK)
COMMAND = Path(__file__).resolve().parents[1] / "scripts" / "label_by_rules.py"
COPIES = 8  # of the reports, for the multi-core runs: long enough that a pool's start does not count
FIRST = 100  # of the reports, which are labelled before any are timed
GOLD, NIH_GOLD = "gold_labels.csv", "nih_gold.csv"
NIH_COLUMNS = {
    "Atelectasis": ("Atelectasis",), "Cardiomegaly": ("Cardiomegaly",), "Consolidation": ("Consolidation",),
    "Edema": ("Edema",), "Lung Lesion": ("Mass", "Nodule"), "Pleural Effusion": ("Effusion",),
    "Pneumonia": ("Pneumonia",), "Pneumothorax": ("Pneumothorax",),
}  # fmt: skip
REPORT_LENGTH = 900


@dataclass
class BenchConfig:
    """Keys of this command."""

    openi: Path = key(
        "Folder with Open-i's reports.csv and gold_labels.csv.", Path(os.environ.get("OPENI_DIR", "data/openi"))
    )
    runs: int = key("Runs of each kind; the median counts.", 5)
    characters: int = key("Of the longest report.", 1_000_000)


def main(config: BenchConfig) -> None:
    """Prints accuracy, then speed."""
    if (config.openi / GOLD).exists():
        reports = list(reports_of(config.openi / "reports.csv"))
        print_accuracy(reports, config.openi)
    else:
        reports = [made.report for made in generate(3_000, seed=1)]
        print(f"{config.openi}: no Open-i reports there; accuracy skipped, speed on synthetic reports")
    print_speed(reports, config.runs)
    print_long([report.text for report in reports], config.characters)


def label_ours(text: str) -> ReportLabels:
    """Labels one report with the task's rules."""
    return label_report(text, rules_for(TASK))


def half(report: Report) -> str:
    """``dev`` or ``held-out``: by a hash of the words, so that reports of the same text are in the same half."""
    words = re.sub(r"\W+", " ", f"{report.findings} {report.impression}".lower()).strip()
    return "dev" if hashlib.sha256(words.encode()).digest()[0] % 2 == 0 else "held-out"


def print_accuracy(reports: Sequence[Report], folder: Path) -> None:
    """Precision, recall and F1 by gold, half and reading; blank gold is left out, uncertain is not positive.

    Classes are told of ``dev`` alone: whoever has seen them of the other half writes rules for it.
    """
    golds = {"MeSH": {name: answer.states or {} for name, answer in read_labels(folder / GOLD, TASK).answers.items()}}
    if (folder / NIH_GOLD).exists():
        golds["NIH"] = read_nih_gold(folder / NIH_GOLD)
    for part in ("dev", "held-out"):
        members = [report for report in reports if half(report) == part]
        for reading in ("uncertain", "positive"):
            rules = rules_for(with_rules(TASK, None, reading))
            found = {report.report_id: label_report(report.text, rules).labels for report in members}
            for name, gold in golds.items():
                print(f"\n{part}, {len(members):,} reports, {name} gold, alternatives={reading}")
                print_scores(found, gold, by_class=part == "dev")


def read_nih_gold(path: Path) -> dict[str, dict[str, State]]:
    """NIH's gold by report and class, for the classes that it shares."""
    return {
        row["uid"]: {
            name: State.PRESENT if any(row[column] == "1" for column in columns) else State.ABSENT
            for name, columns in NIH_COLUMNS.items()
        }
        for _, row in read_table(path)
    }


def print_scores(
    found: Mapping[str, Mapping[str, State]], gold: Mapping[str, Mapping[str, State]], by_class: bool
) -> None:
    """A row for each class that gold has, if wanted, then all."""
    totals = [0, 0, 0]
    print(f"{'':<28}{'P':>7}{'R':>7}{'F1':>7}{'tp':>6}{'fp':>5}{'fn':>5}")
    for name in TASK.classes:
        pairs = [
            (labels.get(name) == State.PRESENT, gold[report_id][name] == State.PRESENT)
            for report_id, labels in found.items()
            if name in gold.get(report_id, {})
        ]
        if pairs:
            counts = [pairs.count(pair) for pair in ((True, True), (True, False), (False, True))]
            totals = [total + count for total, count in zip(totals, counts, strict=True)]
            if by_class:
                print(score_line(name, *counts))
    print(score_line("all", *totals))


def score_line(name: str, tp: int, fp: int, fn: int) -> str:
    """One row of the table of classes."""
    precision, recall, f1 = tp / max(tp + fp, 1), tp / max(tp + fn, 1), 2 * tp / max(2 * tp + fp + fn, 1)
    return f"{name:<28}{precision:>7.3f}{recall:>7.3f}{f1:>7.3f}{tp:>6}{fp:>5}{fn:>5}"


def print_speed(reports: Sequence[Report], runs: int) -> None:
    """Reports per second on one core and on all, and the time of the shortest command."""
    _label_all(label_ours, reports[:FIRST])  # compiles the rules

    def start() -> None:
        subprocess.run([sys.executable, str(COMMAND), "text=No effusion."], check=True, stdout=subprocess.DEVNULL)

    seconds = alternate([partial(_label_all, label_ours, reports), start], runs)
    print(f"\none core: {len(reports) / seconds[0]:,.0f} reports/s")
    print(f"start-up: {seconds[1]:.2f} s for one report on the command line")
    long = list(long_reports(reports))
    (taken,) = alternate([partial(_label_all, label_ours, long)], runs)
    print(f"{len(long):,} reports of {REPORT_LENGTH} characters, no sentence twice: {len(long) / taken:,.0f} reports/s")
    many = list(marked_copies(reports))

    single, pool = alternate([partial(_label_many, many, processes) for processes in (1, None)], runs)
    print(
        f"{len(many):,} reports, no sentence shared between copies: {len(many) / single:,.0f} reports/s on one core, "
        f"{len(many) / pool:,.0f} on {len(os.sched_getaffinity(0))}: {single / pool:.2f}x"
    )


def _label_many(reports: Sequence[Report], processes: int | None) -> None:
    rules_for(TASK).remembered.clear()
    for _ in label_reports(reports, TASK, processes, evidence=False):
        pass


def marked_copies(reports: Iterable[Report]) -> Iterable[Report]:
    """Copies whose sentences end in the copy's number, so that none is remembered from another copy."""
    for copy in range(COPIES):
        for number, report in enumerate(reports):
            yield Report(f"{copy}-{number}", None, "", "", report.text.replace(".", f" {copy}."), "bench")


def long_reports(reports: Sequence[Report]) -> Iterator[Report]:
    """Reports of :data:`REPORT_LENGTH` characters made of the texts, each sentence marked so that none stands twice."""
    text = ""
    for report in marked_copies(reports[: len(reports) // 2]):
        text += f" {report.text}".replace(".", f" {report.report_id}.")
        if len(text) >= REPORT_LENGTH:
            yield Report(report.report_id, None, "", "", text[:REPORT_LENGTH], "bench")
            text = ""


def print_long(texts: Sequence[str], characters: int) -> None:
    """Seconds for one report of so many characters, of four kinds."""
    joined = " ".join(texts)
    joined = (joined * (characters // len(joined) + 1))[:characters]
    kinds = {
        "sentences": joined,
        "one repeated cue": ("no evidence of " * characters)[:characters],
        "one repeated negation": ("no effusion " * characters)[:characters],
        "without a full stop": re.sub(r"[.;:!?\n]", " ", joined),
    }
    rules_for(TASK).remembered.clear()
    for kind, text in kinds.items():
        print(f"{characters:,} characters, {kind}: {alternate([lambda text=text: label_ours(text)], 1)[0]:.2f} s")


def _label_all(label: Callable[[str], object], reports: Sequence[Report]) -> None:
    rules_for(TASK).remembered.clear()
    for report in reports:
        label(report.text)


def alternate(kinds: Sequence[Callable[[], object]], runs: int) -> list[float]:
    """Median seconds of each, run in turn so that a busy machine slows all alike."""
    seconds: list[list[float]] = [[] for _ in kinds]
    for _ in range(runs):
        for kind, taken in zip(kinds, seconds, strict=True):
            started = time.perf_counter()
            kind()
            taken.append(time.perf_counter() - started)
    return [statistics.median(taken) for taken in seconds]


if __name__ == "__main__":
    run_command(main, BenchConfig)
