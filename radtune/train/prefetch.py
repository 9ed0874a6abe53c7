"""The next step's batches, made and pinned by a thread while the device computes this step's."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import fields, replace

import torch

from radtune.train.packing import Batch

Step = tuple[int, list[Batch]]


def prefetch(steps: Iterator[Step], ahead: bool) -> Iterator[Step]:
    """Passes steps through, one ahead.

    Args:
        steps: Numbers of steps and their batches.
        ahead: Whether to work ahead: for a GPU. On a CPU the thread would take time from the training itself.

    Yields:
        The same, in pinned memory if ahead.
    """
    if not ahead:
        yield from steps
        return
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(_next_pinned, steps)
        while (step := waiting.result()) is not None:
            waiting = pool.submit(_next_pinned, steps)
            yield step


def _next_pinned(steps: Iterator[Step]) -> Step | None:
    step = next(steps, None)
    return step and (step[0], [_pinned(batch) for batch in step[1]])


def _pinned(batch: Batch) -> Batch:
    values = {field.name: getattr(batch, field.name) for field in fields(batch)}
    return replace(batch, **{n: v.pin_memory() for n, v in values.items() if isinstance(v, torch.Tensor)})
