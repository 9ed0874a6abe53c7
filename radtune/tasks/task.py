"""A task is a file: what a YAML in ``configs/tasks/`` says, read into a task with the behaviour of its kind."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import Literal

from radtune import PACKAGE, ROOT
from radtune.config import InputError, from_mapping, key, nearest, read_yaml, yaml_files
from radtune.labels import State, doubt_of
from radtune.report import Report
from radtune.tables import ID_COLUMNS, is_missing
from radtune.tasks.class_list import THREE_VALUED, ClassList, without_signs
from radtune.tasks.codes import code_exists
from radtune.tasks.lists import fold_space
from radtune.tasks.phrase_list import PhraseList
from radtune.tasks.rendering import USES, Wording, read_examples

TASKS_DIR = ROOT / "configs" / "tasks"
RULES_DIR = PACKAGE / "rules"
SECTIONS = ("findings", "impression")
# Beside them, what an image is shown with; and the images.
INDICATION, IMAGES = "indication", "images"
Section = Literal["findings", "impression", "indication", "images"]
# Columns and keys of files with labels, which no class can have the name of.
NO_CLASSES = frozenset((*ID_COLUMNS, "patient_id", "subject_id", "labels", "phrases"))


# What the stages need of a task; nothing outside this room knows one by name.
Task = ClassList | PhraseList


def with_rules(task: Task, folder: Path | None, alternatives: str | None) -> Task:
    """The task labelled by the rules of another folder, or with another reading of "A or B", where these are given."""
    if folder is None and alternatives is None:
        return task
    if not isinstance(task, ClassList):
        raise InputError(f"task {task.name}: rules find classes, and a task of phrases has none")
    if folder is not None:
        if not (folder / "lexicon.toml").is_file():
            raise InputError(f"rules: {str(folder)!r} is no folder with a lexicon.toml")
        files = (file for file in task.files if file.parent != task.rules)
        task = replace(task, rules=folder, files=(*files, *sorted(folder.glob("*.toml"))))
    return replace(task, alternatives=alternatives or task.alternatives)


def text_of(task: Task, report: Report) -> str:
    """What a task reads of a report: its sections, or the whole of a report without any.

    A task that shows images reads no more than its file says; the indication stands under its name.
    """
    if not shows_images(task) and (set(task.sections) == set(SECTIONS) or not report.has_sections):
        return report.text
    texts = {section: getattr(report, section) for section in task.sections if section != IMAGES}
    if texts.get(INDICATION):
        texts[INDICATION] = f"Indication: {texts[INDICATION]}"
    return "\n".join(filter(None, texts.values()))


def shows_images(task: Task) -> bool:
    """Whether a task shows a report's images."""
    return IMAGES in task.sections


def is_empty(task: Task, report: Report) -> bool:
    """Whether a report has nothing that a task could be asked about: no image where these are shown, else no text."""
    return not report.images if shows_images(task) else not text_of(task, report).strip()


@dataclass(frozen=True)
class ClassEntry:
    """A class in a task file."""

    name: str
    definition: str | None = None
    synonyms: list[str] = field(default_factory=list)
    parent: str | None = None
    icd10: str | None = None


@dataclass(frozen=True)
class ExamplesEntry:
    """Where examples stand, how many a prompt shows, and for which uses they are drawn anew."""

    file: str
    shown: int = key("", 3, ge=1)
    drawn_for: list[Literal["training", "inference", "labelling"]] = field(default_factory=list)


@dataclass(frozen=True)
class TaskFile:
    """Keys of a task file; docs/tasks.md explains them."""

    name: str
    kind: Literal["classes", "phrases"]
    prompts: dict[str, str]
    title: str | None = None
    classes: list[str | ClassEntry] = field(default_factory=list)
    families: list[str] = field(default_factory=list)
    none: str = "Normal"
    certainty: list[Literal["present", "absent", "uncertain"]] = field(default_factory=lambda: ["present"])
    sections: list[Section] = field(default_factory=lambda: ["findings", "impression"])
    rules: str | None = None
    alternatives: Literal["uncertain", "positive"] = "uncertain"
    texts: dict[str, str] = field(default_factory=dict)
    examples: ExamplesEntry | None = None
    answer: Literal["list", "table"] = "list"


def task_names() -> tuple[str, ...]:
    """The tasks that ship."""
    return tuple(sorted(path.stem for path in TASKS_DIR.glob("*.yaml")))


def load_task(name_or_path: str | Path) -> Task:
    """Reads a task: a name in ``configs/tasks/``, or the path of a task file; with ``+states`` behind, three-valued.

    Raises:
        InputError: There is none of this name, or naming file and key: what is wrong with it.
    """
    given = str(name_or_path)
    if given.endswith(THREE_VALUED):
        task = load_task(given.removesuffix(THREE_VALUED))
        if not isinstance(task, ClassList):
            raise InputError(f"task: {given}: a task of phrases has no states")
        return task.three_valued()
    if given.endswith((".yaml", ".yml")):
        return _read_task(Path(given).resolve())
    if given not in task_names():
        known = task_names()
        raise InputError(f"task: {given!r} is none of {', '.join(known)}, nor a path of a .yaml{nearest(given, known)}")
    return _read_task(TASKS_DIR / f"{given}.yaml")


def own_tasks(paths: Iterable[Path]) -> dict[str, Path]:
    """Task files by the names in them.

    Raises:
        InputError: Two of them, or one of them and a task that ships, and that it does not extend, have the same name.
    """
    found: dict[str, Path] = {}
    for path in paths:
        task = load_task(path)
        name = task.name
        if name in found or (name in task_names() and not _yaml_files(load_task(name)) <= _yaml_files(task)):
            raise InputError(f"tasks: {path}: {found.get(name, 'a task that ships')} is {name!r}, too")
        found[name] = path
    return found


def _yaml_files(task: Task) -> set[Path]:
    return {file.resolve() for file in task.files if file.suffix == ".yaml"}


@cache
def _read_task(path: Path) -> Task:
    where = str(path.relative_to(ROOT) if path.is_relative_to(ROOT) else path)
    file = from_mapping(TaskFile, read_yaml(path), where)
    entries = [ClassEntry(entry) if isinstance(entry, str) else entry for entry in file.classes]
    _check(where, file, entries)
    title = file.title or file.name.replace("_", " ").capitalize()
    wording, files = _wording(where, path, file)
    certainty, sections = tuple(State[name.upper()] for name in file.certainty), tuple(file.sections)
    task: Task
    if file.kind == "phrases":
        task = PhraseList(file.name, title, wording, certainty, sections, files, file.answer == "table")
    else:
        rules = _rules(where, path, file.rules)
        task = ClassList(
            file.name, title, wording, tuple(entry.name for entry in entries), file.none, certainty, sections, rules,
            definitions={entry.name: entry.definition for entry in entries if entry.definition},
            synonyms={entry.name: tuple(entry.synonyms) for entry in entries if entry.synonyms},
            parents={entry.name: entry.parent for entry in entries if entry.parent},
            files=files + (tuple(sorted(rules.glob("*.toml"))) if rules else ()),
            alternatives=file.alternatives,
        )  # fmt: skip
    for use in USES:
        # Finds what a prompt lacks now, not at the first report.
        task.prompt(use)
    return task


def _check(where: str, file: TaskFile, entries: Sequence[ClassEntry]) -> None:
    if not file.name.replace("_", "").replace("-", "").isalnum():
        raise InputError(f"{where}: name: letters, digits, - and _ only")
    if unknown := sorted(set(file.prompts) - set(USES)):
        raise InputError(f"{where}: prompts: unknown key {unknown[0]!r}{nearest(unknown[0], USES)}")
    if "inference" not in file.prompts:
        raise InputError(f"{where}: prompts.inference is missing")
    if not file.sections or not file.certainty:
        raise InputError(f"{where}: sections and certainty may not be empty")
    if (file.kind == "classes") != bool(entries):
        problem = "none given" if file.kind == "classes" else "a task of phrases has none"
        raise InputError(f"{where}: classes: {problem}")
    if file.kind == "classes" and file.answer == "table":
        raise InputError(f"{where}: answer: a table has phrases, and a task of classes has none")
    if file.kind == "phrases" and file.rules:
        raise InputError(f"{where}: rules: they find classes, and a task of phrases has none")
    if not file.none.strip():
        raise InputError(f"{where}: none: a word for none of the classes is needed")
    if len(set(file.sections)) < len(file.sections):
        raise InputError(f"{where}: sections: one stands twice")
    # Whatever a name or synonym means, signs and case aside, it may mean one class alone, and none the word for none or
    # a family.
    meant = Counter(name for entry in entries for name in {*map(without_signs, (entry.name, *entry.synonyms))})
    meant.update(map(without_signs, (file.none, *file.families)))
    doubts = {doubt_of(entry.name).lower() for entry in entries}
    for number, entry in enumerate(entries):
        if entry.name.lower() in doubts:
            problem = f"{entry.name!r} is the name of another class in doubt (uncertain=state)"
            raise InputError(f"{where}: classes[{number}]: {problem}")
        for name in (entry.name, *entry.synonyms):
            if not name or name != fold_space(name):
                problem = f"{name!r} is no name: empty, with blanks around it, or two in a row"
                raise InputError(f"{where}: classes[{number}]: {problem}")
            if is_missing(name):
                raise InputError(f"{where}: classes[{number}]: {name!r} in a table of labels is a blank cell")
            if name.lower() in NO_CLASSES:
                raise InputError(f"{where}: classes[{number}]: {name!r} is the name of a column of label tables")
            if meant[without_signs(name)] > 1:
                problem = f"{name!r} stands for two classes, or is the word for none or a family"
                raise InputError(f"{where}: classes[{number}]: {problem}")
        if entry.icd10 is not None and not code_exists(entry.icd10):
            raise InputError(f"{where}: classes[{number}].icd10: {entry.icd10!r} is no code of ICD-10-CM")
        _check_parents(where, number, entry, dict.fromkeys(file.families) | {e.name: e.parent for e in entries})


def _check_parents(where: str, number: int, entry: ClassEntry, parents: Mapping[str, str | None]) -> None:
    seen, parent = {entry.name}, entry.parent
    while parent is not None:
        if parent not in parents:
            known = nearest(parent, list(parents))
            raise InputError(f"{where}: classes[{number}].parent: {parent!r} is none of the classes or families{known}")
        if parent in seen:
            raise InputError(f"{where}: classes[{number}].parent: {entry.name!r} is its own ancestor")
        seen.add(parent)
        parent = parents[parent]


def _wording(where: str, path: Path, file: TaskFile) -> tuple[Wording, tuple[Path, ...]]:
    if file.examples is None:
        return Wording(where, file.texts, file.prompts), yaml_files(path)
    examples_path = _found(where, "examples.file", path, file.examples.file)
    examples, shown, drawn_for = read_examples(examples_path), file.examples.shown, tuple(file.examples.drawn_for)
    names = {entry if isinstance(entry, str) else entry.name for entry in file.classes}
    for example in examples:
        if file.kind == "classes" and (unknown := {p.phrase for p in example.phrases} - names):
            raise InputError(f"{where}: examples.file: {example.example_id!r}: {min(unknown)!r} is none of the classes")
    if shown > len(examples):
        raise InputError(f"{where}: examples.shown: at most {len(examples)}, the examples there are")
    fixed = sum(example.fixed for example in examples)
    if fixed != shown and set(USES) - set(drawn_for):
        raise InputError(f"{where}: examples.shown is {shown}, but {fixed} rows of {file.examples.file} are fixed")
    return Wording(where, file.texts, file.prompts, examples, shown, drawn_for), (*yaml_files(path), examples_path)


def _rules(where: str, path: Path, rules: str | None) -> Path | None:
    """A folder beside the file goes before the one that ships under its name."""
    if rules is None:
        return None
    shipped = RULES_DIR / rules
    beside = any((file.parent / rules).is_dir() for file in yaml_files(path))
    found = shipped if shipped.is_dir() and not beside else _found(where, "rules", path, rules)
    if not rules or not (found / "lexicon.toml").is_file():
        raise InputError(f"{where}: rules: {rules!r} is no folder with a lexicon.toml")
    return found


def _found(where: str, key: str, path: Path, given: str) -> Path:
    """A path in a task file: beside it or what it extends, or from the repository's root."""
    for base in (*(file.parent for file in yaml_files(path)), ROOT):
        if (base / given).exists():
            return (base / given).resolve()
    raise InputError(f"{where}: {key}: no {given!r}, neither beside the file nor in the repository")
