r"""Asks a model about every report of a file, or about one.

    python inference.py task=multiple_choice reports=reports.jsonl output=predictions.jsonl \
        checkpoint_dir=data/mini adapter_dir=runs/mini/training/mix_1000_500/epoch_0
    python inference.py task=multiple_choice checkpoint_dir=data/mini text="Heart is enlarged."
    python inference.py engine=openai base_url=http://localhost:8000/v1 model=NAME ...

Rows come out in the order of the reports; answers that cannot be read are kept with their status. Stopped or killed,
a run goes on where it was when the same command is given again: every row is on disk as soon as it is there
(OUTPUT.ledger), and is not asked for twice. Without reports, one is read from text= or from standard input, and its
labels are printed. Exit code 1 if some reports have no answer.
"""

import math
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from radtune.ask.display import row_text
from radtune.ask.ledger import ledger_path
from radtune.ask.model_votes import VOTES
from radtune.ask.predictions import Asking, predict, verify
from radtune.ask.reading import read_report, read_reports_to_ask
from radtune.ask.run import run
from radtune.config import InputError, key, run_command
from radtune.engines.choose import ENGINES, QUANTIZATIONS, choose_model
from radtune.engines.prompt import Sampling
from radtune.files import check_outputs, write_manifest
from radtune.labels import Status
from radtune.tasks import load_task, multiple_choice
from radtune.tasks.legacy import TASK_NAMES, TASKS
from radtune.tasks.rendering import PROMPT_FORMATS

# Below it, logits divided by the temperature leave the range of numbers.
MIN_TEMPERATURE = 0.01


@dataclass
class InferenceConfig:
    """Keys of this command."""

    task: str = key("What to ask.", choices=TASK_NAMES)
    reports: Path | None = key("reports.jsonl, or a CSV with an id and findings/impression or text.", None)
    output: Path | None = key("predictions.jsonl.", None)
    text: str | None = key("One report, instead of reports; its labels are printed. Else standard input is read.", None)
    engine: str = key("What runs the model.", "torchtune", choices=ENGINES)
    checkpoint_dir: Path | None = key(
        "Model folder: a base model or one with merged weights, in Hugging Face's layout.", None
    )
    adapter_dir: Path | None = key("LoRA adapter to put on it, in PEFT's format as torchtune writes it.", None)
    quantization: str | None = key("Weights in fewer bits, with engine=transformers.", None, choices=QUANTIZATIONS)
    prompt: str = key(
        "The task's full prompt, or the one of its training rows.", "inference", choices=("inference", "training")
    )
    prompt_format: str = key(
        "How instruction and report are framed; as in training.", "llama3_chat", choices=PROMPT_FORMATS
    )
    temperature: float = key("Of sampling; 0 is greedy.", 0.1)
    max_new_tokens: int = key("Where an answer is cut off.", 150)
    constrain: bool = key("Allow only lists of the 13 classes, or ['Normal']; multiple_choice.", False)
    scores: bool = key("A probability for each of the 13 classes; with constrain=true.", False)
    evidence: bool = key("Read the evidence that the model quotes, and look it up in the report.", False)
    samples: int = key("Answers drawn for each report.", 1)
    vote: str = key("What of several answers is kept: what most name, or what any names.", "majority", choices=VOTES)
    verify: bool = key("Ask about each found label once more, and drop those that the model denies.", False)
    batch_size: int | None = key("Reports decoded at once; null for what memory has room for.", None)
    seed: int = key("Of sampling.", 0)
    device: str = key("cpu, cuda or auto.", "auto", choices=("auto", "cpu", "cuda"))
    dtype: str = key("auto is bf16 on cuda, else fp32.", "auto", choices=("auto", "fp32", "bf16"))
    model: str | None = key("Name of the model at the server, with engine=openai; with vLLM also an adapter's.", None)
    base_url: str | None = key("OpenAI-compatible server, with engine=openai (or OPENAI_BASE_URL).", None)
    azure_endpoint: str | None = key("Azure OpenAI resource, with engine=openai and api_version.", None)
    api_version: str | None = key("Azure API version.", None)
    allow_endpoint: str | None = key("Host that reports may be sent to, if it is not this machine.", None)
    zero_retention_confirmed: bool = key("That host keeps nothing of what it is sent.", False)
    concurrency: int = key("Calls to the server under way at once.", 32)
    requests_per_minute: int | None = key("Calls to the server in any minute; null for what it grants.", None)
    tokens_per_minute: int | None = key("Tokens to and from the server in any minute; null for what it grants.", None)
    timeout_s: float = key("Seconds one call may take.", 120.0)
    max_retries: int = key("Further attempts at a call that failed.", 5)


def main(config: InferenceConfig) -> None:
    """Loads, asks, writes, and prints what came out."""
    _check(config)
    reports = [read_report(config.text)] if config.reports is None else read_reports_to_ask(config.reports)
    task = TASKS[config.task]
    instruction = task.prompt() if config.prompt == "inference" else task.training_instruction()
    asked = load_task(config.task)
    sampling = Sampling(
        config.temperature, config.max_new_tokens,
        grammar=asked.grammar() if config.constrain else None, go_on=config.evidence, scores=config.scores,
        schema=asked.json_schema() if config.constrain and config.engine == "openai" else None,
    )  # fmt: skip
    asking = Asking(
        task, instruction, config.prompt_format, sampling,
        seed=config.seed, samples=config.samples, vote=config.vote, evidence=config.evidence,
    )  # fmt: skip
    check = (lambda text: asked.read(text, as_json=True).status == Status.OK) if config.constrain else None
    model = choose_model(config, reports, check_response=check)
    if config.output is None:
        engine = model.load()
        rows = list(predict(reports, asking, engine, model.name, model.adapter))
        ((_, row),) = verify(rows, asking, engine) if config.verify else rows
        if row["status"] == Status.FAILED:
            raise InputError(f"no answer: {row['error']}")
        print(row_text(row))
        return
    began = time.monotonic()
    outcome = run(reports, asking, config.verify, model, config.output)
    seconds = time.monotonic() - began
    done, rate = sum(outcome.statuses.values()), outcome.asked / seconds
    statuses = ", ".join(f"{n:,} {status}" for status, n in outcome.statuses.items()) or "no rows"
    print(f"{outcome.asked:,} reports in {seconds:.1f} s ({rate:.1f} a second); {statuses}")
    if outcome.interrupted:
        written = f"stopped with {done:,} of {len(reports):,} rows for {config.output}" if done else "stopped"
        print(f"{written}; the same command goes on from there")
        raise KeyboardInterrupt
    facts = {"rows": done, "status_counts": dict(outcome.statuses), "asked": outcome.asked, "seconds": seconds}
    write_manifest(config.output, config, [config.reports], **facts)
    print(f"written to {config.output}")
    if outcome.empty:
        print(f"{outcome.empty:,} reports have no text", file=sys.stderr)
    if outcome.failed:
        print(f"{outcome.failed:,} reports failed; the same command asks them again", file=sys.stderr)
        sys.exit(1)


def _check(config: InferenceConfig) -> None:
    if (config.reports is None) != (config.output is None):
        raise InputError("reports= and output= go together; neither for one report in text= or on standard input")
    if config.reports is not None and config.text is not None:
        raise InputError("give reports= or text=, not both")
    if config.output is not None:
        check_outputs([config.output, ledger_path(config.output)], [config.reports])
    if not (config.temperature == 0 or MIN_TEMPERATURE <= config.temperature < math.inf):
        raise InputError(f"temperature must be 0 (greedy), or {MIN_TEMPERATURE} or more")
    for name in ("max_new_tokens", "batch_size", "samples"):
        if (value := getattr(config, name)) is not None and value < 1:
            raise InputError(f"{name} must be 1 or more")
    if config.constrain and config.task != multiple_choice.NAME:
        raise InputError(f"constrain=true goes with task={multiple_choice.NAME}: the answers of others are open")
    if config.scores and not config.constrain:
        raise InputError("scores=true needs constrain=true")
    if config.scores and config.engine != "torchtune":
        raise InputError("scores=true needs engine=torchtune")
    if config.samples > 1 and config.temperature == 0:
        raise InputError(f"samples={config.samples} at temperature=0 would all be alike")


if __name__ == "__main__":
    run_command(main, InferenceConfig)
