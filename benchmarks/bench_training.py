r"""Measures training against stock torchtune and peft: same rows, model, start, and rows in every optimizer step.

    python benchmarks/bench_training.py
    python benchmarks/bench_training.py rows=open_ended runs=7
    python benchmarks/bench_training.py base=random_8b device=cuda count=1024 rows_per_step=128
    python benchmarks/bench_training.py base=models/SmolLM2-135M-Instruct settings=configs/smollm2/135M_lora_fast.yaml \
        kinds=[peft,ours_shared_prefix]

Each kind is trained in a process of its own, in turn, so that a busy machine slows all alike; figures are medians.
Only the training loop is timed; on a busy machine its CPU seconds say more than the clock. Rows are synthetic; their
number is a multiple of rows_per_step, since stock drops what is left over. All kinds start from one adapter, and seed 0
makes our order of rows the one that stock always takes, so that each optimizer step has the same rows and the last
losses can be compared. `base=random_8b` writes an 8B Llama-3.1 of random weights (16 GB) into work_dir first, with the
mini model's tokenizer: its losses mean nothing, its speed does.
"""

import json
import statistics
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from training_rounds import KINDS, SETTINGS, WARM_UP, synthetic_rows, write_random_8b

from radtune.command import run_command
from radtune.config import InputError, key
from radtune.files import write_jsonl


@dataclass
class BenchConfig:
    """Keys of this command."""

    base: str = key("The base model's folder; or random_8b, random weights of that shape.", "data/mini")
    settings: Path | None = key(
        "YAML of our recipe, whose adapter and optimizer peft takes, too, and stock its twin; to be given with a base.",
        None,
    )
    device: str = key("cpu or cuda.", "cpu", choices=("cpu", "cuda"))
    rows: str = key("Rows of both tasks, two open-ended to one; or of the few-shot task alone.", "joint",
                    choices=("joint", "open_ended"))  # fmt: skip
    count: int = key("Rows trained on.", 96)
    rows_per_step: int = key("Effective batch; stock takes it as 2 x accumulation.", 8)
    runs: int = key("Runs of each kind; the median counts.", 5)
    kinds: list[str] = key(f"What to measure, of {', '.join(KINDS)}; those that the device allows if empty.", [])
    work_dir: Path | None = key("Where rows and the 8B model are written; else a temporary folder.", None)
    output: Path | None = key("JSON of all runs.", None)


def main(config: BenchConfig) -> None:
    """Makes rows, trains in turn, prints the medians."""
    if config.count % config.rows_per_step or config.rows_per_step % 2:
        raise InputError("count must be a multiple of rows_per_step, and that even: stock drops what is left over")
    if config.device == "cuda" and config.count <= WARM_UP * config.rows_per_step:
        raise InputError(f"count must be more than {WARM_UP} steps, which compile kernels and do not count")
    settings = config.settings or SETTINGS.get(config.base)
    if settings is None:
        raise InputError(f"settings: which YAML trains {config.base}?")
    kinds = config.kinds or [name for name, kind in KINDS.items() if config.device == "cuda" or kind.on_cpu]
    for name in kinds:
        if name not in KINDS:
            raise InputError(f"kinds: {name!r} is not one of {', '.join(KINDS)}")
    with tempfile.TemporaryDirectory() as temporary:
        folder = config.work_dir or Path(temporary)
        classes = 0 if config.rows == "open_ended" else config.count // 3
        counts = {"multiple_choice": classes, "open_ended": config.count - classes}
        write_jsonl(folder / "rows.jsonl", synthetic_rows(config.count + 50, 0, counts).train)
        base = Path(config.base)
        if config.base == "random_8b":
            base = folder / "llama_8b_random"
            write_random_8b(base, config.device)
        results: dict[str, list[dict]] = {name: [] for name in kinds}
        for run in range(config.runs):
            for name in kinds:
                results[name].append(train(name, base, settings, folder / "rows.jsonl", config))
                print(f"run {run + 1} of {config.runs}: {line(name, results[name][-1:])}", file=sys.stderr, flush=True)
    print(f"{config.count} rows ({config.rows}), {config.rows_per_step} a step, {config.base}, {config.device}")
    for name, runs in results.items():
        print(line(name, runs))
    baseline, *others = kinds
    for name in others:
        wall, cpu = (
            median(results[name], figure) / median(results[baseline], figure)
            for figure in ("rows_per_second", "rows_per_cpu_second")
        )
        losses = zip(results[name][0]["losses"], results[baseline][0]["losses"], strict=True)
        apart = max(abs(ours - theirs) for ours, theirs in losses)
        print(f"{name}: {wall:.2f} x {baseline}'s rows/s, {cpu:.2f} x its rows/CPU-s, losses at most {apart:.1e} apart")
    if config.output:
        config.output.write_text(json.dumps(results, indent=1) + "\n")


def train(kind: str, base: Path, settings: Path, rows: Path, config: BenchConfig) -> dict:
    """One run in a process of its own; its figures."""
    job = {
        "kind": kind, "base": str(base), "rows": str(rows), "device": config.device, "settings": str(settings),
        "rows_per_step": config.rows_per_step,
    }  # fmt: skip
    done = subprocess.run(
        [sys.executable, str(Path(__file__).with_name("training_rounds.py")), json.dumps(job)],
        capture_output=True,
        text=True,
    )
    if done.returncode:
        raise InputError(f"{kind}: {(done.stderr.strip().splitlines() or ['failed'])[-1]}")
    result = json.loads(done.stdout.strip().splitlines()[-1])
    if (steps := len(result["losses"])) * config.rows_per_step != config.count:
        raise InputError(f"{kind}: {steps} steps of {config.rows_per_step} rows are not {config.count} rows")
    return result


def median(runs: list[dict], name: str) -> float:
    """Median of a figure over runs."""
    return statistics.median(run[name] for run in runs)


def line(name: str, runs: list[dict]) -> str:
    """A kind's medians."""
    rows, per_cpu, tokens = (
        median(runs, figure) for figure in ("rows_per_second", "rows_per_cpu_second", "tokens_per_second")
    )
    shown = f"{name:<20} {rows:8.2f} rows/s {per_cpu:8.2f} rows/CPU-s {tokens:10,.0f} tokens/s"
    shown += f"  final loss {runs[0]['losses'][-1]:.5f}  {median(runs, 'peak_memory_gib'):.2f} GiB"
    if "utilisation" in runs[0]:
        shown += f"  {median(runs, 'steady_rows_per_second'):.1f} rows/s once warm"
        shown += f"  {median(runs, 'utilisation'):.0%} of the matrix rate"
    return shown


if __name__ == "__main__":
    run_command(main, BenchConfig)
