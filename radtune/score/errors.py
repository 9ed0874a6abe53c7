"""Why predictions and gold differ: every false positive and false negative in a kind (the paper's Tables 5 and 6)."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from radtune.files import write_jsonl
from radtune.label_files import LabelFile
from radtune.rules import Rules
from radtune.score.inputs import judged_classes
from radtune.score.statements import Said, known_classes, reading_rules, statement
from radtune.score.wording import ErrorKind, difference, wording
from radtune.tasks import Task
from radtune.tasks.lists import fold_space

FALSE_POSITIVE, FALSE_NEGATIVE = "fp", "fn"


@dataclass(frozen=True)
class LabelError:
    """One false positive (``fp``) or false negative (``fn``).

    Attributes:
        other: The label on the other side that says the same in other words.
        sentence: Where the report speaks of it, if it does. Patient text.
    """

    report_id: str
    side: str
    label: str
    kind: ErrorKind
    other: str | None = None
    sentence: str | None = None


def find_errors(
    task: Task, predictions: LabelFile, gold: LabelFile, texts: Mapping[str, str], ignore_blank: bool = False
) -> Iterator[LabelError]:
    """Every error of the reports in gold, report by report in its order, false positives first.

    What a report says (``texts`` by its id) is read by the rules. So of their own predictions no false positive is
    negated or uncertain; and gold of a report whose call failed is missed, like any other that was not predicted.
    Classes that do not count are left out, with ``ignore_blank`` those that gold's label table leaves blank.
    """
    for report_id, truth in gold.answers.items():
        predicted, right = predictions.answers[report_id].labels, truth.labels
        unjudged = set(task.classes).difference(judged_classes(task, gold, report_id, ignore_blank))
        predicted, right = (tuple(x for x in side if x not in unjudged) for side in (predicted, right))
        yield from report_errors(task, report_id, predicted, right, texts[report_id])


def report_errors(
    task: Task, report_id: str, predicted: Sequence[str], gold: Sequence[str], text: str
) -> list[LabelError]:
    """The errors of one report."""
    rules = reading_rules(task)
    classes = known_classes(rules).union(task.classes)
    matches = task.matches(predicted, gold)
    false_positives = [x for x, row in zip(predicted, matches, strict=True) if not row.any()]
    false_negatives = [x for x, column in zip(gold, matches.T, strict=True) if not column.any()]
    found = []
    for side, errors, wrong, everything in (
        (FALSE_POSITIVE, false_positives, false_negatives, gold),
        (FALSE_NEGATIVE, false_negatives, false_positives, predicted),
    ):
        for label in errors:
            # Of two classes neither is the other in other words.
            others = [other for other in everything if label not in classes or other not in classes]
            kind, other = _worded_otherwise(label, wrong, others, rules)
            said = statement(label, text, rules)
            hedged = label not in classes and wording(label, rules).hedged
            kind = kind or _unpaired(side, said.said, hedged)
            found.append(LabelError(report_id, side, label, kind, other, said.sentence))
    return found


def _worded_otherwise(
    label: str, wrong: Sequence[str], others: Sequence[str], rules: Rules
) -> tuple[ErrorKind, str] | tuple[None, None]:
    """The kind and the other side's label, if that side has the finding in other words.

    A conjunction may have been matched already by another of its parts; for all else only labels that are wrong
    themselves are asked, since a matched one has its counterpart.
    """
    pairs = ((difference(label, other, rules), other) for other in others)
    found = [(how, other) for how, other in pairs if how and (other in wrong or how == ErrorKind.CONJUNCTION)]
    if not found:
        return None, None
    how, other = min(found, key=lambda pair: list(ErrorKind).index(pair[0]))
    if how in (ErrorKind.DESCRIPTION, ErrorKind.PARAPHRASE):
        mine, theirs = wording(label, rules), wording(other, rules)
        if mine.negated != theirs.negated:
            return ErrorKind.NEGATED, other
        if mine.hedged != theirs.hedged:
            return ErrorKind.UNCERTAIN, other
    return how, other


def _unpaired(side: str, said: Said, hedged: bool) -> ErrorKind:
    if said == Said.STATED and not hedged:
        return ErrorKind.NOT_IN_GOLD if side == FALSE_POSITIVE else ErrorKind.MISSED
    kinds = {Said.NOTHING: ErrorKind.NOT_IN_REPORT, Said.DENIED: ErrorKind.NEGATED}
    return kinds.get(said, ErrorKind.UNCERTAIN)


def count_kinds(errors: Sequence[LabelError]) -> dict[str, dict[str, int]]:
    """How many errors are of each kind, by side; kinds in their order, absent ones left out."""
    counts = Counter((error.side, error.kind) for error in errors)
    return {
        side: {str(kind): counts[side, kind] for kind in ErrorKind if counts[side, kind]}
        for side in (FALSE_POSITIVE, FALSE_NEGATIVE)
    }


def write_errors(path: Path, errors: Iterable[LabelError], show_text: bool = False) -> None:
    """Writes errors as JSON lines, whole or not at all; the report's sentences only where asked for."""
    shown = errors if show_text else (replace(error, sentence=None) for error in errors)
    write_jsonl(path, (asdict(error) for error in shown))


def examples_text(errors: Sequence[LabelError]) -> str:
    """The first three errors of each side and kind, with their sentences: patient text, to be shown only on demand."""
    lines = []
    for side in (FALSE_POSITIVE, FALSE_NEGATIVE):
        for kind in ErrorKind:
            for error in [e for e in errors if (e.side, e.kind) == (side, kind)][:3]:
                other = f" ~ {error.other!r}" if error.other is not None else ""
                sentence = f" in {fold_space(error.sentence)!r}" if error.sentence is not None else ""
                lines.append(f"{side} {kind}: {error.label!r}{other}{sentence} (report {error.report_id})")
    return "\n".join(lines)
