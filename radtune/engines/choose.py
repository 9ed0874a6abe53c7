"""From a command's keys to an engine: which model runs where. torch is imported only for those that need it."""

import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from radtune.config import InputError
from radtune.engines.guard import (
    Credential,
    Endpoint,
    check_endpoint,
    find_endpoint,
    read_credential,
    what_leaves,
)
from radtune.engines.limits import Limits, check_limits
from radtune.engines.prompt import Engine, Prompt, Request, Response, Sampling
from radtune.report import Report
from radtune.tasks.schemas import json_schema, read_json

if TYPE_CHECKING:
    import torch

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
    """A model that can be asked.

    Attributes:
        load: Makes it ready to answer; raises InputError where a file is damaged.
        name: Its folder, or its name at a server.
        adapter: Its adapter's folder, None for none.
        settings: What its answers depend on.
    """

    load: Callable[[], Engine]
    name: str
    adapter: str | None
    settings: dict[str, Any]


def choose_model(choice: ModelChoice, reports: Sequence[Report]) -> Model:
    """Finds a model, or the server that runs it; weights are not loaded yet.

    Args:
        choice: Which.
        reports: What it will be asked about; the guard of servers elsewhere says how many would leave this machine.

    Raises:
        InputError: A key is missing or does not go with the engine, a folder is absent, or reports may not be sent to
            the server.
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
    for folder in filter(None, (choice.checkpoint_dir, choice.adapter_dir)):
        if not folder.is_dir():
            raise InputError(f"{folder}: no such folder")
    adapter = str(choice.adapter_dir) if choice.adapter_dir else None
    settings = {
        "engine": choice.engine,
        "model": _weights(choice.checkpoint_dir),
        "adapter": _weights(choice.adapter_dir) if choice.adapter_dir else None,
        "quantization": choice.quantization,
        "dtype": str(dtype),
    }
    return Model(lambda: _load(choice, device, dtype), str(choice.checkpoint_dir), adapter, settings)


def _load(choice: ModelChoice, device: "torch.device", dtype: "torch.dtype") -> Engine:
    folder, adapter = choice.checkpoint_dir, choice.adapter_dir
    assert folder is not None  # noqa: S101  (choose_model has seen to it)
    if choice.engine == "torchtune":
        from radtune.engines.local import TorchtuneEngine
        from radtune.models.checkpoint import load_checkpoint

        return TorchtuneEngine(load_checkpoint(folder, adapter, device, dtype), choice.batch_size)
    from radtune.engines.hugging_face import load_engine

    return load_engine(folder, adapter, device, dtype, choice.quantization, choice.batch_size)


def _weights(folder: Path) -> list[tuple[str, int, int]]:
    """What tells a model's folder from another's: its weights, configurations and tokenizer."""
    # Hashing 16 GB takes a minute; a retrained model has another time of writing.
    kinds = ("*.safetensors", "*.bin", "*.json", "*.model", "original/tokenizer.model")
    files = sorted({path for kind in kinds for path in folder.glob(kind)})
    return [(str(path.relative_to(folder)), path.stat().st_size, path.stat().st_mtime_ns) for path in files]


class _AskedByRequest:
    """The engine of servers for callers that still ask by :class:`Request`."""

    def __init__(self, endpoint: Endpoint, credential: Credential, model: str, limits: Limits) -> None:
        self._service = endpoint, credential, model, limits

    def generate(self, prompts: Sequence[Prompt], request: Request) -> Iterator[tuple[int, Response]]:
        from radtune.engines.server import ServerEngine

        schema = json_schema(request.task) if request.task else None
        sampling = Sampling(request.temperature, request.max_new_tokens, None, request.go_on, request.scores, schema)
        task = request.task or ""
        engine = ServerEngine(*self._service, check_response=lambda text: read_json(text, task, "") is not None)
        return engine.generate(prompts, sampling)


def _at_server(choice: ModelChoice, reports: Sequence[Report]) -> Model:
    for name in ("checkpoint_dir", "adapter_dir", "quantization"):
        if getattr(choice, name) is not None:
            raise InputError(f"{name}= does not go with engine=openai: the server has its own models, give model=")
    if not choice.model:
        raise InputError("missing required key: model (its name at the server)")
    limits = Limits(
        choice.concurrency, choice.timeout_s, choice.max_retries, choice.requests_per_minute, choice.tokens_per_minute
    )
    check_limits(limits)
    endpoint = find_endpoint(choice.base_url, None, None, os.environ)
    check_endpoint(endpoint, choice.allow_endpoint, choice.zero_retention_confirmed, what_leaves(reports))
    engine = _AskedByRequest(endpoint, read_credential(endpoint, os.environ), choice.model, limits)
    # Not its address: a server is started on another node or port, and the run goes on.
    return Model(lambda: engine, choice.model, None, {"engine": "openai", "model": choice.model})
