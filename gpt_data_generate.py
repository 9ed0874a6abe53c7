r"""Labels reports with a chat model: an OpenAI-compatible server on this machine, OpenAI or Azure OpenAI.

    python gpt_data_generate.py reports=reports.jsonl output=annotations.jsonl base_url=http://127.0.0.1:8000/v1 \
        model=meta-llama/Llama-3.3-70B-Instruct
    python gpt_data_generate.py reports=reports.jsonl output=answers.jsonl task=multiple_choice ...

Every answer is in the output as soon as it has come. Started again, the command asks for what is missing, has failed
or has changed. Keys come from the environment: OPENAI_API_KEY or AZURE_OPENAI_API_KEY; base_url from OPENAI_BASE_URL if
not given. Exit code 1 if some reports failed.
"""

import math
import os
import sys
from collections import Counter
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from radtune.config import InputError, key, run_command
from radtune.files import check_outputs, manifest_path, write_manifest
from radtune.reports import Report
from radtune.sources.table import read_any_reports
from radtune.tasks import TASK_NAMES, Status, open_ended
from radtune.teacher.annotations import PROMPTS, Labelling, label_reports, message
from radtune.teacher.endpoint import check_endpoint, find_endpoint, read_api_key
from radtune.teacher.engine import Limits, Sampling, ask_all
from radtune.teacher.ledger import Ledger


@dataclass
class GenerateConfig:
    """Keys of this command."""

    reports: Path = key("reports.jsonl, or a CSV or Parquet with an id and findings/impression or text.")
    output: Path = key("annotations.jsonl; holds the answers of earlier starts.")
    task: str = key("What to ask.", open_ended.NAME, choices=TASK_NAMES)
    prompt: str = key("The paper's labelling prompt, or the one of inference.", "labelling", choices=PROMPTS)
    seed: int = key("Draws the three seed examples of each report's labelling prompt.", 0)
    model: str = key("The model, or Azure's deployment; the paper's by default.", "gpt-4o-2024-05-13")
    temperature: float | None = key("Of sampling; null leaves it to the server.", 0.0)
    max_tokens: int | None = key("Where an answer is cut off; null leaves it to the server.", 1024)
    base_url: str | None = key("OpenAI-compatible server, e.g. http://127.0.0.1:8000/v1; OpenAI's if left out.", None)
    azure_endpoint: str | None = key("Azure OpenAI resource, e.g. https://NAME.openai.azure.com.", None)
    api_version: str | None = key("Azure's API version, e.g. 2024-10-21.", None)
    allow_endpoint: str | None = key("Host outside this machine that reports may be sent to.", None)
    zero_retention_confirmed: bool = key("That host keeps no report and shows it to nobody.", False)
    concurrency: int = key("Calls under way at once.", 8)
    timeout_s: float = key("Seconds one attempt may take.", 120.0)
    max_retries: int = key("Attempts after the first, where a call fails in a way that may pass.", 5)


def main(config: GenerateConfig) -> None:
    """Asks, records, and prints what came out."""
    inputs = [config.reports, open_ended.SEED_EXAMPLES_FILE]
    check_outputs([config.output], inputs)
    _check_numbers(config)
    endpoint = find_endpoint(config.base_url, config.azure_endpoint, config.api_version, os.environ)
    check_endpoint(endpoint, config.allow_endpoint, config.zero_retention_confirmed)
    api_key = read_api_key(endpoint, os.environ)
    sampling = Sampling(config.model, config.temperature, config.max_tokens)
    limits = Limits(config.concurrency, config.timeout_s, config.max_retries)
    reports = _read_reports(config.reports)
    with Ledger(config.output) as ledger:
        # The manifest of an earlier start describes another file from here on.
        manifest_path(config.output).unlink(missing_ok=True)
        asked = label_reports(
            reports,
            Labelling(config.task, config.prompt, config.seed, sampling),
            ledger,
            partial(ask_all, endpoint, api_key, sampling, limits, message=message),
        )
        statuses = Counter(entry.status for entry in ledger.entries.values())
        tokens = sum(entry.tokens for entry in ledger.entries.values())
        facts = {"rows": len(reports), "status_counts": dict(statuses), "tokens": tokens, "endpoint": endpoint.url}
        write_manifest(config.output, config, inputs, **facts)
    shown = ", ".join(f"{count:,} {status}" for status, count in statuses.most_common())
    print(f"{len(reports):,} reports, {asked:,} asked now: {shown}; {tokens:,} tokens")
    print(f"written to {config.output}")
    if failed := statuses[Status.FAILED]:
        print(f"{failed:,} reports failed; the same command asks them again", file=sys.stderr)
        sys.exit(1)


def _check_numbers(config: GenerateConfig) -> None:
    if config.concurrency < 1 or config.max_retries < 0 or not 0 < config.timeout_s < math.inf:
        raise InputError("concurrency must be 1 or more, timeout_s above 0, max_retries 0 or more")
    if config.temperature is not None and not 0 <= config.temperature < math.inf:
        raise InputError("temperature must be 0 or more, or null")
    if config.max_tokens is not None and config.max_tokens < 1:
        raise InputError("max_tokens must be 1 or more, or null")


def _read_reports(path: Path) -> list[Report]:
    reports = list(read_any_reports(path))
    empty = [report.report_id for report in reports if not report.text.strip()]
    if empty:
        raise InputError(f"{path}: {len(empty):,} reports without text, e.g. {empty[0]!r}; leave them out")
    if not reports:
        raise InputError(f"{path}: no reports")
    return reports


if __name__ == "__main__":
    run_command(main, GenerateConfig)
