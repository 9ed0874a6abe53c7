r"""Learns an instruction set with a linear model and answers reports: what a language model has to be better than.

    python scripts/linear_model.py task=multiple_choice instructions=instructions.jsonl reports=reports.jsonl \
        output=predictions.jsonl

Of each report the words, weighted by TF-IDF; for each class a linear support vector machine of its own. That, of
words or also pairs of words and of five regularizations, had the best F1 in cross-validation on the training rows of
openi_smollm2 and cmc_smollm2. A class's score is its margin through the logistic function, 0.5 and more where it is
named: scripts/combine.py makes a probability of it. It needs the extra study (pip install '.[study]').
"""

import radtune  # isort: skip  # noqa: F401  (first: Ctrl-C is one line from here on)
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from radtune.command import run_command
from radtune.config import InputError, key
from radtune.files import check_outputs, write_jsonl, write_manifest
from radtune.instructions import read_instructions
from radtune.labels import Status
from radtune.sources.table import read_any_reports
from radtune.tasks import load_task, text_of


@dataclass
class LinearConfig:
    """Keys of this command."""

    task: str = key("A task of classes: a name, or the path of a task file.")
    instructions: Path = key("The instruction set; rows of other tasks are left out.")
    reports: Path = key("The reports to answer.")
    output: Path = key("The predictions.jsonl to write.")
    absence_weight: float = key(
        "What a report without a class costs, in parts of what balances these and the others: below 1 more are named.",
        1.0, gt=0,
    )  # fmt: skip


def main(config: LinearConfig) -> None:
    """Learns, answers and writes."""
    import numpy as np
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.svm import LinearSVC

    check_outputs([], [config.instructions, config.reports], [config.output])
    task = load_task(config.task)
    if not task.classes:
        raise InputError(f"task {task.name}: a linear model learns classes, and a task of phrases has none")
    rows = [row for row in read_instructions(config.instructions) if row.task == task.name]
    labels = [task.read(row.output).labels for row in rows]
    if len(set(labels)) < 2:
        raise InputError(f"{config.instructions}: no two rows of {task.name} that differ in their answer")
    found = sorted({label for some in labels for label in some}, key=task.order)
    words, began = TfidfVectorizer(sublinear_tf=True), time.perf_counter()
    try:
        known = words.fit_transform([row.input for row in rows])
    except ValueError:
        raise InputError(f"{config.instructions}: no words in the rows of {task.name}") from None
    models = {}
    for name in found:
        has = np.array([int(name in some) for some in labels])
        cases, others = has.sum(), (1 - has).sum()
        weights = {1: len(has) / (2 * cases), 0: config.absence_weight * len(has) / (2 * max(1, others))}
        # What all rows have, all reports have.
        models[name] = LinearSVC(class_weight=weights, random_state=0).fit(known, has) if others else None
    learned = time.perf_counter()
    reports = list(read_any_reports(config.reports))
    read = words.transform([text_of(task, report) for report in reports])
    odds = {
        name: np.full(len(reports), np.inf) if m is None else m.decision_function(read) for name, m in models.items()
    }
    rate = len(reports) / (time.perf_counter() - learned)

    def answer(number: int) -> dict[str, Any]:
        margins = {name: float(each[number]) for name, each in odds.items()}
        scores = {name: float(f"{1 / (1 + np.exp(-margins.get(name, -np.inf))):.4g}") for name in task.classes}
        named = [name for name in found if margins[name] > 0]
        return {"report_id": reports[number].report_id, "task": task.name, "labels": named, "scores": scores}

    write_jsonl(config.output, (answer(number) | {"status": Status.OK} for number in range(len(reports))))
    inputs = [config.instructions, config.reports, *task.files]
    write_manifest(config.output, config, inputs, reports=len(reports), reports_per_second=round(rate, 1))
    print(f"{len(rows):,} rows learned in {learned - began:.1f} s; {len(reports):,} reports, {rate:,.0f}/s")
    print(f"written to {config.output}")


if __name__ == "__main__":
    run_command(main, LinearConfig)
