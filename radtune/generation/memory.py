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


def fitting_rows(model: TransformerDecoder, columns: int) -> int:
    """How many rows of a cache fit into half of the memory that is free where the model is, at least one.

    Args:
        model: The model.
        columns: Positions of each row.
    """
    parameter, attention = next(model.parameters()), model.layers[0].attn
    row_bytes = 2 * len(model.layers) * attention.num_kv_heads * attention.head_dim * columns * parameter.itemsize
    most = _MOST_ROWS.get(parameter.device.type, 1)
    return max(1, min(most, int(_SHARE * _free_bytes(parameter.device) / row_bytes)))


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error is one of :data:`OUT_OF_MEMORY` and says that memory ran out."""
    return isinstance(error, (torch.OutOfMemoryError, MemoryError)) or _CPU_ALLOCATOR in str(error)


def _free_bytes(device: torch.device) -> int:
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0]
    try:
        # What the kernel can hand out, caches that it can drop included.
        lines = Path("/proc/meminfo").read_text().splitlines()
        return 1024 * int(next(line.split()[1] for line in lines if line.startswith("MemAvailable:")))
    except (OSError, StopIteration):
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2
