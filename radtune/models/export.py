"""What training leaves behind: ``adapter/`` (PEFT), ``merged/`` (Hugging Face), ``torchtune/``; no folder mixes two."""

import json
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import save_file
from torchtune.models.convert_weights import (
    _TO_PEFT_TARGET_MODULES,
    hf_to_tune,
    tune_to_peft_adapter_weights,
)

from radtune.config import InputError
from radtune.models.base_model import heads, read_model_config, read_weights, weight_files

ADAPTER, MERGED, TORCHTUNE = "adapter", "merged", "torchtune"
ADAPTER_WEIGHTS = "adapter_model.safetensors"
# What a folder needs besides weights so that transformers, vLLM and torchtune load it.
_BESIDE_WEIGHTS = (
    "config.json", "generation_config.json", "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json",
    "chat_template.jinja", "original/tokenizer.model", "tokenizer.model",
)  # fmt: skip


def peft_weights(adapter: dict[str, torch.Tensor], base: Path) -> dict[str, torch.Tensor]:
    """An adapter in torchtune's names as PEFT names and orders it."""
    converted = tune_to_peft_adapter_weights(adapter, **heads(read_model_config(base)))
    return {name: tensor.contiguous() for name, tensor in converted.items()}


def write_adapter(
    output_dir: Path, adapter: dict[str, torch.Tensor], model: dict[str, Any], base: Path, card: str
) -> Path:
    """Writes ``adapter/``, which peft loads onto the base model.

    Args:
        output_dir: The run's folder.
        adapter: The adapter in torchtune's names.
        model: The YAML's ``model``, with rank, alpha and modules.
        base: The base model's folder; named in the config as given.
        card: The model card.

    Returns:
        The folder.

    Raises:
        InputError: It cannot be written.
    """
    weights = peft_weights(adapter, base)
    modules = {name.split(".lora_")[0].rpartition(".")[2] for name in adapter}
    config = {
        "peft_type": "LORA",
        "task_type": "CAUSAL_LM",
        "base_model_name_or_path": str(base),
        "r": model["lora_rank"],
        "lora_alpha": model["lora_alpha"],
        "lora_dropout": model.get("lora_dropout", 0.0),
        "target_modules": sorted(_TO_PEFT_TARGET_MODULES[name] for name in modules),
        "bias": "none",
        "inference_mode": True,
    }
    with _whole_folder(output_dir / ADAPTER, card) as folder:
        save_file(weights, folder / ADAPTER_WEIGHTS, metadata={"format": "pt"})
        _write_json(folder / "adapter_config.json", config)
    return output_dir / ADAPTER


def write_merged(
    output_dir: Path, adapter: dict[str, torch.Tensor], scale: float, base: Path, dtype: torch.dtype, card: str
) -> Path:
    """Writes ``merged/``, a model that needs no adapter, one weight file at a time.

    The adapter is added to the base model's own weights, also where it was trained on 4-bit ones.

    Args:
        output_dir: The run's folder.
        adapter: The adapter in torchtune's names.
        scale: Alpha over rank.
        base: The base model's folder.
        dtype: What the weights are written in.
        card: The model card.

    Returns:
        The folder.

    Raises:
        InputError: It cannot be written.
    """
    add = _adder(peft_weights(adapter, base), scale)
    index = base / "model.safetensors.index.json"
    with _whole_folder(output_dir / MERGED, card) as folder:
        size = 0
        for path in weight_files(base):
            weights = {name: add(name, weight).to(dtype).contiguous() for name, weight in read_weights(path)}
            size += sum(weight.numel() * weight.element_size() for weight in weights.values())
            save_file(weights, folder / path.name, metadata={"format": "pt"})
        if index.is_file():
            content = json.loads(index.read_text(encoding="utf-8"))
            content["metadata"] = {**content.get("metadata", {}), "total_size": size}
            _write_json(folder / index.name, content)
        for name in _BESIDE_WEIGHTS:
            if (base / name).is_file():
                (folder / name).parent.mkdir(exist_ok=True)
                shutil.copyfile(base / name, folder / name)
        config = json.loads((base / "config.json").read_text(encoding="utf-8"))
        config.pop("torch_dtype", None)
        _write_json(folder / "config.json", {**config, "dtype": str(dtype).removeprefix("torch.")})
    return output_dir / MERGED


def write_torchtune(
    output_dir: Path, adapter: dict[str, torch.Tensor], scale: float, base: Path, dtype: torch.dtype, card: str
) -> Path:
    """Writes ``torchtune/``: ``adapter_0.pt`` and the merged ``model.pt``, both in torchtune's names.

    Args:
        output_dir: The run's folder.
        adapter: The adapter in torchtune's names.
        scale: Alpha over rank.
        base: The base model's folder.
        dtype: What the weights are written in.
        card: The model card.

    Returns:
        The folder.

    Raises:
        InputError: It cannot be written.
    """
    add, config = _adder(peft_weights(adapter, base), scale), read_model_config(base)
    weights = {name: add(name, weight).to(dtype) for path in weight_files(base) for name, weight in read_weights(path)}
    with _whole_folder(output_dir / TORCHTUNE, card) as folder:
        _save(adapter, folder / "adapter_0.pt")
        _save(hf_to_tune(weights, **heads(config)), folder / "model.pt")
    return output_dir / TORCHTUNE


def _save(weights: dict[str, torch.Tensor], path: Path) -> None:
    try:
        torch.save(weights, path)
    except RuntimeError:
        # What torch makes of a full disk: that its archive is not where it should be.
        raise InputError(f"{path.name}: cannot write: the disk may be full") from None


def _adder(peft: dict[str, torch.Tensor], scale: float) -> Callable[[str, torch.Tensor], torch.Tensor]:
    """From a weight's name in the base model and the weight to the fine-tuned weight, summed in float32."""

    def add(name: str, weight: torch.Tensor) -> torch.Tensor:
        stem = f"base_model.model.{name.removesuffix('.weight')}"
        if f"{stem}.lora_A.weight" not in peft:
            return weight
        down, up = (peft[f"{stem}.{part}.weight"].float() for part in ("lora_A", "lora_B"))
        return weight.float() + scale * (up @ down)

    return add


@contextmanager
def _whole_folder(folder: Path, card: str) -> Iterator[Path]:
    """A folder that appears under its name only when it is whole, readable by its owner only."""
    temporary = folder.with_name(f".{folder.name}.tmp")
    try:
        shutil.rmtree(temporary, ignore_errors=True)
        temporary.mkdir(parents=True, mode=0o700)
        yield temporary
        (temporary / "README.md").write_text(card, encoding="utf-8")
        for path in temporary.rglob("*"):
            path.chmod(0o700 if path.is_dir() else 0o600)
        shutil.rmtree(folder, ignore_errors=True)
        os.replace(temporary, folder)
    except (OSError, SafetensorError) as error:
        reason = getattr(error, "strerror", None) or str(error)[:200]
        raise InputError(f"{folder}: cannot write: {reason}") from None
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _write_json(path: Path, content: dict[str, Any]) -> None:
    path.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def model_card(title: str, base: str, facts: dict[str, Any], scores: dict[str, float], settings: str) -> str:
    """The README of a model folder: what it was made of and how well it does. No report text.

    Args:
        title: Its heading.
        base: The base model.
        facts: Counts of the data and the run.
        scores: Validation figures of the adapter.
        settings: The settings as YAML.

    Returns:
        Markdown with the header that model hubs read.
    """

    def table(values: dict[str, Any]) -> str:
        flat = {
            f"{name} {inner}".strip(): value
            for name, group in values.items()
            for inner, value in (group.items() if isinstance(group, dict) else [("", group)])
        }
        return "\n".join(f"| {name} | {_shown(value)} |" for name, value in flat.items())

    return (
        f"---\nbase_model: {base}\ntags: [radiology, lora, torchtune]\n---\n\n# {title}\n\n"
        "A Llama fine-tuned by radtune to name the diseases in a radiology report. Not a medical device; made for "
        "research.\nTrained on weak labels, so it repeats what the labelers get wrong.\n\n"
        f"## Data and training\n\n| | |\n| --- | --- |\n{table(facts)}\n\n"
        + (f"## On the validation rows\n\n| | |\n| --- | --- |\n{table(scores)}\n\n" if scores else "")
        + f"## Settings\n\n```yaml\n{settings.strip()}\n```\n"
    )


def _shown(value: Any) -> str:
    return f"{value:,}" if isinstance(value, int) else f"{value:.4g}" if isinstance(value, float) else str(value)
