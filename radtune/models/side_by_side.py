"""Several LoRA adapters on one base model, none merged: each token is computed with its own adapter's.

The base's product is one for the tokens of all adapters. Down-projections stand on top of one another, and
up-projections side by side, so that what the adapters add is two products as well: between them, each token keeps the
part of its own adapter (as Punica and S-LoRA do with kernels of their own: Chen et al. 2023, Sheng et al. 2023).
"""

from collections.abc import Mapping, Sequence
from itertools import accumulate

import torch
from torch import nn

# A down-projection (rank, inputs) and an up-projection (outputs, rank) with its scale.
Pair = tuple[torch.Tensor, torch.Tensor]


class Owners:
    """Whose tokens are on their way through a model with several adapters."""

    def __init__(self, count: int) -> None:
        """Takes how many adapters there are; tokens are the first one's until others are told."""
        self.count = count
        self.begin([0], torch.zeros(1, dtype=torch.long))

    def begin(self, adapters: Sequence[int], rows: torch.Tensor) -> None:
        """Tells the adapter of each row, by its number, and the row of each token to come, ``[tokens]``."""
        self.first, self.last = min(adapters), max(adapters)
        self.of_tokens = torch.tensor(adapters, device=rows.device)[rows]

    def pick(self, kept: torch.Tensor) -> None:
        """Tells that of these tokens only some go on, by their indices."""
        self.of_tokens = self.of_tokens[kept]


class SideBySide(nn.Module):
    """A linear layer of the base, and what each of several adapters adds to it."""

    def __init__(self, linear: nn.Linear, owners: Owners, pairs: Mapping[int, Pair]) -> None:
        """Takes projections by the number of their adapter; ranks may differ, some be absent."""
        super().__init__()
        self.linear, self._owners = linear, owners
        ranks = [len(pairs[number][0]) if number in pairs else 0 for number in range(owners.count)]
        like = {"device": linear.weight.device, "dtype": linear.weight.dtype}
        self.down = torch.cat([down for _, (down, _) in sorted(pairs.items())]).to(**like)  # [all ranks, inputs]
        self.up = torch.cat([up.T for _, (_, up) in sorted(pairs.items())]).to(**like)  # [all ranks, outputs]
        self._owner = torch.arange(owners.count).repeat_interleave(torch.tensor(ranks)).to(like["device"])
        self._begins = [0, *accumulate(ranks)]

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Computes tokens, ``[..., tokens, inputs]``, each with the adapter that :class:`Owners` says."""
        # Only adapters whose tokens may be among them are computed: rows of one adapter mostly go together.
        ranks = slice(self._begins[self._owners.first], self._begins[self._owners.last + 1])
        others = self._owner[ranks] != self._owners.of_tokens[:, None]
        # Put to 0, not multiplied by it: an adapter that computes no numbers spoils no other's.
        inner = (x @ self.down[ranks].T).masked_fill(others, 0)
        return self.linear(x) + inner @ self.up[ranks]


def put_side_by_side(model: nn.Module, adapters: Sequence[Mapping[str, Pair]]) -> Owners:
    """Puts adapters, which are given by the names of linear layers, on a model."""
    owners = Owners(len(adapters))
    for name in dict.fromkeys(name for adapter in adapters for name in adapter):
        pairs = {number: adapter[name] for number, adapter in enumerate(adapters) if name in adapter}
        model.set_submodule(name, SideBySide(model.get_submodule(name), owners, pairs))
    return owners
