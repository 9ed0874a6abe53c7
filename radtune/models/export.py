"""What training leaves behind: ``adapter/`` (PEFT), ``merged/`` (Hugging Face), ``torchtune/``; no folder mixes two.

Each is there whole or not at all; an InputError says why it cannot be written.
"""

import json
import shutil
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import yaml
from safetensors import SafetensorError
from safetensors.torch import save, save_file

from radtune.config import InputError, as_input_error
from radtune.files import read_json, write_json, write_whole_folder
from radtune.models.chat_frame import TEMPLATE, TOKENIZER, TOKENIZER_CONFIG, read_frame
from radtune.models.checkpoint import (
    ADAPTER_CONFIG,
    ADAPTER_WEIGHTS,
    BASE,
    INDEX,
    PEFT_PREFIX,
    Adapter,
    ModelFolder,
    Weights,
    fingerprint,
    read_weights,
    weight_files,
)

FOLDERS = ADAPTER, MERGED, TORCHTUNE = ("adapter", "merged", "torchtune")
_GENERATION = "generation_config.json"
# What a folder needs besides weights so that transformers, vLLM and torchtune load it.
_COPIED = (TOKENIZER, "special_tokens_map.json", "original/tokenizer.model", "tokenizer.model")
_SAFETENSORS = {"format": "pt"}


@dataclass(frozen=True)
class FineTuned:
    """A base model and the adapter trained on it, in torchtune's names; it is merged with the base's own weights.

    ``lora`` is the section ``model`` of the training YAML; ``dtype`` is that of merged weights.
    """

    base: ModelFolder
    tensors: dict[str, torch.Tensor]
    lora: dict[str, Any]
    dtype: torch.dtype

    def adapter(self) -> Adapter:
        """The adapter in Hugging Face's names and order of rows."""
        pairs = {}
        for name, down in self.tensors.items():
            if ".lora_a." in name:
                weight, up = name.replace(".lora_a.", "."), self.tensors[name.replace("lora_a", "lora_b")]
                theirs, up = self.base.family.to_hugging_face(weight, up, self.base.config)
                pairs[theirs] = down.contiguous(), up.contiguous()
        return Adapter("the adapter", pairs, self.lora["lora_alpha"] / self.lora["lora_rank"])

    def merged(self, files: Iterable[Path]) -> Weights:
        """The weights of files of the base model with the adapter in them."""
        adapter = self.adapter()
        for name, weight in (named for path in files for named in read_weights(path)):
            yield name, adapter.added(name, weight).to(self.dtype).contiguous()


def peft_weights(adapter: Adapter) -> dict[str, torch.Tensor]:
    """An adapter's tensors as PEFT names them."""
    return {
        f"{PEFT_PREFIX}{name.removesuffix('.weight')}.{part}.weight": tensor
        for name, pair in adapter.pairs.items()
        for part, tensor in zip(("lora_A", "lora_B"), pair, strict=True)
    }


def export(output_dir: Path, tuned: FineTuned, card: str, merged: bool, torchtune: bool) -> Iterator[Path]:
    """Writes ``adapter/``, and the others where asked for; yields a file of weights of each as it is there."""
    fillers = {ADAPTER: _fill_adapter, MERGED: _fill_merged, TORCHTUNE: _fill_torchtune}
    for name, wanted in zip(FOLDERS, (True, merged, torchtune), strict=True):
        if not wanted:
            continue
        wrong = f"{output_dir / name}: cannot write"
        with as_input_error(wrong, SafetensorError), write_whole_folder(output_dir / name) as folder:
            weights = fillers[name](folder, tuned)
            (folder / "README.md").write_text(card, encoding="utf-8")
        yield output_dir / name / weights


def _fill_adapter(folder: Path, tuned: FineTuned) -> str:
    adapter = tuned.adapter()
    metadata = {**_SAFETENSORS, BASE: fingerprint(tuned.base.path)}
    (folder / ADAPTER_WEIGHTS).write_bytes(_in_order(save(peft_weights(adapter), metadata)))
    config = {
        "peft_type": "LORA",
        "task_type": "CAUSAL_LM",
        "base_model_name_or_path": str(tuned.base.path),
        "r": tuned.lora["lora_rank"],
        "lora_alpha": tuned.lora["lora_alpha"],
        "lora_dropout": tuned.lora["lora_dropout"],
        "target_modules": sorted({name.removesuffix(".weight").rpartition(".")[2] for name in adapter.pairs}),
        "bias": "none",
        "inference_mode": True,
    }
    write_json(folder / ADAPTER_CONFIG, config)
    _write_prompting(folder, tuned.base)
    return ADAPTER_WEIGHTS


def _in_order(content: bytes) -> bytes:
    """A safetensors file with its metadata in order, so that equal adapters are equal files.

    safetensors writes them in a chance one. Behind the length of the header (8 bytes, little endian) stand the header,
    as JSON, and the tensors.
    """
    start = 8 + int.from_bytes(content[:8], "little")
    header = json.loads(content[8:start])
    header["__metadata__"] = dict(sorted(header["__metadata__"].items()))
    return content[:8] + json.dumps(header, separators=(",", ":")).encode().ljust(start - 8) + content[start:]


def _write_prompting(folder: Path, base: ModelFolder) -> None:
    """Tokenizer, chat template and stop tokens: a server that finds them prompts as training did.

    Llama 3's own template adds a system message with a date, which no training row had.
    """
    template = read_frame(base.path).template
    for name in _COPIED:
        if (base.path / name).is_file():
            (folder / name).parent.mkdir(exist_ok=True)
            shutil.copyfile(base.path / name, folder / name)
    (folder / TEMPLATE).write_text(template, encoding="utf-8")
    for name, changes in (
        (TOKENIZER_CONFIG, {"chat_template": template}),
        (_GENERATION, {"eos_token_id": base.stop_tokens()}),
    ):
        own = read_json(base.path / name) if (base.path / name).is_file() else {}
        write_json(folder / name, {**own, **changes})


def _fill_merged(folder: Path, tuned: FineTuned) -> str:
    base, files, size = tuned.base, weight_files(tuned.base.path), 0
    for path in files:
        weights = dict(tuned.merged([path]))
        size += sum(weight.nbytes for weight in weights.values())
        save_file(weights, folder / path.name, metadata=_SAFETENSORS)
    if (base.path / INDEX).is_file():
        index = read_json(base.path / INDEX)
        write_json(folder / INDEX, {**index, "metadata": {**index.get("metadata", {}), "total_size": size}})
    _write_prompting(folder, base)
    config = {name: value for name, value in base.config.items() if name != "torch_dtype"}
    write_json(folder / "config.json", {**config, "dtype": str(tuned.dtype).removeprefix("torch.")})
    return files[0].name


def _fill_torchtune(folder: Path, tuned: FineTuned) -> str:
    base = tuned.base
    weights = (base.family.to_torchtune(*named, base.config) for named in tuned.merged(weight_files(base.path)))
    try:
        torch.save(tuned.tensors, folder / "adapter_0.pt")
        torch.save(dict(weights), folder / "model.pt")
    except RuntimeError:
        # What torch makes of a full disk: that its archive is not where it should be.
        raise InputError(f"{TORCHTUNE}/: cannot write: the disk may be full") from None
    return "model.pt"


def model_card(base: ModelFolder, facts: dict[str, Any], scores: dict[str, float], settings: dict[str, Any]) -> str:
    """The README of a model folder, with the header that model hubs read: data, scores, settings; no report text."""
    sections = {"Data and training": facts, "On the validation rows": scores, "Settings": settings}
    shown = "".join(
        f"\n## {title}\n\n```yaml\n{yaml.safe_dump(values, sort_keys=False, allow_unicode=True)}```\n"
        for title, values in sections.items()
        if values
    )
    return (
        f"---\nbase_model: {base.path}\ntags: [radiology, lora, torchtune]\n---\n\n"
        f"# {base.path.name} fine-tuned on radiology reports\n\n"
        "A language model fine-tuned by radtune to name the diseases in a radiology report. Not a medical device; "
        "made for research.\nTrained on weak labels, so it repeats what the labelers get wrong.\n" + shown
    )
