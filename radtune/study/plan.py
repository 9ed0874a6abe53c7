"""What a study YAML says, and the cells (runs with a score) that follow from it."""

import dataclasses
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

import yaml
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from radtune.combine import RULES
from radtune.config import InputError, key, nearest, parse_yaml
from radtune.files import open_text
from radtune.score.evaluation import GOLD_BLANK, IGNORE
from radtune.score.inputs import LENIENT, SPELLING
from radtune.tasks import multiple_choice, open_ended
from radtune.tasks.legacy import TASK_NAMES

# The two cohorts of the paper and the task whose instructions each gives.
WCM, MIMIC = "wcm", "mimic"
COHORT_TASK = {WCM: open_ended.NAME, MIMIC: multiple_choice.NAME}
TASK_COHORT = {task: cohort for cohort, task in COHORT_TASK.items()}

# Keys of a test that are not prepare_reports.py's but evaluate.py's.
EVALUATION_KEYS = ("gold", "gold_blank", "gold_column", "gold_columns", "gold_rule", "id_column", "spelling")


@dataclass
class Study:
    """A study YAML."""

    name: str = key("Names the study, and its folder.")
    model_name: str = key("The base model as tables call it, e.g. Llama 3.1-8B.")
    config: Path = key("YAML of the training recipe.")
    checkpoint_dir: Path = key("Folder of the base model.")
    tests: dict[str, dict[str, Any]] = key(
        "By task: gold (and gold_..., id_column, spelling, as in evaluate.py), and reports or keys of "
        "prepare_reports.py."
    )
    cohorts: dict[str, dict[str, Any]] = key("wcm and mimic: keys of prepare_reports.py for the training reports.", {})
    labels: dict[str, Path] = key("mimic: a label table to use instead of running the rule labeler.", {})
    teacher: dict[str, Any] = key("simulated (true or false), model, and further keys of gpt_data_generate.py.", {})
    mixes: list[list[int]] = key("Training mixes: [wcm rows, mimic rows] each.", [])
    learning_rates: list[float] = key("Learning rates to try on mimic rows alone.", [])
    learning_rate_rows: int = key("How many mimic rows each learning rate is tried on.", 0)
    separate: dict[str, list[int]] = key("By task: numbers of rows to train on for that task alone.", {})
    overrides: list[str] = key("key=value for the training recipe.", [])
    inference: dict[str, Any] = key("Keys of inference.py.", {})
    recipe: str = key("The torchtune recipe.", "lora_finetune_single_device")
    run_dir: Path | None = key("Where everything goes; runs/NAME if left out.", None)
    seed: int = key("Seed of sampling, training and bootstrap.", 0)
    note: str = key("A caution shown on top of the report.", "")
    show_text: bool = key("Whether the report quotes phrases and sentences of the test reports.", False)


class Kind(StrEnum):
    """What a cell measures."""

    BASE = "base"
    MIX = "mix"
    RULE_LABELER = "rule_labeler"
    TEACHER = "teacher"
    LEARNING_RATE = "learning_rate"
    SEPARATE = "separate"


@dataclass(frozen=True)
class Cell:
    """One labeler, teacher or model that the study scores.

    Attributes:
        name: Unique in the study and safe as a file name.
        kind: What it measures.
        tasks: The tasks it is scored on.
        wcm: Training rows from WCM's reports (open ended).
        mimic: Training rows from MIMIC-CXR's (multiple choice).
        learning_rate: Where it is not the recipe's own.
    """

    name: str
    kind: Kind
    tasks: tuple[str, ...]
    wcm: int = 0
    mimic: int = 0
    learning_rate: float | None = None

    @property
    def total(self) -> int:
        """All training rows."""
        return self.wcm + self.mimic

    def rows(self, task: str) -> int:
        """Training rows of one task."""
        return self.wcm if TASK_COHORT[task] == WCM else self.mimic


def read_study(path: Path) -> Study:
    """Reads a study YAML.

    Raises:
        InputError: Naming the file and the key: see :func:`study_from_mapping`.
    """
    with open_text(path) as stream:
        try:
            values = parse_yaml(stream.read())
        except yaml.YAMLError as error:
            mark = getattr(error, "problem_mark", None)
            raise InputError(f"{path}{f':{mark.line + 1}' if mark else ''}: not valid YAML") from None
    if not isinstance(values, dict):
        raise InputError(f"{path}: expected a mapping of keys to values")
    return study_from_mapping(values, where=str(path))


def study_from_mapping(values: Mapping[str, Any], where: str = "study") -> Study:
    """Builds a study from what its YAML holds (Snakemake's ``config``).

    Args:
        values: By key.
        where: What error messages open with.

    Returns:
        The study; its ``run_dir`` is set.

    Raises:
        InputError: A key that is unknown, missing or ill-typed, a cohort or task that does not exist, a mix that is
            no pair or stands twice or asks for more rows than its cohort has, training rows without their labels.
    """
    known = [field.name for field in dataclasses.fields(Study)]
    for name in values:
        _check_name(where, str(name), known)
    try:
        config = OmegaConf.merge(OmegaConf.structured(Study), dict(values))
        missing = sorted(OmegaConf.missing_keys(config))
        if missing:
            raise InputError(f"{where}: missing required key: {', '.join(missing)}")
        study: Study = OmegaConf.to_object(config)  # type: ignore[assignment]
    except OmegaConfBaseException as error:
        full_key = getattr(error, "full_key", None)
        raise InputError(f"{where}: {f'{full_key}: ' if full_key else ''}{str(error).splitlines()[0]}") from None
    study.run_dir = study.run_dir or Path("runs") / study.name
    _check(where, study)
    return study


def cells(study: Study) -> list[Cell]:
    """The cells of a study, in the order of the paper's tables."""
    tasks = tuple(task for task in TASK_NAMES if task in study.tests)
    found = [Cell(Kind.BASE.value, Kind.BASE, tasks)]
    found += [Cell(f"mix_{wcm}_{mimic}", Kind.MIX, tasks, wcm, mimic) for wcm, mimic in study.mixes]
    if multiple_choice.NAME in tasks:
        found.append(Cell(Kind.RULE_LABELER.value, Kind.RULE_LABELER, (multiple_choice.NAME,)))
    if teacher_tasks := tuple(task for task in tasks if _teacher_can_answer(study, task)):
        found.append(Cell(Kind.TEACHER.value, Kind.TEACHER, teacher_tasks))
    for rate in study.learning_rates:
        name = f"lr_{rate_text(rate)}"
        found.append(
            Cell(name, Kind.LEARNING_RATE, (multiple_choice.NAME,), mimic=study.learning_rate_rows, learning_rate=rate)
        )
    for task, sizes in study.separate.items():
        found += [Cell(f"only_{task}_{n}", Kind.SEPARATE, (task,), **{TASK_COHORT[task]: n}) for n in sizes]
    return found


def opponents(cell: Cell, task: str) -> list[str]:
    """The cells that a cell is compared with: a mix with the base model, and with the rules that labelled its data."""
    if cell.kind != Kind.MIX:
        return []
    return [Kind.BASE.value, *([Kind.RULE_LABELER.value] if task == multiple_choice.NAME else [])]


def _teacher_can_answer(study: Study, task: str) -> bool:
    """A simulated teacher answers from the truth, which only synthetic reports bring along."""
    if study.teacher.get("simulated"):
        return study.tests[task].get("source") == "synthetic"
    return bool(study.teacher)


def rate_text(rate: float) -> str:
    """A learning rate as people write it: ``3e-4``."""
    mantissa, _, exponent = f"{rate:e}".partition("e")
    return f"{mantissa.rstrip('0').rstrip('.')}e{int(exponent)}"


def _check(where: str, study: Study) -> None:
    for name, known in _names_to_check(study):
        _check_name(where, name, known)
    if not study.name or study.name != Path(study.name).name or study.name.startswith("."):
        raise InputError(f"{where}: name {study.name!r} cannot name a folder")
    if set("{}") & set(str(study.run_dir)):
        raise InputError(f"{where}: snakemake takes the braces in {str(study.run_dir)!r} for wildcards")
    for task, test in study.tests.items():
        _check_test(f"{where}: tests.{task}", task, test)
    if study.seed < 0:
        raise InputError(f"{where}: seed must be 0 or more")
    if not isinstance(study.teacher.get("simulated", False), bool):
        raise InputError(f"{where}: teacher.simulated is not true or false")
    if study.teacher and not study.teacher.get("model"):
        raise InputError(f"{where}: teacher has no model")
    for mix in study.mixes:
        if len(mix) != 2 or min(mix) < 0 or sum(mix) == 0:
            raise InputError(f"{where}: mixes: {mix} is not a pair of row counts [wcm, mimic]")
    if bool(study.learning_rates) != (study.learning_rate_rows > 0):
        raise InputError(f"{where}: learning_rates and learning_rate_rows go together")
    if not all(0 < rate < math.inf for rate in study.learning_rates) or any(
        n <= 0 for ns in study.separate.values() for n in ns
    ):
        raise InputError(f"{where}: learning rates and numbers of rows must be above 0")
    if study.learning_rates and multiple_choice.NAME not in study.tests:
        raise InputError(f"{where}: learning_rates are scored on {multiple_choice.NAME}, which tests does not have")
    planned = cells(study)
    for cell in planned:
        if sum(other.name == cell.name for other in planned) > 1:
            raise InputError(f"{where}: {cell.name} stands twice")
        _check_rows(where, study, cell)


def _check_test(where: str, task: str, test: Mapping[str, Any]) -> None:
    """Finds now what evaluate.py would find after the training."""
    if not test.get("gold"):
        raise InputError(f"{where} has no gold")
    if not isinstance(test["gold"], str):
        raise InputError(f"{where}.gold is no path")
    for name, choices in (("gold_blank", GOLD_BLANK), ("gold_rule", RULES), ("spelling", SPELLING)):
        if name in test and test[name] not in choices:
            raise InputError(f"{where}.{name} is not one of {', '.join(choices)}")
    for name, value in (("gold_blank", IGNORE), ("spelling", LENIENT)):
        if test.get(name) == value and task != multiple_choice.NAME:
            raise InputError(f"{where}.{name}: {value} is for {multiple_choice.NAME}")


def _names_to_check(study: Study) -> Iterator[tuple[str, Sequence[str]]]:
    for names, known in (
        (study.cohorts, list(COHORT_TASK)),
        (study.labels, [MIMIC]),
        (study.tests, TASK_NAMES),
        (study.separate, list(study.tests)),
    ):
        for name in names:
            yield name, known


def _check_rows(where: str, study: Study, cell: Cell) -> None:
    """Whether the cohorts have the rows and labels that a cell is trained on."""
    for cohort, needed in ((WCM, cell.wcm), (MIMIC, cell.mimic)):
        if not needed:
            continue
        if cohort not in study.cohorts:
            raise InputError(f"{where}: {cell.name} needs cohorts.{cohort}")
        count = study.cohorts[cohort].get("count")
        if isinstance(count, int) and count < needed:
            raise InputError(f"{where}: {cell.name} needs {needed} {cohort} reports, cohorts.{cohort}.count is {count}")
        if cohort == WCM and not study.teacher:
            raise InputError(f"{where}: {cell.name} needs a teacher to label {cohort} reports")
        if cohort == WCM and study.teacher.get("simulated") and study.cohorts[WCM].get("source") != "synthetic":
            raise InputError(
                f"{where}: {cell.name} needs phrases that a simulated teacher has for synthetic reports alone"
            )


def _check_name(where: str, name: str, known: Sequence[str]) -> None:
    if name not in known:
        raise InputError(f"{where}: unknown key {name!r}{nearest(name, known)}")
