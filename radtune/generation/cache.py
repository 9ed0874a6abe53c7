"""A static key-value cache with a shared beginning, and the decoder's forward pass over it."""

from dataclasses import dataclass

import torch
from torch.nn.functional import scaled_dot_product_attention
from torchtune.modules import TransformerDecoder, TransformerSelfAttentionLayer


@dataclass(frozen=True)
class KeyValueCache:
    """Keys and values of a batch's rows.

    Each row begins with the same :attr:`shared` columns, written once: rows come and go after them. The last column is
    for padding, and no query sees it.

    Attributes:
        keys: ``[layers, rows, key-value heads, columns, head width]``.
        values: The same shape.
        shared: Columns that all rows have in common.
    """

    keys: torch.Tensor
    values: torch.Tensor
    shared: int

    @property
    def padding(self) -> int:
        """The column for padding."""
        return self.keys.shape[3] - 1

    @torch.inference_mode()
    def move(self, source: int, target: int, columns: int) -> None:
        """Copies a row's first columns over another row."""
        for part in (self.keys, self.values):
            part[:, target, :, self.shared : columns] = part[:, source, :, self.shared : columns]


@torch.inference_mode()
def make_cache(model: TransformerDecoder, rows: int, columns: int, beginning: list[int]) -> KeyValueCache:
    """A cache whose rows all begin with the same tokens, which go through the model once.

    Args:
        model: The model.
        rows: Rows.
        columns: Positions of each, the beginning included.
        beginning: Token ids that every row begins with; may be empty.
    """
    attention = model.layers[0].attn
    parameter = next(model.parameters())
    shape = (len(model.layers), rows, attention.num_kv_heads, columns + 1, attention.head_dim)
    keys, values = (torch.zeros(shape, dtype=parameter.dtype, device=parameter.device) for _ in range(2))
    if beginning:
        first = KeyValueCache(keys[:, :1], values[:, :1], 0)
        tokens = torch.tensor([beginning], device=parameter.device)
        forward(model, first, tokens, *causal(tokens, torch.zeros(1, dtype=torch.long, device=tokens.device)))
        for part in (keys, values):
            part[:, 1:, :, : len(beginning)] = part[:, :1, :, : len(beginning)].clone()
    return KeyValueCache(keys, values, len(beginning))


def causal(
    tokens: torch.Tensor, lengths: torch.Tensor, padding: torch.Tensor | None = None
) -> tuple[torch.Tensor, torch.Tensor]:
    """Positions and mask of tokens that follow one another.

    Args:
        tokens: ``[rows, new]``.
        lengths: ``[rows]``, columns that each row has already.
        padding: ``[rows, new]``, which tokens are none; they are put at position 0. None for no padding.

    Returns:
        Positions ``[rows, new]``, and which columns each sees, ``[rows, new, columns]``.
    """
    positions = lengths[:, None] + torch.arange(tokens.shape[1], device=tokens.device)
    if padding is not None:
        positions = positions.masked_fill(padding, 0)
    columns = torch.arange(int(positions.max()) + 1, device=tokens.device)
    return positions, columns <= positions[:, :, None]


def forward(
    model: TransformerDecoder,
    cache: KeyValueCache,
    tokens: torch.Tensor,
    positions: torch.Tensor,
    mask: torch.Tensor,
    columns: torch.Tensor | None = None,
    first_row: int = 0,
    wanted: torch.Tensor | None = None,
) -> torch.Tensor:
    """Takes new tokens of some neighbouring rows through the model and keeps their keys and values.

    torchtune's own attention copies keys and values once per query head; here the heads of a group are further queries
    of their key head, and nothing is copied.

    Args:
        model: The model.
        cache: The cache; written to.
        tokens: ``[rows, new]``.
        positions: ``[rows, new]``, what the rotary embedding turns by.
        mask: ``[rows, new, columns]``, what each new token sees.
        columns: ``[rows, new]``, where their keys and values go; None for their positions.
        first_row: The cache's row that is the first of these.
        wanted: ``[rows, wanted]``, which of the new tokens' hidden states are wanted; the last layer leaves out the
            others. None for all.

    Returns:
        Hidden states after the last layer, ``[rows, wanted, width]``.
    """
    columns = positions if columns is None else columns
    rows = torch.arange(first_row, first_row + len(tokens), device=tokens.device)[:, None]
    seen = (slice(first_row, first_row + len(tokens)), slice(None), slice(mask.shape[-1]))
    hidden = model.tok_embeddings(tokens)
    last = len(model.layers) - 1
    for number, (layer, keys, values) in enumerate(zip(model.layers, cache.keys, cache.values, strict=True)):
        normed = layer.sa_norm(hidden)
        keys[rows, :, columns] = _turned(layer, layer.attn.k_proj(normed), positions)
        values[rows, :, columns] = _heads(layer, layer.attn.v_proj(normed))
        if number == last and wanted is not None:
            picked = torch.arange(len(tokens), device=tokens.device)[:, None], wanted
            hidden, normed, positions, mask = hidden[picked], normed[picked], positions[picked], mask[picked]
        # Compiled once for all layers and lengths, which pays where a pass is short and its kernels are many.
        attend = _compiled if hidden.is_cuda else _attend
        hidden = hidden + attend(layer, normed, positions, mask, keys[seen], values[seen])
        hidden = hidden + layer.mlp(layer.mlp_norm(hidden))
    return hidden


def _attend(
    layer: TransformerSelfAttentionLayer,
    normed: torch.Tensor,
    positions: torch.Tensor,
    mask: torch.Tensor,
    keys: torch.Tensor,
    values: torch.Tensor,
) -> torch.Tensor:
    attention = layer.attn
    query = _turned(layer, attention.q_proj(normed), positions)
    # [rows, key-value heads, group * new, head width]
    group = attention.num_heads // attention.num_kv_heads
    folded = query.unflatten(2, (attention.num_kv_heads, group)).permute(0, 2, 3, 1, 4).flatten(2, 3)
    attended = scaled_dot_product_attention(folded, keys, values, attn_mask=mask.repeat(1, group, 1)[:, None])
    return attention.output_proj(attended.unflatten(2, (group, -1)).permute(0, 3, 1, 2, 4).flatten(2))


_compiled = torch.compile(_attend, dynamic=True)


def _heads(layer: TransformerSelfAttentionLayer, projected: torch.Tensor) -> torch.Tensor:
    return projected.unflatten(2, (-1, layer.attn.head_dim))


def _turned(layer: TransformerSelfAttentionLayer, projected: torch.Tensor, positions: torch.Tensor) -> torch.Tensor:
    return layer.attn.pos_embeddings(_heads(layer, projected), input_pos=positions)
