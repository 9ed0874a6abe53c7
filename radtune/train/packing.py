"""Rows into sequences: padded batches, packs of rows, and packs of rows behind the prefix that they share.

All rows of a task open with the same instruction and examples, word for word. A pack holds those tokens once; every row
attends to them and to itself, and its positions continue from them, so it is computed as if it stood alone.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from itertools import accumulate

import torch

from radtune.train.data import IGNORED, Choices, Row


@dataclass(frozen=True)
class Group:
    """Rows behind one prefix, as they stand in a pack: where and how long it is, and each row's tokens behind it."""

    start: int
    prefix: int
    lengths: tuple[int, ...]

    @property
    def end(self) -> int:
        """Where the group ends."""
        return self.start + self.prefix + sum(self.lengths)


@dataclass(frozen=True)
class Batch:
    """What a model computes at once, on the CPU and not yet on its device.

    Attributes:
        tokens: Token ids, shape (sequences, length); a pack is one sequence.
        positions: The same shape; None where they count from 0.
        groups: What attends to what in a pack; None for padded rows, which are causal.
        places: Where the targets stand in the flattened tokens, shape (trained,).
        padding: How many tokens only fill up.
        weights: Those of the targets, shape (trained,); None for 1.
        choices: Those of its rows.
    """

    tokens: torch.Tensor
    positions: torch.Tensor | None
    groups: tuple[Group, ...] | None
    places: torch.Tensor
    targets: torch.Tensor
    padding: int
    weights: torch.Tensor | None = None
    choices: tuple[Choices, ...] = ()

    @property
    def weight(self) -> float:
        """The sum of its weights."""
        return len(self.targets) if self.weights is None else float(self.weights.double().sum())

    def each(self, change: Callable[[torch.Tensor], torch.Tensor]) -> "Batch":
        """The batch with a change made to each of its tensors, such as moving it."""
        own = {name: change(part) for name, part in vars(self).items() if isinstance(part, torch.Tensor)}
        choices = (replace(row, **{name: change(part) for name, part in vars(row).items()}) for row in self.choices)
        return replace(self, **own, choices=tuple(choices))


def make_batches(rows: Iterable[Row], packing: str, max_tokens: int, ways: int = 1, multiple: int = 1) -> list[Batch]:
    """Arranges the rows of one optimizer step, but those without a target, since they change nothing.

    Args:
        rows: The rows.
        packing: One of :data:`radtune.train.settings.PACKINGS`.
        max_tokens: The most tokens of a batch, padding included; a longer row is a batch by itself.
        ways: Over how many processes the batches, the largest first, will be dealt: one for each if that can be.
        multiple: Packs are filled up to a multiple of so many tokens, for kernels that are made for one length each.
    """
    rows = [row for row in rows if row.trained]
    if packing == "none":
        limit = min(max_tokens, -(-sum(len(row.tokens) for row in rows) // ways)) if ways > 1 else max_tokens
        batches = [_padded(part) for part in _like_lengths(rows, limit)]
    else:
        packs = _packs(rows, packing == "shared_prefix", max_tokens, ways)
        batches = [_packed(pack, multiple) for pack in packs]
    return sorted(batches, key=lambda batch: -batch.tokens.numel())


def _like_lengths(rows: Sequence[Row], max_tokens: int) -> list[list[Row]]:
    """Rows of like length together, as many as fit when padded to the longest."""
    parts: list[list[Row]] = []
    for row in sorted(rows, key=lambda row: -len(row.tokens)):
        if parts and (len(parts[-1]) + 1) * len(parts[-1][0].tokens) <= max_tokens:
            parts[-1].append(row)
        else:
            parts.append([row])
    return parts


def _padded(rows: Sequence[Row]) -> Batch:
    length = max(len(row.tokens) for row in rows)
    # Padding stands behind a row, where nothing of the row attends to it, so any token does.
    tokens, targets = torch.zeros(len(rows), length, dtype=torch.long), torch.full((len(rows), length), IGNORED)
    for number, row in enumerate(rows):
        tokens[number, : len(row.tokens)] = row.tokens
        targets[number, : len(row.tokens)] = row.targets
    places = (targets.flatten() != IGNORED).nonzero()[:, 0]
    padding = tokens.numel() - sum(len(row.tokens) for row in rows)
    starts = range(0, tokens.numel(), length)
    return Batch(tokens, None, None, places, targets.flatten()[places], padding, *_costs(rows, starts, places))


def _costs(
    rows: Sequence[Row], starts: Iterable[int], places: torch.Tensor
) -> tuple[torch.Tensor | None, tuple[Choices, ...]]:
    """Weights of the targets at some places, and choices among them, of rows by where their tokens start."""
    weights, choices = torch.ones(int(places.max()) + 1), []
    for row, start in zip(rows, starts, strict=True):
        if row.weights is not None:
            trained = (row.targets != IGNORED).nonzero()[:, 0]
            weights[start + trained] = row.weights[trained]
        if row.choices is not None:
            choices.append(replace(row.choices, places=torch.searchsorted(places, start + row.choices.places)))
    return weights[places] if any(row.weights is not None for row in rows) else None, tuple(choices)


# A pack in the making: by kind and length of the prefix, its rows.
_Pack = dict[tuple[int, int], list[Row]]


def _packs(rows: Sequence[Row], share: bool, max_tokens: int, ways: int) -> list[_Pack]:
    """Fills packs with the longest rows first, each into the first pack with room (first-fit decreasing)."""

    def group(row: Row) -> tuple[int, int]:
        return (row.kind, row.prefix) if share else (0, 0)

    prefixes = {group(row): group(row)[1] for row in rows}
    total = sum(len(row.tokens) - group(row)[1] for row in rows) + ways * sum(prefixes.values())
    limit = min(max_tokens, -(-total // ways)) if ways > 1 else max_tokens
    packs: list[_Pack] = []
    used: list[int] = []
    # Kind by kind, so that a prefix stands in as few packs as can be.
    for row in sorted(rows, key=lambda row: (group(row), -len(row.tokens))):
        kind, prefix = group(row)
        costs = [len(row.tokens) - (prefix if (kind, prefix) in pack else 0) for pack in packs]
        place = next((i for i, cost in enumerate(costs) if used[i] + cost <= limit), len(packs))
        if place == len(packs):
            packs.append({})
            used.append(0)
            costs.append(len(row.tokens))
        used[place] += costs[place]
        packs[place].setdefault((kind, prefix), []).append(row)
    return packs


def _packed(pack: _Pack, multiple: int) -> Batch:
    # Rows and from where to where they stand there: a group's prefix once, then what each of its rows has beyond it.
    pieces: list[tuple[Row, int, int]] = []
    groups: list[Group] = []
    # Where the tokens of each row would start, if its prefix stood before it.
    starts: list[int] = []
    for (_, prefix), rows in pack.items():
        pieces += [(rows[0], 0, prefix), *((row, prefix, len(row.tokens)) for row in rows)]
        start = groups[-1].end if groups else 0
        groups.append(Group(start, prefix, tuple(len(row.tokens) - prefix for row in rows)))
        starts += [start + before for before in accumulate(groups[-1].lengths[:-1], initial=0)]
    padding = -groups[-1].end % multiple
    if padding:
        filler = torch.zeros(padding, dtype=torch.long)
        pieces.append((Row(filler, torch.full_like(filler, IGNORED)), 0, padding))
        groups.append(Group(groups[-1].end, 0, (padding,)))
    tokens = torch.cat([row.tokens[begin:end] for row, begin, end in pieces])
    targets = torch.cat([row.targets[begin:end] for row, begin, end in pieces])
    positions = torch.cat([torch.arange(begin, end) for _, begin, end in pieces])
    places = (targets != IGNORED).nonzero()[:, 0]
    costs = _costs([row for rows in pack.values() for row in rows], starts, places)
    return Batch(tokens[None], positions[None], tuple(groups), places, targets[places], padding, *costs)


# The number of an optimizer step, and its batches.
Step = tuple[int, list[Batch]]


def prefetch(steps: Iterator[Step], ahead: bool) -> Iterator[Step]:
    """Passes steps through; ahead, for a GPU, a thread makes and pins the next one while this one is computed."""
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
    return step and (step[0], [batch.each(torch.Tensor.pin_memory) for batch in step[1]])
