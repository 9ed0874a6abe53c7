"""A model on disk in Hugging Face's layout, with or without an adapter, read into torchtune's modules.

One weight after the other, so that the model is held once. What is absent, damaged or does not fit is an InputError.
"""

import hashlib
import json
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from pkgutil import resolve_name
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import nn
from torchtune.modules import TransformerDecoder
from torchtune.modules.peft import LoRALinear, get_adapter_params, set_trainable_params
from torchtune.training import set_default_dtype

from radtune.config import InputError, as_input_error
from radtune.files import read_json
from radtune.models.families import Family, find_family
from radtune.models.side_by_side import Owners, Pair, put_side_by_side
from radtune.privacy import say

ADAPTER_CONFIG, ADAPTER_WEIGHTS = "adapter_config.json", "adapter_model.safetensors"
# What PEFT puts before the names of the base model.
PEFT_PREFIX = "base_model.model."
INDEX = "model.safetensors.index.json"
# In the metadata of an adapter's weights: the fingerprint of the base model that it was trained on.
BASE = "base_sha256"
# What of config.json decides the sizes of the layers.
_SIZES = (
    "hidden_size", "intermediate_size", "num_attention_heads", "num_key_value_heads", "num_hidden_layers", "vocab_size",
    "max_position_embeddings",
)  # fmt: skip
# Beyond what models have: Llama 3.1 405B has 126 layers.
_MOST_LAYERS, _MOST_POSITIONS, _MOST_ALPHA = 1_000, 2**20, 1e9
# What PEFT may write into the config of a plain LoRA adapter. Any other entry that is set makes it another kind.
_PLAIN = (
    "auto_mapping", "base_model_name_or_path", "exclude_modules", "inference_mode", "init_lora_weights",
    "layers_pattern", "layers_to_transform", "lora_alpha", "lora_dropout", "megatron_core", "peft_type", "peft_version",
    "qalora_group_size", "r", "revision", "runtime_config", "target_modules", "task_type", "use_rslora", "eva_config",
)  # fmt: skip
# Starts of training that leave the base model's weights as they are; PiSSA, OLoRA, CorDA and LoftQ do not.
_STARTS = (None, True, False, "gaussian", "eva", "orthogonal")
# Of the others, those that change them to the same whenever PEFT loads the adapter: by no chance, and from no data.
STARTS_AGAIN = ("pissa", "olora")
# Rows of each weight that a fingerprint is made of: training changes all of them, and reading all takes a minute.
_ROWS = 16

Weights = Iterable[tuple[str, torch.Tensor]]


@dataclass(frozen=True)
class ModelFolder:
    """A model's folder whose ``config.json`` has been read and is of a known family."""

    path: Path
    config: dict[str, Any]
    family: Family

    def weights(self) -> Iterator[tuple[str, torch.Tensor]]:
        """Name and tensor of each weight, on the CPU."""
        for path in weight_files(self.path):
            yield from read_weights(path)

    def decoder(self, lora: Mapping[str, Any] | None = None) -> TransformerDecoder:
        """A torchtune model of its sizes; with LoRA layers where ``lora``, a training YAML's ``model``, is given."""
        family = self.family
        if lora and lora.get("apply_lora_to_output") and self.config.get("tie_word_embeddings"):
            raise InputError(f"model.apply_lora_to_output: the output layer of {self.path} is its embeddings")
        wrong = f"{self.path}/config.json: not that of a {family.name}"
        if lora and lora.get("quantize_base"):
            # Blocks of 4-bit weights do not divide all sizes, and torchtune's have no biases.
            wrong = f"model.quantize_base: {self.path} cannot be held in 4 bits"
        with as_input_error(wrong, ArithmeticError, AssertionError, LookupError, RuntimeError, TypeError, ValueError):
            builder = f"torchtune.models.{family.builder}.{'' if lora is None else 'lora_'}{family.builder}"
            return resolve_name(builder)(**family.arguments(self.config), **(lora or {}))

    def parameters(self, lora: Mapping[str, Any]) -> tuple[int, int]:
        """How many numbers an adapter trains, and how many it and the model have together; reads no weight."""
        with torch.device("meta"):
            sizes = {name: p.numel() for name, p in self.decoder({**lora, "quantize_base": False}).named_parameters()}
        return sum(size for name, size in sizes.items() if ".lora_" in name), sum(sizes.values())

    def tokenizer(self, max_seq_len: int | None = None) -> Any:
        """Its tokenizer; ``max_seq_len`` is where training rows are cut."""
        return self.family.load_tokenizer(self.path, self.config["vocab_size"], max_seq_len)

    def stop_tokens(self) -> list[int]:
        """The tokens that end an answer, ascending."""
        return sorted(self.tokenizer().stop_tokens)


@dataclass(frozen=True)
class Checkpoint:
    """A model ready to generate, and its tokenizer."""

    model: TransformerDecoder
    tokenizer: Any
    max_positions: int
    owners: Owners | None = None  # of a model with several adapters: whose tokens it computes
    names: tuple[str, ...] = ("the model",)  # what messages call it, or each of its adapters


@dataclass(frozen=True)
class Adapter:
    """A plain LoRA adapter: down-projection (rank, inputs) and up-projection (outputs, rank) by the base's weight.

    ``name`` is where it is from, for messages; ``scale`` is alpha over rank.
    """

    name: str
    pairs: dict[str, tuple[torch.Tensor, torch.Tensor]]
    scale: float

    def added(self, name: str, weight: torch.Tensor) -> torch.Tensor:
        """A base model's weight and what the adapter adds: scale * up @ down (Hu et al. 2021, section 4.1).

        Summed in float32: rounded once, to what the model will be held in, and not to the folder's bfloat16 before.
        """
        if name not in self.pairs:
            return weight
        down, up = self.pairs[name]
        if (len(up), down.shape[1]) != tuple(weight.shape):
            raise InputError(f"{self.name}: the adapter of {name} has another shape than the base model's weight")
        return weight.float() + self.scale * (up.float() @ down.float())


def choose_dtype(name: str, cuda: bool) -> torch.dtype:
    """What weights are held and computed in: ``fp32``, ``bf16``, or by ``auto`` bf16 on a GPU alone."""
    bf16 = cuda if name == "auto" else name == "bf16"
    if bf16 and not cuda and not torch.backends.cpu.get_cpu_capability().startswith("AVX512"):
        # Measured with a model of 135 million parameters on two cores: 30 times slower.
        say("dtype=bf16: this CPU has no instructions for it, and fp32 is many times faster")
    return torch.bfloat16 if bf16 else torch.float32


def open_model(folder: Path) -> ModelFolder:
    """Reads a model folder's ``config.json``, of a known family and with all sizes."""
    path = _in_folder(folder, "config.json")
    config = read_json(path)
    family = find_family(config, path)
    for name in _SIZES:
        if type(config.get(name)) is not int or config[name] < 1:
            raise InputError(f"{path}: {name} is missing or no number above 0")
    if config["max_position_embeddings"] > _MOST_POSITIONS:
        raise InputError(f"{path}: max_position_embeddings: at most {_MOST_POSITIONS:,} are run here")
    check_sizes(config, folder)
    return ModelFolder(folder, config, family)


def _in_folder(folder: Path, name: str) -> Path:
    """A file of a folder; where only folders in it have that file, as a training's has, they are named."""
    if not (folder / name).is_file() and (inner := sorted(path.parent for path in folder.glob(f"*/{name}"))):
        raise InputError(f"{folder}: has no {name}, but {' and '.join(map(str, inner))} has; give that folder")
    return folder / name


def check_sizes(config: dict[str, Any], folder: Path) -> None:
    """Refuses a ``config.json`` that asks for more layers than models have, or for wider ones than its files can hold.

    Before anything of that size is made.
    """
    # Weights are held in 4 bits or more, in whatever format; some hundred megabytes are nobody's trouble.
    size = sum(path.stat().st_size for kind in ("*.safetensors", "*.bin") for path in folder.glob(kind))
    values = max(2 * size, 10**8)
    # A model for images, too, has a configuration for each part.
    for part in (config, *(part for part in config.values() if isinstance(part, dict))):
        sizes = {name: size for name, size in part.items() if type(size) is int}
        most = dict.fromkeys(("num_hidden_layers", "n_layer", "num_layers"), _MOST_LAYERS)
        widest = values // max(sizes.get("hidden_size", 1), 1)
        most |= dict.fromkeys(("hidden_size", "vocab_size", "intermediate_size"), widest)
        for name, limit in most.items():
            if sizes.get(name, 0) > limit:
                raise InputError(f"{folder / 'config.json'}: {name}: more than {limit:,}, the most for such weights")


def weight_files(folder: Path) -> list[Path]:
    """A model's safetensors files: those that the index names, else those that are there."""
    index = folder / INDEX
    if index.is_file():
        try:
            paths = sorted(folder / name for name in set(read_json(index)["weight_map"].values()))
        except (KeyError, TypeError, AttributeError):
            raise InputError(f"{index}: no weight_map") from None
    else:
        paths = sorted(path for path in folder.glob("*.safetensors") if not path.name.startswith("adapter"))
    if not paths:
        raise InputError(f"{folder}: no *.safetensors")
    for path in paths:
        if not path.is_file():
            raise InputError(f"{path}: no such file")
    return paths


@contextmanager
def _opened(path: Path) -> Iterator[Any]:
    what = f"{path}: cannot be read as safetensors"
    with as_input_error(what, OSError, SafetensorError), safe_open(path, framework="pt") as stream:
        yield stream


def read_weights(path: Path, whole: bool = True) -> Iterator[tuple[str, Any]]:
    """The tensors of a safetensors file, one by one, on the CPU; or slices, of which what is asked for is read."""
    with _opened(path) as stream:
        for name in stream.keys():  # noqa: SIM118  (no mapping)
            yield name, stream.get_tensor(name) if whole else stream.get_slice(name)


def _slices(folder: Path) -> Iterator[tuple[str, Any]]:
    return (named for path in weight_files(folder) for named in read_weights(path, whole=False))


def fingerprint(folder: Path) -> str:
    """A hash of the first rows of all weights of a model, the same whatever files and floats of more bits hold them."""
    first = ((name, weight[:_ROWS].float().contiguous().numpy()) for name, weight in _slices(folder))
    rows = {name: hashlib.sha256(values.tobytes()).hexdigest() for name, values in first}
    return hashlib.sha256(json.dumps(rows, sort_keys=True).encode()).hexdigest()


def check_base(adapter: Path, base: Path) -> None:
    """Refuses an adapter that no engine runs as it was trained, or another base model; says what cannot be told.

    Another base is also one that has the adapter in its weights already. Adapters of ours know theirs by a hash, others
    by a name.
    """
    path = _in_folder(adapter, ADAPTER_CONFIG)
    config = read_json(path)
    as_trained = {
        "task_type": config.get("task_type") in (None, "CAUSAL_LM"),
        # Its projections are put on behind these tokens alone; without a word, nowhere where a prompt has none.
        "alora_invocation_tokens": not config.get("alora_invocation_tokens"),
        "init_lora_weights": config.get("init_lora_weights") in (*_STARTS, *STARTS_AGAIN),
    }
    if strange := [name for name, is_so in as_trained.items() if not is_so]:
        raise InputError(f"{path}: {strange[0]} makes it more than plain LoRA, and such is not run here")
    with _opened(adapter / ADAPTER_WEIGHTS) as stream:
        trained_on = (stream.metadata() or {}).get(BASE)
        ups = [name for name in stream.keys() if ".lora_B." in name]  # noqa: SIM118
        if ups and not any(stream.get_tensor(name).any() for name in ups):
            say(f"warning: {adapter}: all of its up-projections are 0, as before training: it changes nothing")
    if adapter.resolve() == base.resolve() or (trained_on and trained_on != fingerprint(base)):
        raise InputError(
            f"{adapter}: not trained on the weights in {base}: they are another model's, or have the adapter in them "
            "already; give its base model, or leave the adapter out"
        )
    named = config.get("base_model_name_or_path")
    if not trained_on and Path(str(named)).name != base.resolve().name:
        said = f"was trained on {named}" if named else "does not say which model it was trained on"
        say(f"warning: {adapter}: it {said}; if not on the weights in {base}, its answers are wrong")


def read_adapter(folder: Path) -> Adapter:
    """Reads a plain LoRA adapter in PEFT's format; one of another kind is refused by what makes it one."""
    path = folder / ADAPTER_CONFIG
    config, tensors = read_json(path), dict(read_weights(folder / ADAPTER_WEIGHTS))
    strange = [] if config.get("peft_type", "LORA") == "LORA" else ["peft_type"]
    strange += [name for name, value in config.items() if name not in _PLAIN and value and value != "none"]
    strange += [] if config.get("init_lora_weights") in _STARTS else ["init_lora_weights"]
    if strange:
        raise InputError(f"{path}: {strange[0]} makes it more than plain LoRA, which only engine=transformers can run")
    rank, alpha = config.get("r"), config.get("lora_alpha")
    if type(rank) is not int or rank < 1 or type(alpha) not in (int, float) or not 0 < alpha < _MOST_ALPHA:
        raise InputError(f"{path}: r or lora_alpha is missing or no number")
    check_finite(tensors.items(), folder)
    pairs = {}
    for name, down in tensors.items():
        if name.endswith(".lora_A.weight") and (up := tensors.get(name.replace("lora_A", "lora_B"))) is not None:
            if (down.dim(), up.dim()) != (2, 2) or (down.shape[0], up.shape[1]) != (rank, rank):
                raise InputError(f"{folder}: adapter weight {name} has another shape than its adapter_config.json says")
            pairs[name.removeprefix(PEFT_PREFIX).replace(".lora_A.", ".")] = down, up
    if not pairs or 2 * len(pairs) != len(tensors):
        raise InputError(f"{folder}: not a plain LoRA adapter (pairs of lora_A and lora_B)")
    # Kalajdzievski 2023 scales by the root of the rank.
    return Adapter(str(folder), pairs, alpha / (math.sqrt(rank) if config.get("use_rslora") else rank))


def check_finite(weights: Weights, folder: Path) -> None:
    """Refuses what a training left that came to nothing: weights with values that are no numbers."""
    for name, weight in weights:
        # Thirty times as fast on a CPU as isfinite().all(), and without a copy.
        if weight.is_floating_point() and not all(end.isfinite() for end in weight.detach().aminmax()):
            raise InputError(f"{folder}: weight {name} holds values that are no numbers")


def merged(weights: Weights, adapter: Adapter) -> Iterator[tuple[str, torch.Tensor]]:
    """Weights of a base model with an adapter added to them."""
    left = set(adapter.pairs)
    for name, weight in weights:
        left.discard(name)
        yield name, adapter.added(name, weight)
    if left:
        raise InputError(f"{adapter.name}: the base model has no {min(left)}, for which there is an adapter")


def load_checkpoint(folder: Path, adapter: Path | None, device: torch.device, dtype: torch.dtype) -> Checkpoint:
    """Loads a model for inference, with the LoRA adapter of a folder in PEFT's format merged in if one is given."""
    base = open_model(folder)
    if adapter is not None:
        check_base(adapter, folder)
    weights = base.weights() if adapter is None else merged(base.weights(), read_adapter(adapter))
    model = build_decoder(base, weights, device, dtype)
    return Checkpoint(model, base.tokenizer(), base.config["max_position_embeddings"])


def load_side_by_side(folder: Path, adapters: Sequence[Path], device: torch.device, dtype: torch.dtype) -> Checkpoint:
    """Loads a model for inference with several LoRA adapters, each known by its place; none is merged in."""
    for adapter in adapters:
        check_base(adapter, folder)
    read, base = [read_adapter(adapter) for adapter in adapters], open_model(folder)
    checkpoint = load_checkpoint(folder, None, device, dtype)
    placed = [dict(_placed(adapter, base, checkpoint.model)) for adapter in read]
    return replace(checkpoint, owners=put_side_by_side(checkpoint.model, placed), names=tuple(map(str, adapters)))


def _placed(adapter: Adapter, base: ModelFolder, model: nn.Module) -> Iterator[tuple[str, Pair]]:
    """An adapter's projections by the decoder's linear layer that they are for; an InputError where it has none."""
    for theirs, (down, up) in adapter.pairs.items():
        try:
            name, up = base.family.to_torchtune(theirs, up, base.config)
            layer = model.get_submodule(name.removesuffix(".weight"))
        except (KeyError, AttributeError, RuntimeError):
            layer = None
        if not isinstance(layer, nn.Linear) or layer.weight.shape != (len(up), down.shape[1]):
            raise InputError(f"{adapter.name}: the base model has no {theirs} of the adapter's shape")
        yield name.removesuffix(".weight"), (down, adapter.scale * up.float())


def build_decoder(base: ModelFolder, weights: Weights, device: torch.device, dtype: torch.dtype) -> TransformerDecoder:
    """Builds torchtune's modules with weights in Hugging Face's layout, in eval mode."""
    # Weights are assigned, so building on the meta device spares a second copy of them.
    with torch.device("meta"):
        model = base.decoder()
    _fill(model, weights, base, device, dtype)
    return model.eval().requires_grad_(False)


def load_trainable(
    base: ModelFolder, lora: Mapping[str, Any], device: torch.device, dtype: torch.dtype, seed: int
) -> TransformerDecoder:
    """The base model and a fresh adapter, which alone is trainable.

    A quantized model, whose layers hold 4 bits, is built on its device; any other on the CPU, and moved by the caller.
    The adapter's start follows from the seed alone, on any device and with any number of processes.
    """
    quantized = lora["quantize_base"]
    place = device if quantized else torch.device("cpu")
    # 4-bit weights are made from what they are built with, so they need real ones.
    with set_default_dtype(dtype), device if quantized else torch.device("meta"):
        model = base.decoder(lora)
    _fill(model, base.weights(), base, place, dtype, assign=not quantized)
    start = {name: tensor.to(place, dtype) for name, tensor in fresh_adapter(model, seed).items()}
    model.load_state_dict(start, strict=False, assign=not quantized)
    set_trainable_params(model, get_adapter_params(model))
    return model


def fresh_adapter(model: nn.Module, seed: int) -> dict[str, torch.Tensor]:
    """An adapter that changes nothing yet: random down-projections, up-projections of 0 (Hu et al. 2021, section 4.1).

    Random numbers are drawn on the CPU, in the order of the layers; float32, by the model's names.
    """
    generator = torch.Generator().manual_seed(seed)
    adapter = {}
    for name, module in model.named_modules():
        if isinstance(module, LoRALinear):
            down = torch.empty(module.rank, module.in_dim)
            nn.init.kaiming_uniform_(down, a=math.sqrt(5), generator=generator)
            adapter[f"{name}.lora_a.weight"] = down
            adapter[f"{name}.lora_b.weight"] = torch.zeros(module.out_dim, module.rank)
    return adapter


def check_weights(base: ModelFolder) -> None:
    """Refuses a folder whose weights are not those of its ``config.json``, by their names and shapes alone."""
    with torch.device("meta"):
        empty = ((name, torch.empty(weight.get_shape())) for name, weight in _slices(base.path))
        for _ in _fitting(base.decoder(), empty, base):
            pass


def _fitting(model: nn.Module, weights: Weights, base: ModelFolder) -> Weights:
    """Weights by a decoder's own names: all that it has, but an adapter's, and no others; else an InputError."""
    missing = {name: tensor.shape for name, tensor in model.state_dict().items() if "lora_" not in name}
    for theirs, tensor in weights:
        try:
            name, tensor = base.family.to_torchtune(theirs, tensor, base.config)
        except (KeyError, RuntimeError):
            raise InputError(f"{base.path}: {theirs} is no weight of a {base.family.name} of these sizes") from None
        if missing.pop(name, None) != tensor.shape:
            shape = f"{theirs} of shape {list(tensor.shape)}"
            raise InputError(f"{base.path}: {shape} does not fit its config.json")
        if not tensor.is_floating_point():
            raise InputError(
                f"{base.path}: {theirs} holds whole numbers, those of a model in fewer bits; give one in floats"
            )
        yield name, tensor
    if missing:
        raise InputError(f"{base.path}: {len(missing)} weights are missing; first: {min(missing)}")


def _fill(
    model: nn.Module, weights: Weights, base: ModelFolder, device: torch.device, dtype: torch.dtype, assign: bool = True
) -> None:
    """Loads weights of Hugging Face's layout into a decoder."""
    for name, tensor in _fitting(model, weights, base):
        model.load_state_dict({name: tensor.to(device, dtype)}, strict=False, assign=assign)
    for module in model.modules():
        # The tables of rotary positions are no weights, so a model built on the meta device has none yet.
        if hasattr(module, "rope_init") and assign:
            with device:
                module.rope_init()
