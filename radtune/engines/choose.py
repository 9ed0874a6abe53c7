"""From a command's keys to an engine: which model runs where. torch is imported only for those that need it."""

import os
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from radtune.config import InputError
from radtune.engines.guard import Endpoint, check_endpoint, find_endpoint, read_credential
from radtune.engines.limits import Limits
from radtune.engines.prompt import Engine, Prompt, Response
from radtune.privacy import say

if TYPE_CHECKING:
    import torch


ENGINES = ("torchtune", "transformers", "openai")
QUANTIZATIONS = ("8bit", "4bit")


class ModelKeys(Protocol):
    """The keys of a command that choose a model; what each means, the command says."""

    engine: str
    checkpoint_dir: Path | None
    adapter_dir: Path | list[Path] | None
    quantization: str | None
    batch_size: int | None
    device: str
    dtype: str
    prompt: str
    model: str | None
    base_url: str | None
    azure_endpoint: str | None
    api_version: str | None
    allow_endpoint: str | None
    zero_retention_confirmed: bool
    images_confirmed: bool
    concurrency: int
    requests_per_minute: int | None
    tokens_per_minute: int | None
    timeout_s: float
    max_retries: int


@dataclass(frozen=True)
class Model:
    """A model that can be asked."""

    load: Callable[[], Engine]  # makes it ready to answer; raises InputError where a file is damaged
    name: str  # its folder, or its name at a server
    adapter: str | None  # its adapter's folder
    settings: dict[str, Any]  # what its answers depend on
    number: int = 0  # of its adapter among those that the engine answers with


def endpoint_of(keys: ModelKeys) -> Endpoint | None:
    """The server of ``engine=openai``, or an InputError where it is none; None for a model that runs here."""
    if keys.engine != "openai":
        return None
    if not keys.model or not keys.model.isprintable() or not keys.model.strip():
        raise InputError("missing required key: model (its name at the server)")
    endpoint = find_endpoint(keys.base_url, keys.azure_endpoint, keys.api_version, os.environ)
    named = keys.allow_endpoint is not None and keys.allow_endpoint.lower() == endpoint.host
    return replace(endpoint, gets_key=endpoint.gets_key or named)


def adapters_of(keys: ModelKeys) -> Sequence[Path | None]:
    """The adapters to ask, None for the base; an InputError where there are several for an engine that takes one."""
    adapters = keys.adapter_dir if isinstance(keys.adapter_dir, list) else [keys.adapter_dir]
    if len(adapters) > 1 and keys.engine != "torchtune":
        raise InputError("adapter_dir: several go with engine=torchtune; ask others about each by itself")
    return adapters


def choose_models(
    keys: ModelKeys,
    leaving: str,
    pay_again: Callable[[Prompt, Response], bool] | None = None,
    check_response: Callable[[str], bool] | None = None,
    images: bool = False,
) -> list[Model]:
    """Finds a model, or the server that runs it; weights are not loaded yet. Of several adapters, one for each.

    An InputError where a key is missing or does not go with the engine, a folder is absent, or what is ``leaving`` may
    not be sent to the server; or where there are ``images``, and the model reads texts alone. For ``pay_again`` and
    ``check_response`` see :class:`radtune.engines.server.ServerEngine`.
    """
    adapters = adapters_of(keys)
    if (endpoint := endpoint_of(keys)) is not None:
        _check_folders(keys)
        if keys.quantization is not None:
            raise InputError("quantization= does not go with engine=openai: the server has its own models, give model=")
        from radtune.engines.frame import find_tokenizer, known_prompt
        from radtune.engines.server import ServerEngine

        confirmed = keys.images_confirmed or not images
        check_endpoint(endpoint, keys.allow_endpoint, keys.zero_retention_confirmed, leaving, confirmed)
        limits = Limits(
            keys.concurrency, keys.timeout_s, keys.max_retries, keys.requests_per_minute, keys.tokens_per_minute
        )
        name, credential = keys.model or "", read_credential(endpoint, os.environ)

        def load() -> Engine:
            # How it frames prompts can matter to a model that was trained here.
            tokenizer = find_tokenizer([*filter(None, (*adapters, keys.checkpoint_dir)), Path(name)])
            trained = tokenizer or (keys.prompt == "inference" and endpoint.is_loopback)
            known = known_prompt(tokenizer) if trained else None
            return ServerEngine(endpoint, credential, name, limits, pay_again, check_response, known)

        # Not its address: a server is started on another node or port, and the run goes on.
        return [Model(cache(load), name, None, {"engine": "openai", "model": name})]
    if images:
        raise InputError(f"engine={keys.engine} reads texts alone; a task that shows images needs engine=openai")
    if keys.checkpoint_dir is None:
        raise InputError("missing required key: checkpoint_dir (or engine=openai with base_url= and model=)")
    for name in ("model", "base_url", "azure_endpoint", "api_version"):
        if getattr(keys, name) is not None:
            raise InputError(f"{name}= goes with engine=openai")
    if keys.quantization and keys.engine != "transformers":
        raise InputError("quantization= goes with engine=transformers")
    import torch

    cuda = torch.cuda.is_available() if keys.device == "auto" else keys.device == "cuda"
    if cuda and not torch.cuda.is_available():
        raise InputError("device=cuda: no CUDA device here")
    from radtune.models.checkpoint import choose_dtype

    device, dtype = torch.device("cuda" if cuda else "cpu"), choose_dtype(keys.dtype, cuda)
    _check_folders(keys)
    load, weights = cache(partial(_load, keys, keys.checkpoint_dir, device, dtype)), _weights(keys.checkpoint_dir)
    found = []
    for number, adapter in enumerate(adapters):
        settings = {
            "engine": keys.engine,
            "model": weights,
            "adapter": _weights(adapter) if adapter else None,
            "quantization": keys.quantization,
            "dtype": str(dtype),
        }
        found.append(Model(load, str(keys.checkpoint_dir), str(adapter) if adapter else None, settings, number))
    return found


def _check_folders(keys: ModelKeys) -> None:
    for folder in filter(None, (keys.checkpoint_dir, *adapters_of(keys))):
        if not folder.is_dir():
            raise InputError(f"{folder}: no such folder")


def _load(keys: ModelKeys, folder: Path, device: "torch.device", dtype: "torch.dtype") -> Engine:
    adapter, *others = adapters = adapters_of(keys)
    with _patience():
        if keys.engine == "torchtune":
            from radtune.engines.local import TorchtuneEngine
            from radtune.models.checkpoint import load_checkpoint, load_side_by_side

            # One by itself is merged, which computes least.
            load = partial(load_side_by_side, folder, adapters) if others else partial(load_checkpoint, folder, adapter)
            return TorchtuneEngine(load(device, dtype), keys.batch_size)
        from radtune.engines.hugging_face import TransformersEngine
        from radtune.models.hugging_face import load_pretrained

        loaded = load_pretrained(folder, adapter, device, dtype, keys.quantization)
        return TransformersEngine(*loaded, keys.batch_size)


@contextmanager
def _patience() -> Iterator[None]:
    """Says what takes so long, once it has taken a second."""
    timer = threading.Timer(1.0, say, ("loading model…",))
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


def _weights(folder: Path) -> list[tuple[str, int, int]]:
    """What tells a model's folder from another's: its weights, configurations and tokenizer."""
    # Hashing 16 GB takes a minute; a retrained model has another time of writing.
    kinds = ("*.safetensors", "*.bin", "*.json", "*.jinja", "*.model", "original/tokenizer.model")
    files = sorted({path for kind in kinds for path in folder.glob(kind)})
    return [(str(path.relative_to(folder)), path.stat().st_size, path.stat().st_mtime_ns) for path in files]
