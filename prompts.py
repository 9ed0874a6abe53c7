"""Prints a task's prompt exactly as a model sees it.

python prompts.py task=open_ended
python prompts.py task=multiple_choice use=training
python prompts.py task=my_task.yaml use=labelling reports=reports.jsonl report_id=50414267 show_text=true
"""

import radtune  # isort: skip  # noqa: F401  (first: Ctrl-C is one line from here on)
from dataclasses import dataclass
from pathlib import Path

from radtune.command import run_command
from radtune.config import InputError, key
from radtune.sources.table import reports_of
from radtune.tasks import PROMPT_FORMATS, USES, Task, load_task, text_of, user_message

PLACEHOLDER = "{report}"


@dataclass
class PromptConfig:
    """Keys of this command."""

    task: str = key("The task: a name, or a path of a task file.")
    use: str = key("Where the prompt is used.", "inference", choices=USES)
    prompt_format: str = key("How instruction and report are framed.", "llama3_chat", choices=PROMPT_FORMATS)
    seed: int = key("Seed of the examples, where they are drawn for each report.", 0)
    reports: Path | None = key("Reports, as inference.py takes them; a placeholder stands for one if left out.", None)
    id_column: str | None = key("Column of their ids, where its name does not tell.", None)
    text_column: str | None = key("Column of whole reports, where its name does not tell.", None)
    report_id: str | None = key("Id of the report; the first if left out.", None)
    show_text: bool = key("Needed to print a report's text.", False)


def main(config: PromptConfig) -> None:
    """Prints the prompt."""
    task = load_task(config.task)
    report_id, text = _report(config, task)
    instruction = task.prompt(config.use, report_id, config.seed).instruction
    print(user_message(instruction, text, config.prompt_format))


def _report(config: PromptConfig, task: Task) -> tuple[str, str]:
    if config.reports is None:
        return PLACEHOLDER, PLACEHOLDER
    if not config.show_text:
        raise InputError("reports= prints a patient's text: confirm with show_text=true")
    for report in reports_of(config.reports, id_column=config.id_column, text_column=config.text_column):
        if config.report_id in (None, report.report_id):
            return report.report_id, text_of(task, report)
    raise InputError(
        f"{config.reports}: no report {config.report_id!r}" if config.report_id else f"{config.reports}: empty"
    )


if __name__ == "__main__":
    run_command(main, PromptConfig)
