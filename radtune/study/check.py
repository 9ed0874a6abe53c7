"""What is said before a study starts: what would fail, what is doubtful, and about what it will take."""

import json
import math
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from radtune.ask.costs import FREE, price_at
from radtune.config import InputError, parse_config, read_yaml
from radtune.engines.choose import endpoint_of
from radtune.engines.guard import check_endpoint
from radtune.label_files import unannotated
from radtune.sources.select import selected
from radtune.study.cells import Kind
from radtune.study.formats import time_text
from radtune.study.jobs import Job, key_words, made_by
from radtune.study.made_from import Hashes, Source, read_source
from radtune.study.plan import Study
from radtune.study.results import gold_of
from radtune.study.settings import OURS, TEACHER, Training, is_synthetic
from radtune.tables import match_ids, normal_id
from radtune.tasks import load_task, shows_images
from radtune.tasks.lists import fold_space

# Rough figures for the estimate: words to tokens, tokens of a prompt and of an answer, and what a device does a second:
# operations and bytes of memory, an A100's at half its peak, and a core's as trainings of SmolLM2 measure it. Each
# job first loads torch and the model, which is most of what the demo's take.
_TOKENS_PER_WORD, _PROMPT_TOKENS, _ANSWER_TOKENS, _REPORT_WORDS = 1.5, 250, 40, 60
_ROW_TOKENS = _PROMPT_TOKENS + _REPORT_WORDS * _TOKENS_PER_WORD + _ANSWER_TOKENS
_GPU, _CORE, _START_SECONDS = (1.5e14, 1e12), (1e11, 5e9), 6


@dataclass(frozen=True)
class Checked:
    """What is known before the start: lines to show, doubts and an estimate; seconds of each job that takes long."""

    lines: list[str]
    seconds: Mapping[str, float]


@dataclass(frozen=True)
class _Planned:
    """A study's jobs: the keys of each as its command reads them, and what the sources hold that they read."""

    study: Study
    jobs: Mapping[str, Job]
    configs: Mapping[str, Any]
    sources: Mapping[str, Source]
    parameters: int
    on_gpu: bool

    def reports(self, name: str) -> int:
        """How many reports a job asks about."""
        rule, *wildcards = name.split("/")
        prepared = f"prepare_{'cohort' if rule == 'annotate_cohort' else 'test'}/{wildcards[-1]}"
        fold = rule == "predict" and self.study.cell(wildcards[0]).fold
        count, source = self.sources[prepared].reports, self.jobs[prepared].source
        count = min(count, *(source.get(name) or count for name in ("sample", "limit")))
        return count // self.study.settings.folds if fold else count


def check_study(
    study: Study, recipes: Mapping[str, Training], jobs: Mapping[str, Job], schemas: Mapping[str, type], hashes: Hashes
) -> Checked:
    """Reads what can be read before the start.

    ``schemas`` are the keys of each command, by its file.

    Raises:
        InputError: What the study would fail at: a file that is absent or cannot be read, a key that a command does not
            take, fewer reports than a mix asks for, gold of other reports, an endpoint that reports may not be sent to.
    """
    configs = {name: _config(job, schemas) for name, job in jobs.items() if job.command[0] in schemas}
    sources = {name: hashes.of_source(job.source) for name, job in jobs.items() if job.source}
    for cohort in study.used_cohorts:
        prepared = jobs[f"prepare_cohort/{cohort.name}"]
        there = min(sources[prepared.name].reports, prepared.source.get("sample") or sources[prepared.name].reports)
        labeler = study.labeler(cohort.labels)
        if cohort.labels != TEACHER and (labeler is None or labeler.labels):
            there = min(there, len(cohort.read_labels(study.weak_labels(cohort)).answers))
        for cell in study.cells:
            if (cell.rows.get(cohort.name) or 0) > there:
                needed = f"{cell.name} needs {cell.rows[cohort.name]:,}"
                raise InputError(f"cohorts.{cohort.name}: {needed} labelled reports, there are {there:,}")
    for name, test in study.tests.items():
        if is_synthetic(test):
            continue
        given = gold_of(test)
        gold = {*map(normal_id, given.answers.keys() - unannotated(given, test.evaluation.get("gold_blank")))}
        if not any(normal_id(report.report_id) in gold for report in read_source(test.source)):
            raise InputError(f"tests.{name}: none of its reports is in {test.gold}, or annotated there")
    for name, config in configs.items():
        if name.startswith("annotate") and jobs[name].around is None and (endpoint := endpoint_of(config)):
            confirmed = config.images_confirmed or not shows_images(load_task(config.task))
            allowed = config.allow_endpoint, config.zero_retention_confirmed
            check_endpoint(endpoint, *allowed, images_confirmed=confirmed)
    parameters, on_gpu = parameters_of(study.settings.checkpoint_dir), any(r.on_gpu for r in recipes.values())
    planned = _Planned(study, jobs, configs, sources, parameters, on_gpu)
    seconds = _seconds(planned, recipes)
    doubts = [*_doubts(study, recipes), *_shared(study, jobs, configs)]
    return Checked([*doubts, *_estimate(planned, seconds)], seconds)


def _config(job: Job, schemas: Mapping[str, type]) -> Any:
    try:
        return parse_config(schemas[job.command[0]], [*job.command[1:], *key_words(job.keys)])
    except InputError as error:
        raise InputError(f"{job.name}: {str(error).removeprefix('command line: ')}") from None


def check_name(path: Path, name: str) -> None:
    """Refuses a name that another YAML beside a study's has: both would write into one folder."""
    others = [other for other in sorted(path.absolute().parent.glob("*.yaml")) if other.name != path.name]
    for other in others:
        try:
            values = read_yaml(other)
        except InputError:
            continue
        if values.get("name") == name and "tests" in values and not values.get("run_dir"):
            raise InputError(f"{path}: {other.name} has the same name, {name!r}, and so the same folder")


def check_files(study: Study, jobs: Mapping[str, Job]) -> None:
    """Refuses a study that reads what is not there, all of it in one line."""
    made = made_by(jobs)
    given = dict.fromkeys(path for job in jobs.values() for path in job.reads if path not in made)
    given |= dict.fromkeys(Path(job.source["input"]) for job in jobs.values() if "input" in job.source)
    model, needs = study.settings.checkpoint_dir, f"; {study.settings.needs}" * bool(study.settings.needs)
    if absent := [str(path) for path in given if not path.exists()]:
        raise InputError(f"no such file: {', '.join(absent)}{needs if str(model) in absent else ''}")
    if not (model / "config.json").exists():
        raise InputError(f"checkpoint_dir: {model}: no model folder (no config.json){needs}")


def _doubts(study: Study, recipes: Mapping[str, Training]) -> list[str]:
    found = []
    for cell in (cell for cell in study.cells if cell.trained and None not in cell.rows.values()):
        recipe = recipes[cell.recipe]
        steps = recipe.steps(cell.total)
        if recipe.warmup_steps >= steps > 0:
            found.append(
                f"{cell.name}: all of its {steps:,} optimizer steps are warm-up ({recipe.warmup_steps:,} steps in "
                f"{recipe.config}), so the stated learning rate is never reached"
            )
    return found


def _shared(study: Study, jobs: Mapping[str, Job], configs: Mapping[str, Any]) -> Iterator[str]:
    """Patients and texts that an ensemble is both chosen and scored on; an InputError for reports, as combine.py's."""

    @cache
    def of(test: str) -> tuple[list[str], set[str | None], set[str]]:
        name = f"prepare_test/{study.tests[test].asked}"
        lines = selected(read_source(jobs[name].source), configs[name], name, configs[name].id_column)
        rows = [*map(json.loads, lines)]
        ids, patients, texts = ([row[key] for row in rows] for key in ("report_id", "patient_id", "text"))
        return ids, {*patients} - {None}, {fold_space(text).casefold() for text in texts if text}

    ensembles = [cell for cell in study.cells if cell.kind == Kind.ENSEMBLE]
    pairs = [(study.settings.ensembles[cell.ensemble].validation, test) for cell in ensembles for test in cell.tests]
    for chosen_on, test in dict.fromkeys(pairs):
        where = f"tests.{chosen_on} chooses the thresholds that tests.{test} scores"
        (ids, *ours), (other_ids, *theirs) = of(chosen_on), of(test)
        if known := match_ids(ids, other_ids):
            raise InputError(f"{where}, and has {len(known):,} of its reports: they may not decide")
        counts = [len(one & other) for one, other in zip(ours, theirs, strict=True)]
        if any(counts):
            yield f"{where}: {counts[0]:,} patients and {counts[1]:,} texts are in both"


def _seconds(planned: _Planned, recipes: Mapping[str, Training]) -> dict[str, float]:
    """Roughly, what each training and asking takes that has not been made yet, alone on this machine."""
    study, parameters = planned.study, planned.parameters
    operations, memory = _GPU if planned.on_gpu else tuple(each * (os.cpu_count() or 1) for each in _CORE)
    there = {name: planned.sources[f"prepare_cohort/{name}"].reports for name in (c.name for c in study.used_cohorts)}
    found = {}
    for cell in (cell for cell in study.cells if cell.trained):
        recipe, folds = recipes[cell.recipe], study.settings.folds
        rows = sum(there[name] if n is None else n for name, n in cell.rows.items())
        rows = rows * (folds - 1) // folds if cell.fold and None in cell.rows.values() else rows
        # Our recipe computes a prompt once for many rows.
        tokens = _ROW_TOKENS - (_PROMPT_TOKENS if cell.recipe == OURS else 0)
        found[f"train/{cell.name}"] = _START_SECONDS + 6 * parameters * tokens * rows * recipe.epochs / operations
    for name in (name for name in planned.jobs if name.startswith("predict/")):
        config = planned.configs[name]
        answers = planned.reports(name) * config.samples * len(planned.jobs[name].outputs)
        steps = _ANSWER_TOKENS * answers / (config.batch_size or 16)
        reading = 2 * parameters * _ROW_TOKENS * answers / operations
        found[name] = _START_SECONDS + reading + steps * parameters * (2 if planned.on_gpu else 4) / memory
    return {name: each for name, each in found.items() if not all(map(Path.exists, planned.jobs[name].outputs))}


def _estimate(planned: _Planned, seconds: Mapping[str, float]) -> list[str]:
    """Time, memory and cost, all rough: of what has not been made yet, as if nothing ran side by side."""
    parts = []
    for rule, verb in (("train", "train"), ("predict", "ask")):
        if some := [each for name, each in seconds.items() if name.startswith(f"{rule}/")]:
            parts.append(f"{len(some):,} to {verb}, about {time_text(sum(some))}")
    if parts:
        bytes_each = 2 if planned.on_gpu else 4
        parts.append(f"at least {2 * planned.parameters * bytes_each / 1e9:,.1f} GB of memory")
    questions, cost, priced = 0, 0.0, True
    for name in (name for name in planned.jobs if name.startswith("annotate")):
        if all(map(Path.exists, planned.jobs[name].outputs)):
            continue
        config, reports = planned.configs[name], planned.reports(name)
        questions += reports * config.samples
        price = FREE if planned.jobs[name].around else price_at(endpoint_of(config), config.model or "")
        priced = priced and price is not None
        if price:
            tokens = (_ROW_TOKENS - _ANSWER_TOKENS) * price.input + _ANSWER_TOKENS * price.output
            cost += reports * config.samples / 1e6 * tokens
    if questions:
        money = f"about {cost:,.2f} US dollars" if priced else "at a price that is not listed"
        parts.append(f"{questions:,} questions to the teacher, {money}")
    return [f"estimate, one after the other: {'; '.join(parts)}"] if parts else []


def parameters_of(folder: Path) -> int:
    """How many numbers the weights in a model's folder are, by their headers; 0 where there are none."""
    from safetensors import SafetensorError, safe_open  # a light install writes a study's YAML without it

    total = 0
    for path in folder.glob("*.safetensors"):
        try:
            with safe_open(path, framework="numpy") as weights:
                total += sum(math.prod(weights.get_slice(name).get_shape()) for name in weights.keys())  # noqa: SIM118
        except (OSError, SafetensorError):
            raise InputError(f"{path}: no weights, or damaged ones") from None
    return total
