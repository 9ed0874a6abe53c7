r"""Learns an instruction set with a linear model and answers reports: what a language model has to be better than.

    python scripts/linear_model.py task=multiple_choice instructions=instructions.jsonl reports=reports.jsonl \
        output=predictions.jsonl

Of each report the words, weighted by TF-IDF; for each class a linear support vector machine of its own. That, of
words or also pairs of words and of five regularizations, had the best F1 in cross-validation on the training rows of
openi_smollm2 and cmc_smollm2. It needs the extra study (pip install '.[study]').
"""

import radtune  # isort: skip  # noqa: F401  (first: Ctrl-C is one line from here on)
import time
from dataclasses import dataclass
from pathlib import Path

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


def main(config: LinearConfig) -> None:
    """Learns, answers and writes."""
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.multiclass import OneVsRestClassifier
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import MultiLabelBinarizer
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
    binarizer = MultiLabelBinarizer(classes=found)
    model = make_pipeline(
        TfidfVectorizer(sublinear_tf=True), OneVsRestClassifier(LinearSVC(class_weight="balanced", random_state=0))
    )
    began = time.perf_counter()
    try:
        model.fit([row.input for row in rows], binarizer.fit_transform(labels))
    except ValueError:
        raise InputError(f"{config.instructions}: no words in the rows of {task.name}") from None
    learned = time.perf_counter()
    reports = list(read_any_reports(config.reports))
    named = model.predict([text_of(task, report) for report in reports])
    # Of one class alone, scikit-learn gives no columns.
    answers = binarizer.inverse_transform(named.reshape(len(reports), -1))
    rate = len(reports) / (time.perf_counter() - learned)
    write_jsonl(
        config.output,
        (
            {"report_id": report.report_id, "task": task.name, "labels": list(answer), "status": Status.OK}
            for report, answer in zip(reports, answers, strict=True)
        ),
    )
    inputs = [config.instructions, config.reports, *task.files]
    write_manifest(config.output, config, inputs, reports=len(reports), reports_per_second=round(rate, 1))
    print(f"{len(rows):,} rows learned in {learned - began:.1f} s; {len(reports):,} reports, {rate:,.0f}/s")
    print(f"written to {config.output}")


if __name__ == "__main__":
    run_command(main, LinearConfig)
