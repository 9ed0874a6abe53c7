"""Measures evaluate.py: 100,000 predictions scored with intervals, and the time of the whole command on 100 reports.

    python benchmarks/bench_metrics.py
    python benchmarks/bench_metrics.py reports=20000 runs=5

Labels are made up. The first figures are of the library alone, with patients as the bootstrap's units where it says
so; the others of the command, start to finish, the median of several runs.
"""

import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from radtune.command import run_command
from radtune.config import key
from radtune.files import write_jsonl
from radtune.label_files import read_labels
from radtune.score.evaluation import evaluate
from radtune.tasks import Task, load_task, task_names

COMMAND = Path(__file__).resolve().parents[1] / "evaluate.py"
FEW = 100
_ADJECTIVES = ("small", "left", "right", "basal", "apical", "chronic", "mild", "patchy", "bilateral", "calcified")
_NOUNS = ("pleural effusion", "lung opacity", "rib fracture", "cardiac enlargement", "hilar nodes", "pacemaker")
PHRASES = tuple(f"{adjective} {noun}" for adjective in _ADJECTIVES for noun in _NOUNS)


@dataclass
class BenchConfig:
    """Keys of this command."""

    reports: int = key("How many predictions the library scores.", 100_000)
    runs: int = key("Runs of the command; the median counts.", 3)


def main(config: BenchConfig) -> None:
    """Prints seconds."""
    for task in map(load_task, task_names()):
        names = task.classes or PHRASES
        with tempfile.TemporaryDirectory() as folder:
            gold, first, second = write_labels(Path(folder), task, names, config.reports)
            for title, patients, other in (
                ("", False, None),
                (", patients", True, None),
                (", compared", False, second),
            ):
                seconds = time_scoring(task, first, gold, patients, other)
                print(f"{task.name}: {config.reports:,} reports{title}: {seconds:.1f} s")
        with tempfile.TemporaryDirectory() as folder:
            files = write_labels(Path(folder), task, names, FEW)
            seconds = statistics.median(time_command(task, *files) for _ in range(config.runs))
            print(f"{task.name}: evaluate.py on {FEW} reports: {seconds:.2f} s")


def write_labels(folder: Path, task: Task, names: Sequence[str], count: int) -> tuple[Path, Path, Path]:
    """Writes gold and the predictions of two made-up systems; returns the three files."""
    chance = random.Random(count)  # noqa: S311  (no secret)
    gold = [sorted(chance.sample(names, chance.randrange(5))) for _ in range(count)]
    paths = folder / "gold.jsonl", folder / "first.jsonl", folder / "second.jsonl"
    for path, kept in zip(paths, (1.0, 0.8, 0.7), strict=True):
        rows = ([label if chance.random() < kept else chance.choice(names) for label in labels] for labels in gold)
        write_jsonl(
            path,
            (
                {"report_id": str(i), "task": task.name, "labels": labels, "status": "ok"}
                for i, labels in enumerate(rows)
            ),
        )
    return paths


def time_scoring(task: Task, predictions: Path, gold: Path, patients: bool, other: Path | None) -> float:
    """Seconds to read and score; with patients, three reports are of one."""
    started = time.perf_counter()
    first, right = (read_labels(path, task) for path in (predictions, gold))
    second = read_labels(other, task) if other else None
    patient_ids = {report_id: str(int(report_id) // 3) for report_id in right.answers} if patients else {}
    evaluate(task, first, right, patient_ids=patient_ids, other=second)
    return time.perf_counter() - started


def time_command(task: Task, gold: Path, first: Path, second: Path) -> float:
    """Seconds of the whole command, its start included."""
    started = time.perf_counter()
    output = gold.with_name("metrics.json")
    arguments = (f"task={task.name}", f"predictions={first}", f"gold={gold}", f"compare={second}", f"output={output}")
    subprocess.run([sys.executable, str(COMMAND), *arguments], check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - started


if __name__ == "__main__":
    run_command(main, BenchConfig)
