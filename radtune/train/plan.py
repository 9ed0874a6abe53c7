"""What a run will do, known before any weight is loaded: which rows each step takes, learning rates, tokens."""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
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


@dataclass(frozen=True)
class Plan:
    """The figures of a run; tokens are those of an epoch.

    Attributes:
        rows: By task and source, how many rows.
        cut: Rows longer than ``tokenizer.max_seq_len``.
        untrained: Rows of which nothing is left to train on.
        row_tokens: Tokens of all rows, as each would be computed alone.
        computed_tokens: With ``padding``.
        warmup: Optimizer steps before the highest learning rate.
        peak: The highest learning rate reached; ``asked`` is the optimizer's.
    """

    rows: dict[tuple[str, str], int]
    cut: int
    untrained: int
    row_tokens: int
    computed_tokens: int
    padding: int
    trained_tokens: int
    steps: int
    warmup: int
    peak: float
    asked: float

    def facts(self) -> dict[str, Any]:
        """The figures for a manifest and a model card."""
        return {
            "rows": {f"{task}/{source}": count for (task, source), count in sorted(self.rows.items())},
            "rows_cut": self.cut,
            "trained_tokens_per_epoch": self.trained_tokens,
            "optimizer_steps": self.steps,
            "peak_learning_rate": self.peak,
        }

    def lines(self) -> list[str]:
        """The figures to print, warnings last."""
        lines = [f"{count:,} rows of {task} from {source}" for (task, source), count in sorted(self.rows.items())]
        lines += [
            f"an epoch: {self.row_tokens:,} tokens in rows, {self.trained_tokens:,} of them trained on; "
            f"{self.computed_tokens:,} computed, {self.padding:,} of them padding",
            f"{self.steps:,} optimizer steps, {self.warmup:,} of them warm-up ({self.warmup / self.steps:.0%}); "
            f"highest learning rate {self.peak:.3g}",
        ]
        if self.peak < 0.999 * self.asked:
            lines.append(
                f"warning: the warm-up outlasts training: the learning rate reaches {self.peak:.3g}, not "
                f"{self.asked:.3g}; lower lr_scheduler.num_warmup_steps or train on more rows"
            )
        if self.cut:
            lines.append(f"warning: {self.cut:,} rows reach tokenizer.max_seq_len: their answers are cut")
        if self.untrained:
            lines.append(f"warning: {self.untrained:,} rows have no answer left to train on, and change nothing")
        return lines


def make_plan(
    instructions: Sequence[Instruction],
    rows: Sequence[Row],
    cut: int,
    batches: Iterable[Batch],
    rates: Sequence[float],
    asked: float,
) -> Plan:
    """Counts training rows, the same tokenized, the batches of an epoch and the learning rates of all steps."""
    computed = padding = 0
    for batch in batches:
        computed, padding = computed + batch.tokens.numel(), padding + batch.padding
    trained = [row.trained for row in rows]
    return Plan(
        rows=dict(Counter((row.task, row.source) for row in instructions)),
        cut=cut,
        untrained=trained.count(0),
        row_tokens=sum(len(row.tokens) for row in rows),
        computed_tokens=computed,
        padding=padding,
        trained_tokens=sum(trained),
        steps=len(rates),
        warmup=rates.index(max(rates)),
        peak=max(rates),
        asked=asked,
    )
