"""What a study YAML says, where its files stand, and the cells (runs with a score) that follow from it."""

import math
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from pathlib import Path
from typing import Any

from radtune import ROOT, combine
from radtune.config import InputError, from_mapping, key, nearest, read_yaml, split_arguments, with_overrides
from radtune.label_files import BLANK, IGNORE, POLICIES, LabelFile, column_names, read_labels
from radtune.score.inputs import LENIENT, SPELLING
from radtune.tasks import Task, load_task

# The recipes: recipes/lora_finetune.py, and torchtune's own, which the paper trained with.
OURS, STOCK = RECIPES = ("ours", "stock")
# Who labels a cohort; anything else is the path of a file of labels.
RULES, TEACHER = "rules", "teacher"
SYNTHETIC = "synthetic"
# In a mix, as many rows as there are labels.
ALL = "all"
# Keys of a test that are not prepare_reports.py's but evaluate.py's.
EVALUATION_KEYS = (
    "gold",
    "gold_blank",
    "gold_column",
    "gold_columns",
    "gold_rule",
    "id_column",
    "spelling",
    "uncertain",
)
_CHOICES = {"gold_blank": BLANK, "gold_rule": combine.RULES, "spelling": SPELLING, "uncertain": POLICIES}
_PATH_KEYS = ("input", "gold", "reports", "labels")
# $NAME or ${NAME} in a path; and as OmegaConf writes it.
_VARIABLE = re.compile(r"\$\{?(?:oc\.env:)?(\w+)\}?")


@dataclass
class StudySettings:
    """A study YAML."""

    name: str = key("Names the study, and its folder.")
    model_name: str = key("The base model as tables call it, e.g. Llama 3.1-8B.")
    checkpoint_dir: Path = key("Folder of the base model.")
    config: str | dict[str, str] = key("YAML of the training recipe, or one for each of ours and stock.")
    tests: dict[str, dict[str, Any]] = key(
        "By task, or by a name of your own with `task:`: gold (and gold_..., id_column, spelling, as in evaluate.py), "
        "and reports or keys of prepare_reports.py."
    )
    rule_tests: dict[str, dict[str, Any]] = key(
        "Tests for the rule labeler alone, by a name of your own; their reports may be trained on.", {}
    )
    cohorts: dict[str, dict[str, Any]] = key(
        "Training reports by a name of your own: task (a name or the path of a task file), labels (rules, teacher or a "
        "path), title (a heading), gold (what a simulated teacher answers from), and keys of prepare_reports.py.",
        {},
    )
    training: str = key("The recipe that trains every cell.", OURS, RECIPES)
    overrides: list[str] | dict[str, list[str]] = key("key=value for its YAML; or for each of ours and stock.", [])
    teacher: dict[str, Any] = key("simulated (true or false), model, and further keys of gpt_data_generate.py.", {})
    mixes: list[list[int | str] | dict[str, int | str]] = key(
        "Training mixes: rows in the order of cohorts, or by cohort; all for as many as are labelled.", []
    )
    cross_check: list[list[int | str] | dict[str, int | str]] = key(
        "Mixes that the other recipe trains too, to compare.", []
    )
    learning_rates: list[float] = key("Learning rates to try.", [], gt=0)
    learning_rate_rows: list[int | str] | dict[str, int | str] = key("The mix that each of them is tried on.", [])
    separate: dict[str, list[int]] = key("By test: numbers of rows to train on for its task alone.", {}, gt=0)
    inference: dict[str, Any] = key("Keys of inference.py.", {})
    inference_variants: dict[str, dict[str, Any]] = key(
        "By a name of your own: keys of inference.py to ask the last mix with once more, and the tests to do so on.", {}
    )
    run_dir: Path | None = key("Where everything goes; runs/NAME if left out.", None)
    seed: int = key("Seed of sampling, training and bootstrap.", 0, ge=0)
    seeds: list[int] = key("Seeds to train each cell with; tables then show mean and standard deviation.", [], ge=0)
    note: str = key("A caution shown on top of the report.", "")
    limit: int | None = key("A trial in a folder of its own: most reports of each cohort and test.", None, ge=1)
    show_text: bool = key("Whether the report quotes phrases and sentences of the test reports.", False)


@dataclass(frozen=True)
class Cohort:
    """Reports to train on: ``labels`` is ``rules``, ``teacher`` or a path, ``source`` keys of prepare_reports.py."""

    name: str
    title: str
    task: Task
    labels: str
    label_keys: Mapping[str, str]  # how given labels are read: keys of build_instructions.py
    gold: Path | None
    source: Mapping[str, Any]

    def read_labels(self, path: Path) -> LabelFile:
        """What labels the cohort."""
        return read_labels(path, self.task, self.label_keys.get("label_column"), self.label_keys.get("id_column"))


@dataclass(frozen=True)
class Test:
    """Reports to score on: ``evaluation`` are keys of evaluate.py, ``source`` keys of prepare_reports.py."""

    name: str
    title: str
    task: Task
    gold: Path
    gold_from: Mapping[str, Any]  # keys of map_labels.py, where gold is made from a label table of other names
    reports: Path | None
    evaluation: Mapping[str, Any]
    source: Mapping[str, Any]


def is_synthetic(part: Cohort | Test) -> bool:
    """Whether reports are made up, and their truth known."""
    return part.source.get("source") == SYNTHETIC


class Kind(StrEnum):
    """What a cell measures."""

    BASE = "base"
    MIX = "mix"
    RULE_LABELER = "rule_labeler"
    TEACHER = "teacher"
    LEARNING_RATE = "learning_rate"
    SEPARATE = "separate"
    CROSS_CHECK = "cross_check"  # a mix trained by the other recipe
    VARIANT = "variant"  # the last mix, asked in another way


@dataclass(frozen=True)
class Cell:
    """One labeler, teacher or model that the study scores; its name is unique and safe as a file's."""

    name: str
    kind: Kind
    tests: tuple[str, ...]
    rows: Mapping[str, int | None] = field(default_factory=dict)  # training rows by cohort, None for all of them
    recipe: str = ""  # what trains it, one of RECIPES
    learning_rate: float | None = None  # where it is not the recipe's own
    seed: int | None = None  # of training and asking, where the study has several
    model: str = ""  # of a variant: the cell that is asked, with these keys of inference.py
    asked: Mapping[str, Any] = field(default_factory=dict)

    @property
    def group(self) -> str:
        """The name that it shares with the cells that differ from it in their seed alone."""
        return self.name.removesuffix(_seed_suffix(self.seed))

    @property
    def total(self) -> int:
        """All training rows; of a cohort that is taken whole, as many as are known."""
        return sum(count or 0 for count in self.rows.values())

    @property
    def is_tuned(self) -> bool:
        """Whether an adapter answers."""
        return any(count != 0 for count in self.rows.values())

    @property
    def trained(self) -> bool:
        """Whether it is trained for itself."""
        return self.is_tuned and self.kind != Kind.VARIANT

    @property
    def rows_name(self) -> str:
        """Names its instruction set, which cells of the same rows share."""
        return "_".join(f"{cohort}_{rows_text(count)}" for cohort, count in self.rows.items() if count != 0)


@dataclass(frozen=True)
class Study:
    """What a study's YAML holds and names, its cells in the order of the paper's tables, and where its files stand.

    Names in paths may be snakemake's wildcards.
    """

    values: Mapping[str, Any]
    settings: StudySettings
    run_dir: Path
    cohorts: Mapping[str, Cohort]
    tests: Mapping[str, Test]
    cells: Sequence[Cell] = ()

    def cohort_file(self, cohort: str, name: str = "reports.jsonl") -> Path:
        """What is made of a cohort: reports.jsonl, labels.csv, annotations.jsonl, gold_...."""
        return self.run_dir / "cohorts" / cohort / name

    def weak_labels(self, cohort: Cohort) -> Path:
        """A cohort's labels: given, or made by the rule labeler or the teacher."""
        made = {RULES: "labels.csv", TEACHER: "annotations.jsonl"}.get(cohort.labels)
        return self.cohort_file(cohort.name, made) if made else Path(cohort.labels)

    def test_file(self, test: str, name: str = "reports.jsonl") -> Path:
        """What is made of a test: reports.jsonl, rule_labels.csv, and of synthetic reports the gold."""
        return self.run_dir / "tests" / test / name

    def test_reports(self, test: str) -> Path:
        """The reports of a test: given, or prepared."""
        return self.tests[test].reports or self.test_file(test)

    def predictions(self, cell: str, test: str) -> Path:
        """What a cell answers on the reports of a test."""
        if cell == Kind.RULE_LABELER:
            return self.test_file(test, "rule_labels.csv")
        return self.run_dir / "predictions" / cell / f"{test}.jsonl"

    def evaluation(self, cell: str, test: str, name: str = "metrics.json") -> Path:
        """A cell's scores on a test; its errors.jsonl; its scores compared with another's, against_CELL.json."""
        return self.run_dir / "evaluations" / cell / test / name

    def instructions(self, cell: Cell) -> Path:
        """The instruction set that a cell is trained on."""
        return self.run_dir / "instructions" / f"{cell.rows_name}.jsonl"

    def training(self, cell: str) -> Path:
        """The folder that a cell's training writes: adapter, and logs."""
        return self.run_dir / "training" / cell

    def cell(self, name: str) -> Cell:
        """The cell of a name."""
        return next(cell for cell in self.cells if cell.name == name)

    @property
    def scores(self) -> list[tuple[Cell, str]]:
        """What is scored: every cell with the name of each of its tests."""
        return [(cell, test) for cell in self.cells for test in cell.tests]

    @property
    def used_cohorts(self) -> list[Cohort]:
        """The cohorts that a cell is trained on."""
        used = {name for cell in self.cells for name, count in cell.rows.items() if count != 0}
        return [cohort for name, cohort in self.cohorts.items() if name in used]

    @property
    def titles(self) -> dict[str, str]:
        """The cohorts' titles by name."""
        return {name: cohort.title for name, cohort in self.cohorts.items()}


def read_study(path: Path, run_dir: Path | None = None, limit: int | None = None) -> Study:
    """Reads a study YAML, see :func:`study_from_mapping`; a folder and a limit that are given stand above its own."""
    given = {"run_dir": run_dir and str(run_dir), "limit": limit}
    return study_from_mapping(read_yaml(path) | {name: v for name, v in given.items() if v is not None}, str(path))


def study_from_mapping(values: Mapping[str, Any], where: str = "study") -> Study:
    """Builds a study from what its YAML holds.

    Raises:
        InputError: ``where: key: ...``: a key that is unknown, missing or ill-typed, a name that cannot be one, a
            cohort or test that does not exist, a mix that stands twice or asks for more rows than its cohort has,
            labels that nobody can give.
    """
    settings = from_mapping(StudySettings, values, where)
    settings = replace(settings, checkpoint_dir=_here_or_shipped(settings.checkpoint_dir))
    run_dir = settings.run_dir or Path("runs") / settings.name
    if settings.limit:
        run_dir = run_dir.with_name(f"{run_dir.name}_limit_{settings.limit}")
    _check_names(where, settings, run_dir)
    cohorts = {
        name: _cohort(f"{where}: cohorts.{name}", name, found, settings.limit)
        for name, found in settings.cohorts.items()
    }
    tests = {
        name: _test(f"{where}: tests.{name}", name, found, run_dir, settings.limit)
        for name, found in (settings.tests | settings.rule_tests).items()
    }
    files: dict[str, tuple[Path, ...]] = {}
    for task in (part.task for part in (*cohorts.values(), *tests.values())):
        if files.setdefault(task.name, task.files) != task.files:
            raise InputError(f"{where}: two task files have the name {task.name!r}")
    study = Study(values, settings, run_dir, cohorts, tests)
    cells = _cells(where, study)
    if settings.limit:
        # Whatever their rows were, they are all that the limit leaves now.
        cells = list({cell.name: cell for cell in cells}.values())
    study = replace(study, cells=[seeded for cell in cells for seeded in _seeded(cell, settings.seeds)])
    _check_cells(where, study)
    return study


def _seeded(cell: Cell, seeds: Sequence[int]) -> list[Cell]:
    """A cell for each seed, where it is trained; a variant is of the first."""
    if not seeds or not cell.is_tuned:
        return [cell]
    if cell.kind == Kind.VARIANT:
        return [replace(cell, model=cell.model + _seed_suffix(seeds[0]))]
    return [replace(cell, name=cell.name + _seed_suffix(seed), seed=seed) for seed in seeds]


def _cohort(where: str, name: str, values: Mapping[str, Any], limit: int | None) -> Cohort:
    source = _source(where, values, limit)
    if missing := [name for name in ("task", "labels") if not isinstance(source.get(name), str)]:
        raise InputError(f"{where}: missing required key: {', '.join(missing)}")
    task, labels, gold = load_task(source.pop("task")), source.pop("labels"), source.pop("gold", None)
    if labels == RULES and task.rules is None:
        raise InputError(f"{where}.labels: no rules label {task.name}")
    if labels not in (RULES, TEACHER) and not Path(labels).suffix:
        raise InputError(f"{where}.labels: expected rules, teacher or the path of a file of labels")
    title, id_column, column = source.pop("title", name), source.get("id_column"), source.pop("label_column", None)
    given = Path(labels) if labels not in (RULES, TEACHER) else None
    if column and given is None:
        raise InputError(f"{where}.label_column: {labels} has no columns")
    names_ids = given is not None and given.is_file() and id_column in column_names(given)
    label_keys = ({"id_column": id_column} if names_ids else {}) | ({"label_column": column} if column else {})
    return Cohort(name, title, task, labels, label_keys, Path(gold) if gold else None, source)


def _test(where: str, name: str, values: Mapping[str, Any], run_dir: Path, limit: int | None) -> Test:
    """A test; finds now what evaluate.py would find after the training."""
    source = _source(where, values, limit)
    task = load_task(source.pop("task", name))
    title, reports = source.pop("title", task.title), source.pop("reports", None)
    if reports and (limit or "id_column" in source):
        # Prepared, so that every step finds their ids, and no more than the limit.
        source |= {"source": "table", "input": reports, "require_sections": False}
        reports = None
    id_column = source.get("id_column") if source.get("source") == "table" else None
    evaluation = {option: source.pop(option) for option in EVALUATION_KEYS if option in source}
    made = source.get("source") == SYNTHETIC
    gold = evaluation.setdefault("gold", str(run_dir / "tests" / name / gold_name(task)) if made else None)
    if not gold or not isinstance(gold, str):
        raise InputError(f"{where} has no gold, or gold is no path")
    names, gold_from = source.pop("gold_names", {}), {}
    if names:
        if not isinstance(names, Mapping) or not set(names.values()) <= set(task.classes):
            raise InputError(f"{where}.gold_names: expected a class of {task.name} by each column of gold to read")
        gold_from = {"input": Path(gold), "names": names, "id_column": evaluation.pop("id_column", None)}
        gold = evaluation["gold"] = str(run_dir / "tests" / name / gold_name(task))
    if made and run_dir not in Path(gold).parents:
        raise InputError(f"{where}.gold: {gold} is written by the study, so it belongs in {run_dir}")
    for option, choices in _CHOICES.items():
        if option in evaluation and evaluation[option] not in choices:
            raise InputError(f"{where}.{option} is not one of {', '.join(choices)}")
        if evaluation.get(option) in (IGNORE, LENIENT) and not task.classes:
            raise InputError(f"{where}.{option}: {evaluation[option]} is for tasks of classes")
    if id_column:
        source["id_column"] = id_column
        if Path(gold).is_file() and id_column not in column_names(Path(gold)):
            evaluation.pop("id_column", None)
    return Test(name, title, task, Path(gold), gold_from, Path(reports) if reports else None, evaluation, source)


def gold_name(task: Task) -> str:
    """What the file with the truth of synthetic reports is called."""
    return "gold_labels.csv" if task.classes else "gold_phrases.jsonl"


def _source(where: str, values: Mapping[str, Any], limit: int | None) -> dict[str, Any]:
    """A copy, with the environment's variables in its paths, and no more reports than the limit."""

    def value_of(found: re.Match[str]) -> str:
        if found[1] not in os.environ:
            raise InputError(f"{where}: the environment variable {found[1]} is not set")
        return os.environ[found[1]]

    paths = {name: values[name] for name in _PATH_KEYS if isinstance(values.get(name), str)}
    source = {**values, **{name: _VARIABLE.sub(value_of, path) for name, path in paths.items()}}
    if "input" in source:
        source.setdefault("source", "table")
    if limit:
        most = "count" if source.get("source") == SYNTHETIC else "sample"
        source[most] = min(limit, source[most]) if isinstance(source.get(most), int) else limit
    return source


def _rows(where: str, mix: Sequence[int | str] | Mapping[str, int | str], study: Study) -> dict[str, int | None]:
    """A mix as rows by cohort, in the order of cohorts."""
    cohorts = study.cohorts
    if not isinstance(mix, Mapping):
        if len(mix) != len(cohorts):
            raise InputError(f"{where}: {list(mix)} is not a number of rows for each of {', '.join(cohorts)}")
        mix = dict(zip(cohorts, mix, strict=True))
    for name, count in mix.items():
        _check_name(f"{where}: ", name, list(cohorts))
        if isinstance(count, str) and count != ALL:
            raise InputError(f"{where}: expected numbers of rows, or {ALL}")
    given = {name: mix.get(name, 0) for name in cohorts}
    rows = {
        name: None if count == ALL or (count and study.settings.limit) else int(count) for name, count in given.items()
    }
    if min(count or 0 for count in rows.values()) < 0 or all(count == 0 for count in rows.values()):
        raise InputError(f"{where}: numbers of rows must be 0 or more, and not all of them 0")
    return rows


def _here_or_shipped(path: Path) -> Path:
    """A path as it is, or in radtune's own folder, where a study that runs in another has none of that name."""
    return ROOT / path if not path.exists() and (ROOT / path).exists() else path


def _seed_suffix(seed: int | None) -> str:
    return "" if seed is None else f"_seed_{seed}"


def rows_text(count: int | None) -> str:
    """A number of rows in a name."""
    return ALL if count is None else str(count)


def _cells(where: str, study: Study) -> list[Cell]:
    settings, cohorts, tests = study.settings, study.cohorts, tuple(study.settings.tests)
    recipe = settings.training
    other = STOCK if recipe == OURS else OURS

    def mixes(name: str, kind: Kind, recipe: str, suffix: str = "") -> list[Cell]:
        found = [_rows(f"{where}: {name}", mix, study) for mix in getattr(settings, name)]
        names = ["_".join(("mix", *map(rows_text, rows.values()))) + suffix for rows in found]
        return [Cell(name, kind, tests, rows, recipe) for name, rows in zip(names, found, strict=True)]

    found = [Cell(Kind.BASE.value, Kind.BASE, tests), *mixes("mixes", Kind.MIX, recipe)]
    last = found[-1]
    if by_rules := tuple(name for name, test in study.tests.items() if test.task.rules):
        found.append(Cell(Kind.RULE_LABELER.value, Kind.RULE_LABELER, by_rules))
    if asked := tuple(
        name for name, test in study.tests.items() if name in tests and _can_answer(settings.teacher, test)
    ):
        found.append(Cell(Kind.TEACHER.value, Kind.TEACHER, asked))
    if bool(settings.learning_rates) != bool(settings.learning_rate_rows):
        raise InputError(f"{where}: learning_rates and learning_rate_rows go together")
    for rate in settings.learning_rates:
        rows = _rows(f"{where}: learning_rate_rows", settings.learning_rate_rows, study)
        learnt = {cohorts[name].task.name for name, count in rows.items() if count != 0}
        scored = tuple(name for name in tests if study.tests[name].task.name in learnt)
        found.append(Cell(f"lr_{rate_text(rate)}", Kind.LEARNING_RATE, scored, rows, recipe, rate))
    for test, sizes in settings.separate.items():
        _check_name(f"{where}: separate: ", test, tests)
        own = [name for name, cohort in cohorts.items() if cohort.task.name == study.tests[test].task.name]
        if len(own) != 1:
            raise InputError(f"{where}: separate.{test} needs one cohort of its task, there are {len(own)}")
        for rows in (None if settings.limit else size for size in sizes):
            found.append(Cell(f"only_{test}_{rows_text(rows)}", Kind.SEPARATE, (test,), {own[0]: rows}, recipe))
    found += mixes("cross_check", Kind.CROSS_CHECK, other, f"_{other}")
    for name, values in settings.inference_variants.items():
        closed = {"constrain", "scores"} & set(values)
        can = tuple(test for test in tests if study.tests[test].task.classes or not closed)
        chosen = tuple(values.get("tests", can))
        for test in chosen:
            _check_name(f"{where}: inference_variants.{name}.tests: ", test, can)
        asked_with = {option: value for option, value in values.items() if option != "tests"}
        found.append(Cell(name, Kind.VARIANT, chosen, last.rows, last.recipe, model=last.name, asked=asked_with))
    return found


def opponents(study: Study, cell: Cell, test: str) -> list[str]:
    """The cells that a cell is compared with.

    A mix: the base model, and the rules where they can answer. The other recipe's: the mix of the same rows. A variant:
    the model asked as usual.
    """
    if cell.kind == Kind.MIX:
        rules = [Kind.RULE_LABELER.value] if study.tests[test].task.rules else []
        return [Kind.BASE.value, *rules]
    if cell.kind == Kind.CROSS_CHECK:
        same = [other for other in study.cells if (other.kind, other.rows) == (Kind.MIX, cell.rows)]
        return [other.name for other in same if other.seed == cell.seed]
    return [cell.model] if cell.kind == Kind.VARIANT else []


def _can_answer(teacher: Mapping[str, Any], test: Test) -> bool:
    """A simulated teacher answers from the truth, which only synthetic reports bring along."""
    return is_synthetic(test) if teacher.get("simulated") else bool(teacher)


def rate_text(rate: float) -> str:
    """A learning rate as people write it: ``3e-4``."""
    mantissa, _, exponent = f"{rate:e}".partition("e")
    return f"{mantissa.rstrip('0').rstrip('.')}e{int(exponent)}"


def _check_names(where: str, settings: StudySettings, run_dir: Path) -> None:
    name, teacher = settings.name, settings.teacher
    if not name or name != Path(name).name or name.startswith(".") or not str(run_dir).isprintable():
        raise InputError(f"{where}: name {name!r} cannot name a folder")
    if set("{}") & set(str(run_dir)):
        raise InputError(f"{where}: snakemake takes the braces in {str(run_dir)!r} for wildcards")
    if twice := settings.tests.keys() & settings.rule_tests.keys():
        raise InputError(f"{where}: rule_tests.{min(twice)}: there is a test of this name")
    for section in ("cohorts", "tests", "rule_tests", "inference_variants"):
        for own in getattr(settings, section):
            if not re.fullmatch(r"[A-Za-z][\w-]*", own):
                raise InputError(f"{where}: {section}.{own}: letters, digits, - and _ only")
    if not isinstance(teacher.get("simulated", False), bool):
        raise InputError(f"{where}: teacher.simulated is not true or false")
    if teacher and not teacher.get("model"):
        raise InputError(f"{where}: teacher has no model")
    for section in ("config", "overrides"):
        by_recipe = getattr(settings, section)
        for recipe in by_recipe if isinstance(by_recipe, dict) else ():
            _check_name(f"{where}: {section}: ", recipe, RECIPES)
    if not all(map(math.isfinite, settings.learning_rates)):
        raise InputError(f"{where}: learning_rates: not all of them are numbers")
    if len(set(settings.seeds)) < len(settings.seeds):
        raise InputError(f"{where}: seeds: one of them stands twice")


def _check_cells(where: str, study: Study) -> None:
    names = [cell.name for cell in study.cells]
    if twice := next((name for name in names if names.count(name) > 1), None):
        raise InputError(f"{where}: {twice} stands twice")
    teacher = study.settings.teacher
    for cell in (cell for cell in study.cells if cell.trained):
        used = [study.cohorts[name] for name, count in cell.rows.items() if count != 0]
        if len({cohort.task.name for cohort in used}) < len(used):
            raise InputError(f"{where}: {cell.name} takes rows of one task from two cohorts")
        for cohort in used:
            own = f"{where}: cohorts.{cohort.name}"
            if cohort.labels == TEACHER and not teacher:
                raise InputError(f"{own}: {cell.name} needs a teacher to label them")
            if cohort.labels == TEACHER and teacher.get("simulated") and not (cohort.gold or is_synthetic(cohort)):
                raise InputError(f"{own}: a simulated teacher needs their gold, or synthetic reports")


def _check_name(where: str, name: str, known: Sequence[str]) -> None:
    if name not in known:
        raise InputError(f"{where}unknown key {name!r}{nearest(name, known)}")


@dataclass(frozen=True)
class Training:
    """Of a recipe's YAML with the study's overrides, what files and resources of a job depend on."""

    config: Path
    overrides: Sequence[str]
    epochs: int
    rows_per_step: int
    keeps_rest: bool  # rows that do not fill a step are trained on, too
    warmup_steps: int
    on_gpu: bool

    def steps(self, rows: int) -> int:
        """How many optimizer steps some rows are trained in."""
        return self.epochs * (-(-rows // self.rows_per_step) if self.keeps_rest else rows // self.rows_per_step)


def read_training(study: Study) -> dict[str, Training]:
    """The training of each recipe that a cell uses.

    Raises:
        InputError: A YAML is not given, absent or no mapping, an override is not key=value, one of the keys needed is
            no whole number above 0, or a cell has fewer rows than one step of the stock recipe, which leaves them out.
    """
    found = {}
    for recipe in dict.fromkeys(cell.recipe for cell in study.cells if cell.trained):
        config, overrides = study.settings.config, study.settings.overrides
        configs = config if isinstance(config, dict) else {study.settings.training: config}
        overrides = overrides.get(recipe, []) if isinstance(overrides, dict) else overrides
        if recipe not in configs:
            raise InputError(f"config: no YAML for the {recipe} recipe (config: {{ours: ..., stock: ...}})")
        path = _here_or_shipped(Path(configs[recipe]))
        values = with_overrides(Any, read_yaml(path), split_arguments(overrides)[1])
        names = ("rows_per_step",) if recipe == OURS else ("batch_size", "gradient_accumulation_steps")
        for name in (*names, "epochs"):
            if type(values.get(name)) is not int or values[name] < 1:
                raise InputError(f"{path}: {name} is {values.get(name)!r}, expected a whole number above 0")
        step = math.prod(values[name] for name in names)
        for cell in study.cells:
            known = cell.trained and None not in cell.rows.values()
            if known and cell.recipe == recipe == STOCK and cell.total < step:
                raise InputError(f"{cell.name}: {cell.total} rows do not fill one optimizer step of {step} ({path})")
        schedule = values.get("lr_scheduler")
        warmup = schedule.get("num_warmup_steps", 0) if isinstance(schedule, dict) else 0
        on_gpu = values.get("device") == "cuda"
        found[recipe] = Training(path, overrides, values["epochs"], step, recipe == OURS, int(warmup), on_gpu)
    return found
