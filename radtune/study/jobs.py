"""The jobs of a study: the command of each, and what it reads and writes."""

import json
import shlex
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any

from radtune import PACKAGE, ROOT
from radtune.study.cells import Cell, Kind, rate_text
from radtune.study.plan import Study, opponents
from radtune.study.settings import GOLD_KEYS, OURS, TEACHER, Cohort, Test, Training, gold_name, is_synthetic
from radtune.tasks import Task, load_task, shows_images, task_names

ADAPTER = Path("adapter") / "adapter_model.safetensors"
# A simulated teacher's errors, keys of simulated_teacher.py.
_NOISE = ("drop", "add", "shared_errors")
_TORCH = ("torch", "torchtune", "torchao")
_LINEAR = ("scikit-learn", "scipy")


@dataclass(frozen=True)
class Job:
    """One command of a study.

    Attributes:
        name: A rule of scripts/Snakefile and its wildcards: ``predict/base/multiple_choice``.
        command: Its words before the keys.
        keys: Its keys; paths are :class:`Path`.
        outputs: What it writes; the first is what snakemake knows of.
        reads: Files and folders, those that other jobs write among them.
        source: Keys of the source of reports that it reads; ``images`` of that whose images it shows.
        packages: What computes the result, besides radtune.
        around: Keys of the simulated teacher that runs this command, where one does.
    """

    name: str
    command: tuple[str, ...]
    keys: Mapping[str, Any]
    outputs: tuple[Path, ...]
    reads: tuple[Path, ...] = ()
    source: Mapping[str, Any] = field(default_factory=dict)
    images: Mapping[str, Any] = field(default_factory=dict)
    packages: tuple[str, ...] = ()
    around: Mapping[str, Any] | None = None

    def words(self, **others: Any) -> list[str]:
        """The command line, some keys with other values."""
        script, *rest = self.command
        # Commands are those of the environment that runs the study, also where it is not activated.
        found = ROOT / script if script.endswith(".py") else Path(sys.executable).parent / script
        begin = [sys.executable, str(found)] if script.endswith(".py") else [str(found)]
        words = [*begin, *rest, *key_words({**self.keys, **others})]
        if self.around is None:
            return words
        teacher = {**self.around, "command": shlex.join(words)}
        return [sys.executable, str(ROOT / "scripts" / "simulated_teacher.py"), *key_words(teacher)]


def key_words(keys: Mapping[str, Any]) -> list[str]:
    """``key=value`` words of a command line, in an order that does not change with that of a YAML."""

    def text(value: Any) -> str:
        if isinstance(value, list | tuple):
            return f"[{', '.join(map(text, value))}]"
        if isinstance(value, Mapping):
            return json.dumps(value)
        return json.dumps(value) if value is None or isinstance(value, bool) else str(value)

    return [f"{name}={text(value)}" for name, value in sorted(keys.items())]


def jobs_of(study: Study, recipes: Mapping[str, Training]) -> dict[str, Job]:
    """Every job of a study but the report, by name."""
    found: list[Job] = []
    for cohort in study.used_cohorts:
        reports = study.cohort_file(cohort.name)
        gold = cohort.gold or study.cohort_file(cohort.name, gold_name(cohort.task))
        found.append(_prepare(f"prepare_cohort/{cohort.name}", cohort, reports, gold))
        labels, labeler = study.weak_labels(cohort), study.labeler(cohort.labels)
        if labeler and not labeler.labels:
            found.append(_label(f"label_cohort_by_rules/{cohort.name}", cohort.task, labeler.keys, reports, labels))
        elif cohort.labels == TEACHER:
            found.append(_annotate(study, f"annotate_cohort/{cohort.name}", cohort, reports, gold, labels))
    for test in study.tests.values():
        apart = test.asked == test.name
        if apart:
            found.append(_prepare(f"prepare_test/{test.name}", test, study.test_file(test.name), test.gold))
        for fold in range(1, study.settings.folds + 1) if apart else ():
            reports, part = study.test_reports(test.name, fold), {"fold": [fold, study.settings.folds]}
            found.append(_prepare(f"prepare_fold/{test.name}/{fold}", test, reports, test.gold, part))
    found += [_build(study, cell) for cell in {cell.rows_name: cell for cell in study.cells if cell.learns}.values()]
    for cell in study.cells:
        found += [_train(study, cell, recipes[cell.recipe])] if cell.trained else []
        asked = dict.fromkeys(study.tests[test].asked for test in cell.tests)
        found += filter(None, (_answer(study, cell, study.tests[test]) for test in asked))
    for cell, name in study.scores:
        errors = {"errors": study.evaluation(cell.name, name, "errors.jsonl")}
        test = study.tests[name]
        found.append(_evaluate(study, f"evaluate/{cell.name}/{name}", cell, test, "metrics.json", errors))
        for other in opponents(study, cell, name):
            against = {"compare": study.predictions(other, name)}
            if (labeler := study.labeler(other)) and labeler.column:
                against["compare_column"] = labeler.column
            job = f"compare/{cell.name}/{name}/{other}"
            found.append(_evaluate(study, job, cell, test, f"against_{other}.json", against))
    return {job.name: job for job in found}


def made_by(jobs: Mapping[str, Job]) -> dict[Path, Path]:
    """By each file that a job writes, the one that snakemake knows of that job."""
    return {path: job.outputs[0] for job in jobs.values() for path in job.outputs}


def _task(task: Task) -> str | Path:
    """A task as commands take it: the shipped ones by name, one's own by its file."""
    ships = task.name in task_names() and load_task(task.name).files == task.files
    return task.name if ships else task.files[0]


def _wording(task: Task) -> list[Path]:
    """What a task is read from, and its examples' images, without the lexicon that its rules label by."""
    images = [image for example in task.wording.examples for image in example.images]
    return [path for path in task.files if path.suffix != ".toml"] + images


def _prepare(
    name: str, part: Cohort | Test, reports: Path, gold: Path, fold: Mapping[str, Any] = MappingProxyType({})
) -> Job:
    truth = {Path(gold_name(part.task)).stem: gold} if is_synthetic(part) else {}
    ids = [Path(part.source[name]) for name in ("exclude_ids", "only_ids") if part.source.get(name)]
    keys = {**part.source, **fold, **truth, "output": reports}
    return Job(name, ("scripts/prepare_reports.py",), keys, (reports, *truth.values()), tuple(ids), part.source)


def _label(name: str, task: Task, own: Mapping[str, str], reports: Path, output: Path) -> Job:
    keys = {**own, "task": _task(task), "reports": reports, "output": output}
    # Headings and regions are asked before any rules.
    rules = sorted((*PACKAGE.glob("*.toml"), *(Path(own["rules"]).glob("*.toml") if "rules" in own else ())))
    return Job(name, ("scripts/label_by_rules.py",), keys, (output,), (reports, *task.files, *rules))


def _answer(study: Study, cell: Cell, test: Test) -> Job | None:
    """What makes a cell's answers to a test; nothing, where they are given."""
    reports, answers = study.test_reports(test.name, cell.fold), study.predictions(cell.name, test.name)
    if cell.folds:
        ends = [f"_fold_{fold}" for fold in range(1, cell.folds + 1)]
        parts = [study.predictions(cell.name + end, test.name) for end in ends]
        keys = {"inputs": parts, "output": answers}
        return Job(f"join/{cell.name}/{test.name}", ("scripts/join_rows.py",), keys, (answers,), tuple(parts))
    if cell.kind == Kind.ENSEMBLE:
        return _combine(study, cell, test, answers)
    if labeler := study.labeler(cell.name):
        name = f"label_test_by_rules/{test.name}/{cell.name}"
        return None if labeler.labels else _label(name, test.task, labeler.keys, reports, answers)
    if cell.kind == Kind.TEACHER:
        return _annotate(study, f"annotate_test/{test.name}", test, reports, test.gold, answers)
    if cell.is_linear:
        keys = {"task": _task(test.task), "reports": reports, "instructions": study.instructions(cell)}
        reads, name = (*keys.values(), *_wording(test.task)), f"ask_linear/{cell.name}/{test.name}"
        reads = tuple(path for path in reads if isinstance(path, Path))
        command = ("scripts/linear_model.py", *study.own(cell, "overrides"))
        return Job(name, command, keys | {"output": answers}, (answers,), reads, packages=_LINEAR)
    return _predict(study, cell, test, reports, answers)


def _worded(study: Study, cell: Cell, task: Task) -> Task:
    """A task in the wording of a member of an ensemble, where it has one of its own."""
    wording = study.own(cell, "wordings")
    worded = load_task(wording) if wording else task
    return worded if worded.name == task.name else task


def _combine(study: Study, cell: Cell, test: Test, output: Path) -> Job:
    """What makes an ensemble's answers of its members', as is best on the validation reports."""
    ensemble = study.settings.ensembles[cell.ensemble]
    validation = study.tests[ensemble.validation]
    files = {
        name: [study.predictions(member.name, part.name) for member in study.members(cell.ensemble)]
        for name, part in (("predictions", test), ("validation", validation))
    }
    reading = {name: validation.evaluation[name] for name in GOLD_KEYS if name in validation.evaluation}
    keys = {**ensemble.combine, **files, **reading, "task": _task(test.task), "gold": validation.gold, "output": output}
    reads = (*files["predictions"], *files["validation"], validation.gold, *_wording(test.task))
    return Job(f"combine/{cell.name}/{test.name}", ("scripts/combine.py",), keys, (output,), reads, packages=_LINEAR)


def _annotate(study: Study, name: str, part: Cohort | Test, reports: Path, gold: Path, output: Path) -> Job:
    teacher = study.settings.teacher
    common = {"reports": reports, "task": _task(part.task), "seed": study.settings.seed}
    own = {key: value for key, value in teacher.items() if key not in ("simulated", *_NOISE)}
    keys = {**common, "output": output, "prompt": "labelling" if isinstance(part, Cohort) else "inference", **own}
    around = {**common, "gold": gold, **{key: teacher[key] for key in _NOISE if key in teacher}}
    simulated = teacher.get("simulated")
    # A teacher on this machine is what its folders hold.
    folders = [Path(own[name]) for name in ("checkpoint_dir", "adapter_dir") if isinstance(own.get(name), str)]
    reads = (reports, *_wording(part.task), *([gold] if simulated else []), *folders)
    images = part.source if shows_images(part.task) and not is_synthetic(part) else {}
    around = around if simulated else None
    return Job(name, ("gpt_data_generate.py",), keys, (output,), reads, images=images, around=around)


def _build(study: Study, cell: Cell) -> Job:
    used = [study.cohorts[name] for name in cell.cohorts]
    keys: dict[str, Any] = {"output": study.instructions(cell), "seed": cell.member or study.settings.seed}
    if policy := study.own(cell, "uncertain"):
        keys["uncertain"] = policy
    keys["exclude_ids"] = [study.test_reports(test, cell.fold) for test in study.settings.tests]
    keys |= {"balance": True} if study.settings.balance else {}
    tasks = [_worded(study, cell, cohort.task) for cohort in used]
    if own := [task.files[0] for task in tasks if _task(task) != task.name]:
        keys["tasks"] = own
    reads = list(keys["exclude_ids"])
    for cohort, task in zip(used, tasks, strict=True):
        section = {"reports": study.cohort_file(cohort.name), "labels": study.weak_labels(cohort)}
        reads += [*section.values(), *_wording(task)]
        section |= {"rows": cell.rows[cohort.name]} | cohort.label_keys
        keys |= {f"{cohort.task.name}.{key}": value for key, value in section.items()}
    name = f"build_instructions/{cell.rows_name}"
    return Job(name, ("scripts/build_instructions.py",), keys, (study.instructions(cell),), tuple(reads))


def _train(study: Study, cell: Cell, recipe: Training) -> Job:
    folder, rows = study.training(cell.name), study.instructions(cell)
    rate = [f"optimizer.lr={rate_text(cell.learning_rate)}"] if cell.learning_rate else []
    command = ("recipes/lora_finetune.py",) if cell.recipe == OURS else ("tune", "run", "lora_finetune_single_device")
    seed = study.settings.seed if cell.seed is None else cell.seed
    own = (*recipe.overrides, *rate, *study.own(cell, "overrides"))
    command += ("--config", str(recipe.config), f"seed={seed}", *own)
    base = study.settings.checkpoint_dir
    keys = {"output_dir": folder, "dataset.data_files": rows}
    # Whatever base the YAML names: the study asks this one. The stock recipe's YAMLs repeat its sizes, too.
    keys |= {"checkpoint_dir": base, "resume": "auto"} if cell.recipe == OURS else {}
    reads = (rows, recipe.config, base, *recipe.files)
    return Job(f"train/{cell.name}", command, keys, (folder / ADAPTER,), reads, packages=_TORCH)


def _predict(study: Study, cell: Cell, test: Test, reports: Path, output: Path) -> Job | None:
    """What asks a cell, or an ensemble's members of one wording together; nothing of those that another goes before."""
    settings, task = study.settings, _worded(study, cell, test.task)
    together = [cell]
    if cell.member and settings.inference.get("engine", "torchtune") == "torchtune":
        members = study.members(cell.ensemble)
        together = [each for each in members if _worded(study, each, test.task).files == task.files]
    if together[0] != cell:
        return None
    keys = {"task": _task(task), "checkpoint_dir": settings.checkpoint_dir}
    several = len(together) > 1
    keys["seed"] = settings.seed if cell.seed is None or several else cell.seed
    reads = [reports, settings.checkpoint_dir, *_wording(task)]
    adapters = [study.training(each.model or each.name) / ADAPTER for each in together if each.is_tuned]
    outputs = [study.predictions(each.name, test.name) for each in together]
    if adapters:
        keys["adapter_dir"] = [adapter.parent for adapter in adapters] if several else adapters[0].parent
    if cell.member and test.task.classes:
        keys |= {"constrain": True, "scores": True}
    keys |= {**settings.inference, **cell.asked, "reports": reports, "output": outputs if several else output}
    name, packages = f"predict/{cell.name}/{test.name}", (*_TORCH, "transformers", "peft")
    return Job(name, ("inference.py",), keys, tuple(outputs), (*reads, *adapters), packages=packages)


def _evaluate(study: Study, name: str, cell: Cell, test: Test, output: str, others: Mapping[str, Path]) -> Job:
    keys = {
        **test.evaluation, **others, "task": _task(test.task), "seed": study.settings.seed, "gold": test.gold,
        "predictions": study.predictions(cell.name, test.name), "reports": study.test_reports(test.name),
        "output": study.evaluation(cell.name, test.name, output),
    }  # fmt: skip
    if (labeler := study.labeler(cell.name)) and labeler.column:
        keys["prediction_column"] = labeler.column
    reads = [keys["predictions"], keys["reports"], test.gold, *test.task.files]
    outputs = [keys["output"]]
    if "errors" in others:
        keys["show_text"] = study.settings.show_text
        outputs.append(others["errors"])
    else:
        reads.append(others["compare"])
    return Job(name, ("evaluate.py",), keys, tuple(outputs), tuple(reads))
