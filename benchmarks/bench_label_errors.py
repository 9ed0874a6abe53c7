r"""Noise put into labels of real reports: how much the queue of find_label_errors.py finds, and what that is worth.

    python benchmarks/bench_label_errors.py what=openi
    python benchmarks/bench_label_errors.py what=cmc

Half of the reports are held out. Of the others' human labels a share is left out, and as many are put in where there
are none. A linear model learns the labels as they were, with the noise, without the most suspect reports, and as a
reader would mend them who goes through so many labels of the queue as were changed.
"""

import radtune  # isort: skip  # noqa: F401  (first: Ctrl-C is one line from here on)
import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from radtune.command import run_command
from radtune.config import key
from radtune.label_files import LabelFile, read_labels, respell
from radtune.labels import Answer
from radtune.score.comparison import compare_counts
from radtune.score.label_errors import student_of, suspects
from radtune.score.scores import micro_score
from radtune.sources import sources
from radtune.tasks import load_task, text_of
from radtune.tasks.counting import indicators

# By what it is called: environment variable, task, source, file and column of the labels.
SETS = {
    "openi": ("OPENI_DIR", "multiple_choice", "openi", "gold_labels.csv", None),
    "cmc": ("CMC_DIR", "cmc_codes", "cmc", "codes.csv", "majority"),
}


@dataclass
class BenchConfig:
    """Keys of this benchmark."""

    what: str = key("Whose reports.", choices=tuple(SETS))
    noise: float = key("The share of the labels that is left out, and put in elsewhere.", 0.2, gt=0, le=0.9)
    seed: int = key("Of the halves and of the noise.", 0)


def main(config: BenchConfig) -> None:
    """Measures and prints."""
    variable, name, source, file, column = SETS[config.what]
    task, folder = load_task(name), Path(os.environ.get(variable, f"data/{config.what}"))
    module = sources()[source]
    reports = {r.report_id: r for r in module.read(module.Keys(input=folder / "reports.csv"))}
    answers = respell(task, read_labels(folder / file, task, column))[0].answers
    chance = np.random.default_rng(config.seed)
    ids = chance.permutation([x for x in reports if x in answers and text_of(task, reports[x]).strip()]).tolist()
    train, test = ids[: len(ids) // 2], ids[len(ids) // 2 :]
    true = indicators([answers[x] for x in train], task.classes)[0]
    changed = _noise(true, config.noise, chance)
    given = true ^ changed
    texts = {x: text_of(task, reports[x]) for x in train}
    labels = {x: _answer(task.classes, row, x) for x, row in zip(train, given, strict=True)}
    queue = suspects(task, texts, {x: x for x in train}, LabelFile(folder / file, labels), {})
    place = {x: i for i, x in enumerate(train)}, {name: j for j, name in enumerate(task.classes)}
    wrong = [bool(changed[place[0][one.report_id], place[1][one.label]]) for one in queue]
    total = int(changed.sum())
    print(f"{config.what}: {len(train):,} reports; {total:,} of {changed.size:,} labels are changed")
    for part in (0.25, 0.5, 1.0, 2.0):
        first = round(part * total)
        found = sum(wrong[:first])
        print(f"  first {first:,} of the queue: {found / first:.1%} are changed labels, {found / total:.1%} of all")
    mended = given.copy()
    for one in queue[:total]:
        i, j = place[0][one.report_id], place[1][one.label]
        mended[i, j] = true[i, j]
    suspect = {one.report_id for one in queue[: total // 2]}
    kept = np.array([x not in suspect for x in train])
    gold, asked = [answers[x] for x in test], [text_of(task, reports[x]) for x in test]
    counts = {}
    for title, rows, learned in (
        ("as they were", true, np.ones_like(kept)), ("with noise", given, np.ones_like(kept)),
        ("without suspect reports", given, kept), ("mended by a reader", mended, np.ones_like(kept)),
    ):  # fmt: skip
        chances = student_of([t for t, k in zip(texts.values(), learned, strict=True) if k], rows[learned], asked)
        named = [_answer(task.classes, row, x) for row, x in zip(chances >= 0.5, test, strict=True)]
        counts[title] = task.count(named, gold).rules["micro"]
        score, less = micro_score(counts[title]), ""
        if title not in ("as they were", "with noise"):
            gain = compare_counts("", counts[title], counts["with noise"]).f1
            less = "  gain {:+.3f} [{:+.3f}, {:+.3f}]".format(gain.value, *gain.ci95)
        low, high = score.ci95["f1"]
        print(f"  {title:<24} {learned.sum():,} rows  F1 {score.f1:.3f} [{low:.3f}, {high:.3f}]{less}")


def _noise(true: np.ndarray, share: float, chance: np.random.Generator) -> np.ndarray:
    """Which labels are changed: a share of those that are there, and as many of each class elsewhere."""
    changed = np.zeros_like(true)
    for column in range(true.shape[1]):
        there, absent = (np.flatnonzero(true[:, column] == state) for state in (True, False))
        count = round(share * len(there))
        changed[chance.choice(there, count, replace=False), column] = True
        changed[chance.choice(absent, count, replace=False), column] = True
    return changed


def _answer(classes: tuple[str, ...], row: np.ndarray, report_id: str) -> Answer:
    return Answer(tuple(np.array(classes)[row].tolist()), report_id)


if __name__ == "__main__":
    run_command(main, BenchConfig)
