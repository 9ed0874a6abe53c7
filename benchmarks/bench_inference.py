"""Measures inference: speed against torchtune's and Hugging Face's generate, parity of the engines, closed answers.

    python benchmarks/bench_inference.py
    python benchmarks/bench_inference.py what=[speed] kinds=[transformers,ours] checkpoint_dir=models/SmolLM2
    python benchmarks/bench_inference.py what=[parity] base_url=http://127.0.0.1:8000/v1 model=data/mini
    python benchmarks/bench_inference.py what=[adapters] adapters=[runs/a/adapter,runs/b/adapter]

Speed is the median of alternating runs over the same reports. For parity with a server, start one first, e.g.
``HF_HUB_OFFLINE=1 transformers serve data/mini --device cpu --dtype float32 --port 8000`` (without a dtype it takes the
checkpoint's bfloat16). On a GPU: ``benchmarks/bench_inference_gpu.py``.
"""

import contextlib
import io
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import torch

from radtune.ask.command import AskConfig
from radtune.ask.command import ask as ask_about
from radtune.command import run_command
from radtune.config import InputError, key, parse_config
from radtune.engines.guard import check_endpoint, find_endpoint
from radtune.engines.hugging_face import TransformersEngine
from radtune.engines.limits import Limits
from radtune.engines.local import TorchtuneEngine
from radtune.engines.prompt import Engine, Prompt, Sampling
from radtune.engines.server import ServerEngine
from radtune.files import read_jsonl, write_jsonl
from radtune.models.checkpoint import Checkpoint, load_checkpoint
from radtune.models.hugging_face import load_pretrained
from radtune.models.tokenizer import prompt_tokens
from radtune.rules import label_report, rules_for
from radtune.sources.synthetic import generate as make_reports
from radtune.tasks import Task, load_task
from radtune.tasks.lists import read_list

CLASSES, PHRASES = load_task("multiple_choice"), load_task("open_ended")
GREEDY = Sampling(0.0, 150)
CLOSED = Sampling(0.0, 150, CLASSES.grammar())


@dataclass
class BenchConfig:
    """Keys of this command."""

    what: list[str] = key(
        "Parts to run, of speed, closed, classes, adapters, parity, valid.", ["speed", "closed", "parity", "valid"]
    )
    checkpoint_dir: Path = key("The model.", Path("data/mini"))
    adapter_dir: Path | None = key("LoRA adapter to put on it, in PEFT's format.", None)
    adapters: list[Path] = key("Adapters of the model that the part adapters asks together, and each by itself.", [])
    kinds: list[str] = key(
        "What to measure in the part speed: torchtune's generate one at a time, transformers' and ours.",
        ["one_at_a_time", "transformers", "ours"],
    )
    reports: int = key("Reports of a speed run.", 200)
    runs: int = key("Speed runs of each kind; the median counts.", 5)
    batch_size: int = key("Reports decoded at once.", 32)
    parity_reports: int = key("Reports that all engines have to answer alike, for each task.", 500)
    valid_reports: int = key("Reports that a random model has to give closed answers about.", 1_000)
    base_url: str | None = key("Server of the same model, on this machine, for parity.", None)
    model: str = key("Its name there.", "data/mini")


def main(config: BenchConfig) -> None:
    """Prints what each part finds."""
    parts = {
        "speed": print_speed,
        "closed": print_closed,
        "classes": print_classes,
        "adapters": print_adapters,
        "parity": print_parity,
        "valid": print_valid,
    }
    for part in config.what:
        if part not in parts:
            raise InputError(f"what: {part!r} is not one of {', '.join(parts)}")
    for part in config.what:
        parts[part](config)


def make_prompts(task: Task, count: int) -> list[Prompt]:
    """Prompts about synthetic reports."""
    instruction = task.prompt("inference").instruction
    return [
        Prompt(made.report.report_id, instruction, made.report.text, "llama3_chat", str(number))
        for number, made in enumerate(make_reports(count, seed=5))
    ]


def texts(engine: Engine, prompts: Sequence[Prompt], sampling: Sampling) -> list[str]:
    """The answers, in the order of the prompts."""
    responses = dict(engine.generate(prompts, sampling))
    return [responses[index].text for index in range(len(prompts))]


def drafted_texts(engine: Engine, prompts: Sequence[Prompt]) -> list[str]:
    """Closed answers to prompts whose drafts are what the rules find; looking for it counts."""
    rules = rules_for(CLASSES)

    def draft(text: str) -> tuple[str, ...]:
        return tuple(CLASSES.labels_of(label_report(text, rules).labels))

    return texts(engine, [replace(prompt, draft=draft(prompt.report_text)) for prompt in prompts], CLOSED)


def one_at_a_time(checkpoint: Checkpoint, prompts: Sequence[Prompt]) -> list[str]:
    """The baseline: torchtune's own generate, report by report, without a cache."""
    from torchtune.generation import generate as torchtune_generate

    tokenizer, answers = checkpoint.tokenizer, []
    for prompt in prompts:
        tokens = prompt_tokens(tokenizer, prompt.message)
        written, _ = torchtune_generate(
            checkpoint.model,
            torch.tensor(tokens),
            max_generated_tokens=GREEDY.max_new_tokens,
            pad_id=tokenizer.pad_id,
            top_k=1,
            stop_tokens=tokenizer.stop_tokens,
        )
        answer = [token for token in written[0, len(tokens) :].tolist() if token not in tokenizer.stop_tokens]
        answers.append(tokenizer.decode(answer, truncate_at_eos=False))
    return answers


def alternate(
    kinds: dict[str, Callable[[], list[str]]], runs: int, clock: Callable[[], float] = time.perf_counter
) -> dict[str, float]:
    """Median seconds of each kind of run, the kinds taking turns; says so where their answers differ."""
    seconds: dict[str, list[float]] = {name: [] for name in kinds}
    answers: dict[str, list[str]] = {}
    for run in range(runs):
        for name, kind in kinds.items():
            began = clock()
            answers[name] = kind()
            seconds[name].append(clock() - began)
            print(f"  run {run + 1} of {name}: {seconds[name][-1]:.2f} s", file=sys.stderr, flush=True)
    first = next(iter(answers.values()))
    for name, given in answers.items():
        if given != first:
            print(f"  {name}: {sum(a != b for a, b in zip(given, first, strict=True))} answers differ")
    return {name: statistics.median(taken) for name, taken in seconds.items()}


def print_speed(config: BenchConfig) -> None:
    """Reports per second: the baseline, Hugging Face's generate and our engine."""
    checkpoint, ours, theirs = _engines(config)
    print(f"speed: {config.reports} reports, batch {config.batch_size}, {torch.get_num_threads()} threads, fp32")
    prompts = make_prompts(PHRASES, config.reports)
    known = {
        "one_at_a_time": partial(one_at_a_time, checkpoint, prompts),
        "transformers": partial(texts, theirs, prompts, GREEDY),
        "ours": partial(texts, ours, prompts, GREEDY),
    }
    if strange := set(config.kinds) - set(known):
        raise InputError(f"kinds: {min(strange)!r} is not one of {', '.join(known)}")
    _print_rates(PHRASES.name, alternate({name: known[name] for name in config.kinds}, config.runs), config.reports)


def print_closed(config: BenchConfig) -> None:
    """Reports per second of closed answers and of free ones, at batch sizes up to the one given."""
    checkpoint = load_checkpoint(config.checkpoint_dir, config.adapter_dir, torch.device("cpu"), torch.float32)
    print(f"closed: {config.reports} reports, {torch.get_num_threads()} threads, fp32")
    prompts = make_prompts(CLASSES, config.reports)
    batch_size = 1
    while batch_size <= config.batch_size:
        ours = TorchtuneEngine(checkpoint, batch_size)
        drafted_texts(ours, prompts[:2])  # lays out the answers' tree and reads the rules, once per run of a command
        kinds = {"free": partial(texts, ours, prompts, GREEDY), "constrained": partial(drafted_texts, ours, prompts)}
        seconds = {f"{name}, batch {batch_size}": s for name, s in alternate(kinds, config.runs).items()}
        _print_rates(CLASSES.name, seconds, config.reports)
        batch_size *= 2


# Tokens of an answer by which tasks are compared.
_LENGTH = 10


def print_classes(config: BenchConfig) -> None:
    """CPU time of a random model's closed answers among 13 and 133 classes, of one length, and with scores."""
    checkpoint = _random(config)
    prompts = [replace(prompt, instruction="Name them.") for prompt in make_prompts(CLASSES, config.valid_reports)]
    print(f"classes: {len(prompts)} reports, batch {config.batch_size}, {torch.get_num_threads()} threads, fp32")

    def ask(sampling: Sampling) -> list[str]:
        # An engine that has answered before knows already what may come next.
        return texts(TorchtuneEngine(checkpoint, config.batch_size), prompts, sampling)

    def measure(**samplings: Sampling) -> list[float]:
        kinds = {name: partial(ask, sampling) for name, sampling in samplings.items()}
        return [*alternate(kinds, config.runs, time.process_time).values()]

    ask(Sampling(1.0, 1))  # what a process does once
    (reading,) = measure(reading=Sampling(1.0, 1))
    for task in (CLASSES, load_task("differential")):
        sampling = Sampling(1.0, 150, task.grammar())
        plain, scored = measure(plain=sampling, scored=replace(sampling, scores=True))
        answers = ask(sampling)
        valid = sum(answer == task.grammar().encode(read_list(answer).labels) for answer in answers)
        tokens = sum(len(checkpoint.tokenizer.encode(answer, add_bos=False, add_eos=False)) for answer in answers)
        at_length = reading + (plain - reading) / tokens * _LENGTH * len(prompts)
        print(
            f"  {len(task.classes):4} classes: {valid} of {len(answers)} parse, {tokens / len(answers):.1f} tokens "
            f"each; {len(prompts) / at_length:.0f} reports/s if of {_LENGTH} tokens; with scores "
            f"{scored / plain:.2f}x the time"
        )


def _random(config: BenchConfig) -> Checkpoint:
    """The model with weights that know nothing."""
    checkpoint = load_checkpoint(config.checkpoint_dir, None, torch.device("cpu"), torch.float32)
    torch.manual_seed(0)
    for parameter in checkpoint.model.parameters():
        torch.nn.init.normal_(parameter, std=0.05)
    return checkpoint


def _print_rates(task: str, seconds: dict[str, float], reports: int) -> None:
    slowest = max(seconds.values())
    for name, taken in seconds.items():
        print(f"  {task:<16} {name:<24} {reports / taken:8.1f} reports/s  {slowest / taken:6.1f}x")


def _engines(config: BenchConfig) -> tuple[Checkpoint, TorchtuneEngine, TransformersEngine]:
    cpu = torch.device("cpu")
    checkpoint = load_checkpoint(config.checkpoint_dir, config.adapter_dir, cpu, torch.float32)
    loaded = load_pretrained(config.checkpoint_dir, config.adapter_dir, cpu, torch.float32, None)
    theirs = TransformersEngine(*loaded, config.batch_size)
    return checkpoint, TorchtuneEngine(checkpoint, config.batch_size), theirs


def print_parity(config: BenchConfig) -> None:
    """Greedy answers that differ between engines, batch sizes, orders, with and without constraint."""
    checkpoint, ours, theirs = _engines(config)
    print(f"parity: {config.parity_reports} reports for each task, greedy, fp32")
    for task in (CLASSES, PHRASES):
        prompts = make_prompts(task, config.parity_reports)
        expected = texts(ours, prompts, GREEDY)
        others: dict[str, Callable[[], list[str]]] = {
            "batch 1": partial(texts, TorchtuneEngine(checkpoint, 1), prompts, GREEDY),
            "reverse order": lambda prompts=prompts: texts(ours, prompts[::-1], GREEDY)[::-1],
            "transformers": partial(texts, theirs, prompts, GREEDY),
        }
        if config.base_url:
            endpoint = find_endpoint(config.base_url, None, None, {})
            check_endpoint(endpoint, None, False)
            server = ServerEngine(endpoint, "none", config.model, Limits(4, 120.0, 2))
            others["server"] = partial(texts, server, prompts, GREEDY)
        for name, answer in others.items():
            print(f"  {task.name:<16} {name:<26} {_differ(answer(), expected)} differ")
        if task is CLASSES:
            # A model that writes something else than a closed answer cannot write it when constrained.
            well = [place for place, text in enumerate(expected) if text == _canonical(text)]
            for name, engine in (("constrained", ours), ("transformers, constrained", theirs)):
                closed = texts(engine, prompts, CLOSED)
                differing = _differ([closed[place] for place in well], [expected[place] for place in well])
                print(f"  {task.name:<16} {name:<26} {differing} differ of {len(well)} that are closed answers anyway")


def _canonical(text: str) -> str:
    return CLASSES.grammar().encode(read_list(text).labels)


def _differ(given: Sequence[str], expected: Sequence[str]) -> int:
    return sum(a != b for a, b in zip(given, expected, strict=True))


def print_adapters(config: BenchConfig) -> None:
    """What asking several adapters in one run costs against one by itself, as processes and without their start."""
    if len(config.adapters) < 2:
        raise InputError("adapters: give two or more, e.g. those of a study's ensemble")
    with tempfile.TemporaryDirectory() as name:
        folder, reports = Path(name), Path(name) / "reports.jsonl"
        write_jsonl(reports, (made.report for made in make_reports(config.reports, seed=5)))
        keys = [f"task={CLASSES.name}", f"checkpoint_dir={config.checkpoint_dir}", f"reports={reports}"]
        keys += ["constrain=true", "scores=true", "temperature=0", f"batch_size={config.batch_size}", "device=cpu"]

        def ask(adapters: Sequence[Path], here: bool, of: str) -> tuple[float, float, list[Path]]:
            """Seconds and CPU seconds of one run, in a process of its own or in this one, and where its rows are."""
            outputs = [folder / of / f"{number}.jsonl" for number in range(len(adapters))]
            lists = {"adapter_dir": adapters, "output": outputs}
            words = [*keys, *(f"{key}=[{', '.join(map(str, paths))}]" for key, paths in lists.items())]
            before, began = os.times(), time.perf_counter()
            with contextlib.redirect_stdout(io.StringIO()):
                if here:
                    ask_about(parse_config(AskConfig, words))
                else:
                    subprocess.run([sys.executable, "inference.py", *words], check=True, stdout=subprocess.DEVNULL)
            seconds, after = time.perf_counter() - began, os.times()
            print(f"  {of}: {seconds:.1f} s", file=sys.stderr, flush=True)
            return seconds, sum(after[:4]) - sum(before[:4]), outputs

        def tell(what: str, one: Sequence[float], together: Sequence[float]) -> None:
            (seconds, cpu), (all_seconds, all_cpu) = one, together
            print(
                f"  {what}: one {seconds:.1f} s, {cpu:.1f} s of CPU; together {all_seconds:.1f} s "
                f"({all_seconds / seconds:.2f}x), {all_cpu:.1f} s of CPU ({all_cpu / cpu:.2f}x)"
            )

        print(f"adapters: {len(config.adapters)} by {config.reports} reports, {torch.get_num_threads()} threads, fp32")
        first = config.adapters[:1]
        tell("processes", ask(first, False, "one process")[:2], ask(config.adapters, False, "one process for all")[:2])
        ask(first, True, "what a process does once")
        alone = [ask([adapter], True, f"alone {number}") for number, adapter in enumerate(config.adapters)]
        *together, outputs = ask(config.adapters, True, "together")
        seconds, cpu, by_themselves = zip(*alone, strict=True)
        tell("without their start", (statistics.median(seconds), statistics.median(cpu)), together)
        apart = [_apart(output, by_itself) for output, (by_itself,) in zip(outputs, by_themselves, strict=True)]
        answers, scores = sum(count for count, _ in apart), max(most for _, most in apart)
        print(f"  {answers} answers differ from each adapter's by itself, scores by {scores:.1g} at most")


def _apart(ours: Path, theirs: Path) -> tuple[int, float]:
    """How many answers of two runs differ, and how far apart the scores of the others are at most."""
    pairs = [(one, other) for (_, one), (_, other) in zip(read_jsonl(ours), read_jsonl(theirs), strict=True)]
    alike = [(one, other) for one, other in pairs if one["response"] == other["response"]]
    scores = (abs(one["scores"][name] - other["scores"][name]) for one, other in alike for name in one["scores"])
    return len(pairs) - len(alike), max(scores, default=0.0)


def print_valid(config: BenchConfig) -> None:
    """Closed answers of a model that knows nothing, greedy and sampled."""
    engine = TorchtuneEngine(_random(config), config.batch_size)
    prompts = make_prompts(CLASSES, config.valid_reports)
    for temperature in (0.0, 1.0):
        answers = texts(engine, prompts, Sampling(temperature, 150, CLASSES.grammar()))
        valid = sum(answer == _canonical(answer) for answer in answers)
        print(f"valid: {valid} of {len(answers)} answers of a random model at temperature {temperature:g}")


if __name__ == "__main__":
    run_command(main, BenchConfig)
