"""From a command's keys to an engine: which model runs where. torch is imported only for those that need it."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from radtune.config import InputError
from radtune.generation.engine import Engine
from radtune.reports import Report
from radtune.teacher.endpoint import check_endpoint, find_endpoint, read_credential, what_leaves
from radtune.teacher.limits import Limits

ENGINES = ("torchtune", "transformers", "openai")
QUANTIZATIONS = ("8bit", "4bit")


@dataclass(frozen=True)
class ModelChoice:
    """The keys of ``inference.py`` that choose a model; see there for their meaning."""

    engine: str
    checkpoint_dir: Path | None
    adapter_dir: Path | None
    quantization: str | None
    batch_size: int | None
    device: str
    dtype: str
    model: str | None
    base_url: str | None
    allow_endpoint: str | None
    zero_retention_confirmed: bool
    concurrency: int
    requests_per_minute: int | None
    tokens_per_minute: int | None
    timeout_s: float
    max_retries: int


@dataclass(frozen=True)
class Model:
    """A model that is ready to answer.

    Attributes:
        engine: What runs it.
        name: Its folder, or its name at a server.
        adapter: Its adapter's folder, None for none.
        settings: What its answers depend on.
    """

    engine: Engine
    name: str
    adapter: str | None
    settings: dict[str, Any]


def load_model(choice: ModelChoice, reports: Sequence[Report]) -> Model:
    """Loads a model, or finds the server that runs it.

    Args:
        choice: Which.
        reports: What it will be asked about; the guard of servers elsewhere says how many would leave this machine.

    Raises:
        InputError: A key is missing or does not go with the engine, a file is absent or damaged, or reports may not be
            sent to the server.
    """
    if choice.engine == "openai":
        return _at_server(choice, reports)
    if choice.checkpoint_dir is None:
        raise InputError("missing required key: checkpoint_dir (or engine=openai with base_url= and model=)")
    for name in ("model", "base_url"):
        if getattr(choice, name) is not None:
            raise InputError(f"{name}= goes with engine=openai")
    if choice.quantization and choice.engine != "transformers":
        raise InputError("quantization= goes with engine=transformers")
    import torch

    cuda = torch.cuda.is_available() if choice.device == "auto" else choice.device == "cuda"
    if cuda and not torch.cuda.is_available():
        raise InputError("device=cuda: no CUDA device here")
    bf16 = cuda if choice.dtype == "auto" else choice.dtype == "bf16"
    device, dtype = torch.device("cuda" if cuda else "cpu"), torch.bfloat16 if bf16 else torch.float32
    engine: Engine
    if choice.engine == "torchtune":
        from radtune.generation.checkpoint import load_checkpoint
        from radtune.generation.torchtune import TorchtuneEngine

        checkpoint = load_checkpoint(choice.checkpoint_dir, choice.adapter_dir, device, dtype)
        engine = TorchtuneEngine(checkpoint, choice.batch_size)
    else:
        from radtune.generation.transformers import load_engine

        engine = load_engine(
            choice.checkpoint_dir, choice.adapter_dir, device, dtype, choice.quantization, choice.batch_size
        )
    adapter = str(choice.adapter_dir) if choice.adapter_dir else None
    settings = {
        "engine": choice.engine,
        "model": _weights(choice.checkpoint_dir),
        "adapter": _weights(choice.adapter_dir) if choice.adapter_dir else None,
        "quantization": choice.quantization,
        "dtype": str(dtype),
    }
    return Model(engine, str(choice.checkpoint_dir), adapter, settings)


def _weights(folder: Path) -> list[tuple[str, int, int]]:
    # Hashing 16 GB takes a minute; a retrained model has another time of writing.
    files = sorted([*folder.glob("*.safetensors"), *folder.glob("*config.json")])
    return [(path.name, path.stat().st_size, path.stat().st_mtime_ns) for path in files]


def _at_server(choice: ModelChoice, reports: Sequence[Report]) -> Model:
    from radtune.generation.openai import ServerEngine

    for name in ("checkpoint_dir", "adapter_dir", "quantization"):
        if getattr(choice, name) is not None:
            raise InputError(f"{name}= does not go with engine=openai: the server has its own models, give model=")
    if not choice.model:
        raise InputError("missing required key: model (its name at the server)")
    for name in ("concurrency", "requests_per_minute", "tokens_per_minute", "timeout_s"):
        if (value := getattr(choice, name)) is not None and not value > 0:
            raise InputError(f"{name} must be above 0")
    if choice.max_retries < 0:
        raise InputError("max_retries must be 0 or more")
    endpoint = find_endpoint(choice.base_url, None, None, os.environ)
    check_endpoint(endpoint, choice.allow_endpoint, choice.zero_retention_confirmed, what_leaves(reports))
    limits = Limits(
        choice.concurrency, choice.timeout_s, choice.max_retries, choice.requests_per_minute, choice.tokens_per_minute
    )
    engine = ServerEngine(endpoint, read_credential(endpoint, os.environ), choice.model, limits)
    return Model(engine, choice.model, None, {"engine": "openai", "url": endpoint.url, "model": choice.model})
