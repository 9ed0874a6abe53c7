"""A static key-value cache with a shared beginning, the decoder's forward pass over it, and how much of it fits."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

import psutil
import torch
from torch.nn.functional import pad, scaled_dot_product_attention
from torchtune.modules import TransformerDecoder, TransformerSelfAttentionLayer

from radtune.models.checkpoint import Checkpoint
from radtune.models.side_by_side import Owners

# Running out of memory on a GPU, and in the CPU's allocator, which has no error of its own.
OUT_OF_MEMORY = (torch.OutOfMemoryError, MemoryError, RuntimeError)
_CPU_ALLOCATOR = "DefaultCPUAllocator"
# Of free memory, what the cache may take; the rest is for what a forward pass needs besides.
_SHARE = 0.5
# Beyond these a batch is hardly faster and its cache only larger.
_MOST_ROWS = {"cpu": 64, "cuda": 256}


@dataclass(frozen=True)
class KeyValueCache:
    """Keys and values of a batch's rows."""

    keys: torch.Tensor  # [layers, rows, key-value heads, columns, head width]
    values: torch.Tensor  # the same shape
    adapters: list[int]  # which of the model's adapters computes each row
    owners: Owners | None = None  # who is to be told so, where there are several
    beginnings: "KeyValueCache | None" = None  # what all rows begin with, a row for each adapter

    @property
    def shared(self) -> int:
        """Columns that all rows of an adapter have in common: rows come and go after them."""
        return self.beginnings.keys.shape[-2] if self.beginnings else 0

    @torch.inference_mode()
    def widened(self, columns: int) -> "KeyValueCache":
        """The same with so many more columns."""
        return replace(self, keys=pad(self.keys, (0, 0, 0, columns)), values=pad(self.values, (0, 0, 0, columns)))

    @torch.inference_mode()
    def give(self, row: int, adapter: int) -> None:
        """Makes a row one of an adapter's, with its beginning."""
        if self.beginnings and self.adapters[row] != adapter:
            for part, begun in ((self.keys, self.beginnings.keys), (self.values, self.beginnings.values)):
                part[:, row, :, : self.shared] = begun[:, adapter]
        self.adapters[row] = adapter

    @torch.inference_mode()
    def swap(self, row: int, other: int, columns: int) -> None:
        """Lets two rows change places, as far as their first columns go."""
        ours, theirs = self.adapters[row], self.adapters[other]
        first = self.shared if ours == theirs else 0
        for part in (self.keys, self.values):
            part[:, [row, other], :, first:columns] = part[:, [other, row], :, first:columns]
        self.adapters[row], self.adapters[other] = theirs, ours


@dataclass(frozen=True)
class PackedBatch:
    """New tokens of some neighbouring rows, one row's after another's, without padding."""

    tokens: torch.Tensor  # [tokens]
    rows: torch.Tensor  # [tokens], the row of each, counted from the first of these rows; never falling
    positions: torch.Tensor  # [tokens], what the rotary embedding turns by
    columns: torch.Tensor  # [tokens], where in the cache their keys and values go
    mask: torch.Tensor  # [rows, most tokens of a row, columns], what each of a row's tokens sees

    @property
    def offsets(self) -> torch.Tensor:
        """``[tokens]``, how many of its row's come before each."""
        return torch.arange(len(self.rows), device=self.rows.device) - torch.searchsorted(self.rows, self.rows)

    def pick(self, kept: torch.Tensor) -> "PackedBatch":
        """Some of the tokens, by their indices among all, ascending."""
        rows, seen = self.rows[kept], self.mask[self.rows[kept], self.offsets[kept]]
        picked = PackedBatch(self.tokens[kept], rows, self.positions[kept], self.columns[kept], self.mask)
        offsets = picked.offsets
        # What is no token sees all columns: attention has to be to something.
        mask = self.mask.new_ones(len(self.mask), int(offsets.max()) + 1, self.mask.shape[-1])
        mask[rows, offsets] = seen
        return PackedBatch(picked.tokens, rows, picked.positions, picked.columns, mask)


@torch.inference_mode()
def make_cache(checkpoint: Checkpoint, rows: int, columns: int, beginning: list[int]) -> KeyValueCache:
    """A cache of so many columns whose rows all begin with the same tokens (or none).

    The model reads them once, with each of its adapters. Rows are the first one's until they are given to others.
    """
    model, owners = checkpoint.model, checkpoint.owners
    attention, parameter = model.layers[0].attn, next(model.parameters())

    def zeros(rows: int, columns: int) -> Iterator[torch.Tensor]:
        shape = (len(model.layers), rows, attention.num_kv_heads, columns, attention.head_dim)
        return (torch.zeros(shape, dtype=parameter.dtype, device=parameter.device) for _ in range(2))

    cache = KeyValueCache(*zeros(rows, columns), [0] * rows, owners)
    if not beginning:
        return cache
    count = owners.count if owners else 1
    begun = KeyValueCache(*zeros(count, len(beginning)), [*range(count)], owners)
    forward(model, begun, causal([beginning] * count, [0] * count, parameter.device))
    for part, first in ((cache.keys, begun.keys), (cache.values, begun.values)):
        part[:, :, :, : len(beginning)] = first[:, :1]
    return replace(cache, beginnings=begun)


def causal(tokens: Sequence[Sequence[int]], lengths: Sequence[int], device: torch.device) -> PackedBatch:
    """Token ids (at least one a row) that follow one another in their rows, behind so many columns of each."""
    counts = torch.tensor([len(row) for row in tokens], device=device)
    begun = torch.tensor(lengths, device=device)
    rows = torch.arange(len(tokens), device=device).repeat_interleave(counts)
    flat = torch.tensor([token for row in tokens for token in row], device=device)
    width, most = max(map(len, tokens)), max(map(int.__add__, map(len, tokens), lengths))
    seen = begun[:, None] + torch.arange(width, device=device)
    mask = torch.arange(most, device=device) <= seen[:, :, None]
    positions = torch.arange(len(flat), device=device) - (counts.cumsum(0) - counts - begun)[rows]
    return PackedBatch(flat, rows, positions, positions, mask)


def forward(
    model: TransformerDecoder,
    cache: KeyValueCache,
    batch: PackedBatch,
    first_row: int = 0,
    wanted: torch.Tensor | None = None,
) -> torch.Tensor:
    """Takes new tokens through the model and keeps their keys and values.

    torchtune's own attention copies keys and values once per query head; here the heads of a group are further queries
    of their key head, and nothing is copied. Only attention pads its rows to one length.

    Their rows begin with the cache's ``first_row``. Returns hidden states after the last layer, ``[wanted, width]``: of
    the tokens that are wanted, ascending, since the last layer leaves out the others; None for all.
    """
    rows = slice(first_row, first_row + len(batch.mask))
    seen = (rows, slice(None), slice(batch.mask.shape[-1]))
    if cache.owners:
        cache.owners.begin(cache.adapters[rows], batch.rows)
    hidden = model.tok_embeddings(batch.tokens)
    asking, written = batch, (batch.rows + first_row, slice(None), batch.columns)
    offsets, bias = asking.offsets, _bias(model, asking.mask, hidden)
    last = len(model.layers) - 1
    for number, (layer, keys, values) in enumerate(zip(model.layers, cache.keys, cache.values, strict=True)):
        normed = layer.sa_norm(hidden)
        keys[written] = _turned(layer, layer.attn.k_proj(normed), batch.positions)
        values[written] = _heads(layer, layer.attn.v_proj(normed))
        if number == last and wanted is not None:
            asking = batch.pick(wanted)
            hidden, normed = hidden[wanted], normed[wanted]
            offsets, bias = asking.offsets, _bias(model, asking.mask, hidden)
            if cache.owners:
                cache.owners.pick(wanted)
        # Compiled where a pass is one token a row, since it is short and its kernels are many. Four graphs (the first
        # layer or another, one row or several) then serve all layers, lengths and batches; not where each pass computes
        # other adapters.
        short = hidden.is_cuda and asking.mask.shape[1] == 1
        attend = _compiled() if short and not cache.owners else _attend
        attended = attend(layer, normed, asking.positions, asking.rows, offsets, bias, keys[seen], values[seen])
        hidden = hidden + attended
        hidden = hidden + layer.mlp(layer.mlp_norm(hidden))
    return hidden


def _bias(model: TransformerDecoder, mask: torch.Tensor, hidden: torch.Tensor) -> torch.Tensor:
    """What is added to attention's scores, ``[rows, 1, group * most, columns]``: made once for all layers."""
    attention = model.layers[0].attn
    bias = hidden.new_zeros(mask.shape).masked_fill_(~mask, -torch.inf)
    return bias.repeat(1, attention.num_heads // attention.num_kv_heads, 1)[:, None]


def _attend(
    layer: TransformerSelfAttentionLayer,
    normed: torch.Tensor,
    positions: torch.Tensor,
    rows: torch.Tensor,
    offsets: torch.Tensor,
    bias: torch.Tensor,
    keys: torch.Tensor,
    values: torch.Tensor,
) -> torch.Tensor:
    attention = layer.attn
    group = attention.num_heads // attention.num_kv_heads
    query = _turned(layer, attention.q_proj(normed), positions)
    padded = query.new_zeros(len(bias), bias.shape[2] // group, *query.shape[1:])
    padded[rows, offsets] = query
    # [rows, key-value heads, group * most, head width]
    folded = padded.unflatten(2, (attention.num_kv_heads, group)).permute(0, 2, 3, 1, 4).flatten(2, 3)
    attended = scaled_dot_product_attention(folded, keys, values, attn_mask=bias)
    unfolded = attended.unflatten(2, (group, -1)).permute(0, 3, 1, 2, 4).flatten(2)
    return attention.output_proj(unfolded[rows, offsets])


@lru_cache(maxsize=1)
def _compiled() -> Callable[..., torch.Tensor]:
    # Made when it is first needed: the compiler alone takes two seconds to import.
    return torch.compile(_attend, dynamic=True)


def _heads(layer: TransformerSelfAttentionLayer, projected: torch.Tensor) -> torch.Tensor:
    return projected.unflatten(1, (-1, layer.attn.head_dim))


def _turned(layer: TransformerSelfAttentionLayer, projected: torch.Tensor, positions: torch.Tensor) -> torch.Tensor:
    return layer.attn.pos_embeddings(_heads(layer, projected)[None], input_pos=positions[None])[0]


def fitting_rows(
    layers: int, kv_heads: int, head_dim: int, columns: int, dtype: torch.dtype, device: torch.device
) -> int:
    """How many rows of a cache of such a model fit into half of the memory that is free on a device, at least one."""
    # A key and a value for every layer, head and position.
    row_bytes = 2 * layers * kv_heads * head_dim * columns * dtype.itemsize
    return max(1, min(_MOST_ROWS.get(device.type, 1), int(_SHARE * _free_bytes(device) / row_bytes)))


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error is one of :data:`OUT_OF_MEMORY` and says that memory ran out."""
    return isinstance(error, (torch.OutOfMemoryError, MemoryError)) or _CPU_ALLOCATOR in str(error)


def _free_bytes(device: torch.device) -> int:
    if device.type == "cuda":
        # What torch holds on to after an earlier call, and has no use for now, it can hand out again.
        kept = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        return torch.cuda.mem_get_info(device)[0] + kept
    return psutil.virtual_memory().available
