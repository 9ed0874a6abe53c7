"""Asks every copy of one fine-tuned model the same, and counts where they answer otherwise.

    python scripts/verify_model.py task=multiple_choice reports=test.jsonl gold=gold.csv \
        training_dir=runs/mine/training output=runs/mine/copies

The adapter on its base and the merged weights, in our engine; the merged weights in 8 and 4 bits by bitsandbytes; as
GGUF in llama.cpp; behind `transformers serve` and vLLM: whatever is installed here. Each is asked by inference.py, the
servers are started for it on loopback. Stopped, it goes on where it was. The table is printed, and stands in
OUTPUT/copies.json. Exit code 1 if a copy that was named could not be asked.
"""

import sys
from dataclasses import asdict, dataclass, replace
from itertools import islice
from pathlib import Path

from radtune.ask.copies import ADAPTER, GGUF, MERGED, Tuned, ask_copy, why_left_out
from radtune.command import run_command
from radtune.config import InputError, key
from radtune.engines.choose import QUANTIZATIONS
from radtune.engines.launch import TRANSFORMERS, VLLM
from radtune.files import LOCK, lock, read_json, write_json, write_jsonl, write_manifest
from radtune.label_files import BLANK, LabelFile, by_policy, column_of, joined_to, policies_for, read_labels
from radtune.privacy import say
from radtune.report import Report
from radtune.score.copies import NAME, compare_copies
from radtune.score.inputs import understood
from radtune.sources.table import read_any_reports
from radtune.study.formats import plain_text
from radtune.study.tables import copies_table
from radtune.tasks import PROMPT_FORMATS, USES, Task, load_task, text_of

# The first of them that can be asked is the one that the others are held to.
COPIES = (
    ADAPTER, MERGED, f"{GGUF}F16", f"{GGUF}Q8_0", f"{GGUF}Q4_K", f"{GGUF}Q4_0", *QUANTIZATIONS, TRANSFORMERS, VLLM,
)  # fmt: skip


@dataclass
class VerifyConfig:
    """Keys of this command."""

    task: str = key("The task: one in configs/tasks/, or the path of a task file.")
    reports: Path = key("reports.jsonl, or a table as in inference.py.")
    output: Path = key("Folder for answers, GGUF files, logs of servers and copies.json.")
    training_dir: Path = key("What a training has left: a folder with merged/ and, to compare, adapter/.")
    checkpoint_dir: Path | None = key("The base model, if not where the adapter says.", None)
    copies: list[str] = key("Which copies; all that can be asked here if left out.", [], COPIES)
    limit: int = key("Most reports that are asked about: the first, of those in gold.", 500, ge=1)
    gold: Path | None = key("What is right, for F1: a label table, or whatever evaluate.py reads.", None)
    gold_column: str | None = key("Column of the gold labels; else 'labels'.", None)
    gold_blank: str | None = key("Meaning of blank cells of gold, as in evaluate.py.", None, BLANK)
    id_column: str | None = key("Column of the report ids of either file that has it; else the usual ones.", None)
    prompt: str = key("Which of the task's prompts.", "inference", USES)
    prompt_format: str = key("How instruction and report are framed; as in training.", "llama3_chat", PROMPT_FORMATS)
    max_new_tokens: int = key("Where an answer is cut off.", 150, ge=1)
    device: str = key("cpu, cuda or auto.", "auto", ("auto", "cpu", "cuda"))


def main(config: VerifyConfig) -> None:
    """Asks, compares, and shows."""
    task = load_task(config.task)
    tuned = _tuned(config)
    reports, gold = _sides(config, task)
    with lock(config.output / LOCK):
        asked_about = config.output / "reports.jsonl"
        write_jsonl(asked_about, map(asdict, reports))
        alike = ("task", "prompt", "prompt_format", "max_new_tokens", "device")
        words = [*(f"{name}={getattr(config, name)}" for name in alike), "temperature=0"]
        answers, costs, left_out = {}, {}, {}
        for name in config.copies or COPIES:
            if why := why_left_out(name, tuned):
                left_out[name] = why
                continue
            say(f"{name}: {len(reports):,} reports")
            try:
                answers[name], costs[name] = ask_copy(name, tuned, asked_about, words, task.files, _cuda(config.device))
            except InputError as error:
                left_out[name] = str(error)
                say(f"{name}: {error}")
        if not answers:
            raise InputError(f"no copy could be asked: {next(iter(left_out.values()))}")
        copies = compare_copies(task, answers, costs, gold, config.gold_blank, left_out)
        write_json(config.output / NAME, copies)
        write_manifest(config.output / NAME, config, [config.reports, config.gold, *answers.values()])
    print(plain_text(copies_table(NAME, copies)))
    print(*(f"not asked: {name}: {why}" for name, why in left_out.items()), config.output / NAME, sep="\n")
    if config.copies and left_out:
        sys.exit(1)


def _tuned(config: VerifyConfig) -> Tuned:
    from radtune.models.checkpoint import ADAPTER_CONFIG, fingerprint, open_model

    merged, adapter = (config.training_dir / name for name in (MERGED, ADAPTER))
    positions = open_model(merged).config["max_position_embeddings"]
    if not adapter.is_dir():
        return Tuned(None, None, merged, positions, fingerprint(merged))
    base = config.checkpoint_dir or Path(read_json(adapter / ADAPTER_CONFIG)["base_model_name_or_path"])
    if not base.is_dir():
        raise InputError(f"{base}: no such folder; give the base model of {adapter} as checkpoint_dir=")
    return Tuned(base, adapter, merged, positions, fingerprint(merged))


def _cuda(device: str) -> bool:
    import torch

    return device != "cpu" and torch.cuda.is_available()


def _sides(config: VerifyConfig, task: Task) -> tuple[list[Report], LabelFile | None]:
    """The reports to ask about, and their gold."""
    ids = {path: column_of(path, config.id_column) for path in filter(None, (config.reports, config.gold))}
    reports = [one for one in read_any_reports(config.reports, ids[config.reports]) if text_of(task, one).strip()]
    gold = None
    if config.gold:
        gold, _ = understood(task, read_labels(config.gold, task, config.gold_column, ids[config.gold]))
        gold, _ = joined_to(by_policy(task, gold, policies_for(task, None)), {report.report_id for report in reports})
        reports = [report for report in reports if report.report_id in gold.answers]
    reports = list(islice(reports, config.limit))
    if not reports:
        raise InputError(f"{config.reports}: no report with text{' that gold has' if gold else ''}")
    if gold:
        gold = replace(gold, answers={report.report_id: gold.answers[report.report_id] for report in reports})
    return reports, gold


if __name__ == "__main__":
    run_command(main, VerifyConfig)
