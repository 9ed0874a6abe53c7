"""What a study YAML says: its keys, and its cohorts, tests, labelers and trainings read from them."""

import math
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from radtune import ROOT
from radtune.config import (
    InputError,
    from_mapping,
    key,
    nearest,
    read_yaml,
    split_arguments,
    with_overrides,
    yaml_files,
)
from radtune.label_files import IGNORE, LENIENT, POLICIES, LabelFile, column_names, read_labels
from radtune.privacy import shown
from radtune.tasks import Task, load_task
from radtune.train.settings import ModelSettings

# The recipes: recipes/lora_finetune.py, and torchtune's own, which the paper trained with.
OURS, STOCK = RECIPES = ("ours", "stock")
# Who labels a cohort; anything else is one of the study's labelers, or the path of a file of labels.
RULES, TEACHER = "rules", "teacher"
SYNTHETIC = "synthetic"
# In a mix, as many rows as there are labels.
ALL = "all"
# Keys of a test that are not prepare_reports.py's but evaluate.py's: how gold is read, as one_gold has it, and others.
GOLD_KEYS = ("gold_column", "gold_columns", "gold_rule", "id_column", "gold_blank", "gold_names")
_EVALUATION_KEYS = ("by", "gold", *GOLD_KEYS, "spelling", "uncertain")
_PATH_KEYS = ("input", "gold", "reports", "labels")
# $NAME or ${NAME} in a path; and as OmegaConf writes it.
_VARIABLE = re.compile(r"\$\{?(?:oc\.env:)?(\w+)\}?")

# What paths are shown in: messages, logs and tables.
_SECRET = re.compile(r"KEY|TOKEN|SECRET|PASS|CREDENTIAL", re.IGNORECASE)

Mix = list[int | str] | dict[str, int | str]


@dataclass(frozen=True)
class Labeler:
    """A labeler of the study's own: the rules with other keys, or whoever wrote a file of labels."""

    title: str = key("What tables call it.")
    rules: str | None = key("It labels by the lexicon and cues of this folder in place of the task's.", None)
    alternatives: str | None = key("It labels by rules that take A or B so: uncertain or positive.", None)
    labels: str | None = key("It has labelled all reports: this file says how.", None)
    column: str | None = key("Column of its labels in the file.", None)

    @property
    def keys(self) -> dict[str, str]:
        """What label_by_rules.py is given; nothing where a file has the labels."""
        return {name: value for name in ("rules", "alternatives") if (value := getattr(self, name)) is not None}


@dataclass(frozen=True)
class Ensemble:
    """Models that answer together; each has rows and a start of its own."""

    rows: Mix = key("The rows that each member learns, drawn by its own seed.")
    validation: str = key("The test by whose gold they are combined, and that is not scored; others of its task are.")
    members: int = key("How many there are.", 9, ge=2)
    title: str = key("What tables call it; else its name.", "")
    linear: bool = key("Whether its members are linear models.", False)
    overrides: list[list[str]] = key(
        "key=value for the recipe's YAML, or for linear_model.py: for each member in turn, a list.", []
    )
    wordings: list[Path] = key("Task files that extend the task, with prompts of their own: in turn, too.", [])
    # Not a label of its own: who is asked of the task knows none.
    uncertain: list[str] = key(
        "What uncertain classes count as when its rows are built: in turn, too.", [], POLICIES[:-1]
    )
    combine: dict[str, Any] = key("Keys of combine.py: rule, wanted, calibration, abstain.", {})


@dataclass
class StudySettings:
    """A study YAML."""

    name: str = key("Names the study, and its folder.")
    model_name: str = key("The base model as tables call it, e.g. Llama 3.1-8B.")
    checkpoint_dir: Path = key("Folder of the base model.")
    needs: str = key("Where the base model comes from, said if its folder is not there.", "")
    config: str | dict[str, str] = key("YAML of the training recipe, or one for each of ours and stock.")
    tests: dict[str, dict[str, Any]] = key(
        "By task, or by a name of your own with `task:`: gold (and by, gold_..., id_column, spelling, as in "
        "evaluate.py), and reports or keys of prepare_reports.py."
    )
    rule_tests: dict[str, dict[str, Any]] = key(
        "Tests for the rule labeler alone, by a name of your own; their reports may be trained on.", {}
    )
    cohorts: dict[str, dict[str, Any]] = key(
        "Training reports by a name of your own: task (a name or the path of a task file), labels (rules, teacher, a "
        "labeler or a path, then also label_column), title (a heading), gold (what a simulated teacher answers from), "
        "and keys of prepare_reports.py.",
        {},
    )
    labelers: dict[str, Labeler] = key("Further labelers to score and to learn from, by a name of your own.", {})
    folds: int = key("Cross-validation: the tests' reports in so many parts, each asked of models of the others.", 0)
    training: str = key("The recipe that trains every cell.", OURS, RECIPES)
    overrides: list[str] | dict[str, list[str]] = key("key=value for its YAML; or for each of ours and stock.", [])
    teacher: dict[str, Any] = key("simulated (true or false), model, and further keys of gpt_data_generate.py.", {})
    mixes: list[Mix] = key(
        "Training mixes: rows in the order of cohorts, or by cohort; all for as many as are labelled.", []
    )
    balance: bool = key("Whether rows of every mix are drawn by label, so that a rare class is not lost.", False)
    linear: bool = key("Whether a linear model (TF-IDF) learns the rows of each mix, too.", False)
    ensembles: dict[str, Ensemble] = key(
        "By a name of your own: members that are trained, asked and combined; mixes stand beside them.", {}
    )
    cross_check: list[Mix] = key("Mixes that the other recipe trains too, to compare.", [])
    learning_rates: list[float] = key("Learning rates to try.", [], gt=0)
    learning_rate_rows: Mix = key("The mix that each of them is tried on.", [])
    separate: dict[str, list[int]] = key("By test: numbers of rows to train on for its task alone.", {}, gt=0)
    inference: dict[str, Any] = key("Keys of inference.py.", {})
    inference_variants: dict[str, dict[str, Any]] = key(
        "By a name of your own: keys of inference.py to ask the last mix with once more, and the tests to do so on.", {}
    )
    run_dir: Path | None = key("Where everything goes; runs/NAME if left out.", None)
    seed: int = key("Seed of sampling, training and bootstrap.", 0, ge=0)
    seeds: list[int] | dict[str, list[int]] = key(
        "Seeds to train each cell with, or by cell (mix_2000_0: [1, 2]); tables then show mean and standard deviation.",
        [],
        ge=0,
    )
    note: str = key("A caution shown on top of the report.", "")
    reported: Path | None = key("A paper's numbers to show beside it: a YAML as configs/study/reported.yaml.", None)
    limit: int | None = key("A trial in a folder of its own: most reports of each cohort and test.", None, ge=1)
    show_text: bool = key("Whether the report quotes phrases and sentences of the test reports.", False)

    @property
    def validations(self) -> set[str]:
        """The tests by whose gold ensembles are combined."""
        return {ensemble.validation for ensemble in self.ensembles.values()}


@dataclass(frozen=True)
class Cohort:
    """Reports to train on: ``labels`` is one of RULES, TEACHER and labelers, or a path."""

    name: str
    title: str
    task: Task
    labels: str
    label_keys: Mapping[str, str]  # keys of build_instructions.py that say how given labels are read
    gold: Path | None
    source: Mapping[str, Any]  # keys of prepare_reports.py

    def read_labels(self, path: Path) -> LabelFile:
        """What labels the cohort."""
        return read_labels(path, self.task, self.label_keys.get("label_column"), self.label_keys.get("id_column"))


@dataclass(frozen=True)
class Test:
    """Reports to score on."""

    name: str
    title: str
    task: Task
    gold: Path
    evaluation: Mapping[str, Any]  # keys of evaluate.py
    source: Mapping[str, Any]  # keys of prepare_reports.py
    # The test that has the same reports and task, so that they are asked about once; its own name where none.
    asked: str


def is_synthetic(part: Cohort | Test) -> bool:
    """Whether reports are made up, and their truth known."""
    return part.source.get("source") == SYNTHETIC


def gold_name(task: Task) -> str:
    """What the file with the truth of synthetic reports is called."""
    return "gold_labels.csv" if task.classes else "gold_phrases.jsonl"


def here_or_shipped(path: Path) -> Path:
    """A path as it is, or in radtune's own folder, where a study that runs in another has none of that name."""
    return ROOT / path if not path.exists() and (ROOT / path).exists() else path


def with_variables(where: str, values: Any) -> Any:
    """A copy of a YAML's values with the environment's variables in the paths of cohorts, tests and labelers."""

    def value_of(found: re.Match[str]) -> str:
        if _SECRET.search(found[1]):
            raise InputError(f"{where}: {found[1]} looks like a secret, and no path is one")
        if found[1] not in os.environ:
            raise InputError(f"{where}: the environment variable {found[1]} is not set")
        return os.environ[found[1]]

    if not isinstance(values, Mapping):
        return values
    return {
        name: _VARIABLE.sub(value_of, value)
        if name in _PATH_KEYS and isinstance(value, str)
        else with_variables(f"{where}: {name}", value)
        for name, value in values.items()
    }


def _source(where: str, values: Mapping[str, Any], limit: int | None) -> dict[str, Any]:
    """A copy, with no more reports than a trial's limit."""
    source = dict(values)
    for name, kind, words in (("input", str, "a path"), ("count", int, "a whole number")):
        if name in source and type(source[name]) is not kind:
            raise InputError(f"{where}.{name}: expected {words}")
    if "input" in source:
        source.setdefault("source", "table")
    if limit and source.get("source") != SYNTHETIC:
        source["limit"] = limit
    elif limit:
        source["count"] = min(limit, source.get("count", limit))
    return source


def read_cohort(where: str, name: str, settings: StudySettings) -> Cohort:
    """A cohort by its name; finds now what its labeling would find."""
    source = _source(where, settings.cohorts[name], settings.limit)
    if missing := [name for name in ("task", "labels") if not isinstance(source.get(name), str)]:
        raise InputError(f"{where}: missing required key: {', '.join(missing)}")
    task, labels, gold = load_task(source.pop("task")), source.pop("labels"), source.pop("gold", None)
    labeler = settings.labelers.get(labels)
    if labels == RULES and task.rules is None:
        raise InputError(f"{where}.labels: no rules label {task.name}")
    given = Path(labels) if labels not in (RULES, TEACHER) and labeler is None else None
    if given and not given.suffix:
        raise InputError(f"{where}.labels: expected rules, teacher, a labeler or the path of a file of labels")
    if settings.limit and (file := labeler.labels if labeler else given):
        # A few reports of many would have no label.
        source.setdefault("only_ids", str(file))
    title, id_column, column = source.pop("title", name), source.get("id_column"), source.pop("label_column", None)
    if column and given is None:
        raise InputError(f"{where}.label_column: {labels} has no columns")
    names_ids = given is not None and given.is_file() and id_column in column_names(given)
    column = labeler.column if labeler else column
    label_keys = ({"id_column": id_column} if names_ids else {}) | ({"label_column": column} if column else {})
    return Cohort(name, title, task, labels, label_keys, Path(gold) if gold else None, source)


def read_test(where: str, name: str, settings: StudySettings, run_dir: Path) -> Test:
    """A test by its name; finds now what evaluate.py would find after the training."""
    values = dict((settings.tests | settings.rule_tests)[name])
    if "reports" in values:
        # Prepared, too, so that every step finds their ids, and no more than the limit or a fold.
        values |= {"source": "table", "input": values.pop("reports"), "require_sections": False}
    source = _source(where, values, settings.limit)
    task = load_task(source.pop("task", name))
    title = source.pop("title", task.title)
    id_column = source.get("id_column") if source.get("source") == "table" else None
    evaluation = {option: source.pop(option) for option in _EVALUATION_KEYS if option in source}
    made = source.get("source") == SYNTHETIC
    gold = evaluation.setdefault("gold", str(run_dir / "tests" / name / gold_name(task)) if made else None)
    if not gold or not isinstance(gold, str):
        raise InputError(f"{where} has no gold, or gold is no path")
    names = evaluation.get("gold_names", {})
    if not isinstance(names, Mapping) or not all(value in task.classes for value in names.values()):
        raise InputError(f"{where}.gold_names: expected a class of {task.name} by each column of gold to read")
    if made and run_dir not in Path(gold).parents:
        raise InputError(f"{where}.gold: {gold} is written by the study, so it belongs in {run_dir}")
    for option in ("gold_blank", "spelling"):
        if evaluation.get(option) in (IGNORE, LENIENT) and not task.classes:
            raise InputError(f"{where}.{option}: {evaluation[option]} is for tasks of classes")
    if settings.folds and "fold" in source:
        raise InputError(f"{where}.fold: a study with folds takes them of all its tests' reports")
    if id_column:
        source["id_column"] = id_column
        if Path(gold).is_file() and id_column not in column_names(Path(gold)):
            evaluation.pop("id_column", None)
    return Test(name, title, task, Path(gold), evaluation, source, name)


def check_settings(where: str, settings: StudySettings, run_dir: Path) -> None:
    """Refuses names that cannot be one, and values that do not go together."""
    name, teacher = settings.name, settings.teacher
    if not name or name != Path(name).name or name.startswith(".") or not str(run_dir).isprintable():
        raise InputError(f"{where}: name {name!r} cannot name a folder")
    if set("{}") & set(str(run_dir)):
        raise InputError(f"{where}: snakemake takes the braces in {str(run_dir)!r} for wildcards")
    if twice := settings.tests.keys() & settings.rule_tests.keys():
        raise InputError(f"{where}: rule_tests.{min(twice)}: there is a test of this name")
    for section in ("cohorts", "tests", "rule_tests", "inference_variants", "labelers", "ensembles"):
        for own in getattr(settings, section):
            if not re.fullmatch(r"[A-Za-z][\w-]*", own):
                raise InputError(f"{where}: {section}.{own}: letters, digits, - and _ only")
    for own, labeler in settings.labelers.items():
        if bool(labeler.keys) == bool(labeler.labels) or own in (RULES, TEACHER):
            raise InputError(f"{where}: labelers.{own}: a name of its own, and rules, alternatives or a file of labels")
    if not isinstance(teacher.get("simulated", False), bool):
        raise InputError(f"{where}: teacher.simulated is not true or false")
    if teacher and not teacher.get("model"):
        raise InputError(f"{where}: teacher has no model")
    for section in ("config", "overrides"):
        by_recipe = getattr(settings, section)
        for recipe in by_recipe if isinstance(by_recipe, dict) else ():
            check_known(f"{where}: {section}: ", recipe, RECIPES)
    if bool(settings.learning_rates) != bool(settings.learning_rate_rows):
        raise InputError(f"{where}: learning_rates and learning_rate_rows go together")
    by_cell = settings.seeds if isinstance(settings.seeds, dict) else {"": settings.seeds}
    if any(len(set(seeds)) < len(seeds) for seeds in by_cell.values()):
        raise InputError(f"{where}: seeds: one of them stands twice")
    if settings.folds and (settings.folds < 2 or settings.rule_tests or settings.ensembles):
        raise InputError(f"{where}: folds: 2 or more, and neither rule_tests nor ensembles")


def check_known(where: str, name: str, known: Sequence[str]) -> None:
    """Refuses a key that is none of those known."""
    if name not in known:
        raise InputError(f"{where}unknown key {shown(name)}{nearest(str(name), known)}")


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
    files: tuple[Path, ...] = ()  # that it validates on, and its own tasks'

    def steps(self, rows: int) -> int:
        """How many optimizer steps some rows are trained in."""
        return self.epochs * (-(-rows // self.rows_per_step) if self.keeps_rest else rows // self.rows_per_step)


def read_recipe(settings: StudySettings, recipe: str) -> Training:
    """The training by a recipe.

    Raises:
        InputError: Its YAML is not given, absent or no mapping, an override is not key=value, or one of the keys needed
            is no whole number above 0.
    """
    config, overrides = settings.config, settings.overrides
    configs = config if isinstance(config, dict) else {settings.training: config}
    overrides = overrides.get(recipe, []) if isinstance(overrides, dict) else overrides
    if recipe not in configs:
        raise InputError(f"config: no YAML for the {recipe} recipe (config: {{ours: ..., stock: ...}})")
    path = here_or_shipped(Path(configs[recipe]))
    given, own = read_yaml(path), split_arguments(overrides)[1]
    if recipe == STOCK:
        _check_stock(path, given, [name for name, _ in own])
    values = with_overrides(Any, given, own)
    if recipe == STOCK and isinstance(model := values.get("model"), dict):
        # torchtune's recipes train without a word none of the projections that they know by another name.
        known = {name: model[name] for name in ModelSettings.__dataclass_fields__ if name in model}
        from_mapping(ModelSettings, known, f"{path}: model")
    if recipe == STOCK and isinstance(base := values.get("checkpointer"), dict):
        # Its adapter would be put on another model: it does not know which it was trained on.
        base = str(base.get("checkpoint_dir"))
        if "${" not in base and here_or_shipped(Path(base)).resolve() != settings.checkpoint_dir.resolve():
            raise InputError(f"{path}: trains {base} (checkpointer.checkpoint_dir), not {settings.checkpoint_dir}")
    names = ("rows_per_step",) if recipe == OURS else ("batch_size", "gradient_accumulation_steps")
    for name in (*names, "epochs"):
        if type(values.get(name)) is not int or values[name] < 1:
            raise InputError(f"{path}: {name} is {values.get(name)!r}, expected a whole number above 0")
    schedule = values.get("lr_scheduler")
    warmup = schedule.get("num_warmup_steps", 0) if isinstance(schedule, dict) else 0
    rows, on_gpu = math.prod(values[name] for name in names), values.get("device") == "cuda"
    validation, tasks = values.get("validation"), values.get("tasks")
    named = [validation.get("data_files") if isinstance(validation, dict) else None, tasks]
    files = [file for some in named for file in ([some] if isinstance(some, str) else some or [])]
    return Training(
        path, overrides, values["epochs"], rows, recipe == OURS, int(warmup), on_gpu, tuple(map(Path, files))
    )


def _check_stock(path: Path, values: Mapping[str, Any], names: Sequence[str]) -> None:
    """Refuses what torchtune's recipes would pass over in silence: keys that their YAML has not, and other YAMLs."""
    if len(yaml_files(path)) > 1:
        raise InputError(f"{path}: torchtune's recipes do not know extends")
    for name in names:
        place: Any = values
        for part in name.split("."):
            if not isinstance(place, Mapping) or part not in place:
                raise InputError(f"overrides: {path} has no {shown(name)}, and torchtune's recipes would pass over it")
            place = place[part]
