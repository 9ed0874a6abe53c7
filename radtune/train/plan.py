"""What a run will do, known before any weight is loaded: which rows each step takes, learning rates, tokens."""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import torch

from radtune.instructions import Instruction
from radtune.train.data import Row
from radtune.train.packing import Batch


def steps_per_epoch(rows: int, rows_per_step: int) -> int:
    """How many optimizer steps see every row once; the last may have fewer rows."""
    return -(-rows // rows_per_step)


def step_rows(rows: int, rows_per_step: int, seed: int, epoch: int) -> Iterator[list[int]]:
    """Indices of the rows of each step of an epoch, shuffled.

    The order follows from seed and epoch (counted from 0) alone, so a run that goes on at some step has its place in
    the data. It is that of torch's ``DistributedSampler`` in one process: with seed 0, stock torchtune's.
    """
    order = torch.randperm(rows, generator=torch.Generator().manual_seed(seed + epoch)).tolist()
    for start in range(0, rows, rows_per_step):
        yield order[start : start + rows_per_step]


def learning_rates(make_scheduler: Callable[[Any], Any], learning_rate: float, steps: int) -> list[float]:
    """The learning rate of each step, found by running the schedule on a parameter that is never used."""
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=learning_rate)
    scheduler, rates = make_scheduler(optimizer), []
    for _ in range(steps):
        rates.append(float(optimizer.param_groups[0]["lr"]))
        optimizer.step()
        scheduler.step()
    return rates


def make_plan(
    instructions: Sequence[Instruction],
    rows: Sequence[Row],
    cut: int,
    batches: Iterable[Batch],
    rates: Sequence[float],
    asked: float,
) -> tuple[list[str], dict[str, Any]]:
    """What a run will do: lines to print, warnings last, and the figures for manifests and model cards.

    So many rows as ``cut`` says reach ``tokenizer.max_seq_len``; ``batches`` are those of an epoch, ``rates`` the
    learning rates of all steps, and ``asked`` is the YAML's.
    """
    computed = padding = 0
    for batch in batches:
        computed, padding = computed + batch.tokens.numel(), padding + batch.padding
    counts = sorted(Counter((row.task, row.source) for row in instructions).items())
    trained = [row.trained for row in rows]
    steps, peak = len(rates), max(rates)
    warmup = rates.index(peak)
    lines = [f"{count:,} rows of {task} from {source}" for (task, source), count in counts]
    lines += [
        f"an epoch: {sum(len(row.tokens) for row in rows):,} tokens in rows, {sum(trained):,} of them trained on; "
        f"{computed:,} computed, {padding:,} of them padding",
        f"{steps:,} optimizer steps, {warmup:,} of them warm-up ({warmup / steps:.0%}); "
        f"highest learning rate {peak:.3g}",
    ]
    if peak < 0.999 * asked:
        lines.append(
            f"warning: the warm-up outlasts training: the learning rate reaches {peak:.3g}, not {asked:.3g}; lower "
            "lr_scheduler.num_warmup_steps or train on more rows"
        )
    if cut:
        lines.append(f"warning: {cut:,} rows reach tokenizer.max_seq_len: their answers are cut")
    if trained.count(0):
        lines.append(f"warning: {trained.count(0):,} rows have no answer left to train on, and change nothing")
    return lines, {
        "rows": {f"{task}/{source}": count for (task, source), count in counts},
        "rows_cut": cut,
        "trained_tokens_per_epoch": sum(trained),
        "optimizer_steps": steps,
        "peak_learning_rate": peak,
    }
