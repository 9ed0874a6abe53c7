"""The two commands that ask a model about reports: one set of keys, one way through.

``gpt_data_generate.py`` and ``inference.py`` differ in their defaults alone, and in that the former puts rows to look
at aside.
"""

import dataclasses
import os
import sys
import typing
from collections.abc import Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any

from radtune.ask import batch_api
from radtune.ask.costs import PRICES_FILE, Budget, check_budget, estimate, price_at
from radtune.ask.ledger import Ledger, ledger_path
from radtune.ask.questions import Asking
from radtune.ask.rows import row_text, write_table
from radtune.ask.run import Run, ask_together, write_rows
from radtune.combine import MAJORITY, VOTES
from radtune.config import InputError, key
from radtune.engines.choose import ENGINES, QUANTIZATIONS, Model, adapters_of, choose_models, endpoint_of
from radtune.engines.guard import Endpoint, check_batch_endpoint, read_credential, what_leaves
from radtune.engines.prompt import Engine, Sampling
from radtune.files import check_outputs, sha256_text, write_manifest
from radtune.files import read_json as read_json_file
from radtune.label_files import read_labels
from radtune.labels import Status
from radtune.privacy import say
from radtune.progress import progress
from radtune.report import Report, image_base, report_from_text
from radtune.sources.table import read_any_reports
from radtune.tasks import PROMPT_FORMATS, USES, is_empty, load_task, shows_images
from radtune.tasks.lists import final_answer, read_json

RESPONSE_FORMATS = ("text", "json_schema")
BATCH_MODES = ("submit", "collect")
# Endings of outputs that are tables for people.
TABLES = (".csv", ".xlsx")
# Below it, logits divided by the temperature leave the range of numbers.
MIN_TEMPERATURE = 0.01
# There are 990 ways to draw three of eleven examples in order; far fewer samples decide as well.
MOST_SAMPLES = 100


@dataclass
class AskConfig:
    """Keys of both commands; those of one are made by :func:`keys_with`."""

    task: str = key("What to ask: a task in configs/tasks/, or the path of a task file.")
    reports: Path | None = key(
        "reports.jsonl, a table (CSV, Excel, Parquet) of ids with findings/impression or text, or a folder of images.",
        None,
    )
    output: Path | list[Path] | None = key(
        "Where rows go; answers are kept in OUTPUT.ledger. A .csv or .xlsx has the labels alone, beside a .jsonl. "
        "Of several adapters, a list: one for each, as asking it by itself would write it.", None
    )  # fmt: skip
    text: str | None = key(
        "One report, instead of reports; its labels are printed. Everybody on this machine sees it in ps: - or "
        "nothing reads standard input.",
        None,
    )
    id_column: str | None = key("Column of the reports' ids, where its name does not tell.", None)
    text_column: str | None = key("Column of whole reports, where its name does not tell.", None)
    engine: str = key("What runs the model; openai is any server that speaks its API.", "torchtune", ENGINES)
    checkpoint_dir: Path | None = key(
        "Model folder in Hugging Face's layout: base or merged; a server's, to check it.", None
    )
    adapter_dir: Path | list[Path] | None = key(
        "LoRA adapter to put on it, in PEFT's format as torchtune writes it; a list asks several together, the base "
        "loaded once.", None
    )  # fmt: skip
    quantization: str | None = key("Weights in fewer bits, with engine=transformers.", None, QUANTIZATIONS)
    prompt: str = key("Which of the task's prompts.", "inference", USES)
    prompt_format: str = key("How instruction and report are framed; as in training.", "llama3_chat", PROMPT_FORMATS)
    temperature: float | None = key("Of sampling; 0 is greedy, null leaves it to a server.", 0.1, ge=0)
    max_new_tokens: int | None = key(
        "Where an answer is cut off; null leaves it to a server.", 150, ge=1, le=10**9, also="max_tokens"
    )
    constrain: bool = key("Allow only lists of the task's classes.", False)
    scores: bool = key("A probability for each class; with constrain=true.", False)
    max_side: int = key(
        "Of images, the most pixels of the longer side; larger ones are made smaller.", 1024, ge=16, le=8192
    )
    end_bias: float = key(
        "Taken from the logit of ending a list that could go on: above 0, more is named; with constrain=true.", 0.0,
        ge=-100, le=100,
    )  # fmt: skip
    evidence: bool = key("Look up in the report what the model quotes for each label.", False)
    response_format: str = key("Free text, or JSON where a server can be held to it.", "text", RESPONSE_FORMATS)
    samples: int = key("How often each report is asked.", 1, ge=1, le=MOST_SAMPLES, also="votes")
    vote: str = key(
        "What of several answers is kept: labels that most have, or any has; or the most common whole answer.",
        MAJORITY, VOTES,
    )  # fmt: skip
    reask: bool = key("Ask once more, with the reason, where an answer is unusable or quotes what is not there.", False)
    verify: bool = key("Ask about each found label once more, and drop those that the model denies.", False)
    seed: int = key("Of sampling, and of the examples that are drawn for each report.", 0)
    batch_size: int | None = key("Reports decoded at once; null for what memory has room for.", None, ge=1)
    device: str = key("cpu, cuda or auto.", "auto", ("auto", "cpu", "cuda"))
    dtype: str = key("auto is bf16 on cuda, else fp32.", "auto", ("auto", "fp32", "bf16"))
    model: str | None = key("Name of the model at the server, or Azure's deployment.", None)
    revision: str | None = key("Tells the model from another one that had its name before it was retrained.", None)
    base_url: str | None = key("OpenAI-compatible server, e.g. http://127.0.0.1:8000/v1 (or OPENAI_BASE_URL).", None)
    azure_endpoint: str | None = key("Azure OpenAI resource, e.g. https://NAME.openai.azure.com.", None)
    api_version: str | None = key("Azure's API version, e.g. 2024-10-21.", None)
    allow_endpoint: str | None = key(
        "Host outside this machine that reports may be sent to; one of it gets a key.", None
    )
    zero_retention_confirmed: bool = key("That host keeps no report and shows it to nobody.", False)
    images_confirmed: bool = key("That host may get the images, in whose pixels names may stand.", False)
    # Each call under way is a connection, and processes may have 1,024 files open unless told otherwise.
    concurrency: int = key("Calls to the server under way at once.", 32, ge=1, le=1_000)
    requests_per_minute: int | None = key("At most so many calls in any minute.", None, ge=1, le=10**12)
    tokens_per_minute: int | None = key("At most so many tokens in any minute.", None, ge=1, le=10**12)
    timeout_s: float = key("Seconds one attempt may take.", 120.0, gt=0)
    max_retries: int = key("Attempts after the first, where a call fails in a way that may pass.", 5, ge=0)
    max_cost: float | None = key("US dollars that this start may spend; it stops short of them.", None, gt=0)
    prices: Path | None = key("US dollars per million tokens, by model; configs/prices.yaml if left out.", None)
    batch: str | None = key("Asks by the Batch API instead: submit, then collect until done.", None, BATCH_MODES)
    stored_files_confirmed: bool = key("That host may keep the reports of a batch until it is collected.", False)
    dry_run: bool = key("Only says what would be sent where, and what it would cost.", False)


def keys_with(name: str, **defaults: Any) -> type[AskConfig]:
    """The keys of a command: those of :class:`AskConfig`, some with other defaults."""
    declared = {field.name: field.metadata for field in dataclasses.fields(AskConfig)}
    hints = typing.get_type_hints(AskConfig)
    others = [
        (other, hints[other], dataclasses.field(default=default, metadata=declared[other]))
        for other, default in defaults.items()
    ]
    return dataclasses.make_dataclass(name, others, bases=(AskConfig,), kw_only=True)


def ask(config: AskConfig, quarantine: bool = False) -> None:
    """Asks about reports, keeps what is answered, writes rows and says what was done.

    With ``quarantine``, rows with problems stand in ``OUTPUT.quarantine.jsonl``, too.
    """
    asking, prices = _asking(config), config.prices or PRICES_FILE
    inputs = [config.reports, *asking.task.files, *([prices] if config.engine == "openai" else [])]
    written = _written(config, quarantine)
    check_outputs([path for files in written for path in files.others], inputs, [files.output for files in written])
    for folder, files in product(filter(None, (config.checkpoint_dir, *adapters_of(config))), written):
        if files.output and files.output.resolve().is_relative_to(folder.resolve()):
            raise InputError(f"{files.output}: stands in the model's folder {folder}; give another output=")
    endpoint = endpoint_of(config)
    price = price_at(endpoint, config.model or "", prices)
    price = price.in_batch if price and config.batch else price
    check_budget(config.max_cost, price, config.model or "", asking.sampling, prices)
    budget = Budget(config.max_cost, price)
    reports = _reports(config, asking)
    models = _models(config, asking, reports, endpoint, budget)
    state, host, runs = written[0].state, endpoint.host if endpoint else None, list[Run]()
    waiting = batch_api.pending_keys(state) if state else set()
    with ExitStack() as held:
        for files, model in zip(written, models, strict=True):
            # A dry run makes no file.
            kept = files.answers if files.answers and (files.answers.exists() or not config.dry_run) else None
            runs.append(Run(reports, asking, model, held.enter_context(Ledger(kept)), budget, host, waiting))
        if config.dry_run:
            print(*(_dry_run(run, endpoint) for run in runs), sep="\n")
            return
        if config.batch and endpoint and state:
            with batch_api.Batches(endpoint, read_credential(endpoint, os.environ), state) as batches:
                if config.batch == "submit":
                    print(batch_api.submit_missing(runs[0], batches))
                    return
                print(batch_api.collect(runs[0], batches))
        else:
            ask_together(runs)
        if config.output is None:
            _show(runs[0])
            return
        for files, run in zip(written, runs, strict=True):
            write_rows(run, files.output, files.aside)
            if files.table and files.output.exists():
                # As it will be read: a reader may have edited rows.
                answers = read_labels(files.output, asking.task).answers if files.output.stat().st_size else {}
                write_table(files.table, asking.task, answers.values())
    done = [_finish(files, run, inputs) for files, run in zip(written, runs, strict=True)]
    if runs[0].outcome.interrupted:
        raise KeyboardInterrupt
    if not all(done):
        sys.exit(1)


@dataclass(frozen=True)
class _Written:
    """The files of one model's answers: rows, a table of them, those to look at, the ledger, what batches are out."""

    config: AskConfig  # that asks this model alone
    output: Path | None
    table: Path | None
    aside: Path | None
    answers: Path | None
    state: Path | None

    @property
    def others(self) -> list[Path | None]:
        """What is written beside the rows."""
        return [self.table, self.aside, self.answers, self.state]


def _written(config: AskConfig, quarantine: bool) -> list[_Written]:
    """What is written, of several adapters by each."""
    adapters, outputs = adapters_of(config), config.output if isinstance(config.output, list) else [config.output]
    if len(adapters) != len(outputs) or not adapters:
        raise InputError("adapter_dir= and output= go together: of several adapters, each has an output of its own")
    found = []
    for adapter, output in zip(adapters, outputs, strict=True):
        alone, table = dataclasses.replace(config, adapter_dir=adapter, output=output), None
        if output and output.suffix.lower() in TABLES:
            output, table = output.with_suffix(".jsonl"), output
        aside = output.with_name(f"{output.name}.quarantine.jsonl") if output and quarantine else None
        kept = (ledger_path(output), batch_api.state_path(output)) if output else (None, None)
        found.append(_Written(alone, output, table, aside, *kept))
    return found


def _asking(config: AskConfig) -> Asking:
    """What is asked; refuses keys that do not go together."""
    task = load_task(config.task)
    temperature, at_server, grammar = config.temperature, config.engine == "openai", task.grammar()
    schema = task.json_schema() if at_server and (config.constrain or config.response_format != "text") else None
    if (config.reports is None) != (config.output is None):
        raise InputError("reports= and output= go together; neither for one report in text= or on standard input")
    if config.reports is not None and config.text is not None:
        raise InputError("give reports= or text=, not both")
    if temperature and temperature < MIN_TEMPERATURE:
        raise InputError(f"temperature must be 0 (greedy), or {MIN_TEMPERATURE} or more")
    if not at_server and None in (temperature, config.max_new_tokens):
        raise InputError("temperature=null and max_new_tokens=null go with engine=openai")
    if config.constrain and grammar is None:
        raise InputError(f"constrain=true: the answers of task {task.name} are open")
    if config.scores and (at_server or not config.constrain):
        raise InputError("scores=true needs constrain=true and a model that runs here")
    if config.end_bias and (at_server or not config.constrain):
        raise InputError("end_bias needs constrain=true and a model that runs here")
    if config.response_format != "text" and not at_server:
        raise InputError("response_format=json_schema goes with engine=openai; constrain=true with a model here")
    if schema and config.evidence and task.classes:
        raise InputError("evidence=true: a server held to a JSON schema gives none; needs a model that runs here")
    if config.samples > 1 and temperature == 0 and not task.wording.draws_examples(config.prompt):
        raise InputError(f"samples={config.samples} at temperature=0 would all be alike")
    if config.batch and not at_server:
        raise InputError("batch= goes with engine=openai")
    if config.batch and config.output is None:
        raise InputError("batch= needs reports= and output=")
    closed = grammar if config.constrain and not at_server else None
    goes_on = config.evidence and bool(task.classes)
    sampling = Sampling(temperature, config.max_new_tokens, closed, goes_on, config.scores, schema, config.end_bias)
    return Asking(
        task, config.prompt, sampling, config.seed, config.samples, config.vote,
        config.prompt_format, config.evidence, config.reask, config.verify,
        image_base(config.reports) if config.reports else Path(), config.max_side,
    )  # fmt: skip


def _reports(config: AskConfig, asking: Asking) -> list[Report]:
    images = shows_images(asking.task)
    if config.reports is None and images:
        raise InputError(f"task {asking.task.name} shows images: give reports= and output=")
    if config.reports is None:
        return [_one_report(config.text)]
    reports = list(read_any_reports(config.reports, config.id_column, config.text_column))
    if all(is_empty(asking.task, report) for report in reports):
        raise InputError(f"{config.reports}: none of the reports has {'images' if images else 'text'}")
    if images:
        _look_at_images(asking, reports)
    return reports


def _look_at_images(asking: Asking, reports: Sequence[Report]) -> None:
    """Reads all images before anything is asked; an InputError where one cannot be read, or is an example's."""
    shown = {
        picture.sha256: example.example_id
        for example in asking.task.wording.examples
        for picture in asking.pictures(example.images)
    }
    for report in progress(reports, "images", len(reports)):
        try:
            pictures = asking.pictures(report.images)
        except InputError as error:
            raise InputError(f"report {report.report_id!r}: {error}") from None
        for picture in pictures:
            if picture.sha256 in shown:
                raise InputError(
                    f"{picture.path}: the image of report {report.report_id!r} is that of example "
                    f"{shown[picture.sha256]!r}, which would be told its answer; leave either out"
                )


def _one_report(text: str | None) -> Report:
    if (text in (None, "-") and sys.stdin is None) or (text is None and sys.stdin.isatty()):
        raise InputError("give reports= and output=, or text=, or a report on standard input")
    try:
        text = sys.stdin.read() if text in (None, "-") else text
        text.encode()
    except UnicodeError:
        raise InputError("the report is not UTF-8") from None
    if not text.strip():
        raise InputError("the report is empty")
    return report_from_text("text", None, text, "text")


def _models(
    config: AskConfig, asking: Asking, reports: list[Report], endpoint: Endpoint | None, budget: Budget
) -> list[Model]:
    leaving = what_leaves(reports, asking.task.sections)
    if endpoint and config.dry_run:
        # Nothing is sent, so neither a key nor leave is needed.
        models = [Model(_no_engine, config.model or "", None, {"engine": config.engine})]
    else:
        keeps = partial(_keeps_to, asking.sampling.schema)
        models = choose_models(config, leaving, budget.pay_again, keeps, shows_images(asking.task))
    of_training = {_trained_format(adapter, config.checkpoint_dir) for adapter in adapters_of(config)}
    for trained in sorted(filter(None, of_training - {config.prompt_format})):
        say(f"its training framed prompts otherwise: prompt_format={trained}")
    if endpoint and config.batch == "submit" and not config.dry_run:
        check_batch_endpoint(endpoint, config.stored_files_confirmed, leaving)
    for model in models if config.revision else ():
        model.settings["revision"] = config.revision
    return models


def _trained_format(adapter: Path | None, base: Path | None) -> str | None:
    """How prompts were framed in the training that has left an adapter or merged model; None where nobody knows."""
    for folder in filter(None, (adapter, base)):
        for path in folder.glob("*.manifest.json"):
            with suppress(InputError, LookupError, TypeError):
                return str(read_json_file(path)["config"]["dataset"]["prompt_format"])
    return None


def _no_engine() -> Engine:
    raise AssertionError("a dry run asks nothing")


def _keeps_to(schema: dict[str, Any] | None, text: str) -> bool:
    keys = schema["schema"]["properties"] if schema else ()
    return schema is None or read_json(final_answer(text, keys), keys) is not None


def _dry_run(run: Run, endpoint: Endpoint | None) -> str:
    prompts = [question.prompt for question in run.missing()]
    said = estimate(prompts, run.asking.sampling, run.budget.price, run.model.name, endpoint)
    if endpoint is None or endpoint.is_loopback:
        return f"{said}\nnothing would leave this machine; nothing has been asked"
    asked = {prompt.report_id for prompt in prompts}
    reports = [report for report in run.reports if report.report_id in asked]
    leaving = what_leaves(reports, run.asking.task.sections)
    return f"{said}\n{leaving} would leave this machine, for {endpoint.url}; nothing has been sent"


def _show(run: Run) -> None:
    if run.outcome.interrupted:
        raise KeyboardInterrupt
    (row,) = run.rows()
    if row["status"] == Status.FAILED:
        raise InputError(f"no answer: {row['error']}")
    print(row_text(row))


def _finish(files: _Written, run: Run, inputs: list[Path | None]) -> bool:
    """Says what was done, and what is left to do; True where every report has an answer."""
    config, output, outcome, count = files.config, files.output, run.outcome, len(run.reports)
    print(f"{count:,} reports, {outcome.text()}{run.budget.shown()}")
    if outcome.interrupted:
        rows = f" with {outcome.rows:,} of {count:,} rows for {output}" if outcome.rows else ""
        print(f"stopped{rows}; the same command goes on from there")
        return False
    shown = [picture.sha256 for report in run.reports for picture in run.asking.pictures(report.images)]
    images = {"images": {"count": len(shown), "sha256": sha256_text(" ".join(shown))}} if shown else {}
    facts = outcome.facts() | images
    write_manifest(output, config, inputs, reports=count, **facts, spent=round(run.budget.spent, 6))
    print(f"written to {output}{f' and {files.table}' if files.table else ''}")
    if outcome.kept and config.engine == "openai" and not config.revision:
        print(
            f"{outcome.kept:,} answers were kept from earlier starts: a server's model is known by its name. "
            f"Where {config.model} has been retrained since, give it a revision="
        )
    if files.aside and outcome.problems:
        print(f"{outcome.problems:,} rows to look at, with the reason: {files.aside}")
    missing, left = count - outcome.rows, []
    if missing:
        waiting = batch_api.pending_keys(batch_api.state_path(output))
        asks = "batch=collect fetches them" if waiting else "batch=submit asks them"
        left.append(f"{missing:,} reports have no answer yet: {'max_cost' if outcome.stopped_by_cost else asks}")
    elif outcome.stopped_by_cost:
        left.append("max_cost has left out questions that reask=true or verify=true would ask")
    if outcome.empty:
        left.append(f"{outcome.empty:,} reports have no {'image' if shown else 'text'}")
    if outcome.failed:
        left.append(f"{outcome.failed:,} reports failed; the same command asks them again")
    for line in left:
        say(line)
    return not outcome.failed and not missing
