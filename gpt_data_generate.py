r"""Labels reports with a chat model: an OpenAI-compatible server on this machine, OpenAI or Azure OpenAI.

    python gpt_data_generate.py reports=reports.jsonl output=annotations.jsonl base_url=http://127.0.0.1:8000/v1 \
        model=meta-llama/Llama-3.3-70B-Instruct
    python gpt_data_generate.py reports=reports.jsonl output=answers.jsonl task=multiple_choice ...
    python gpt_data_generate.py reports=reports.jsonl output=annotations.jsonl dry_run=true ...

Every answer is on disk as soon as it has come (OUTPUT.ledger), so a run that was stopped or killed goes on where it
was, and no question is asked twice. What has failed or has changed is asked when the command is started again. Rows
with problems stand in OUTPUT.quarantine.jsonl, too. Keys come from the environment: OPENAI_API_KEY,
AZURE_OPENAI_API_KEY or AZURE_OPENAI_AD_TOKEN; base_url from OPENAI_BASE_URL if not given. Exit code 1 if some reports
have no answer.
"""

import os
import sys
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

from radtune.ask.annotations import annotation_rows, quarantine_path, summary_text, write_annotations
from radtune.ask.batch_api import collect, state_path, submit
from radtune.ask.batch_state import pending_keys
from radtune.ask.costs import Budget, check_budget, estimate, estimate_text
from radtune.ask.labelling import (
    Run,
    collect_answers,
    label_reports,
    missing_questions,
    read_reports_to_label,
    submit_missing,
)
from radtune.ask.ledger import Ledger, ledger_path
from radtune.ask.prices import PRICES_FILE, price_at
from radtune.ask.questions import PROMPTS, Labelling, check_labelling, message
from radtune.ask.teacher_answers import RESPONSE_FORMATS, answer_schema
from radtune.ask.teacher_calls import Sampling, ask_all
from radtune.config import key, run_command
from radtune.engines.guard import check_batch_endpoint, check_endpoint, find_endpoint, read_credential, what_leaves
from radtune.engines.limits import Limits, check_limits
from radtune.files import check_outputs, manifest_path, write_manifest
from radtune.labels import Status
from radtune.tasks import open_ended
from radtune.tasks.legacy import TASK_NAMES

BATCH_MODES = ("submit", "collect")


@dataclass
class GenerateConfig:
    """Keys of this command."""

    reports: Path = key("reports.jsonl, or a CSV or Parquet with an id and findings/impression or text.")
    output: Path = key("annotations.jsonl; its answers are kept in OUTPUT.ledger.")
    task: str = key("What to ask.", open_ended.NAME, choices=TASK_NAMES)
    prompt: str = key("The paper's labelling prompt, or the one of inference.", "labelling", choices=PROMPTS)
    seed: int = key("Draws the three seed examples of each report's labelling prompt.", 0)
    votes: int = key("How often each report is asked, with other examples; what most answers say is kept.", 1)
    reask: bool = key(
        "Asks once more, with the reason, where an answer cannot be used or quotes what is not there.", False
    )
    model: str = key("The model, or Azure's deployment; the paper's by default.", "gpt-4o-2024-05-13")
    temperature: float | None = key("Of sampling; null leaves it to the server.", 0.0)
    max_tokens: int | None = key("Where an answer is cut off; null leaves it to the server.", 1024)
    response_format: str = key(
        "The paper's free text, or JSON where the server can be held to it.", "text", RESPONSE_FORMATS
    )
    base_url: str | None = key("OpenAI-compatible server, e.g. http://127.0.0.1:8000/v1; OpenAI's if left out.", None)
    azure_endpoint: str | None = key("Azure OpenAI resource, e.g. https://NAME.openai.azure.com.", None)
    api_version: str | None = key("Azure's API version, e.g. 2024-10-21.", None)
    allow_endpoint: str | None = key("Host outside this machine that reports may be sent to.", None)
    zero_retention_confirmed: bool = key("That host keeps no report and shows it to nobody.", False)
    concurrency: int = key("Calls under way at once.", 8)
    requests_per_minute: int | None = key("At most so many calls in any minute; null: no limit.", None)
    tokens_per_minute: int | None = key("At most so many tokens in any minute; null: no limit.", None)
    timeout_s: float = key("Seconds one attempt may take.", 120.0)
    max_retries: int = key("Attempts after the first, where a call fails in a way that may pass.", 5)
    max_cost: float | None = key("US dollars that this start may spend; it stops before it would pass them.", None)
    prices: Path | None = key("US dollars per million tokens, by model; configs/prices.yaml if left out.", None)
    batch: str | None = key("Asks by the Batch API instead: submit, then collect until done.", None, BATCH_MODES)
    stored_files_confirmed: bool = key("That host may keep the reports of a batch until it is collected.", False)
    dry_run: bool = key("Only says what would be sent where, and what it would cost.", False)


def main(config: GenerateConfig) -> None:
    """Asks, records, and prints what came out."""
    prices = config.prices or PRICES_FILE
    inputs = [config.reports, open_ended.SEED_EXAMPLES_FILE, prices]
    kept = [ledger_path(config.output), state_path(config.output)]
    check_outputs([config.output, quarantine_path(config.output), *kept], inputs)
    sampling = Sampling(config.model, config.temperature, config.max_tokens)
    labelling = Labelling(config.task, config.prompt, config.seed, sampling, config.response_format, config.votes)
    limits = Limits(
        config.concurrency, config.timeout_s, config.max_retries, config.requests_per_minute, config.tokens_per_minute
    )
    check_labelling(labelling)
    check_limits(limits)
    endpoint = find_endpoint(config.base_url, config.azure_endpoint, config.api_version, os.environ)
    price = price_at(endpoint, config.model, prices)
    price = price.in_batch if price and config.batch else price
    check_budget(config.max_cost, price, sampling, prices)
    reports = read_reports_to_label(config.reports)
    if not config.dry_run:
        leaving = what_leaves(reports)
        check_endpoint(endpoint, config.allow_endpoint, config.zero_retention_confirmed, leaving)
        if config.batch == "submit":
            check_batch_endpoint(endpoint, config.stored_files_confirmed, leaving)
    batches = state_path(config.output)
    with Ledger(ledger_path(config.output)) as ledger:
        schema = answer_schema(labelling)
        budget, waiting = Budget(config.max_cost, price, schema), pending_keys(batches)
        run = Run(reports, labelling, ledger, endpoint.host, config.reask, budget, waiting)
        if config.dry_run:
            missing = missing_questions(run)
            expected = estimate(map(message, missing), sampling, price)
            print(estimate_text(expected, price, sampling, endpoint, what_leaves([q.report for q in missing])))
            return
        service = endpoint, read_credential(endpoint, os.environ), sampling
        if config.batch == "submit":
            print(submit_missing(run, partial(submit, *service, schema=schema, state_path=batches)))
            return
        if config.batch == "collect":
            state, outcome = collect_answers(run, partial(collect, *service[:2], batches))
            print(state)
        else:
            outcome = label_reports(run, partial(ask_all, *service, limits, message=message, schema=schema))
        # The manifest of an earlier start describes another file from here on.
        manifest_path(config.output).unlink(missing_ok=True)
        summary = write_annotations(config.output, annotation_rows(reports, labelling, ledger, outcome.failures))
    facts = {"reports": len(reports), **asdict(summary), "endpoint": endpoint.url}
    facts |= {"asked": outcome.asked, "asked_again": outcome.asked_again, "spent": round(budget.spent, 6)}
    write_manifest(config.output, config, inputs, **facts)
    print(f"{len(reports):,} reports, {outcome.asked:,} answers now{budget.shown()}: {summary_text(summary)}")
    print(f"written to {config.output}")
    if summary.problems:
        print(f"{summary.problems:,} rows to look at, with the reason: {quarantine_path(config.output)}")
    missing_rows, failed = len(reports) - summary.rows, summary.status_counts.get(Status.FAILED, 0)
    if missing_rows:
        asks = "batch=collect fetches them" if pending_keys(batches) else "batch=submit asks them"
        why = "max_cost" if outcome.stopped_by_cost else asks
        print(f"{missing_rows:,} reports have no answer yet: {why}", file=sys.stderr)
    elif outcome.stopped_by_cost:
        print("max_cost has left out questions that reask=true would ask", file=sys.stderr)
    if failed:
        print(f"{failed:,} reports failed; the same command asks them again", file=sys.stderr)
    if failed or missing_rows:
        sys.exit(1)


if __name__ == "__main__":
    run_command(main, GenerateConfig)
