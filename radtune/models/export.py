"""What training leaves behind: ``adapter/`` (PEFT), ``merged/`` (Hugging Face), ``torchtune/``; no folder mixes two.

Each is there whole or not at all; an InputError says why it cannot be written.
"""

import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import save_file

from radtune.config import InputError
from radtune.files import write_whole_folder
from radtune.models.checkpoint import (
    ADAPTER_CONFIG,
    ADAPTER_WEIGHTS,
    INDEX,
    PEFT_PREFIX,
    Adapter,
    ModelFolder,
    read_json,
    read_weights,
)

FOLDERS = ADAPTER, MERGED, TORCHTUNE = ("adapter", "merged", "torchtune")
# What a folder needs besides weights so that transformers, vLLM and torchtune load it.
_BESIDE_WEIGHTS = (
    "generation_config.json", "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json",
    "chat_template.jinja", "original/tokenizer.model", "tokenizer.model",
)  # fmt: skip


@dataclass(frozen=True)
class FineTuned:
    """A base model and the adapter trained on it, in torchtune's names; it is merged with the base's own weights.

    ``lora`` has ``lora_rank``, ``lora_alpha`` and ``lora_dropout`` of a training YAML's ``model``; ``dtype`` is that of
    merged weights.
    """

    base: ModelFolder
    tensors: dict[str, torch.Tensor]
    lora: dict[str, Any]
    dtype: torch.dtype
    card: str

    def adapter(self) -> Adapter:
        """The adapter in Hugging Face's names and order of rows."""
        pairs = {}
        for name, down in self.tensors.items():
            if ".lora_a." in name:
                weight, up = name.replace(".lora_a.", "."), self.tensors[name.replace("lora_a", "lora_b")]
                theirs, up = self.base.family.to_hugging_face(weight, up, self.base.config)
                pairs[theirs] = down.contiguous(), up.contiguous()
        return Adapter("the adapter", pairs, self.lora["lora_alpha"] / self.lora["lora_rank"])


def peft_weights(adapter: Adapter) -> dict[str, torch.Tensor]:
    """An adapter's tensors as PEFT names them."""
    return {
        f"{PEFT_PREFIX}{name.removesuffix('.weight')}.{part}.weight": tensor
        for name, pair in adapter.pairs.items()
        for part, tensor in zip(("lora_A", "lora_B"), pair, strict=True)
    }


def export(output_dir: Path, tuned: FineTuned, merged: bool, torchtune: bool) -> Iterator[Path]:
    """Writes ``adapter/``, and the others where asked for; yields a file of weights of each as it is there."""
    yield _write_adapter(output_dir, tuned)
    if merged:
        yield _write_merged(output_dir, tuned)
    if torchtune:
        yield _write_torchtune(output_dir, tuned)


def _write_adapter(output_dir: Path, tuned: FineTuned) -> Path:
    adapter = tuned.adapter()
    config = {
        "peft_type": "LORA",
        "task_type": "CAUSAL_LM",
        "base_model_name_or_path": str(tuned.base.path),
        "r": tuned.lora["lora_rank"],
        "lora_alpha": tuned.lora["lora_alpha"],
        "lora_dropout": tuned.lora.get("lora_dropout", 0.0),
        "target_modules": sorted({name.removesuffix(".weight").rpartition(".")[2] for name in adapter.pairs}),
        "bias": "none",
        "inference_mode": True,
    }
    with _whole_folder(output_dir / ADAPTER, tuned.card) as folder:
        save_file(peft_weights(adapter), folder / ADAPTER_WEIGHTS, metadata={"format": "pt"})
        _write_json(folder / ADAPTER_CONFIG, config)
    return output_dir / ADAPTER / ADAPTER_WEIGHTS


def _write_merged(output_dir: Path, tuned: FineTuned) -> Path:
    # One weight file at a time.
    base, files = tuned.base, tuned.base.files()
    size = 0
    with _whole_folder(output_dir / MERGED, tuned.card) as folder:
        for path in files:
            weights = dict(_merged(tuned, [path]))
            size += sum(weight.nbytes for weight in weights.values())
            save_file(weights, folder / path.name, metadata={"format": "pt"})
        if (base.path / INDEX).is_file():
            index = read_json(base.path / INDEX)
            _write_json(folder / INDEX, {**index, "metadata": {**index.get("metadata", {}), "total_size": size}})
        for name in _BESIDE_WEIGHTS:
            if (base.path / name).is_file():
                (folder / name).parent.mkdir(exist_ok=True)
                shutil.copyfile(base.path / name, folder / name)
        config = {name: value for name, value in base.config.items() if name != "torch_dtype"}
        _write_json(folder / "config.json", {**config, "dtype": str(tuned.dtype).removeprefix("torch.")})
    return output_dir / MERGED / files[0].name


def _write_torchtune(output_dir: Path, tuned: FineTuned) -> Path:
    """``adapter_0.pt`` and the merged ``model.pt``, in torchtune's names."""
    base = tuned.base
    weights = (base.family.to_torchtune(*named, base.config) for named in _merged(tuned, base.files()))
    with _whole_folder(output_dir / TORCHTUNE, tuned.card) as folder:
        _save(tuned.tensors, folder / "adapter_0.pt")
        _save(dict(weights), folder / "model.pt")
    return output_dir / TORCHTUNE / "model.pt"


def _merged(tuned: FineTuned, files: list[Path]) -> Iterator[tuple[str, torch.Tensor]]:
    adapter = tuned.adapter()
    for path in files:
        for name, weight in read_weights(path):
            yield name, adapter.added(name, weight).to(tuned.dtype).contiguous()


def _save(weights: dict[str, torch.Tensor], path: Path) -> None:
    try:
        torch.save(weights, path)
    except RuntimeError:
        # What torch makes of a full disk: that its archive is not where it should be.
        raise InputError(f"{path.name}: cannot write: the disk may be full") from None


@contextmanager
def _whole_folder(folder: Path, card: str) -> Iterator[Path]:
    """A folder that appears under its name only when it is whole, readable by its owner only."""
    try:
        with write_whole_folder(folder) as temporary:
            yield temporary
            (temporary / "README.md").write_text(card, encoding="utf-8")
    except SafetensorError as error:
        raise InputError(f"{folder}: cannot write: {str(error)[:200]}") from None


def _write_json(path: Path, content: dict[str, Any]) -> None:
    path.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def model_card(title: str, base: str, facts: dict[str, Any], scores: dict[str, float], settings: str) -> str:
    """The README of a model folder, with the header that model hubs read: data, scores, settings; no report text."""

    def table(title: str, values: dict[str, Any]) -> str:
        groups = {name: group if isinstance(group, dict) else {"": group} for name, group in values.items()}
        rows = [(f"{name} {key}".strip(), _shown(v)) for name, group in groups.items() for key, v in group.items()]
        return f"## {title}\n\n| | |\n| --- | --- |\n" + "".join(f"| {name} | {v} |\n" for name, v in rows) + "\n"

    return (
        f"---\nbase_model: {base}\ntags: [radiology, lora, torchtune]\n---\n\n# {title}\n\n"
        "A language model fine-tuned by radtune to name the diseases in a radiology report. Not a medical device; "
        "made for research.\nTrained on weak labels, so it repeats what the labelers get wrong.\n\n"
        + table("Data and training", facts)
        + (table("On the validation rows", scores) if scores else "")
        + f"## Settings\n\n```yaml\n{settings.strip()}\n```\n"
    )


def _shown(value: Any) -> str:
    return f"{value:,}" if isinstance(value, int) else f"{value:.4g}" if isinstance(value, float) else str(value)
