"""How many rows of a key-value cache fit into memory."""

import os
from pathlib import Path

import torch
from torchtune.modules import TransformerDecoder

# Running out of memory on a GPU, and in the CPU's allocator, which has no error of its own.
OUT_OF_MEMORY = (torch.OutOfMemoryError, MemoryError, RuntimeError)
_CPU_ALLOCATOR = "DefaultCPUAllocator"

# Of free memory, what the cache may take; the rest is for what a forward pass needs besides.
_SHARE = 0.5
# Beyond these a batch is hardly faster and its cache only larger.
_MOST_ROWS = {"cpu": 64, "cuda": 256}


def fitting_rows(row_bytes: int, device: torch.device) -> int:
    """How many rows of a cache fit into half of the memory that is free on a device, at least one.

    Args:
        row_bytes: What one row takes, :func:`cache_bytes`.
        device: Where the model is.
    """
    most = _MOST_ROWS.get(device.type, 1)
    return max(1, min(most, int(_SHARE * _free_bytes(device) / row_bytes)))


def rows_for_decoder(model: TransformerDecoder, columns: int) -> int:
    """How many rows of so many positions fit in beside one of torchtune's models."""
    parameter, attention = next(model.parameters()), model.layers[0].attn
    row_bytes = cache_bytes(len(model.layers), attention.num_kv_heads, attention.head_dim, columns, parameter.dtype)
    return fitting_rows(row_bytes, parameter.device)


def cache_bytes(layers: int, kv_heads: int, head_dim: int, columns: int, dtype: torch.dtype) -> int:
    """What one row of a cache takes: a key and a value for every layer, head and position.

    Args:
        layers: Layers of the model.
        kv_heads: Heads of keys and values in each.
        head_dim: Numbers in each head's key.
        columns: Positions of the row.
        dtype: What they are held in.
    """
    return 2 * layers * kv_heads * head_dim * columns * dtype.itemsize


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error is one of :data:`OUT_OF_MEMORY` and says that memory ran out."""
    return isinstance(error, (torch.OutOfMemoryError, MemoryError)) or _CPU_ALLOCATOR in str(error)


def _free_bytes(device: torch.device) -> int:
    if device.type == "cuda":
        # What torch holds on to after an earlier call, and has no use for now, it can hand out again.
        kept = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        return torch.cuda.mem_get_info(device)[0] + kept
    try:
        # What the kernel can hand out, caches that it can drop included.
        lines = Path("/proc/meminfo").read_text().splitlines()
        return 1024 * int(next(line.split()[1] for line in lines if line.startswith("MemAvailable:")))
    except (OSError, StopIteration):
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2
