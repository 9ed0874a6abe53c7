"""A Llama in Hugging Face's layout, read into torchtune's model with LoRA."""

import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import nn
from torchtune.models.convert_weights import hf_to_tune
from torchtune.modules.peft import LoRALinear, get_adapter_params, set_trainable_params
from torchtune.training import set_default_dtype

from radtune.config import InputError
from radtune.train.settings import build

# What of config.json decides the sizes of the layers.
_SHAPE = (
    "hidden_size", "intermediate_size", "num_attention_heads", "num_key_value_heads", "num_hidden_layers", "vocab_size",
)  # fmt: skip


def read_model_config(folder: Path) -> dict[str, Any]:
    """The ``config.json`` of a model folder.

    Raises:
        InputError: It is absent or lacks what a Llama has.
    """
    path = folder / "config.json"
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"{path}: {error.strerror}") from None
    except ValueError:
        raise InputError(f"{path}: not valid JSON") from None
    for name in _SHAPE:
        value = config.get(name) if isinstance(config, dict) else None
        if not isinstance(value, int) or value < 1:
            raise InputError(f"{path}: {name} is missing or no number above 0")
    return config


def weight_files(folder: Path) -> list[Path]:
    """The safetensors files of a model folder: those that its index names, else those that are there.

    Raises:
        InputError: One is missing, or there is none.
    """
    index = folder / "model.safetensors.index.json"
    if index.is_file():
        try:
            names = sorted(map(Path, set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values())))
        except (ValueError, KeyError, TypeError, AttributeError):
            raise InputError(f"{index}: no weight_map") from None
    else:
        names = sorted(Path(path.name) for path in folder.glob("*.safetensors") if not path.name.startswith("adapter"))
    if not names:
        raise InputError(f"{folder}: no *.safetensors")
    for name in names:
        if not (folder / name).is_file():
            raise InputError(f"{folder / name}: no such file")
    return [folder / name for name in names]


def read_weights(path: Path) -> Iterator[tuple[str, torch.Tensor]]:
    """The tensors of a safetensors file, one after the other, on the CPU.

    Raises:
        InputError: The file is damaged.
    """
    try:
        with safe_open(path, framework="pt") as stream:
            for name in stream.keys():  # noqa: SIM118  (no mapping)
                yield name, stream.get_tensor(name)
    except (OSError, SafetensorError) as error:
        raise InputError(f"{path}: cannot be read as safetensors: {str(error)[:200]}") from None


def heads(config: dict[str, Any]) -> dict[str, int]:
    """What torchtune's conversions between the two layouts of q_proj and k_proj need to know."""
    return {
        "num_heads": config["num_attention_heads"],
        "num_kv_heads": config["num_key_value_heads"],
        "dim": config["hidden_size"],
        "head_dim": config.get("head_dim") or config["hidden_size"] // config["num_attention_heads"],
    }


def is_quantized(section: dict[str, Any]) -> bool:
    """Whether a YAML's ``model`` holds its base weights in 4 bits."""
    return bool(section.get("quantize_base")) or "qlora" in str(section.get("_component_"))


def load_model(section: dict[str, Any], folder: Path, dtype: torch.dtype, device: torch.device, seed: int) -> nn.Module:
    """Builds the model that a YAML names, with the folder's weights and a fresh adapter.

    The adapter starts the same on any device and with any number of processes.

    Args:
        section: The YAML's ``model``.
        folder: The base model.
        dtype: What weights are held in.
        device: Where a quantized model is built; any other is built on the CPU, and moved by the caller.
        seed: Of the adapter's start.

    Returns:
        A torchtune decoder, of which only the adapter is trainable.

    Raises:
        InputError: Weights that are missing or do not fit the model.
    """
    config, files = read_model_config(folder), weight_files(folder)
    if section.get("use_dora"):
        raise InputError("model.use_dora: DoRA is not supported")
    quantized = is_quantized(section)
    # Weights are assigned, so building on the meta device spares a second copy of them; 4-bit weights are made from
    # what they are built with, so they need a real one.
    with set_default_dtype(dtype), device if quantized else torch.device("meta"):
        model = build(section, "model")
    wanted = {name: tensor for name, tensor in model.state_dict().items() if "lora_" not in name}
    loaded = set()
    for path in files:
        for name, tensor in _tune_weights(read_weights(path), config, folder):
            if name not in wanted or wanted[name].shape != tensor.shape:
                shape = f"{name} of shape {list(tensor.shape)}"
                raise InputError(f"{path}: {shape} does not fit the YAML's model; compare it with {folder}/config.json")
            state = {name: tensor.to(device if quantized else "cpu", dtype)}
            model.load_state_dict(state, strict=False, assign=not quantized)
            loaded.add(name)
    if missing := sorted(set(wanted) - loaded):
        raise InputError(f"{folder}: {len(missing)} weights are missing; first: {missing[0]}")
    place = device if quantized else torch.device("cpu")
    start = {name: tensor.to(place, dtype) for name, tensor in fresh_adapter(model, seed).items()}
    model.load_state_dict(start, strict=False, assign=not quantized)
    for module in model.modules():
        if hasattr(module, "rope_init") and not quantized:
            with torch.device("cpu"):
                module.rope_init()
    set_trainable_params(model, get_adapter_params(model))
    return model


def fresh_adapter(model: nn.Module, seed: int) -> dict[str, torch.Tensor]:
    """An adapter that changes nothing yet: random down-projections, up-projections of 0 (Hu et al. 2021, section 4.1).

    Args:
        model: A torchtune model with LoRA, on any device.
        seed: Of the random numbers; they are drawn on the CPU, in the order of the model's layers.

    Returns:
        By the model's names, float32 tensors.
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


def _tune_weights(
    weights: Iterator[tuple[str, torch.Tensor]], config: dict[str, Any], folder: Path
) -> Iterator[tuple[str, torch.Tensor]]:
    for name, tensor in weights:
        try:
            yield from hf_to_tune({name: tensor}, **heads(config)).items()
        except Exception as error:  # torchtune raises a bare Exception for a name it does not know
            raise InputError(f"{folder}: {name} is no weight of a Llama: {str(error)[:100]}") from None


def check_tokenizer(tokenizer: Any, vocabulary: int) -> None:
    """Holds a tokenizer to a model.

    Raises:
        InputError: It makes token ids that the model does not have, or fewer than half of those it has.
    """
    highest = max([tokenizer.vocab_size - 1, *tokenizer.special_tokens.values()])
    if not vocabulary / 2 <= highest + 1 <= vocabulary:
        raise InputError(f"tokenizer: {highest + 1:,} tokens, but the model has {vocabulary:,}; it is another model's")
