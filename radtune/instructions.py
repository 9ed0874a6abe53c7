"""Instruction sets: labelled reports of any tasks, mixed, shuffled and split by patient (sections 2.3 and 2.4)."""

import hashlib
import random
import re
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from itertools import chain
from pathlib import Path
from types import MappingProxyType

from radtune.combine import UNION, combine
from radtune.config import InputError
from radtune.files import jsonl_line, read_jsonl, write_whole
from radtune.label_files import (
    PATIENT_COLUMNS,
    LabelFile,
    by_policy,
    column_of,
    joined_to,
    read_labels,
    respell,
    respelled_text,
    unannotated,
)
from radtune.labels import Answer, Status
from radtune.privacy import NOT_SHOWN, looks_like_name
from radtune.report import Report, report_from_text
from radtune.sources.select import priority, read_ids
from radtune.sources.table import PATIENTS, TEXT_COLUMNS, read_any_reports
from radtune.tables import find_column, id_cell, is_table, normal_id, read_table
from radtune.tasks import SECTIONS, Task, is_empty, load_task, shows_images, text_of

UNKNOWN = "with labels that the task does not know"
# Stands for having no label, where reports are drawn or split by label.
_NONE = ""
# Two texts are one report if they are alike to this share: as many words of ten in common, in their order.
_LIKE = 0.9


@dataclass(frozen=True)
class LabelledReport:
    """A report and what its label says: classes or phrases; None where it has no label that can be learned.

    One without may tell whose it is, and which text is excluded; ``left_out`` says why it has none, if the file has
    something for it.
    """

    report: Report
    labels: Sequence[str] | None
    left_out: str = ""


@dataclass(frozen=True)
class Excluded:
    """What must be in no split: reports by id and patients, in their normal forms, and texts by their words."""

    ids: frozenset[str] = frozenset()
    patients: frozenset[str] = frozenset()
    texts: frozenset[tuple[str, ...]] = frozenset()


@dataclass(frozen=True)
class Instruction:
    """One training row, with the Alpaca names that any trainer reads."""

    instruction: str
    input: str
    output: str
    task: str
    report_id: str
    source: str


@dataclass
class Counts:
    """What became of the reports of one task that its file of labels has something for.

    Attributes:
        left_out: By reason, how many are in no split, or were held back with those of the validation split.
        unknown_labels: By name, how many labels the task does not know; names that may be a report's words are counted
            together.
        not_learned: Classes that no training row has.
    """

    labelled: int = 0
    left_out: dict[str, int] = field(default_factory=dict)
    unknown_labels: dict[str, int] = field(default_factory=dict)
    train: int = 0
    validation: int = 0
    not_learned: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        reasons = dict(sorted(self.left_out.items(), key=lambda item: item[0] == UNKNOWN))
        parts = [f"{self.labelled:,} labelled", *(f"{count:,} {reason}" for reason, count in reasons.items())]
        unknown = ", ".join(f"{name} ({count:,})" for name, count in self.unknown_labels.items())
        return ", ".join(parts) + (f": {unknown}" if unknown else "")

    def leave_out(self, reason: str) -> None:
        """Counts one report."""
        self.left_out[reason] = self.left_out.get(reason, 0) + 1


@dataclass
class Split:
    """Rows of two kinds, what became of the rest by task as given, and how many excluded ids no report has."""

    train: list[Instruction]
    validation: list[Instruction]
    counts: dict[str, Counts]
    unmatched_exclude_ids: int


def join(
    reports_path: Path,
    labels_paths: Sequence[Path],
    task: Task,
    policies: Mapping[str, str] = MappingProxyType({}),
    with_problems: bool = False,
    id_column: str | None = None,
    label_column: str | None = None,
    rule: str = UNION,
) -> list[LabelledReport]:
    """Every report with its label, or None where it has none that can be learned.

    Misspelt names are taken for the class that they are nearest to, and uncertain classes count as ``policies`` say.
    Answers with problems are learned only if that is asked for, or a reader has edited them. What several files say of
    a report is combined by a ``rule`` of :func:`radtune.combine.combine`. Whose a report is, a file of labels may tell
    where that of reports does not. Ids stand in ``id_column`` where a file has it, else in the usual ones;
    ``label_column`` is as in :func:`read_labels`.

    Raises:
        InputError: No report has a label: the ids of the files do not join. A label table lacks a class.
    """
    paths = (reports_path, *labels_paths)
    ids = {path: column_of(path, id_column) for path in paths}
    if id_column and not any(ids.values()):
        raise InputError(f"no column {id_column!r} in {' or '.join(map(str, paths))} (id_column=...)")
    given = [read_labels(path, task, label_column, ids[path]) for path in labels_paths]
    reports = list(read_any_reports(reports_path, ids[reports_path]))
    files = [_understood(task, file, policies, [report.report_id for report in reports]) for file in given]
    joined = []
    for report in reports:
        said = [(file, answer) for file in files if (answer := file.answers.get(report.report_id))]
        reasons = [_unfit(answer, file, unannotated(file), with_problems) for file, answer in said]
        fit = [answer for (_, answer), reason in zip(said, reasons, strict=True) if not reason]
        labels = combine(task, fit, rule).answer.labels if fit else None
        whose = [report.patient_id, *(answer.patient_id for _, answer in said)]
        report = replace(report, patient_id=next(filter(None, whose), None))
        joined.append(LabelledReport(report, labels, reasons[0] if reasons and not fit else ""))
    if not any(item.labels is not None or item.left_out for item in joined):
        example = f"; e.g. {joined[0].report.report_id!r} has none" if joined else ""
        where = " or ".join(map(str, labels_paths))
        raise InputError(f"{where}: no label for any of the {len(joined)} reports in {reports_path}{example}")
    return joined


def _understood(task: Task, given: LabelFile, policies: Mapping[str, str], report_ids: Sequence[str]) -> LabelFile:
    """A file of labels by the task's names, a study's policies and the reports' ids; says what was made of it."""
    if given.missing:
        raise InputError(f"{given.path}: no column for {', '.join(given.missing)}: none would be learned as absent")
    file, respelled = respell(task, given)
    file, remark = joined_to(by_policy(task, file, policies), report_ids)
    blank = file.blank - unannotated(file)
    remarks = [remark, f"{file.path}: {len(file.blank)} blank rows count as none" if blank else ""]
    strange = len(file.answers.keys() - {*report_ids})
    remarks += [
        f"{file.path}: {strange:,} of {len(file.answers):,} rows are of none of these reports" if strange else ""
    ]
    remarks += [f"{task.name}: {respelled_text(task, given, respelled)}" if respelled else ""]
    print("".join(f"{line}\n" for line in remarks if line), end="")
    return file


def _unfit(answer: Answer, file: LabelFile, blank: Collection[str], with_problems: bool) -> str:
    """Why an answer is not learned; empty if it is."""
    if answer.status != Status.OK:
        return "without an answer"
    if answer.report_id in blank:
        return "not annotated"
    if file.undecided.get(answer.report_id):
        return "uncertain"
    return "with problems (quarantined)" if answer.provenance.get("problems") and not with_problems else ""


def read_excluded(paths: Iterable[Path], id_columns: Collection[str] = ()) -> Excluded:
    """Reads which reports are excluded: ids, one a line, or a table of them with what it has of patients and texts.

    ``id_columns`` are names of the ids beside the usual ones.
    """
    ids, patients, texts = set[str](), set[str](), set[tuple[str, ...]]()
    for path in paths:
        ids |= read_ids(path, id_columns)
        for number, row in read_table(path) if is_table(path) else ():
            column = find_column(row, PATIENT_COLUMNS) or next(filter(PATIENTS.fullmatch, row), None)
            patients.add(_patient(id_cell(f"{path}:{number}", column, row)))
            text = _text(row, TEXT_COLUMNS)
            # Of a whole report what is kept of one, and all of it, as others' JSON lines keep it.
            whole = {_words(report_from_text("", None, text, "").text), _words(text)}
            texts |= whole | {_words(" ".join(_text(row, [name]) for name in SECTIONS))}
    return Excluded(frozenset(ids), frozenset(patients - {""}), frozenset(texts - {()}))


def _text(row: Mapping[str, object], columns: Iterable[str]) -> str:
    text = row.get(find_column(row, columns) or "")
    return text if isinstance(text, str) else ""


def _patient(patient_id: str) -> str:
    """The normal form of a patient's id; MIMIC-CXR's folders put a p before it."""
    return normal_id(re.sub(r"^[pP](?=\d)", "", patient_id))


def build(
    sources: Mapping[str, Sequence[LabelledReport]],
    rows: Mapping[str, int | None],
    validation_rows: int,
    seed: int,
    excluded: Excluded = Excluded(),
    balance: bool = False,
) -> Split:
    """Builds the training and validation rows of one run.

    Which rows are taken depends on seed, report id and labels alone, so that a smaller set is inside a larger one. A
    patient's reports are all in one split, over all tasks, and so is a text, whoever has it. Of tasks of classes, each
    has about its share of the reports in the validation split.

    Args:
        sources: Reports by task (a name, or a task file's path), those without a label among them.
        rows: Exact number of training rows by task; None for all there are.
        validation_rows: Exact number of validation rows of each task; may be 0.
        seed: Governs the choice, the split and the order.
        excluded: What is in no split, e.g. curated test reports: they, all reports of their patients, and those with
            their text, in the same words or nearly.
        balance: Whether training rows of tasks of classes are drawn by label, so that a rare one is not lost.

    Raises:
        InputError: Too few reports, with the number there is, or a report is said to be of two patients.
    """
    # Whatever order they come in: those of phrases first, so that files are those of earlier versions.
    sources = {name: sources[name] for name in sorted(sources, key=lambda name: (bool(load_task(name).classes), name))}
    patients = _patients([item.report for items in sources.values() for item in items])
    usable, counts, unmatched = _usable(sources, excluded, patients)
    classes = {task: load_task(task).classes for task in usable}
    held_out: set[str] = set()
    validated = {}
    for task in sorted(usable, key=lambda task: not classes[task]):
        labels: dict[str, list[Sequence[str]]] = {}
        for item in usable[task]:
            whose = patients[item.report.report_id]
            labels.setdefault(whose, []).append(item.labels or [_NONE] if classes[task] else ())
        too_few = f"{task}: too few reports ({counts[task]})"
        chosen = _validation_patients(labels, held_out, validation_rows, seed, too_few)
        theirs = [item for item in usable[task] if patients[item.report.report_id] in chosen]
        validated[task] = _chosen(theirs, validation_rows, seed)
        held_out |= chosen
    split = Split([], [], counts, unmatched)
    for task in usable:
        split.validation += _instructions(validated[task], seed, load_task(task))
    texts = {_words(item.report.text) for items in validated.values() for item in items}
    for task, items in usable.items():
        free = []
        for item in items:
            if patients[item.report.report_id] in held_out:
                counts[task].leave_out("held out with their patients")
            elif texts and _words(item.report.text) in texts:
                counts[task].leave_out("with a text that is validated on")
            else:
                free.append(item)
        asked = rows[task]
        wanted = max(1, len(free)) if asked is None else asked
        if len(free) < wanted:
            raise InputError(f"{task}: {wanted} training rows asked for, {len(free)} there ({counts[task]})")
        counts[task].train, counts[task].validation = wanted, validation_rows
        drawn = (_balanced if balance and classes[task] else _chosen)(free, wanted, seed)
        learned = {label for item in drawn for label in item.labels or ()}
        counts[task].not_learned = [name for name in classes[task] if name not in learned]
        split.train += _instructions(drawn, seed, load_task(task))
    for part in (split.train, split.validation):
        random.Random(seed).shuffle(part)  # noqa: S311  (no secret)
    return split


def _usable(
    sources: Mapping[str, Sequence[LabelledReport]], excluded: Excluded, patients: Mapping[str, str]
) -> tuple[dict[str, list[LabelledReport]], dict[str, Counts], int]:
    """Labelled reports that may be in a split and counts of the others, by task; and how many ids no report has."""
    # A report of several tasks may have in one file a patient or a text that it has not in another.
    reports = [item.report for items in sources.values() for item in items]
    by_id = {report_id for report_id in patients if normal_id(report_id) in excluded.ids}
    whose = {patients[x] for x in by_id}
    whose |= {patients[one.report_id] for one in reports if _patient(one.patient_id or "") in excluded.patients}
    by_patient = {x for x in patients if patients[x] in whose}
    texts = excluded.texts | {_words(one.text) for one in reports if one.report_id in by_id}
    by_text = near_identical(((one.report_id, one.text) for one in reports), texts)
    usable, counts = {}, {}
    for name, items in sources.items():
        task, found = load_task(name), Counts()
        if shows_images(task):
            raise InputError(f"task {task.name} shows images: models that are trained here read texts alone")
        usable[name], counts[name] = [], found
        unknown_labels: Counter[str] = Counter()
        for item in items:
            if item.labels is None and not item.left_out:
                continue
            known, unknown = task.known(item.labels or ())
            found.labelled += 1
            unknown_labels.update(label if looks_like_name(label) else NOT_SHOWN for label in unknown)
            reasons = {
                "excluded": item.report.report_id in by_id,
                "of patients of excluded reports": item.report.report_id in by_patient,
                "with the text of an excluded report": item.report.report_id in by_text,
                item.left_out: bool(item.left_out),
                f"without {' or '.join(task.sections)}": is_empty(task, item.report),
                UNKNOWN: bool(unknown),
            }
            if reason := next((reason for reason, holds in reasons.items() if holds), None):
                found.leave_out(reason)
            else:
                usable[name].append(LabelledReport(item.report, known))
        found.unknown_labels = dict(unknown_labels.most_common())
    return usable, counts, len(excluded.ids - set(map(normal_id, by_id)))


def _words(text: str) -> tuple[str, ...]:
    """The words of a report, without the headings of its sections, which a copy may lack."""
    return tuple(word for word in re.findall(r"\w+", text.casefold()) if word not in SECTIONS)


def near_identical(texts: Iterable[tuple[str, str]], wanted: Collection[tuple[str, ...]]) -> set[str]:
    """The names of those texts that have the words of a wanted one, or all but a tenth of them, in their order.

    What is changed between texts that are so near is at most a ninth of the words of either, and so are the different
    words that the other lacks. One word more of the rarest of either has one that both have: by these, candidates are
    found (prefix filtering; Chaudhuri et al., ICDE 2006).
    """
    from rapidfuzz.distance import Levenshtein

    often = Counter(word for words in wanted for word in set(words))

    def rarest(words: Collection[str]) -> list[str]:
        return sorted(set(words), key=lambda word: (often[word], word))[: len(words) // 9 + 1]

    having: dict[str, list[tuple[str, ...]]] = {}
    for words in wanted:
        for word in rarest(words):
            having.setdefault(word, []).append(words)
    found = set()
    for name, text in texts if having else ():
        words = _words(text)
        candidates = {other for word in rarest(words) for other in having.get(word, ())}
        if any(Levenshtein.normalized_similarity(words, other) >= _LIKE for other in candidates):
            found.add(name)
    return found


def _patients(reports: Iterable[Report]) -> dict[str, str]:
    """By report id, what a split may not cut: the patient, where any file knows it, or else the report itself."""
    known: dict[str, str] = {}
    spelled: dict[str, str] = {}  # a patient's id as it first stands, by its normal form
    groups: dict[str, str] = {}
    for report in reports:
        report_id, patient_id = report.report_id, report.patient_id
        patient_id = patient_id and spelled.setdefault(_patient(patient_id), patient_id)
        if patient_id is not None and known.setdefault(report_id, patient_id) != patient_id:
            raise InputError(f"report {report_id!r} is of one patient_id in one file of reports, of another in another")
        groups[report_id] = f"patient {known[report_id]}" if report_id in known else f"report {report_id}"
    return groups


def _validation_patients(
    labels: Mapping[str, Sequence[Sequence[str]]], held_out: set[str], wanted: int, seed: int, too_few: str
) -> set[str]:
    """Patients with as many reports as are wanted, and of each label about their share.

    Iterative stratification (Sechidis et al., ECML PKDD 2011) of patients: those with the label that fewest reports
    have left go first, each to the part that lacks most reports with it. Those without labels make up the number, in
    an order that depends on the seed alone.

    Args:
        labels: By patient, those of each report.
        held_out: Patients that other tasks hold out, who are taken first.
        wanted: How many reports.
        seed: Of the order of patients.
        too_few: What the message opens with if there are fewer.
    """
    if (there := sum(map(len, labels.values()))) < wanted:
        raise InputError(f"{too_few}: {there} there for validation, {wanted - there} more needed")
    order = sorted(labels, key=lambda patient: priority(seed, f"validation {patient}"))
    # By patient that is in neither part yet, how many reports have each label.
    having = {patient: Counter(chain.from_iterable(labels[patient])) for patient in order}
    left = Counter(chain.from_iterable(chain.from_iterable(labels.values())))
    share = wanted / max(there, 1)
    # What validation and training lack: reports by label, and all of them.
    lacking = [{name: part * count for name, count in left.items()} for part in (share, 1 - share)]
    missing = [wanted, there - wanted]
    chosen: set[str] = set()

    def put(patient: str, part: int) -> None:
        for label, count in having.pop(patient).items():
            lacking[part][label] -= count
            left[label] -= count
        missing[part] -= len(labels[patient])
        chosen.update([patient] if part == 0 else [])

    for patient in held_out & having.keys() if wanted else ():
        put(patient, 0)
    while wanted and (labels_left := [name for name, count in left.items() if count]):
        rarest = min(labels_left, key=lambda name: (left[name], name))
        for patient in [patient for patient in order if rarest in having.get(patient, ())]:
            put(patient, max((1, 0), key=lambda part: (lacking[part][rarest], missing[part])))
    # Who has no label comes first.
    for patient in [*having, *(patient for patient in order if patient not in having and patient not in chosen)]:
        if missing[0] <= 0:
            break
        chosen.add(patient)
        missing[0] -= len(labels[patient])
    return chosen


def _chosen(items: Iterable[LabelledReport], wanted: int, seed: int) -> list[LabelledReport]:
    return sorted(items, key=lambda item: priority(seed, item.report.report_id))[:wanted]


def _balanced(items: Sequence[LabelledReport], wanted: int, seed: int) -> list[LabelledReport]:
    """So many reports, drawn one by one: of the label that fewest drawn ones have so far; no label is one, too."""
    order = _chosen(items, len(items), seed)
    left: dict[str, list[LabelledReport]] = {}
    for item in reversed(order):
        for label in item.labels or [_NONE]:
            left.setdefault(label, []).append(item)
    drawn: dict[str, LabelledReport] = {}
    counts = Counter[str]()
    while len(drawn) < wanted:
        label = min(left, key=lambda label: (counts[label], label))
        item = left[label].pop()
        if item.report.report_id not in drawn:
            drawn[item.report.report_id] = item
            counts.update(item.labels or [_NONE])
        if not left[label]:
            del left[label]
    return list(drawn.values())


def _instructions(items: Iterable[LabelledReport], seed: int, task: Task) -> Iterator[Instruction]:
    for item in items:
        report, output = item.report, task.encode(item.labels or ())
        instruction = task.prompt("training", report.report_id, seed).instruction
        yield Instruction(instruction, text_of(task, report), output, task.name, report.report_id, report.source)


def write_instructions(parts: Mapping[Path, Iterable[Instruction]]) -> None:
    """Writes files of rows, all of them or none."""
    with ExitStack() as stack:
        for path, rows in parts.items():
            stack.enter_context(write_whole(path)).writelines(map(jsonl_line, rows))


def read_instructions(path: Path) -> Iterator[Instruction]:
    """Reads ``instructions.jsonl``; an InputError names file and line."""
    names = tuple(Instruction.__dataclass_fields__)
    for number, row in read_jsonl(path):
        for name in names:
            if not isinstance(row.get(name), str):
                raise InputError(f"{path}:{number}: {name!r} is missing or no string")
        if not row["input"].strip() or not row["output"].strip():
            raise InputError(f"{path}:{number}: report {row['report_id']!r} has an empty input or output")
        yield Instruction(**{name: row[name] for name in names})


def rows_sha256(rows: Iterable[Instruction]) -> str:
    """A hash of which reports are in a set and in which order, without their text."""
    digest = hashlib.sha256()
    for row in rows:
        digest.update(f"{row.task}\t{row.report_id}\n".encode())
    return digest.hexdigest()
