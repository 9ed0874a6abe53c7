"""A study's cells, which are its runs with a score, as they follow from its YAML."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Any

from radtune.config import InputError
from radtune.study.settings import ALL, OURS, STOCK, Cohort, Mix, StudySettings, Test, check_known, is_synthetic
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
        rows = "_".join(f"{name}_{_rows_text(self.rows[name])}" for name in self.cohorts) + fold_suffix(self.fold)
        return f"{rows}_of_{self.name}" if self.member else rows


def cells_of(
    where: str, settings: StudySettings, cohorts: Mapping[str, Cohort], tests: Mapping[str, Test]
) -> list[Cell]:
    """Every cell, in the order of the paper's tables; those of several seeds and folds one by one."""
    cells = _planned(where, settings, cohorts, tests)
    if settings.limit:
        # Whatever their rows were, they are all that the limit leaves now.
        cells = list({cell.name: cell for cell in cells}.values())
    elif isinstance(settings.seeds, dict):
        for name in settings.seeds:
            check_known(f"{where}: seeds: ", name, [cell.name for cell in cells])
    return [each for cell in cells for each in _repeated(cell, settings)]


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
        ends = [fold_suffix(fold + 1) for fold in range(settings.folds)] if one.cohorts else []
        for fold, end in enumerate(ends, start=1):
            yield replace(one, name=one.name + end, model=one.model and one.model + end, fold=fold)
        yield replace(one, folds=len(ends))


def _rows(where: str, mix: Mix, cohorts: Sequence[str], whole: bool) -> dict[str, int | None]:
    """A mix as rows by cohort, in the order of cohorts; ``whole`` takes all that there are of each."""
    if not isinstance(mix, Mapping):
        if len(mix) != len(cohorts):
            raise InputError(f"{where}: {list(mix)} is not a number of rows for each of {', '.join(cohorts)}")
        mix = dict(zip(cohorts, mix, strict=True))
    for name, count in mix.items():
        check_known(f"{where}: ", name, cohorts)
        if isinstance(count, str) and count != ALL:
            raise InputError(f"{where}: expected numbers of rows, or {ALL}")
    given = {name: mix.get(name, 0) for name in cohorts}
    rows = {name: None if count == ALL or (count and whole) else int(count) for name, count in given.items()}
    if min(count or 0 for count in rows.values()) < 0 or all(count == 0 for count in rows.values()):
        raise InputError(f"{where}: numbers of rows must be 0 or more, and not all of them 0")
    return rows


def _seed_suffix(seed: int | None) -> str:
    return "" if seed is None else f"_seed_{seed}"


def fold_suffix(fold: int) -> str:
    """What names of files and cells of a fold end in; nothing where there is none."""
    return f"_fold_{fold}" if fold else ""


def _rows_text(count: int | None) -> str:
    return ALL if count is None else str(count)


def _planned(
    where: str, settings: StudySettings, cohorts: Mapping[str, Cohort], all_tests: Mapping[str, Test]
) -> list[Cell]:
    recipe, tests = settings.training, tuple(settings.tests)
    other = STOCK if recipe == OURS else OURS

    def rows_of(name: str, mix: Mix) -> dict[str, int | None]:
        return _rows(f"{where}: {name}", mix, list(cohorts), bool(settings.limit))

    def mixes(name: str, kind: Kind, recipe: str, suffix: str = "") -> list[Cell]:
        found = [rows_of(name, mix) for mix in getattr(settings, name)]
        names = ["_".join(("mix", *map(_rows_text, rows.values()))) + suffix for rows in found]
        return [Cell(name, kind, read, rows, recipe) for name, rows in zip(names, found, strict=True)]

    # Models that are trained here read texts alone.
    read = tuple(name for name in tests if not shows_images(all_tests[name].task))

    def learnt(rows: Mapping[str, int | None]) -> tuple[str, ...]:
        tasks = {cohorts[name].task.name for name, count in rows.items() if count != 0}
        return tuple(name for name in tests if all_tests[name].task.name in tasks)

    trained = mixes("mixes", Kind.MIX, recipe)
    found = [Cell(Kind.BASE.value, Kind.BASE, read), *trained]
    last = found[-1]
    for cell in trained if settings.linear else ():
        scored = tuple(name for name in learnt(cell.rows) if all_tests[name].task.classes)
        found.append(Cell(cell.name.replace(Kind.MIX, Kind.LINEAR, 1), Kind.LINEAR, scored, cell.rows))
    by_rules = tuple(name for name, test in all_tests.items() if test.task.rules)
    if by_rules:
        found.append(Cell(Kind.RULE_LABELER.value, Kind.RULE_LABELER, by_rules))
    for name, labeler in settings.labelers.items():
        scored = tests if labeler.labels else tuple(all_tests) if labeler.rules else by_rules
        found.append(Cell(name, Kind.ANNOTATOR if labeler.labels else Kind.RULE_LABELER, scored))
    # A simulated teacher answers from the truth, which only synthetic reports bring along.
    simulated = settings.teacher.get("simulated")
    asked = tuple(name for name in tests if settings.teacher and (not simulated or is_synthetic(all_tests[name])))
    if asked:
        found.append(Cell(Kind.TEACHER.value, Kind.TEACHER, asked))
    for rate in settings.learning_rates:
        rows = rows_of("learning_rate_rows", settings.learning_rate_rows)
        found.append(Cell(f"lr_{rate_text(rate)}", Kind.LEARNING_RATE, learnt(rows), rows, recipe, rate))
    for test, sizes in settings.separate.items():
        check_known(f"{where}: separate: ", test, tests)
        own = [name for name, cohort in cohorts.items() if cohort.task.name == all_tests[test].task.name]
        if len(own) != 1:
            raise InputError(f"{where}: separate.{test} needs one cohort of its task, there are {len(own)}")
        for size in (None if settings.limit else size for size in sizes):
            found.append(Cell(f"only_{test}_{_rows_text(size)}", Kind.SEPARATE, (test,), {own[0]: size}, recipe))
    for name, ensemble in settings.ensembles.items():
        rows = rows_of(f"ensembles.{name}.rows", ensemble.rows)
        theirs = [all_tests[test] for test in learnt(rows)]
        found += _ensemble(f"{where}: ensembles.{name}", name, settings, rows, theirs)
    found += mixes("cross_check", Kind.CROSS_CHECK, other, f"_{other}")
    for name, values in settings.inference_variants.items():
        closed = {"constrain", "scores"} & set(values)
        can = tuple(test for test in read if all_tests[test].task.classes or not closed)
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
        else replace(cell, tests=tuple(test for test in cell.tests if test not in settings.validations))
        for cell in found
    ]  # fmt: skip


def _ensemble(
    where: str, name: str, settings: StudySettings, rows: Mapping[str, int | None], tests: Sequence[Test]
) -> list[Cell]:
    """An ensemble's members, and what they say together; ``tests`` are those of the tasks that its rows are of."""
    ensemble = settings.ensembles[name]
    check_known(f"{where}.validation: ", ensemble.validation, list(settings.tests))
    chosen_on = next((test for test in tests if test.name == ensemble.validation), None)
    tests = [test for test in tests if chosen_on and test.task.name == chosen_on.task.name]
    scored = [test for test in tests if test.name not in settings.validations]
    if chosen_on is None or not scored or chosen_on.asked in {test.asked for test in scored}:
        raise InputError(f"{where}: needs rows of the task of {ensemble.validation}, and a test of it on other reports")
    if doubt := next((test.name for test in tests if "uncertain" in test.evaluation), None):
        raise InputError(f"{where}: tests.{doubt}.uncertain: ensembles take uncertain classes as the task says")
    task, theirs = chosen_on.task, tuple(test.name for test in tests)
    for path in ensemble.wordings:
        other = load_task(path)
        if ensemble.linear or (other.name, other.classes) != (task.name, task.classes):
            raise InputError(f"{where}.wordings: {path}: no prompts of {task.name} that a language model is asked with")
    recipe = "" if ensemble.linear else settings.training
    members = [
        Cell(f"{name}_{number}", Kind.MEMBER, theirs, rows, recipe, seed=number, ensemble=name, member=number)
        for number in range(1, ensemble.members + 1)
    ]
    return [*members, Cell(name, Kind.ENSEMBLE, tuple(test.name for test in scored), ensemble=name)]


def rate_text(rate: float) -> str:
    """A learning rate as people write it: ``3e-4``."""
    mantissa, _, exponent = f"{rate:e}".partition("e")
    return f"{mantissa.rstrip('0').rstrip('.')}e{int(exponent)}"
