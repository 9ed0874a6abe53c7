"""Runs one job of a study, as scripts/Snakefile does: nothing, if its result is made from the same already.

python scripts/study_step.py study=configs/study/mini.yaml log=rules.log \
    job=label_test_by_rules/multiple_choice/rule_labeler
"""

import radtune  # isort: skip  # noqa: F401  (first: Ctrl-C is one line from here on)
import os
import sys
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path

from radtune.command import run_command
from radtune.config import InputError, key, nearest
from radtune.study.jobs import jobs_of, made_by
from radtune.study.plan import read_study, read_training
from radtune.study.step import run_job
from radtune.train.settings import TrainingSettings

# The class of each command's keys, by its file; those of the recipe stand apart from it, which imports torch.
SCHEMAS = {
    "evaluate.py": "EvaluateConfig", "gpt_data_generate.py": "GenerateConfig", "inference.py": "AskConfig",
    "scripts/build_instructions.py": "InstructionsConfig", "scripts/combine.py": "CombineConfig",
    "scripts/join_rows.py": "JoinConfig", "scripts/label_by_rules.py": "LabelConfig",
    "scripts/linear_model.py": "LinearConfig", "scripts/prepare_reports.py": "PrepareConfig",
}  # fmt: skip
RECIPE = "recipes/lora_finetune.py"


@dataclass
class StudyStepConfig:
    """Keys of this command."""

    study: Path = key("The study's YAML.")
    job: str = key("A rule and its wildcards: predict/base/TEST.")
    log: Path = key("Where what the command prints goes.")
    run_dir: Path | None = key("Where the study runs, if not where its YAML says.", None)
    limit: int | None = key("Most reports of each kind, if not what its YAML says.", None, ge=1)
    parent: int | None = key("The process whose end ends the job; the one that starts it if left out.", None, ge=1)


def main(config: StudyStepConfig) -> None:
    """Runs the job; ends with the exit code of its command."""
    study = read_study(config.study, run_dir=config.run_dir, limit=config.limit)
    jobs = jobs_of(study, read_training(study))
    if config.job not in jobs:
        raise InputError(f"job: the study has none of this name{nearest(config.job, jobs)}")
    parent = config.parent or os.getppid()
    sys.exit(abs(run_job(study, jobs[config.job], made_by(jobs), config.log, parent)))


def schemas() -> dict[str, type]:
    """The keys of each command of a study, by its file."""
    modules = {file: import_module(file.removesuffix(".py").replace("/", ".")) for file in SCHEMAS}
    return {file: getattr(module, SCHEMAS[file]) for file, module in modules.items()} | {RECIPE: TrainingSettings}


if __name__ == "__main__":
    run_command(main, StudyStepConfig)
