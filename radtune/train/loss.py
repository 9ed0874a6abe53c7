"""The loss of a batch: attention within packs, a decoder's hidden states, cross-entropy where something is predicted.

In a pack, a row sees the prefix of its group and its own tokens before it, and nothing else.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import torch
from torch import nn
from torch.nn.attention.flex_attention import create_block_mask
from torch.nn.functional import cross_entropy, scaled_dot_product_attention
from torch.utils.checkpoint import checkpoint

from radtune.train.packing import Batch, Group

# Predictions whose logits are held at once: with Llama 3's vocabulary of 128,256, half a gigabyte in float32.
CHUNK = 1024


class SummedLoss(nn.Module):
    """A torchtune ``TransformerDecoder`` that gives the summed loss of a batch instead of logits.

    The output layer is computed only at places that have a target: one in ten to twenty of a report's tokens.
    """

    def __init__(self, decoder: nn.Module) -> None:
        super().__init__()
        self.decoder = decoder

    def forward(
        self,
        tokens: torch.Tensor,
        positions: torch.Tensor | None,
        mask: object,
        places: torch.Tensor,
        targets: torch.Tensor,
    ) -> torch.Tensor:
        """The cross-entropy summed over targets, a float32 scalar; tensors as in :class:`Batch`."""
        hidden = self.decoder.tok_embeddings(tokens)
        for layer in self.decoder.layers:
            hidden = layer(hidden, mask=mask, input_pos=positions)
        hidden = self.decoder.norm(hidden.flatten(0, 1)[places])
        if len(places) <= CHUNK:
            return self._sum(hidden, targets)
        # Logits of many places are made again in the backward pass rather than all held until then.
        parts = zip(hidden.split(CHUNK), targets.split(CHUNK), strict=True)
        return torch.stack([checkpoint(self._sum, *part, use_reentrant=False) for part in parts]).sum()

    def _sum(self, hidden: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        return cross_entropy(self.decoder.output(hidden).float(), targets, reduction="sum")


@dataclass(frozen=True)
class RowBlock:
    """The rows of one group, whose prefix begins at ``start``, as a padded batch for SDPA.

    Attributes:
        places: Where the tokens of each row stand in the pack, shape (rows, longest); padding repeats a row's last.
        kept: Which places are no padding, shape (rows * longest,).
        mask: What each token sees of the prefix and of its row, shape (rows, 1, longest, prefix + longest).
    """

    start: int
    prefix: int
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
        starts = group.start + group.prefix + lengths.cumsum(0) - lengths
        places = starts[:, None] + torch.minimum(columns[None], lengths[:, None] - 1)
        seen = (columns[None, None] <= columns[None, :, None]) & (columns[None, None] < lengths[:, None, None])
        seen = torch.cat([torch.ones(*seen.shape[:2], group.prefix, dtype=torch.bool), seen], dim=2)
        mask = torch.zeros(seen.shape, dtype=dtype).masked_fill(~seen, -torch.inf)
        kept = (columns[None] < lengths[:, None]).flatten()
        blocks.append(RowBlock(group.start, group.prefix, places, kept, mask[:, None]))
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


def allow_row_blocks(model: nn.Module) -> None:
    """Makes a torchtune decoder's layers take :func:`row_blocks` as a mask, beside the masks they know."""
    for layer in model.layers:
        # torchtune picks the kernel in this one attribute of a layer; it is frozen at 0.6.1, so the name stays.
        layer.attn._attention_call = partial(_attention, layer.attn._attention_call)


def _attention(
    default: Callable[..., torch.Tensor],
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    mask: object,
    dropout_p: float,
    is_causal: bool,
) -> torch.Tensor:
    if not isinstance(mask, tuple):
        return default(query, key, value, mask=mask, dropout_p=dropout_p, is_causal=is_causal)
    return torch.cat([part for block in mask for part in _block(block, query, key, value, dropout_p)], dim=2)


def _block(
    block: RowBlock, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, dropout_p: float
) -> list[torch.Tensor]:
    """Attention of one group's prefix, then of its rows; each of shape (1, heads, tokens, head_dim)."""
    outputs, rows = [], len(block.places)
    prefix = [tensor[:, :, block.start : block.start + block.prefix] for tensor in (query, key, value)]
    if block.prefix:
        outputs.append(scaled_dot_product_attention(*prefix, dropout_p=dropout_p, is_causal=True))
    own = [tensor[0][:, block.places].transpose(0, 1) for tensor in (query, key, value)]
    keys, values = (
        torch.cat([prefix[i].expand(rows, -1, -1, -1), own[i]], dim=2) if block.prefix else own[i] for i in (1, 2)
    )
    attended = scaled_dot_product_attention(own[0], keys, values, attn_mask=block.mask, dropout_p=dropout_p)
    flat = attended.transpose(0, 1).flatten(1, 2)
    outputs.append(flat[None, :, block.kept])
    return outputs
