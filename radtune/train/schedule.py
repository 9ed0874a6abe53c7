"""Which rows each optimizer step takes, and the learning rates of all steps, both known before training."""

from collections.abc import Callable, Iterator
from typing import Any

import torch


def steps_per_epoch(rows: int, rows_per_step: int) -> int:
    """How many optimizer steps see every row once; the last may have fewer rows."""
    return -(-rows // rows_per_step)


def step_rows(rows: int, rows_per_step: int, seed: int, epoch: int) -> Iterator[list[int]]:
    """The rows of each step of an epoch, shuffled.

    The order follows from seed and epoch alone, so a run that goes on at some step has its place in the data. It is
    that of torch's ``DistributedSampler`` in one process: with seed 0, stock torchtune's.

    Args:
        rows: How many there are.
        rows_per_step: How many a step takes.
        seed: Of the order.
        epoch: Counted from 0.

    Yields:
        Indices of a step's rows.
    """
    order = torch.randperm(rows, generator=torch.Generator().manual_seed(seed + epoch)).tolist()
    for start in range(0, rows, rows_per_step):
        yield order[start : start + rows_per_step]


def learning_rates(make_scheduler: Callable[[Any], Any], learning_rate: float, steps: int) -> list[float]:
    """The learning rate of each step, found by running the schedule on a parameter that is never used.

    Args:
        make_scheduler: From an optimizer to its schedule.
        learning_rate: The optimizer's.
        steps: How many.

    Returns:
        One rate a step.
    """
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=learning_rate)
    scheduler, rates = make_scheduler(optimizer), []
    for _ in range(steps):
        rates.append(float(optimizer.param_groups[0]["lr"]))
        optimizer.step()
        scheduler.step()
    return rates
