"""Files of labels: whatever says which classes or phrases reports have, read into answers; label tables written."""

import json
import re
from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

from radtune.config import InputError, nearest
from radtune.files import sha256_text
from radtune.label_cells import cell_labels
from radtune.labels import NO_FINDING, SIDES, Answer, Phrase, State, Status, doubt_of
from radtune.privacy import NOT_SHOWN, looks_like_name, no_column, shown, shown_columns
from radtune.report import say_unused
from radtune.tables import (
    ID_COLUMNS,
    cell_text,
    find_column,
    find_id_column,
    id_cell,
    is_jsonl,
    is_missing,
    match_ids,
    read_table,
    say_matched,
    write_cells,
)
from radtune.tasks import THREE_VALUED, Task
from radtune.tasks.class_list import same_signs
from radtune.tasks.lists import unique
from radtune.tasks.phrase_list import code_beside, in_doubt

LABELS, PHRASES, LABELS_SHA256 = "labels", "phrases", "labels_sha256"
# Who says what was edited by hand.
READER = "reader"
# What an uncertain class counts as (Irvin et al., CheXpert, AAAI 2019, section 3): nothing that is learned or scored,
# present, absent, or a label of its own.
POLICIES = ("drop", "positive", "negative", "state")
# The classes that ``uncertain=`` does not name.
OTHERS = "others"
# What a blank cell means. MIMIC-CXR: not mentioned, so not positive. Open-i: not decided, so that (report, class) pair
# is left out of the counts on both sides.
NEGATIVE, IGNORE = BLANK = ("negative", "ignore")
# What is done with a name that is no class: counted as wrong, or taken for the class it all but spells.
LENIENT = "lenient"
SPELLING = ("strict", LENIENT)
# How a name that is no class is taken for one, the first that does: by its signs and case, as a synonym, or misspelt.
STEPS = SIGNS, SYNONYM, MISSPELT = ("signs", "synonym", "misspelt")
_SHOWN = 20
PATIENT_COLUMNS = ("patient_id", "subject_id")
_IDS = (*ID_COLUMNS, *PATIENT_COLUMNS)
# The keys of a JSON row that become fields of an answer, and what the model wrote, which has been read already.
_NOT_PROVENANCE = frozenset((*_IDS, LABELS, PHRASES, LABELS_SHA256, "task", "status", "response"))
# Spellings of a cell; pandas writes whole numbers in a column with gaps as 1.0, or 1,0.
_STATES = {f"{state:d}{end}": state for state in State for end in ("", ".0", ",0")}
_STATES |= dict.fromkeys(("true", "yes", "y", "x", "\u2713", "positive", "present"), State.PRESENT)
_STATES |= dict.fromkeys(("false", "no", "n", "negative", "absent"), State.ABSENT) | {"uncertain": State.UNCERTAIN}
# Where several columns are one class, the last of these that one of them says.
_RISING = (State.ABSENT, State.UNCERTAIN, State.PRESENT)
# In the name of a column that nothing reads, worth telling of: labels, or rows to leave out.
_MAY_BE_MEANT = re.compile("label|split|fold|partition|exclu", re.IGNORECASE)


@dataclass(frozen=True)
class LabelFile:
    """What a file says of reports, by report id in the file's order.

    Attributes:
        has_states: Whether it is a label table, which may leave classes undecided.
        missing: The classes that a label table has no column for.
        blank: Reports of whose labels its row says nothing.
        says_none: Whether it says of some report that it has nothing; so one of which it says nothing is not annotated.
        undecided: By report id, classes that count neither as present nor as absent.
        lines: By report id, the number of its row's line.
    """

    path: Path
    answers: dict[str, Answer]
    has_states: bool = False
    missing: tuple[str, ...] = ()
    blank: frozenset[str] = frozenset()
    says_none: bool = False
    undecided: Mapping[str, frozenset[str]] = field(default_factory=dict)
    lines: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class Respelling:
    """What a name was taken for, how often it stands, and by which of :data:`STEPS`."""

    finding: str
    count: int
    step: str = ""


@dataclass(frozen=True)
class _Layout:
    """Where a file has what: the columns of ids, labels and statuses, and by column of a label table the class.

    ``unused`` are those to name that nothing reads, the one of statuses among them unless some row came to nothing.
    """

    ids: str
    labels: str | None
    states: Mapping[str, str]
    status: str | None = None
    unused: tuple[str, ...] = ()


def label_columns(task: Task) -> tuple[str, ...]:
    """The columns of a label table behind its ids: the classes, then ``No Finding``."""
    return tuple(dict.fromkeys((*plain_classes(task), NO_FINDING)))


def plain_classes(task: Task) -> list[str]:
    """The classes of a task without its names for doubt."""
    return [name for name in task.classes if name not in task.doubted]


def read_labels(
    path: Path,
    task: Task,
    column: str | None = None,
    id_column: str | None = None,
    names: Mapping[str, str] = MappingProxyType({}),
) -> LabelFile:
    """Reads the labels of a task from whatever file has them.

    A file is JSONL with ``labels`` (predictions.jsonl) or ``phrases`` (annotations.jsonl); a table with a column of
    labels, of which a cell may join several in any usual way; or a label table: a column a class and, where present,
    ``No Finding``, such as the official ``mimic-cxr-2.0.0-negbio.csv.gz``. Where a table is both, a row's labels stand
    in either, or alike in both.

    Args:
        path: The file; see :mod:`radtune.tables`.
        task: Whose labels they are; rows that name another one are refused.
        column: The column (or JSON key) with the labels, such as an annotator's; None for the usual ones.
        id_column: The same of the report ids; None for the usual ones.
        names: By column of a label table that has other names, such as another collection's gold, the class that it
            counts as; columns that are not named are left out.
    """
    path = Path(path)
    answers: dict[str, Answer] = {}
    lines, blank, layout, says_none = dict[str, int](), set[str](), None, False
    is_json = is_jsonl(path)
    for number, row in read_table(path):
        where = f"{path}:{number}"
        row = row if is_json else {name: cell_text(cell) for name, cell in row.items()}
        layout = layout or _layout(path, row, task, column, id_column, names)
        id_name = layout.ids if layout.ids in row else find_id_column(row, Path(where), id_column)
        report_id = id_cell(where, id_name, row)
        if not report_id:
            raise InputError(f"{where}: empty {id_name}")
        if report_id in answers:
            raise InputError(f"{where}: report {report_id!r} stands twice")
        if is_json:
            answer, nothing = _json_answer(where, row, task, column, report_id)
        else:
            answer, nothing = _table_answer(where, row, task, layout, report_id, column or "")
        answer = answer if task.classes else _codes_apart(answer)
        says_none |= _says_none(answer) and not nothing
        blank |= {report_id} if nothing else set()
        answers[report_id], lines[report_id] = answer, number
    if layout is None:
        raise InputError(f"{path}: no rows")
    is_status_used = any(answer.status != Status.OK for answer in answers.values())
    say_unused(path, tuple(name for name in layout.unused if not (is_status_used and name == layout.status)))
    has_states = any(answer.states is not None for answer in answers.values())
    missing = tuple(x for x in plain_classes(task) if x not in layout.states.values()) if has_states else ()
    return LabelFile(path, answers, has_states, missing, frozenset(blank), says_none, lines=lines)


def column_names(path: Path) -> list[str]:
    """The columns of a table, or the keys of a JSONL's first row; empty if it has no rows."""
    return next((list(row) for _, row in read_table(path)), [])


def column_of(path: Path, name: str | None) -> str | None:
    """The column of a name, in any case, that a table has; None where it has none, or no name is given."""
    return find_column(column_names(path), (name,)) if name else None


def _layout(
    path: Path,
    row: Mapping[str, Any],
    task: Task,
    column: str | None,
    id_column: str | None,
    names: Mapping[str, str],
) -> _Layout:
    ids = find_id_column(row, path, id_column)
    if names:
        return _Layout(ids, None, _named(path, row, task, names))
    if is_jsonl(path) or column is not None:
        return _Layout(ids, column, {})
    labels, status = find_column(row, (LABELS,)), find_column(row, ("status",))
    known = {name: name for name in label_columns(task)}
    states = {name: known.get(name) or task.spelled(name) for name in row if task.classes and name != labels}
    states = {name: NO_FINDING if meant == task.none else meant for name, meant in states.items() if meant}
    if len(set(states.values())) < len(states):
        raise InputError(f"{path}: two columns are one class; {shown_columns(row)}")
    if not set(states.values()) & set(task.classes):
        # One more of such columns, or whose rows are to be left out; what else a table of gold has is no label.
        unused = tuple(name for name in row if name != labels and _MAY_BE_MEANT.search(name))
        return _Layout(ids, labels or LABELS, {}, status, unused)
    others = [name for name in row if name not in (ids, labels, *states) and not find_column([name], _IDS)]
    for name in others:
        if near := task.nearest(name):
            raise InputError(f"{path}: unknown column {name!r}; did you mean {near!r}?")
    return _Layout(ids, labels, states, status, tuple(others))


def _named(path: Path, row: Mapping[str, Any], task: Task, names: Mapping[str, str]) -> dict[str, str]:
    """Columns of a label table by the classes that they are said to count as."""
    for name, meant in names.items():
        if meant not in task.classes:
            raise InputError(f"gold_names: {task.name} has no class {meant!r}{nearest(meant, task.classes)}")
        if name not in row:
            raise InputError(f"{path}: {no_column(name, row)}")
    return dict(names)


def _patient_id(row: Mapping[str, Any]) -> str | None:
    return id_cell("", find_column(row, PATIENT_COLUMNS), row) or None


def _codes_apart(answer: Answer) -> Answer:
    """An answer of phrases without the codes that stand behind them, which are those of its phrases."""
    if not (apart := {label: split for label in answer.labels if (split := code_beside(label))}):
        return answer
    located = {phrase.phrase: phrase for phrase in answer.phrases}
    for label, (phrase, code) in apart.items():
        known = located.get(label, Phrase(phrase))
        located[label] = replace(known, phrase=phrase, icd10=known.icd10 or code)
    labels = unique(apart[label][0] if label in apart else label for label in answer.labels)
    return replace(answer, labels=labels, phrases=tuple(located.values()))


def _says_none(answer: Answer) -> bool:
    """Whether an answer says that there is nothing, or that some class is absent."""
    if answer.states is None:
        return answer.status == Status.OK and not answer.labels
    return answer.states.get(NO_FINDING) == State.PRESENT or State.ABSENT in answer.states.values()


def _table_answer(
    where: str, row: Mapping[str, str], task: Task, layout: _Layout, report_id: str, by: str
) -> tuple[Answer, bool]:
    """What a row of a table says, and whether it says nothing."""
    if layout.status and (status := row[layout.status].strip().lower()) in {*Status} - {Status.OK}:
        return Answer((), report_id, by, Status(status), patient_id=_patient_id(row)), False
    states = {}
    for name, meant in layout.states.items():
        cell = row[name].strip()
        if cell.lower() in _STATES:
            state = _STATES[cell.lower()]
            states[meant] = max(state, states.get(meant, state), key=_RISING.index)
        elif cell and not is_missing(cell):
            # Where columns are shifted, a report may stand here.
            is_word = len(cell) <= 20 and len(cell.split()) == 1
            said = repr(cell) if is_word else f"a text of {len(cell)} characters"
            raise InputError(f"{where}: {name} is {said}, expected 1, 0, -1 or blank")
    listed = _cell_labels(where, row, task, layout.labels) if layout.labels else None
    answer = Answer(task.distinct(listed or ()), report_id, by, patient_id=_patient_id(row))
    if layout.states and listed is None:
        answer = replace(answer, labels=task.labels_of(states), states=states)
    elif states and {*filter(None, map(task.spelled, answer.labels))} != {*task.labels_of(states)}:
        raise InputError(f"{where}: {layout.labels!r} and the columns of classes say different things")
    return answer, listed is None and not states


def _json_answer(
    where: str, row: dict[str, Any], task: Task, column: str | None, report_id: str
) -> tuple[Answer, bool]:
    """What a row of JSON says, and whether it says nothing."""
    row = _edited(row) if is_edited(row) else row
    if str(row.get("task", task.name)).removesuffix(THREE_VALUED) != task.name.removesuffix(THREE_VALUED):
        raise InputError(f"{where}: a row of task {shown(row['task'])}, expected {task.name!r}")
    try:
        status = Status(row.get("status", Status.OK))
    except ValueError:
        raise InputError(f"{where}: status {shown(row['status'])} is not one of {', '.join(Status)}") from None
    labels: list[str] = []
    phrases: tuple[Phrase, ...] = ()
    name = column or (PHRASES if row.get(LABELS) is None and PHRASES in row else LABELS)
    if status == Status.OK:
        if name not in row:
            raise InputError(f"{where}: no {name!r}{_nearest_column(name, row)}")
        labels, phrases = _json_labels(where, row, task, name)
    by = column or (READER if is_edited(row) else str(row.get("model") or ""))
    answer = Answer(task.distinct(labels), report_id, by, status, phrases=phrases, patient_id=_patient_id(row))
    answer = replace(answer, provenance={key: value for key, value in row.items() if key not in _NOT_PROVENANCE})
    return answer, status == Status.OK and is_missing(row[name])


def labels_sha256(labels: Iterable[object]) -> str:
    """What a row of answers keeps of its labels, so that an edit by hand can be told."""
    return sha256_text(json.dumps(list(labels), ensure_ascii=False))


def is_edited(row: Mapping[str, Any]) -> bool:
    """Whether a reader has changed the labels or phrases of a row of answers."""
    answered, labels, phrases = row.get(LABELS_SHA256), row.get(LABELS), row.get(PHRASES)
    if answered is None or not isinstance(labels, list | str):
        return False
    return labels_sha256(labels) != answered or (bool(phrases) and labels_sha256(_names(phrases)) != answered)


def _edited(row: dict[str, Any]) -> dict[str, Any]:
    """An edited row as a reader means it: with the labels of those phrases that were changed, and without problems."""
    if labels_sha256(row[LABELS]) == row[LABELS_SHA256]:
        row = row | {LABELS: _names(row[PHRASES])}
    return row | {"status": str(Status.OK), "problems": []}


def _names(phrases: Iterable[Any]) -> list[Any]:
    return [phrase.get("phrase") if isinstance(phrase, dict) else phrase for phrase in phrases]


def edited_rows(path: Path) -> dict[str, dict[str, Any]]:
    """The rows of an earlier output that readers have edited, by report id."""
    rows = (row for _, row in read_table(path)) if path.exists() else ()
    return {str(row.get(ID_COLUMNS[0])): row for row in rows if is_edited(row)}


def _json_labels(where: str, row: dict[str, Any], task: Task, name: str) -> tuple[list[str], tuple[Phrase, ...]]:
    """Labels, and those of them that come with their codes and places."""
    items = row[name]
    if items is None or isinstance(items, str):
        items = list(_cell_labels(where, row, task, name) or ()) if items else []
    elif isinstance(items, list) and all(map(is_missing, items)):
        items = []  # ["None"]
    labels = [item.get("phrase") if isinstance(item, dict) else item for item in items] if type(items) is list else None
    if labels is None or not all(isinstance(label, str) for label in labels):
        raise InputError(f"{where}: {name!r} is not a list of strings")
    said = [pair for item in items if isinstance(item, dict) for pair in item.items()]
    if doubted := [key for key, value in said if in_doubt(key, str(value))]:
        raise InputError(
            f"{where}: {name!r} has objects with {shown(doubted[0])}; write the names of those that are there"
        )
    located = row.get(PHRASES) if labels == items else items
    return labels, tuple(map(_phrase, filter(_is_phrase, located))) if isinstance(located, list) else ()


def _is_phrase(item: object) -> bool:
    return isinstance(item, dict) and isinstance(item.get("phrase"), str)


def _phrase(item: dict[str, Any]) -> Phrase:
    code, start, end, side = (item.get(name) for name in ("icd10", "start", "end", "side"))
    place = (start, end) if isinstance(start, int) and isinstance(end, int) else (None, None)
    return Phrase(item["phrase"], code if isinstance(code, str) else None, *place, side if side in SIDES else None)


def _cell_labels(where: str, row: Mapping[str, str], task: Task, column: str) -> Iterable[str] | None:
    """The labels in a cell, however they are joined; None where it is missing."""
    if column not in row:
        hint = "" if task.classes else "; a label table has no phrases"
        raise InputError(
            f"{where}: no column {column!r}{_nearest_column(column, row)}; {shown_columns(row)}{hint} "
            "(label_column=..., of gold gold_column=... or gold_columns=[A, B], of predictions prediction_column=...)"
        )
    return cell_labels(where, column, row[column], task)


def _nearest_column(name: str, columns: Iterable[str]) -> str:
    return nearest(name, list(filter(looks_like_name, columns)))


def other_names(task: Task, answers: Iterable[Answer]) -> dict[str, int]:
    """By name, how often answers have one that is no class, commonest first; what may be a report's words together."""
    classes = set(task.classes)
    names = (name for answer in answers for name in answer.labels if name not in classes) if classes else ()
    return dict(Counter(name if looks_like_name(name) else NOT_SHOWN for name in names).most_common())


def respell(task: Task, file: LabelFile, slips: bool = True) -> tuple[LabelFile, dict[str, Respelling]]:
    """Takes names for the classes that they mean; and tells which, the most frequent first.

    With ``slips`` a name may have wrong letters (:meth:`ClassList.nearest`), else be a synonym or have wrong signs.
    """
    if not task.classes:
        return file, {}
    unknown = Counter(x for answer in file.answers.values() for x in answer.labels if x not in task.classes)
    found = {}
    for name, count in unknown.most_common():
        if (meant := task.spelled(name)) not in (None, name):
            found[name] = Respelling(meant, count, SIGNS if same_signs(name, meant) else SYNONYM)
        elif slips and (meant := task.nearest(name)) not in (None, name):
            found[name] = Respelling(meant, count, MISSPELT)
    answers = dict(file.answers)
    for report_id, answer in file.answers.items():
        if not found.keys().isdisjoint(answer.labels):
            labels = task.distinct(found[name].finding if name in found else name for name in answer.labels)
            answers[report_id] = replace(answer, labels=labels)
    return replace(file, answers=answers), found


def respelled_text(task: Task, file: LabelFile, found: Mapping[str, Respelling]) -> str:
    """How a file's labels were understood: ``12 labels: 10 exact, 1 synonym, 1 misspelt; read 'Edma' as Edema (1)``."""
    labels = Counter(label for answer in file.answers.values() for label in answer.labels)
    steps = Counter({"exact": sum(count for name, count in labels.items() if name in task.classes)})
    for spelt in found.values():
        steps[spelt.step] += spelt.count
    steps["none of the classes"] = labels.total() - steps.total()
    counted = ", ".join(f"{count:,} {step}" for step, count in steps.items() if count)
    read = [f"{name!r} as {spelt.finding} ({spelt.count:,})" for name, spelt in found.items()]
    more = f" and {len(read) - _SHOWN:,} more names" if len(read) > _SHOWN else ""
    return f"{labels.total():,} labels: {counted}; read {', '.join(read[:_SHOWN])}{more}"


def unannotated(file: LabelFile, blank: str | None = None) -> frozenset[str]:
    """The reports that a file says nothing of.

    Unless ``blank`` says which: where it says of another report that there is nothing, or that a class is absent, a
    blank row is one that nobody has annotated; else that is how it says that there is nothing.
    """
    return file.blank if blank == IGNORE or (blank is None and file.says_none) else frozenset()


def policies_for(task: Task, given: str | Mapping[str, str] | None) -> dict[str, str]:
    """By class, what an uncertain one counts as (one of :data:`POLICIES`): as ``uncertain=`` says, else as the task.

    Raises:
        InputError: It names a class that there is none of, or the task has none.
    """
    if given and (not task.classes or task.doubted):
        has = "has labels of its own for what is uncertain" if task.classes else "has none"
        raise InputError(f"uncertain: for tasks of classes; {task.name} {has}")
    as_task = "positive" if State.UNCERTAIN in task.certainty else "negative"
    by_name = {OTHERS: given} if isinstance(given, str) else dict(given or {})
    policies = dict.fromkeys(plain_classes(task), "state" if task.doubted else by_name.pop(OTHERS, as_task))
    for name, policy in by_name.items():
        if (meant := task.spelled(name)) not in policies:
            near = nearest(name, (*policies, OTHERS))
            raise InputError(f"uncertain: {shown(name)} is none of the classes of {task.name}{near}")
        policies[meant] = policy
    return policies


def by_policy(task: Task, file: LabelFile, policies: Mapping[str, str]) -> LabelFile:
    """A file in which uncertain classes count as :func:`policies_for` says; dropped ones are undecided."""
    names = {doubt_of(name): name for name in policies}
    answers, undecided = dict(file.answers), {}
    for report_id, answer in file.answers.items():
        doubted = {
            name for name, state in (answer.states or {}).items() if state == State.UNCERTAIN and name in policies
        }
        doubted |= {names[label] for label in answer.labels if label in names}
        if doubted:
            labels = [label for label in answer.labels if label not in doubted and label not in names]
            labels += [name for name in doubted if policies[name] == "positive"]
            labels += [doubt_of(name) for name in doubted if policies[name] == "state"]
            answers[report_id] = replace(answer, labels=tuple(sorted(labels, key=task.order)))
            undecided[report_id] = frozenset(name for name in doubted if policies[name] == "drop")
    return replace(file, answers=answers, undecided=undecided)


def joined_to(file: LabelFile, report_ids: Collection[str]) -> tuple[LabelFile, str]:
    """A file by the ids of another where that writes them differently, and that it does, in words, if it does."""
    known = match_ids(file.answers, report_ids)
    named = {report_id: known.get(report_id, report_id) for report_id in file.answers}
    answers = {named[x]: replace(answer, report_id=named[x]) for x, answer in file.answers.items()}
    lines = {named[x]: number for x, number in file.lines.items()}
    blank = frozenset(named[x] for x in file.blank)
    undecided = {named[x]: names for x, names in file.undecided.items()}
    joined = replace(file, answers=answers, blank=blank, lines=lines, undecided=undecided)
    return joined, say_matched(file.path, known)


def write_label_table(path: Path, task: Task, rows: Mapping[str, Mapping[str, State | int | None]]) -> None:
    """Writes a label table: by report id, in the order to write, the state of each class; None is not mentioned.

    It is an Excel file where its name ends so.
    """
    columns = label_columns(task)
    cells = ((states.get(name) for name in columns) for states in rows.values())
    numbers = ([None if state is None else int(state) for state in row] for row in cells)
    ids = zip(rows, numbers, strict=True)
    write_cells(path, [[ID_COLUMNS[0], *columns], *([report_id, *row] for report_id, row in ids)])
