"""What a system has to beat that has seen nothing: the commonest labels of the other reports' gold, for each report.

python scripts/commonest.py task=radiograph gold=gold.jsonl count=3 output=commonest.jsonl
python scripts/commonest.py task=radiograph gold=gold.jsonl count=0 output=empty.jsonl
"""

import radtune  # isort: skip  # noqa: F401  (first: Ctrl-C is one line from here on)
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from radtune.command import run_command
from radtune.config import key
from radtune.files import check_outputs, write_jsonl, write_manifest
from radtune.labels import Answer, Phrase, side_of
from radtune.score.inputs import check_whole, one_gold
from radtune.tasks import load_task, task_names
from radtune.tasks.lists import fold_space


@dataclass
class CommonestConfig:
    """Keys of this command."""

    task: str = key(f"The task: {', '.join(task_names())}, or the path of a task file.")
    gold: Path = key("What is right, in any form that evaluate.py reads.")
    output: Path = key("The JSON lines of answers to write.")
    count: int = key("How many labels each report gets; 0 for an answer that says that there is nothing.", 3, ge=0)
    gold_column: str | None = key("Column or JSON key of the gold labels; else 'labels'.", None)
    id_column: str | None = key("Column or JSON key of the report ids; else report_id, study_id or uid.", None)


def main(config: CommonestConfig) -> None:
    """Counts and writes."""
    check_outputs([], [config.gold], [config.output])
    task = load_task(config.task)
    gold = one_gold(config.gold, task, config.gold_column, None, None, config.id_column, None, None)
    check_whole(gold)
    write_jsonl(config.output, rows(gold.answers, config.count))
    write_manifest(config.output, config, [config.gold], reports=len(gold.answers))
    print(f"{config.output}: {len(gold.answers):,} rows, each with the {config.count} commonest labels of the others")


def rows(answers: Mapping[str, Answer], count: int) -> Iterator[dict[str, Any]]:
    """Answers; a report's own labels, and those of its patient's other reports, are not counted for it.

    A label is a name with its code and side; of equally common ones the first in the alphabet.
    """
    spelled = Counter(_meaning(phrase) for answer in answers.values() for phrase in _phrases(answer))
    # Without case; in the spelling that is most common.
    usual = {(name.casefold(), *rest): name for (name, *rest), _ in reversed(spelled.most_common())}
    labels = {x: {(name.casefold(), *rest) for name, *rest in map(_meaning, _phrases(a))} for x, a in answers.items()}
    patients: dict[str, list[str]] = {}
    for report_id, answer in answers.items():
        patients.setdefault(answer.patient_id or f"report {report_id}", []).append(report_id)
    total = Counter(label for found in labels.values() for label in found)
    for own in patients.values():
        left = total - Counter(label for report_id in own for label in labels[report_id])
        # One code and side a name.
        named: dict[str, Phrase] = {}
        for name, code, side in sorted(left, key=lambda label: (-left[label], label)):
            named.setdefault(name, Phrase(usual[name, code, side], code or None, side=side))
        phrases = list(named.values())[:count]
        for report_id in own:
            yield {
                "report_id": report_id,
                "labels": [phrase.phrase for phrase in phrases],
                "phrases": list(map(asdict, phrases)),
                "model": "commonest",
            }


def _phrases(answer: Answer) -> list[Phrase]:
    return list(answer.phrases) or list(map(Phrase, answer.labels))


def _meaning(phrase: Phrase) -> tuple[str, str, str]:
    return fold_space(phrase.phrase), phrase.icd10 or "", side_of(phrase)


if __name__ == "__main__":
    run_command(main, CommonestConfig)
