"""The errors of a study's models, as evaluate.py wrote them: which are shown, and what their kinds are called."""

from dataclasses import dataclass
from pathlib import Path

from radtune.config import InputError
from radtune.files import read_jsonl
from radtune.score.errors import FALSE_NEGATIVE, FALSE_POSITIVE, ErrorKind
from radtune.study import paths
from radtune.study.plan import Cell, Kind
from radtune.study.results import Results
from radtune.tasks.lists import fold_space

SIDE_TITLES = {FALSE_POSITIVE: "False positive", FALSE_NEGATIVE: "False negative"}
KIND_TITLES = {
    ErrorKind.MISSPELLING: "Misspelling",
    ErrorKind.DESCRIPTION: "Device, place or side described differently",
    ErrorKind.CONJUNCTION: "Conjunction split or joined",
    ErrorKind.PARAPHRASE: "Other paraphrase",
    ErrorKind.UNCERTAIN: "Uncertain: “possibly”, “likely”, …",
    ErrorKind.NEGATED: "Negated in the report",
    ErrorKind.NOT_IN_REPORT: "Not in the report",
    ErrorKind.NOT_IN_GOLD: "In the report, not in gold",
    ErrorKind.MISSED: "Missed",
}
# What the paper calls a paraphrase, and takes apart in its Table 6.
WORDINGS = (ErrorKind.MISSPELLING, ErrorKind.DESCRIPTION, ErrorKind.CONJUNCTION, ErrorKind.PARAPHRASE)


@dataclass(frozen=True)
class StudyError:
    """A row of errors.jsonl; texts are None where it was written without them."""

    report_id: str
    side: str
    kind: ErrorKind
    label: str | None
    other: str | None
    sentence: str | None


def read_errors(path: Path) -> list[StudyError]:
    """Reads errors.jsonl.

    Raises:
        InputError: Naming file and line: it is not such a file.
    """
    found = []
    for number, row in read_jsonl(path):
        try:
            texts = (row.get(name) for name in ("label", "other", "sentence"))
            folded = (None if text is None else fold_space(text) for text in texts)
            found.append(StudyError(row["report_id"], row["side"], ErrorKind(row["kind"]), *folded))
        except (AttributeError, KeyError, TypeError, ValueError):
            raise InputError(f"{path}:{number}: not an error of this version of evaluate.py") from None
    return found


def shown_errors(results: Results, task: str) -> tuple[Cell, list[StudyError]] | None:
    """The errors of the task's best mix (as in the paper), or of the base model of a study without any.

    Raises:
        InputError: Its errors.jsonl is broken.
    """
    best = results.best_mix(task) or next(iter(results.scored(Kind.BASE, task)), None)
    if best is None or not (path := paths.errors(results.study, best[0], task)).exists():
        return None
    return best[0], read_errors(path)
