"""Loading a Llama-3.1 checkpoint, base or fine-tuned, into torchtune's modules."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torchtune.models.convert_weights import hf_to_tune
from torchtune.models.llama3_1 import llama3_1
from torchtune.modules import TransformerDecoder

from radtune.config import InputError
from radtune.models.base_model import read_weights, weight_files
from radtune.train.tokenizer import llama3_tokenizer

# Llama 3's tokenizer file knows its special tokens by position; only other vocabularies bring a list of theirs.
LLAMA3_VOCABULARY = 128_256
# What torchtune's scaled rotary positions are built with besides the factor.
_ROPE = {"low_freq_factor": 1.0, "high_freq_factor": 4.0, "original_max_position_embeddings": 8192}


@dataclass(frozen=True)
class Checkpoint:
    """A model ready to generate, and its tokenizer."""

    model: TransformerDecoder
    tokenizer: Any
    max_positions: int


def load_checkpoint(folder: Path, adapter: Path | None, device: torch.device, dtype: torch.dtype) -> Checkpoint:
    """Loads a checkpoint in Hugging Face's layout, with a LoRA adapter merged in if one is given.

    Args:
        folder: ``config.json``, ``*.safetensors`` and the tokenizer; a base model or one with merged weights.
        adapter: A folder with ``adapter_config.json`` and ``adapter_model.safetensors`` (PEFT's format, as torchtune
            writes it), or None.
        device: Where the weights go.
        dtype: What they are held in.

    Returns:
        The model, in eval mode.

    Raises:
        InputError: A file absent or damaged, a model that is no Llama 3.1, or an adapter that does not fit it.
    """
    config = read_json(folder / "config.json")
    state = {name: weight for path in weight_files(folder) for name, weight in read_weights(path)}
    if adapter is not None:
        _merge_adapter(state, adapter)
    try:
        model = build_decoder(config, state, device, dtype)
    except (ArithmeticError, AssertionError, AttributeError, KeyError, RuntimeError, TypeError, ValueError) as error:
        raise InputError(f"{folder}: weights and config.json do not fit a Llama 3.1: {str(error)[:200]}") from None
    return Checkpoint(model, load_tokenizer(folder, config["vocab_size"]), config["max_position_embeddings"])


def build_decoder(
    config: dict[str, Any], state: dict[str, torch.Tensor], device: torch.device, dtype: torch.dtype
) -> TransformerDecoder:
    """Builds torchtune's modules with the weights of a Llama 3.1 in Hugging Face's layout.

    Args:
        config: What stands in its ``config.json``.
        state: Its weights by name; those that are on the device in this type already are not copied, but for queries
            and keys.
        device: Where they go.
        dtype: What they are held in.

    Returns:
        The model, in eval mode.

    Raises:
        KeyError: It is another kind of model.
        RuntimeError: The weights have other names or shapes.
    """
    shape = _shape(config)
    # Weights are assigned, so building on the meta device spares a second copy of them.
    with torch.device("meta"):
        model = llama3_1(**shape)
    converted = hf_to_tune(
        state,
        num_heads=shape["num_heads"],
        num_kv_heads=shape["num_kv_heads"],
        dim=shape["embed_dim"],
        head_dim=config.get("head_dim"),
    )
    model.load_state_dict({name: tensor.to(device, dtype) for name, tensor in converted.items()}, assign=True)
    for module in model.modules():
        if hasattr(module, "rope_init"):
            with device:
                module.rope_init()
    return model.eval().requires_grad_(False)


def load_tokenizer(folder: Path, vocab_size: int) -> Any:
    """The tokenizer of a checkpoint folder: ``original/tokenizer.model``, as Llama 3.1 ships it."""
    paths = [folder / "original" / "tokenizer.model", folder / "tokenizer.model"]
    path = next((path for path in paths if path.is_file()), None)
    if path is None:
        raise InputError(f"{paths[0]}: no such file")
    special = None if vocab_size == LLAMA3_VOCABULARY else str(folder / "tokenizer.json")
    try:
        return llama3_tokenizer(str(path), special_tokens_path=special)
    except (OSError, AttributeError, ValueError, KeyError, TypeError) as error:
        raise InputError(f"{path}: not a tokenizer: {error}") from None


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object from a file.

    Raises:
        InputError: The file is absent or holds something else.
    """
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"{path}: {error.strerror}") from None
    except (UnicodeDecodeError, json.JSONDecodeError):
        raise InputError(f"{path}: not valid JSON") from None
    if not isinstance(value, dict):
        raise InputError(f"{path}: expected a JSON object")
    return value


def _shape(config: dict[str, Any]) -> dict[str, Any]:
    rope = config.get("rope_scaling") or config.get("rope_parameters") or {}
    if rope.get("rope_type") != "llama3" or any(rope.get(name) != value for name, value in _ROPE.items()):
        raise KeyError("rope_scaling is not that of Llama 3.1")
    if config.get("tie_word_embeddings"):
        raise KeyError("tied embeddings")
    return {
        "vocab_size": config["vocab_size"],
        "num_layers": config["num_hidden_layers"],
        "num_heads": config["num_attention_heads"],
        "num_kv_heads": config["num_key_value_heads"],
        "embed_dim": config["hidden_size"],
        "intermediate_dim": config["intermediate_size"],
        "max_seq_len": config["max_position_embeddings"],
        "norm_eps": float(config["rms_norm_eps"]),
        "rope_base": int(rope.get("rope_theta", config.get("rope_theta", 500_000))),
        "scale_factor": int(rope["factor"]),
    }


def check_finite(adapter: dict[str, torch.Tensor], folder: Path) -> None:
    """Refuses the adapter of a training that came to nothing.

    Raises:
        InputError: A weight is infinite or no number.
    """
    for name, weights in adapter.items():
        if not weights.isfinite().all():
            raise InputError(f"{folder}: adapter weight {name} holds values that are no numbers")


def _merge_adapter(state: dict[str, torch.Tensor], folder: Path) -> None:
    """Adds (alpha / rank) * B @ A to each weight that the adapter names (Hu et al. 2021, section 4.1)."""
    config = read_json(folder / "adapter_config.json")
    tensors = dict(read_weights(folder / "adapter_model.safetensors"))
    rank, alpha = config.get("r"), config.get("lora_alpha")
    if type(rank) is not int or rank < 1 or type(alpha) not in (int, float):
        raise InputError(f"{folder}/adapter_config.json: r or lora_alpha is missing or no number")
    for variant in ("use_rslora", "use_dora", "rank_pattern", "alpha_pattern"):
        if config.get(variant):
            raise InputError(f"{folder}/adapter_config.json: {variant} is not supported")
    check_finite(tensors, folder)
    downs = [name for name in tensors if name.endswith(".lora_A.weight")]
    if not downs or 2 * len(downs) != len(tensors):
        raise InputError(f"{folder}: not a plain LoRA adapter (pairs of lora_A and lora_B)")
    for name in downs:
        module = name.removeprefix("base_model.model.").removesuffix(".lora_A.weight")
        target, up = f"{module}.weight", tensors.get(name.replace("lora_A", "lora_B"))
        if target not in state or up is None:
            raise InputError(f"{folder}: adapter weight {name} does not fit the checkpoint")
        down = tensors[name]
        if (up.shape[0], down.shape[1]) != tuple(state[target].shape) or down.shape[0] != rank:
            raise InputError(f"{folder}: adapter weight {name} has another shape than the checkpoint's")
        weight = state[target]
        delta = alpha / rank * (up.float() @ down.float())
        # Summed in float32: rounded once, to what the model is held in, and not to the checkpoint's bfloat16 before.
        state[target] = weight.float() + delta
