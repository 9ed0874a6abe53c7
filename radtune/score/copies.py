"""Copies of one model that ought to answer alike (adapter, merged, fewer bits, servers), counted where they do not."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from radtune.ask.copies import Cost
from radtune.files import read_json_as, read_jsonl
from radtune.label_files import LabelFile, read_labels
from radtune.score.evaluation import evaluate
from radtune.tasks import Task

NAME = "copies.json"
Interval = tuple[float, float]


@dataclass(frozen=True)
class Copy:
    """One copy beside the first; of the first itself nothing differs.

    Attributes:
        answers_differ: Reports whose answer is another text than the first copy's.
        reports_differ: Reports whose labels are others.
        flipped: Labels that one of the two names and the other does not, of ``named``, those that either names.
        unread: Answers whose status is not ok.
        f1: Against gold, where it is given, with its interval; ``f1_above`` is by how much it is above the first's.
    """

    name: str
    cost: Cost
    answers_differ: int
    reports_differ: int
    flipped: int
    named: int
    unread: int
    f1: float | None = None
    f1_ci95: Interval | None = None
    f1_above: float | None = None
    f1_above_ci95: Interval | None = None


@dataclass(frozen=True)
class Copies:
    """What a run of scripts/verify_model.py found; ``left_out`` says why a copy was not asked."""

    task: str
    n_reports: int
    gold: str | None
    copies: list[Copy]
    left_out: dict[str, str] = field(default_factory=dict)


def compare_copies(
    task: Task,
    answers: Mapping[str, Path],
    costs: Mapping[str, Cost],
    gold: LabelFile | None = None,
    gold_blank: str | None = None,
    left_out: Mapping[str, str] | None = None,
) -> Copies:
    """Compares files of predictions by copy, all of the same reports, with the first of them."""
    files = {name: read_labels(path, task) for name, path in answers.items()}
    texts = {
        name: {row["report_id"]: row["response"].strip() for _, row in read_jsonl(answers[name])} for name in files
    }
    first = next(iter(files))
    copies = []
    for name, file in files.items():
        sides = [
            ({*file.answers[report_id].labels}, {*answer.labels}) for report_id, answer in files[first].answers.items()
        ]
        scores = {}
        if gold is not None:
            other = files[first] if name != first else None
            metrics = evaluate(task, file, gold, gold_blank, other=other)
            scores = {"f1": metrics.micro.f1, "f1_ci95": metrics.micro.ci95["f1"]}
            if metrics.comparison:
                above = metrics.comparison.f1
                scores |= {"f1_above": above.value, "f1_above_ci95": above.ci95}
        copies.append(
            Copy(
                name,
                costs[name],
                answers_differ=sum(texts[name][report_id] != text for report_id, text in texts[first].items()),
                reports_differ=sum(ours != theirs for ours, theirs in sides),
                flipped=sum(len(ours ^ theirs) for ours, theirs in sides),
                named=sum(len(ours | theirs) for ours, theirs in sides),
                unread=sum(answer.status != "ok" for answer in file.answers.values()),
                **scores,
            )
        )
    named = str(gold.path) if gold is not None else None
    return Copies(task.name, len(files[first].answers), named, copies, dict(left_out or {}))


def read_copies(path: Path) -> Copies:
    """What scripts/verify_model.py has written."""
    return read_json_as(path, Copies, f"a {NAME} of scripts/verify_model.py")


def copy_rows(copies: Copies) -> list[dict[str, str | int | float | Interval | None]]:
    """A table's rows, by the title of each column; ΔF1 is by how much F1 is above the first copy's."""
    rows = []
    for copy in copies.copies:
        row = {
            "copy": copy.name,
            "answers that differ": copy.answers_differ,
            "reports whose labels differ": copy.reports_differ,
            "labels that flip": copy.flipped,
            "of": copy.named,
            "not readable": copy.unread,
        }
        if copies.gold:
            row |= {"F1": copy.f1, "95 % CI": copy.f1_ci95, "ΔF1": copy.f1_above, "95 % CI of ΔF1": copy.f1_above_ci95}
        mib = {"on disk (MiB)": copy.cost.disk_bytes, "memory (MiB)": copy.cost.peak_bytes}
        row |= {"reports/s": copy.cost.reports_per_s}
        rows.append(row | {title: None if size is None else round(size / 2**20, 1) for title, size in mib.items()})
    return rows
