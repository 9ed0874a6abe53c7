"""The loss of a batch: attention within packs, a decoder's hidden states, cross-entropy where something is predicted.

In a pack, a row sees the prefix of its group and its own tokens before it, and nothing else.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import nn
from torch.nn.attention.flex_attention import create_block_mask
from torch.nn.functional import cross_entropy, scaled_dot_product_attention
from torch.utils.checkpoint import checkpoint

from radtune.train.data import Choices
from radtune.train.packing import Batch, Group

# Predictions whose logits are held at once: with Llama 3's vocabulary of 128,256, half a gigabyte in float32.
CHUNK = 1024


class SummedLoss(nn.Module):
    """A torchtune ``TransformerDecoder`` that gives the summed loss of a batch instead of logits.

    What follows the last attention is computed only at places that have a target: one in ten to twenty of a report's
    tokens.
    """

    def __init__(self, decoder: nn.Module, tversky: float = 0.0, tversky_recall: float = 0.5) -> None:
        """Takes the weight of the Tversky loss of batches with choices, and what a missed class costs in it."""
        super().__init__()
        self.decoder = decoder
        self._tversky, self._recall = tversky, tversky_recall
        for layer in decoder.layers:
            # torchtune picks the kernel in this one attribute of a layer; it is frozen at 0.6.1, so the name stays.
            attention = layer.attn
            group = attention.num_heads // attention.num_kv_heads
            attention._attention_call = partial(_attention, attention._attention_call, group)
        last = decoder.layers[-1]
        last.forward = partial(_layer_at, last, last.forward)

    def forward(self, batch: Batch, mask: object) -> torch.Tensor:
        """The weighted cross-entropy summed over targets, a float32 scalar; the mask is :func:`attention_mask`'s."""
        *layers, last = self.decoder.layers
        hidden = self.decoder.tok_embeddings(batch.tokens)
        for layer in layers:
            hidden = layer(hidden, mask=mask, input_pos=batch.positions)
        hidden = self.decoder.norm(last(hidden, mask=mask, input_pos=batch.positions, places=batch.places))
        summed = self._sum if len(batch.places) <= CHUNK else self._chunks
        loss = summed(hidden, batch.targets, batch.weights)
        for row in batch.choices:
            logits = self.decoder.output(hidden[row.places]).float()
            loss = loss + self._tversky * tversky_loss(class_probabilities(logits, row), row.there, self._recall)
        return loss

    def _chunks(self, hidden: torch.Tensor, targets: torch.Tensor, weights: torch.Tensor | None) -> torch.Tensor:
        """The same of many places, whose logits are made again in the backward pass rather than all held until then."""
        parts = [part.split(CHUNK) for part in (hidden, targets, weights) if part is not None]
        return torch.stack(
            [checkpoint(self._sum, *part, use_reentrant=False) for part in zip(*parts, strict=True)]
        ).sum()

    def _sum(self, hidden: torch.Tensor, targets: torch.Tensor, weights: torch.Tensor | None = None) -> torch.Tensor:
        logits = self.decoder.output(hidden).float()
        if weights is None:
            return cross_entropy(logits, targets, reduction="sum")
        return cross_entropy(logits, targets, reduction="none") @ weights


def class_probabilities(logits: torch.Tensor, choices: Choices) -> torch.Tensor:
    """How likely a closed answer names each class that it decides, given what it says of the classes before.

    As :mod:`radtune.engines.class_scores` defines it, but no branch that the answer does not take goes through the
    model: classes of one beginning share its chance evenly. ``logits`` are those of the places, shape (places,
    vocabulary).
    """
    own = logits[choices.at, choices.tokens]
    same_place = choices.at[:, None] == choices.at[None]
    chance = own - own.expand_as(same_place).masked_fill(~same_place, -torch.inf).logsumexp(1)
    reached = (chance + choices.before @ chance).exp()
    return (choices.mass @ reached) / (choices.behind @ reached).clamp_min(torch.finfo(reached.dtype).tiny)


def tversky_loss(probabilities: torch.Tensor, there: torch.Tensor, recall: float) -> torch.Tensor:
    """1 minus the Tversky index of one answer's classes (Salehi et al., MLMI 2017), 0 where all are right.

    A case more of what is right keeps it smooth where there is none. A missed class costs ``recall``, a false one the
    rest of 1.
    """
    right = (probabilities * there).sum() + 1
    false, missed = (probabilities * (1 - there)).sum(), ((1 - probabilities) * there).sum()
    return 1 - right / (right + (1 - recall) * false + recall * missed)


def _layer_at(
    layer: nn.Module,
    whole: Callable[..., torch.Tensor],
    hidden: torch.Tensor,
    places: torch.Tensor | None = None,
    **inputs: Any,
) -> torch.Tensor:
    """A layer's output at some places of its flattened input, shape (places, width); without places, all of it."""
    if places is None:
        return whole(hidden, **inputs)
    normed = layer.sa_norm(hidden)
    attended = (hidden + layer.sa_scale(layer.attn(normed, normed, **inputs))).flatten(0, 1)[places]
    return attended + layer.mlp_scale(layer.mlp(layer.mlp_norm(attended)))


@dataclass(frozen=True)
class RowBlock:
    """The rows of one group as a padded batch for SDPA.

    Attributes:
        prefix: The length of what they share, which stands before them.
        own: How many tokens they have behind it.
        places: Where among these those of each row stand, shape (rows, longest); padding repeats a row's last.
        kept: Which places, flattened, are no padding, shape (own,).
        mask: What each token sees of the prefix and of its row, shape (rows, 1, longest, prefix + longest).
    """

    prefix: int
    own: int
    places: torch.Tensor
    kept: torch.Tensor
    mask: torch.Tensor


def attention_mask(batch: Batch, device: torch.device, dtype: torch.dtype) -> object:
    """What a decoder's layers take as a batch's mask: FlexAttention's on a GPU, else row blocks; None is causal."""
    if batch.groups is None:
        return None
    if device.type != "cuda":
        return row_blocks(batch.groups, dtype)
    length = batch.tokens.shape[1]
    with device:
        return create_block_mask(sees(batch.groups, length), 1, None, length, length, device=device)


def row_blocks(groups: Sequence[Group], dtype: torch.dtype) -> tuple[RowBlock, ...]:
    """The attention pattern of a pack, group by group, for SDPA; costs grow with the rows and not with its square.

    ``dtype`` is that of queries and keys; SDPA adds a mask of numbers faster than it converts one of booleans.
    """
    blocks = []
    for group in groups:
        lengths = torch.tensor(group.lengths)
        columns = torch.arange(int(lengths.max()))
        starts = lengths.cumsum(0) - lengths
        places = starts[:, None] + torch.minimum(columns[None], lengths[:, None] - 1)
        seen = (columns[None, None] <= columns[None, :, None]) & (columns[None, None] < lengths[:, None, None])
        seen = torch.cat([torch.ones(*seen.shape[:2], group.prefix, dtype=torch.bool), seen], dim=2)
        mask = torch.zeros(seen.shape, dtype=dtype).masked_fill(~seen, -torch.inf)
        kept = (columns[None] < lengths[:, None]).flatten().nonzero()[:, 0]
        blocks.append(RowBlock(group.prefix, sum(group.lengths), places, kept, mask[:, None]))
    return tuple(blocks)


def sees(groups: Sequence[Group], length: int) -> Callable[..., torch.Tensor]:
    """The same pattern for a pack of a length as FlexAttention's ``mask_mod``, on the default device."""
    group_of = torch.zeros(length, dtype=torch.int32)
    # 0 in a prefix, else the row's number in the pack, counted from 1.
    row_of = torch.zeros(length, dtype=torch.int32)
    number = 0
    for which, group in enumerate(groups):
        group_of[group.start : group.end] = which
        start = group.start + group.prefix
        for row_length in group.lengths:
            number += 1
            row_of[start : start + row_length] = number
            start += row_length
    device = torch.get_default_device()
    group_of, row_of = group_of.to(device), row_of.to(device)

    def mask_mod(batch: torch.Tensor, head: torch.Tensor, query: torch.Tensor, key: torch.Tensor) -> torch.Tensor:
        own = (row_of[key] == row_of[query]) | (row_of[key] == 0)
        return (key <= query) & (group_of[key] == group_of[query]) & own

    return mask_mod


def _attention(
    default: Callable[..., torch.Tensor],
    group: int,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    mask: object,
    dropout_p: float,
    is_causal: bool,
) -> torch.Tensor:
    """Attention by torchtune's kernel; or that of a pack, where the mask is its :func:`row_blocks`.

    torchtune copies keys and values once for each of the ``group`` query heads that share them. Rows of a pack need
    one copy: the queries of a group are more queries of their key head.
    """
    if not isinstance(mask, tuple):
        return default(query, key, value, mask=mask, dropout_p=dropout_p, is_causal=is_causal)
    # Each group's prefix and rows: slicing one by one would fill gradients of the whole pack with zeros for each.
    lengths = [length for block in mask for length in (block.prefix, block.own)]
    parts = iter(zip(*(tensor.split(lengths, dim=2) for tensor in (query, key, value)), strict=True))
    outputs = []
    for block, prefix, own in zip(mask, parts, parts, strict=True):
        if block.prefix:
            outputs.append(scaled_dot_product_attention(*prefix, dropout_p=dropout_p, is_causal=True))
        count, longest = block.places.shape
        queries = own[0].squeeze(0)[:, block.places].transpose(0, 1).unflatten(1, (-1, group)).flatten(2, 3)
        keys, values = (
            torch.cat(
                [
                    prefix[i][:, ::group].expand(count, -1, -1, -1),
                    own[i].squeeze(0)[::group, block.places].transpose(0, 1),
                ],
                dim=2,
            )
            for i in (1, 2)
        )
        mask_of_group = block.mask.repeat(1, 1, group, 1)
        attended = scaled_dot_product_attention(queries, keys, values, attn_mask=mask_of_group, dropout_p=dropout_p)
        attended = attended.unflatten(2, (group, longest)).flatten(1, 2)
        outputs.append(attended.transpose(0, 1).flatten(1, 2)[:, block.kept].unsqueeze(0))
    return torch.cat(outputs, dim=2)
