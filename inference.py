r"""Asks a fine-tuned or base model about every report of a file.

    python inference.py task=multiple_choice reports=reports.jsonl output=predictions.jsonl \
        checkpoint_dir=data/mini adapter_dir=runs/mini/training/mix_1000_500/epoch_0

Rows come out in the order of the reports; answers that cannot be read are kept with their status.
"""

import math
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from radtune.config import InputError, key, run_command
from radtune.files import check_outputs, write_jsonl, write_manifest
from radtune.sources.table import read_any_reports
from radtune.tasks import TASK_NAMES, TASKS
from radtune.tasks.rendering import PROMPT_FORMATS

# Below it, logits divided by the temperature leave the range of numbers.
MIN_TEMPERATURE = 0.01


@dataclass
class InferenceConfig:
    """Keys of this command."""

    task: str = key("What to ask.", choices=TASK_NAMES)
    reports: Path = key("reports.jsonl, or a CSV with an id and findings/impression or text.")
    output: Path = key("predictions.jsonl.")
    checkpoint_dir: Path = key("Model folder: a base model or one with merged weights, in Hugging Face's layout.")
    adapter_dir: Path | None = key("LoRA adapter to put on it, in PEFT's format as torchtune writes it.", None)
    prompt: str = key(
        "The task's full prompt, or the one of its training rows.", "inference", choices=("inference", "training")
    )
    prompt_format: str = key(
        "How instruction and report are framed; as in training.", "llama3_chat", choices=PROMPT_FORMATS
    )
    temperature: float = key("Of sampling; 0 is greedy.", 0.1)
    max_new_tokens: int = key("Where an answer is cut off.", 150)
    batch_size: int = key("Reports decoded at once.", 16)
    seed: int = key("Of sampling.", 0)
    device: str = key("cpu, cuda or auto.", "auto", choices=("auto", "cpu", "cuda"))
    dtype: str = key("auto is bf16 on cuda, else fp32.", "auto", choices=("auto", "fp32", "bf16"))


def main(config: InferenceConfig) -> None:
    """Loads, asks, writes, and prints what came out."""
    check_outputs([config.output], [config.reports])
    if not (config.temperature == 0 or MIN_TEMPERATURE <= config.temperature < math.inf):
        raise InputError(f"temperature must be 0 (greedy), or {MIN_TEMPERATURE} or more")
    if config.max_new_tokens < 1 or config.batch_size < 1:
        raise InputError("max_new_tokens and batch_size must be 1 or more")
    reports = list(read_any_reports(config.reports))
    if not reports:
        raise InputError(f"{config.reports}: no reports")
    for report in reports:
        if not report.text:
            raise InputError(f"{config.reports}: report {report.report_id!r} is empty")
    # Only now: a mistake in the files above is told at once, without waiting for torch.
    import torch

    from radtune.generation.checkpoint import load_checkpoint
    from radtune.generation.predictions import Sampling, predict

    cuda = torch.cuda.is_available() if config.device == "auto" else config.device == "cuda"
    if cuda and not torch.cuda.is_available():
        raise InputError("device=cuda: no CUDA device here")
    bf16 = cuda if config.dtype == "auto" else config.dtype == "bf16"
    device, dtype = torch.device("cuda" if cuda else "cpu"), torch.bfloat16 if bf16 else torch.float32
    checkpoint = load_checkpoint(config.checkpoint_dir, config.adapter_dir, device, dtype)
    task = TASKS[config.task]
    instruction = task.prompt() if config.prompt == "inference" else task.training_instruction()
    names = (str(config.checkpoint_dir), str(config.adapter_dir) if config.adapter_dir else None)
    sampling = Sampling(config.batch_size, config.max_new_tokens, config.temperature, config.seed)
    began = time.monotonic()
    rows = predict(reports, task, instruction, config.prompt_format, checkpoint, names, sampling)
    seconds = time.monotonic() - began
    write_jsonl(config.output, rows)
    statuses = dict(Counter(row.status for row in rows))
    write_manifest(config.output, config, [config.reports], rows=len(rows), status_counts=statuses, seconds=seconds)
    print(
        f"{len(rows):,} reports in {seconds:.1f} s ({len(rows) / seconds:.1f} a second); "
        + ", ".join(f"{n:,} {s}" for s, n in statuses.items())
    )
    print(f"written to {config.output}")


if __name__ == "__main__":
    run_command(main, InferenceConfig)
