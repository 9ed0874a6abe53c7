"""A study's cells (runs with a score), as they follow from its YAML, and where its files stand."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from pathlib import Path
from typing import Any

from radtune.config import InputError, from_mapping, read_yaml
from radtune.study.settings import (
    ALL,
    OURS,
    RULES,
    STOCK,
    TEACHER,
    Cohort,
    Ensemble,
    Labeler,
    Mix,
    StudySettings,
    Test,
    Training,
    check_known,
    check_settings,
    here_or_shipped,
    is_synthetic,
    read_cohort,
    read_recipe,
    read_test,
    with_variables,
)
from radtune.tasks import load_task, shows_images


class Kind(StrEnum):
    """What a cell measures."""

    BASE = "base"
    MIX = "mix"
    LINEAR = "linear"  # a linear model on the rows of a mix
    RULE_LABELER = "rule_labeler"
    ANNOTATOR = "annotator"  # a file of labels
    TEACHER = "teacher"
    LEARNING_RATE = "learning_rate"
    SEPARATE = "separate"
    CROSS_CHECK = "cross_check"  # a mix trained by the other recipe
    VARIANT = "variant"  # the last mix, asked in another way
    MEMBER = "member"  # a model of an ensemble
    ENSEMBLE = "ensemble"  # what all its members say together


@dataclass(frozen=True)
class Cell:
    """One labeler, teacher or model that the study scores; its name is unique and safe as a file's.

    In cross-validation, what learns is a cell of its own for each fold; one more joins and scores their answers.
    """

    name: str
    kind: Kind
    tests: tuple[str, ...]
    rows: Mapping[str, int | None] = field(default_factory=dict)  # training rows by cohort, None for all of them
    recipe: str = ""  # what trains it, one of RECIPES
    learning_rate: float | None = None  # where it is not the recipe's own
    seed: int | None = None  # of training and asking, where it has several
    model: str = ""  # of a variant: the cell that is asked, with these keys of inference.py
    asked: Mapping[str, Any] = field(default_factory=dict)
    fold: int = 0  # the part of the tests that it is asked about, counted from 1; 0: all
    folds: int = 0  # how many others' answers it joins
    ensemble: str = ""  # whose member it is, or which it is
    member: int = 0  # its number in the ensemble, counted from 1, and the seed of its rows

    @property
    def group(self) -> str:
        """The name that it shares with the cells that differ from it in their seed alone."""
        return self.name.removesuffix(_seed_suffix(self.seed))

    @property
    def total(self) -> int:
        """All training rows; of a cohort that is taken whole, as many as are known."""
        return sum(count or 0 for count in self.rows.values())

    @property
    def cohorts(self) -> list[str]:
        """The cohorts that it learns from."""
        return [name for name, count in self.rows.items() if count != 0]

    @property
    def is_tuned(self) -> bool:
        """Whether an adapter answers."""
        return bool(self.cohorts and self.recipe)

    @property
    def is_linear(self) -> bool:
        """Whether a linear model answers."""
        return bool(self.cohorts) and not self.recipe

    @property
    def learns(self) -> bool:
        """Whether it has an instruction set."""
        return bool(self.cohorts) and self.kind != Kind.VARIANT and not self.folds

    @property
    def trained(self) -> bool:
        """Whether a recipe trains it."""
        return self.learns and self.is_tuned

    @property
    def rows_name(self) -> str:
        """Names its instruction set, which cells of the same rows share."""
        rows = "_".join(f"{name}_{_rows_text(self.rows[name])}" for name in self.cohorts) + _fold_suffix(self.fold)
        return f"{rows}_of_{self.name}" if self.member else rows


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

    def labeler(self, name: str) -> Labeler | None:
        """One of the study's own labelers, or the task's rules."""
        by_rules = Labeler(title="Rule labeler") if name in (RULES, Kind.RULE_LABELER) else None
        return self.settings.labelers.get(name, by_rules)

    def cohort_file(self, cohort: str, name: str = "reports.jsonl") -> Path:
        """What is made of a cohort: reports.jsonl, labels.csv, annotations.jsonl, gold_...."""
        return self.run_dir / "cohorts" / cohort / name

    def weak_labels(self, cohort: Cohort) -> Path:
        """A cohort's labels: given, or made by rules or the teacher."""
        if labeler := self.labeler(cohort.labels):
            return Path(labeler.labels) if labeler.labels else self.cohort_file(cohort.name, "labels.csv")
        return self.cohort_file(cohort.name, "annotations.jsonl") if cohort.labels == TEACHER else Path(cohort.labels)

    def test_file(self, test: str, name: str = "reports.jsonl") -> Path:
        """What is made of a test: reports.jsonl, what rules say (LABELER.csv), and of synthetic reports the gold."""
        return self.run_dir / "tests" / test / name

    def test_reports(self, test: str, fold: int = 0) -> Path:
        """The reports of a test, or of one of its folds: given, or prepared."""
        return self.tests[test].reports or self.test_file(self.tests[test].asked, f"reports{_fold_suffix(fold)}.jsonl")

    def predictions(self, cell: str, test: str) -> Path:
        """What a cell answers on the reports of a test."""
        test = self.tests[test].asked if test in self.tests else test
        if labeler := self.labeler(cell):
            return Path(labeler.labels) if labeler.labels else self.test_file(test, f"{cell}.csv")
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

    def members(self, ensemble: str) -> list[Cell]:
        """The models of an ensemble."""
        return [cell for cell in self.cells if cell.ensemble == ensemble and cell.member]

    def own(self, member: Cell, name: str) -> Any:
        """What an ensemble's key gives one of its members, in turn; nothing of any other cell."""
        given = getattr(self.settings.ensembles[member.ensemble], name) if member.member else ()
        return given[(member.member - 1) % len(given)] if given else ()

    @property
    def validations(self) -> set[str]:
        """The tests by whose gold ensembles are combined."""
        return {ensemble.validation for ensemble in self.settings.ensembles.values()}

    @property
    def scores(self) -> list[tuple[Cell, str]]:
        """What is scored: every cell but those of a fold and members, with the name of each of its tests."""
        scored = [cell for cell in self.cells if not cell.fold and not cell.member]
        return [(cell, test) for cell in scored for test in cell.tests if test not in self.validations]

    @property
    def used_cohorts(self) -> list[Cohort]:
        """The cohorts that a cell learns from."""
        used = {name for cell in self.cells for name in cell.cohorts}
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
    settings = from_mapping(StudySettings, with_variables(where, values), where)
    reported = settings.reported and here_or_shipped(settings.reported)
    settings = replace(settings, checkpoint_dir=here_or_shipped(settings.checkpoint_dir), reported=reported)
    run_dir = settings.run_dir or Path("runs") / settings.name
    if settings.limit:
        run_dir = run_dir.with_name(f"{run_dir.name}_limit_{settings.limit}")
    check_settings(where, settings, run_dir)
    cohorts = {name: read_cohort(f"{where}: cohorts.{name}", name, settings) for name in settings.cohorts}
    tests = {
        name: read_test(f"{where}: tests.{name}", name, settings, run_dir)
        for name in settings.tests | settings.rule_tests
    }
    for test in [test for test in tests.values() if not is_synthetic(test)]:
        same = (other.name for other in tests.values() if _reports(other) == _reports(test))
        tests[test.name] = replace(test, asked=next(same))
    files: dict[str, tuple[Path, ...]] = {}
    for task in (part.task for part in (*cohorts.values(), *tests.values())):
        if files.setdefault(task.name, task.files) != task.files:
            raise InputError(f"{where}: two task files have the name {task.name!r}")
    study = Study(values, settings, run_dir, cohorts, tests)
    cells = _cells(where, study)
    if settings.limit:
        # Whatever their rows were, they are all that the limit leaves now.
        cells = list({cell.name: cell for cell in cells}.values())
    elif isinstance(settings.seeds, dict):
        for name in settings.seeds:
            check_known(f"{where}: seeds: ", name, [cell.name for cell in cells])
    study = replace(study, cells=[each for cell in cells for each in _repeated(cell, settings)])
    _check_cells(where, study)
    return study


def _reports(test: Test) -> tuple[Any, ...]:
    return test.task.name, test.reports, test.source


def _repeated(cell: Cell, settings: StudySettings) -> Iterator[Cell]:
    """A trained cell for each of its seeds, a variant for its model's first; before one that learns, its folds."""
    by_cell = settings.seeds if isinstance(settings.seeds, dict) else {}
    seeds = by_cell.get(cell.model or cell.name, []) if by_cell else settings.seeds
    cells = [cell]
    if cell.is_tuned and seeds and not cell.member:
        cells = [replace(cell, name=cell.name + _seed_suffix(seed), seed=seed) for seed in seeds]
        if cell.kind == Kind.VARIANT:
            cells = [replace(cell, model=cell.model + _seed_suffix(next(iter(seeds))))]
    for one in cells:
        ends = [_fold_suffix(fold + 1) for fold in range(settings.folds)] if one.cohorts else []
        for fold, end in enumerate(ends, start=1):
            yield replace(one, name=one.name + end, model=one.model and one.model + end, fold=fold)
        yield replace(one, folds=len(ends))


def _rows(where: str, mix: Mix, study: Study) -> dict[str, int | None]:
    """A mix as rows by cohort, in the order of cohorts."""
    cohorts = study.cohorts
    if not isinstance(mix, Mapping):
        if len(mix) != len(cohorts):
            raise InputError(f"{where}: {list(mix)} is not a number of rows for each of {', '.join(cohorts)}")
        mix = dict(zip(cohorts, mix, strict=True))
    for name, count in mix.items():
        check_known(f"{where}: ", name, list(cohorts))
        if isinstance(count, str) and count != ALL:
            raise InputError(f"{where}: expected numbers of rows, or {ALL}")
    given = {name: mix.get(name, 0) for name in cohorts}
    rows = {
        name: None if count == ALL or (count and study.settings.limit) else int(count) for name, count in given.items()
    }
    if min(count or 0 for count in rows.values()) < 0 or all(count == 0 for count in rows.values()):
        raise InputError(f"{where}: numbers of rows must be 0 or more, and not all of them 0")
    return rows


def _seed_suffix(seed: int | None) -> str:
    return "" if seed is None else f"_seed_{seed}"


def _fold_suffix(fold: int) -> str:
    return f"_fold_{fold}" if fold else ""


def _rows_text(count: int | None) -> str:
    return ALL if count is None else str(count)


def _cells(where: str, study: Study) -> list[Cell]:
    settings, cohorts, tests = study.settings, study.cohorts, tuple(study.settings.tests)
    recipe = settings.training
    other = STOCK if recipe == OURS else OURS

    def mixes(name: str, kind: Kind, recipe: str, suffix: str = "") -> list[Cell]:
        found = [_rows(f"{where}: {name}", mix, study) for mix in getattr(settings, name)]
        names = ["_".join(("mix", *map(_rows_text, rows.values()))) + suffix for rows in found]
        return [Cell(name, kind, read, rows, recipe) for name, rows in zip(names, found, strict=True)]

    # Models that are trained here read texts alone.
    read = tuple(name for name in tests if not shows_images(study.tests[name].task))

    def learnt(rows: Mapping[str, int | None]) -> tuple[str, ...]:
        tasks = {cohorts[name].task.name for name, count in rows.items() if count != 0}
        return tuple(name for name in tests if study.tests[name].task.name in tasks)

    trained = mixes("mixes", Kind.MIX, recipe)
    found = [Cell(Kind.BASE.value, Kind.BASE, read), *trained]
    last = found[-1]
    for cell in trained if settings.linear else ():
        scored = tuple(name for name in learnt(cell.rows) if study.tests[name].task.classes)
        found.append(Cell(cell.name.replace(Kind.MIX, Kind.LINEAR, 1), Kind.LINEAR, scored, cell.rows))
    by_rules = tuple(name for name, test in study.tests.items() if test.task.rules)
    if by_rules:
        found.append(Cell(Kind.RULE_LABELER.value, Kind.RULE_LABELER, by_rules))
    for name, labeler in settings.labelers.items():
        scored = tests if labeler.labels else tuple(study.tests) if labeler.rules else by_rules
        found.append(Cell(name, Kind.ANNOTATOR if labeler.labels else Kind.RULE_LABELER, scored))
    if asked := tuple(name for name in tests if _can_answer(settings.teacher, study.tests[name])):
        found.append(Cell(Kind.TEACHER.value, Kind.TEACHER, asked))
    for rate in settings.learning_rates:
        rows = _rows(f"{where}: learning_rate_rows", settings.learning_rate_rows, study)
        found.append(Cell(f"lr_{rate_text(rate)}", Kind.LEARNING_RATE, learnt(rows), rows, recipe, rate))
    for test, sizes in settings.separate.items():
        check_known(f"{where}: separate: ", test, tests)
        own = [name for name, cohort in cohorts.items() if cohort.task.name == study.tests[test].task.name]
        if len(own) != 1:
            raise InputError(f"{where}: separate.{test} needs one cohort of its task, there are {len(own)}")
        for size in (None if settings.limit else size for size in sizes):
            found.append(Cell(f"only_{test}_{_rows_text(size)}", Kind.SEPARATE, (test,), {own[0]: size}, recipe))
    for name, ensemble in settings.ensembles.items():
        found += _ensemble(f"{where}: ensembles.{name}", name, ensemble, study, learnt)
    found += mixes("cross_check", Kind.CROSS_CHECK, other, f"_{other}")
    for name, values in settings.inference_variants.items():
        closed = {"constrain", "scores"} & set(values)
        can = tuple(test for test in read if study.tests[test].task.classes or not closed)
        chosen = values.get("tests", can)
        if not isinstance(chosen, list | tuple):
            raise InputError(f"{where}: inference_variants.{name}.tests: expected a list")
        for test in chosen:
            check_known(f"{where}: inference_variants.{name}.tests: ", test, can)
        asked_with = {option: value for option, value in values.items() if option != "tests"}
        found.append(Cell(name, Kind.VARIANT, tuple(chosen), last.rows, last.recipe, model=last.name, asked=asked_with))
    # What thresholds are chosen for is asked about validation reports; whatever else there is says nothing of them.
    chosen_for = (Kind.MIX, Kind.LINEAR, Kind.MEMBER)
    return [
        cell if cell.kind in chosen_for
        else replace(cell, tests=tuple(test for test in cell.tests if test not in study.validations))
        for cell in found
    ]  # fmt: skip


def _ensemble(
    where: str,
    name: str,
    ensemble: Ensemble,
    study: Study,
    learnt: Callable[[Mapping[str, int | None]], tuple[str, ...]],
) -> list[Cell]:
    """An ensemble's members, and what they say together; ``learnt`` gives the tests of the tasks that rows are of."""
    check_known(f"{where}.validation: ", ensemble.validation, list(study.settings.tests))
    task, rows = study.tests[ensemble.validation].task, _rows(f"{where}.rows", ensemble.rows, study)
    theirs = tuple(test for test in learnt(rows) if study.tests[test].task.name == task.name)
    scored = tuple(test for test in theirs if test not in study.validations)
    asked = {study.tests[test].asked for test in scored}
    if ensemble.validation not in theirs or not asked or study.tests[ensemble.validation].asked in asked:
        raise InputError(f"{where}: needs rows of {task.name}, and a test of it on other reports")
    if doubt := next((test for test in theirs if "uncertain" in study.tests[test].evaluation), None):
        raise InputError(f"{where}: tests.{doubt}.uncertain: ensembles take uncertain classes as the task says")
    for path in ensemble.wordings:
        other = load_task(path)
        if ensemble.linear or (other.name, other.classes) != (task.name, task.classes):
            raise InputError(f"{where}.wordings: {path}: no prompts of {task.name} that a language model is asked with")
    recipe = "" if ensemble.linear else study.settings.training
    members = [
        Cell(f"{name}_{number}", Kind.MEMBER, theirs, rows, recipe, seed=number, ensemble=name, member=number)
        for number in range(1, ensemble.members + 1)
    ]
    return [*members, Cell(name, Kind.ENSEMBLE, scored, ensemble=name)]


def opponents(study: Study, cell: Cell, test: str) -> list[str]:
    """The cells that a cell is compared with on a test.

    What learns from a mix: the rules, and whoever labelled its rows. A language model also: its base, the linear model
    on its rows, and earlier mixes of as many rows of others. The other recipe's: the mix of the same rows. A variant:
    the model asked as usual. An ensemble: each mix and linear model, which is a single one, and earlier ensembles.
    """
    if cell.kind == Kind.VARIANT:
        return [cell.model]
    used = (study.cohorts[name] for name in cell.cohorts)
    task = study.tests[test].task.name
    labelers = {Kind.RULE_LABELER, *(cohort.labels for cohort in used if cohort.task.name == task)}
    found, earlier = [], True
    for other in (other for other, name in study.scores if name == test):
        earlier = earlier and other != cell
        same_seed = None in (cell.seed, other.seed) or cell.seed == other.seed
        if cell.kind == Kind.ENSEMBLE:
            rivals = other.kind in (Kind.MIX, Kind.LINEAR) or (earlier and other.kind == Kind.ENSEMBLE)
        elif cell.kind == Kind.CROSS_CHECK:
            rivals = other.kind == Kind.MIX and other.rows == cell.rows and same_seed
        elif cell.kind == Kind.MIX:
            as_many = sorted(map(str, other.rows.values())) == sorted(map(str, cell.rows.values()))
            swapped = earlier and other.kind == Kind.MIX and other.rows != cell.rows and as_many and same_seed
            linear = other.kind == Kind.LINEAR and other.rows == cell.rows
            rivals = other.kind == Kind.BASE or other.name in labelers or swapped or linear
        else:
            rivals = cell.kind == Kind.LINEAR and other.name in labelers
        found += [other.name] if rivals else []
    return found


def _can_answer(teacher: Mapping[str, Any], test: Test) -> bool:
    """A simulated teacher answers from the truth, which only synthetic reports bring along."""
    return is_synthetic(test) if teacher.get("simulated") else bool(teacher)


def rate_text(rate: float) -> str:
    """A learning rate as people write it: ``3e-4``."""
    mantissa, _, exponent = f"{rate:e}".partition("e")
    return f"{mantissa.rstrip('0').rstrip('.')}e{int(exponent)}"


def _check_cells(where: str, study: Study) -> None:
    names = [cell.name for cell in study.cells]
    if twice := next((name for name in names if names.count(name) > 1), None):
        raise InputError(f"{where}: {twice} stands twice")
    labels = (Kind.RULE_LABELER, Kind.ANNOTATOR)
    if own := next((cell.name for cell in study.cells if study.labeler(cell.name) and cell.kind not in labels), None):
        raise InputError(f"{where}: {own}: a labeler has this name, and would be scored in its place")
    teacher = study.settings.teacher
    for cell in (cell for cell in study.cells if cell.learns):
        used = [study.cohorts[name] for name in cell.cohorts]
        if len({cohort.task.name for cohort in used}) < len(used):
            raise InputError(f"{where}: {cell.name} takes rows of one task from two cohorts")
        for cohort in used:
            own = f"{where}: cohorts.{cohort.name}"
            if cohort.labels == TEACHER and not teacher:
                raise InputError(f"{own}: {cell.name} needs a teacher to label them")
            if cohort.labels == TEACHER and teacher.get("simulated") and not (cohort.gold or is_synthetic(cohort)):
                raise InputError(f"{own}: a simulated teacher needs their gold, or synthetic reports")


def read_training(study: Study) -> dict[str, Training]:
    """The training of each recipe that a cell uses.

    Raises:
        InputError: As :func:`radtune.study.settings.read_recipe`, or a cell has fewer rows than one step of the stock
            recipe, which leaves them out.
    """
    trained = [cell for cell in study.cells if cell.trained]
    found = {recipe: read_recipe(study.settings, recipe) for recipe in dict.fromkeys(cell.recipe for cell in trained)}
    for cell in (cell for cell in trained if cell.recipe == STOCK and None not in cell.rows.values()):
        step = found[STOCK].rows_per_step
        if cell.total < step:
            path = found[STOCK].config
            raise InputError(f"{cell.name}: {cell.total} rows do not fill one optimizer step of {step} ({path})")
    return found
