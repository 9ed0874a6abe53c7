r"""Runs probes, sentences whose labels are known, and prints each miss with the rule that fired, then totals by kind.

    python scripts/check_rules.py probes.tsv
    python scripts/check_rules.py probes/ rules=my_lexicon task=my_task.yaml

A probe is a line: the text (``\n`` is a line end), a tab, ``Finding=value`` for each label one is certain of (1, 0,
-1, blank; a ``?`` behind the value: arguable, not counted), and, behind ``#``, an id and the kind it belongs to, up to
a semicolon. Findings are the task's classes and No Finding; ``Pleural Effusion=1 Edema=blank # E7 negation``.
"""

import radtune  # isort: skip  # noqa: F401  (first: Ctrl-C is one line from here on)
import re
import sys
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from radtune.command import run_command
from radtune.config import InputError, key, nearest
from radtune.files import open_text
from radtune.label_files import label_columns
from radtune.labels import State
from radtune.report import report_from_text
from radtune.rules import ReportLabels, label_if_meant, rules_for
from radtune.tasks import DEFAULT_RULES_TASK, Task, load_task, text_of, with_rules

_LABEL = re.compile(r"\s*([^=#]+?)=(-1|0|1|blank)(\??)(?=\s|\Z)")
_VALUES = {"1": State.PRESENT, "0": State.ABSENT, "-1": State.UNCERTAIN, "blank": None}
_WRITTEN = {value: written for written, value in _VALUES.items()}


@dataclass
class CheckConfig:
    """Keys of this command."""

    probes: Path = key("A TSV of probes, or a folder of them. Also the command's first word.")
    task: str = key("The task whose classes are labelled: a name, or a path of a task file.", DEFAULT_RULES_TASK)
    rules: Path | None = key("Folder of the lexicon (lexicon.toml, cues.toml) in place of the task's.", None)
    alternatives: str | None = key("What A or B is: uncertain, both, or positive.", None, ("uncertain", "positive"))
    misses: bool = key("Print the misses; false: the totals alone.", True)


@dataclass(frozen=True)
class Probe:
    """A text and its labels; ``arguable`` ones are shown, not counted."""

    text: str
    expected: dict[str, State | None]
    arguable: frozenset[str]
    id: str
    kind: str


def main(config: CheckConfig) -> None:
    """Prints the misses and the totals; a miss is no error."""
    task = with_rules(load_task(config.task), config.rules, config.alternatives)
    rules_for(task)  # what is wrong with them is said first
    right: dict[str, int] = defaultdict(int)
    total: dict[str, int] = defaultdict(int)
    for probe in read_probes(config.probes, task):
        report = report_from_text(probe.id, None, probe.text, "probe")
        text, found = text_of(task, report), label_if_meant(report, task)
        wrong = {name for name, value in probe.expected.items() if found.labels.get(name) != value} - probe.arguable
        counted = len(probe.expected.keys() - probe.arguable)
        total[probe.kind] += counted
        right[probe.kind] += counted - len(wrong)
        if wrong and config.misses:
            print("\n".join(miss_lines(probe, wrong, text, found)))
    width = max(map(len, total), default=0) + 2
    for kind in sorted(total):
        print(f"{kind:<{width}}{right[kind]:>5} of {total[kind]:>5}  {right[kind] / total[kind]:.3f}")
    labels = sum(total.values())
    print(f"{'all':<{width}}{sum(right.values()):>5} of {labels:>5}  {sum(right.values()) / max(labels, 1):.3f}")


def read_probes(path: Path, task: Task) -> Iterator[Probe]:
    """Reads a file of probes, or each ``.tsv`` of a folder."""
    paths = sorted(path.glob("*.tsv")) if path.is_dir() else [path]
    if not paths:
        raise InputError(f"{path}: no .tsv file in this folder")
    for file in paths:
        with open_text(file) as stream:
            for number, line in enumerate(stream, start=1):
                if line.strip() and not line.startswith("#"):
                    yield _probe(line.rstrip("\r\n"), task, file, number)


def _probe(line: str, task: Task, file: Path, number: int) -> Probe:
    where = f"{file}:{number}"
    text, tab, rest = line.partition("\t")
    written, _, remark = rest.partition("#")
    name, _, kind = remark.strip().partition(" ")
    expected, arguable, at = {}, set(), 0
    while match := _LABEL.match(written, at):
        if match[1] not in label_columns(task):
            raise InputError(f"{where}: {task.name} has no class {match[1]!r}{nearest(match[1], label_columns(task))}")
        expected[match[1]] = _VALUES[match[2]]
        arguable |= {match[1]} if match[3] else set()
        at = match.end()
    if not tab or not expected or written[at:].strip():
        raise InputError(f"{where}: expected a text, a tab, and Finding=value with 1, 0, -1 or blank")
    return Probe(
        text.replace("\\n", "\n"),
        expected,
        frozenset(arguable),
        name or str(number),
        kind.partition(";")[0] or file.stem,
    )


def miss_lines(probe: Probe, wrong: set[str], text: str, found: ReportLabels) -> Iterator[str]:
    """The probe, then for each wrong class its values and the mentions that decided it."""
    yield f"{probe.id} [{probe.kind}] {probe.text!r}"
    for name in sorted(wrong):
        value = found.labels.get(name)
        yield f"    {name}: {_WRITTEN[value]}, expected {_WRITTEN[probe.expected[name]]}"
        for mention in found.mentions:
            if mention.finding == name or (name == "No Finding" and mention.status in ("positive", "uncertain")):
                cue = "" if mention.cue_start is None else f" {text[mention.cue_start : mention.cue_end]!r}"
                yield (
                    f"        {text[mention.start : mention.end]!r} {mention.finding} {mention.status}: "
                    f"rule {mention.rule}{cue}, phrase {mention.phrase!r}"
                )


def first_word_as_key(arguments: Sequence[str]) -> list[str]:
    """Turns a first word without ``=`` into the key ``probes=``."""
    first, *rest = arguments or [""]
    return [f"probes={first}", *rest] if first and "=" not in first and not first.startswith("-") else list(arguments)


if __name__ == "__main__":
    run_command(main, CheckConfig, first_word_as_key(sys.argv[1:]))
