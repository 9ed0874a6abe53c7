"""A study: what its YAML says, its cells, and where its files stand."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from radtune.config import InputError, from_mapping, read_yaml
from radtune.study.cells import Cell, Kind, cells_of, fold_suffix
from radtune.study.settings import (
    RULES,
    STOCK,
    TEACHER,
    Cohort,
    Labeler,
    StudySettings,
    Test,
    Training,
    check_settings,
    here_or_shipped,
    is_synthetic,
    read_cohort,
    read_recipe,
    read_test,
    with_variables,
)


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
    cells: Sequence[Cell]

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
        """The reports of a test, or of one of its folds."""
        return self.test_file(self.tests[test].asked, f"reports{fold_suffix(fold)}.jsonl")

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
    def scores(self) -> list[tuple[Cell, str]]:
        """What is scored: every cell but those of a fold and members, with the name of each of its tests."""
        scored = [cell for cell in self.cells if not cell.fold and not cell.member]
        return [(cell, test) for cell in scored for test in cell.tests if test not in self.settings.validations]

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
        same = (each.name for each in tests.values() if (each.task.name, each.source) == (test.task.name, test.source))
        tests[test.name] = replace(test, asked=next(same))
    titles = [test.title for test in tests.values()]
    for test in [test for test in tests.values() if titles.count(test.title) > 1]:
        tests[test.name] = replace(test, title=f"{test.title}, {test.name}")
    files: dict[str, tuple[Path, ...]] = {}
    for task in (part.task for part in (*cohorts.values(), *tests.values())):
        if files.setdefault(task.name, task.files) != task.files:
            raise InputError(f"{where}: two task files have the name {task.name!r}")
    study = Study(values, settings, run_dir, cohorts, tests, cells_of(where, settings, cohorts, tests))
    _check_cells(where, study)
    return study


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
