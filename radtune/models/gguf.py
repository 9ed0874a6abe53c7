"""GGUF, the file that llama.cpp and Ollama run, and Hugging Face's folders: config, names of weights, tokenizer.

What the keys of the file mean is laid down in https://github.com/ggml-org/ggml/blob/master/docs/gguf.md.
"""

import ctypes
import json
import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml
from gguf import MODEL_ARCH_NAMES, GGMLQuantizationType, GGUFReader, TokenType, get_tensor_name_map
from gguf.quants import dequantize, quant_shape_to_byte_shape, quantize
from safetensors import SafetensorError
from safetensors.torch import save_file

from radtune.config import InputError, as_input_error
from radtune.files import write_whole_folder
from radtune.models.chat_frame import TEMPLATE, TOKENIZER, TOKENIZER_CONFIG
from radtune.models.checkpoint import INDEX
from radtune.models.families import FAMILIES

# GGUF's architecture by the model_type of config.json, and the class of transformers.
ARCHITECTURES = {
    "llama": ("llama", "LlamaForCausalLM"),
    "mistral": ("llama", "MistralForCausalLM"),
    "qwen2": ("qwen2", "Qwen2ForCausalLM"),
}
# GGUF's keys, below the architecture's name, by those of config.json.
SIZES = {
    "hidden_size": "embedding_length", "intermediate_size": "feed_forward_length", "num_hidden_layers": "block_count",
    "num_attention_heads": "attention.head_count", "num_key_value_heads": "attention.head_count_kv",
    "max_position_embeddings": "context_length",
}  # fmt: skip
NUMBERS = {"rms_norm_eps": "attention.layer_norm_rms_epsilon", "rope_theta": "rope.freq_base"}
# What sentencepiece writes for a blank.
BLANK = "\u2581"
# The frequencies that Llama 3's scaled rotary positions are divided by: no weight, but a tensor of the file.
ROPE_FREQUENCIES = "rope_freqs.weight"
# Entries of config.json's rope_scaling that all models of Llama 3.1 and 3.2 share; the file does not name them.
_LLAMA3_ROPE = {"low_freq_factor": 1.0, "high_freq_factor": 4.0, "original_max_position_embeddings": 8192}
# What makes a model of these architectures another one than is read here, below the architecture's name, if it is set.
_PLAIN = {
    "rope.scaling.type": "none", "rope.scaling.factor": 1, "rope.scale_linear": 1, "attention.sliding_window": 0,
    "expert_count": 0,
}  # fmt: skip
# Rounded to fewer bits than training needs.
LOSSY = "a lossy start: what was rounded does not come back; train on the original weights where you can have them"
# Types of floats, and what they are in config.json.
_FLOATS = {"F32": "float32", "F16": "float16", "BF16": "bfloat16"}
# Of one file of weights.
_MOST_BYTES = 4 * 2**30

_BYTE_LEVEL = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True}
_SPLIT = {"type": "Split", "behavior": "Isolated", "invert": False}
_WORDS = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}%s| ?[^\s\p{L}\p{N}]+[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+"
)


def _split_by(pattern: str) -> dict[str, Any]:
    split = {**_SPLIT, "pattern": {"Regex": pattern}}
    return {"type": "Sequence", "pretokenizers": [split, {**_BYTE_LEVEL, "use_regex": False}]}


# How a tokenizer of byte pairs splits texts before it merges: llama.cpp's name of it, and tokenizer.json's entry.
SPLITS = {
    "llama-bpe": _split_by(_WORDS % "{1,3}"),
    "qwen2": _split_by(_WORDS % ""),
    "smollm": {
        "type": "Sequence",
        "pretokenizers": [{"type": "Digits", "individual_digits": True}, {**_BYTE_LEVEL, "use_regex": True}],
    },
}


@dataclass(frozen=True)
class GgufModel:
    """A GGUF file that has been opened; an InputError where it is none, or of an architecture not known here."""

    path: Path

    @cached_property
    def _reader(self) -> GGUFReader:
        with as_input_error(f"{self.path}: cannot be read as GGUF"):
            return GGUFReader(self.path)

    def _get(self, key: str, default: Any = None) -> Any:
        field = self._reader.get_field(key)
        return default if field is None else field.contents()

    @property
    def about(self) -> dict[str, str]:
        """What the file says of its origin: name, organization, license, and the like."""
        names = ("name", "organization", "basename", "finetune", "size_label", "license", "source.url")
        return {name: str(value) for name in names if (value := self._get(f"general.{name}"))}

    @cached_property
    def types(self) -> list[str]:
        """The types of its weights, the commonest first."""
        names = [tensor.tensor_type.name for tensor in self._reader.tensors if tensor.data.ndim > 1]
        return sorted(set(names), key=lambda name: -names.count(name))

    @property
    def is_exact(self) -> bool:
        """Whether its weights are floats, and not rounded to fewer bits."""
        return set(self.types) <= set(_FLOATS)

    @cached_property
    def config(self) -> dict[str, Any]:
        """The ``config.json`` of the model."""
        with as_input_error(f"{self.path}: cannot be read as GGUF"):
            return self._config()

    def _config(self) -> dict[str, Any]:
        architecture = self._get("general.architecture")
        names = {tensor.name for tensor in self._reader.tensors}
        # llama.cpp has no architecture of Mistral's own; what else is like it computes the same.
        plain = "output.weight" in names and ROPE_FREQUENCIES not in names
        sentencepiece = self._get("tokenizer.ggml.model") == "llama"
        kind = "mistral" if architecture == "llama" and plain and sentencepiece else architecture
        if kind not in ARCHITECTURES:
            known = ", ".join(sorted({name for name, _ in ARCHITECTURES.values()}))
            raise InputError(f"{self.path}: architecture {architecture!r}: only {known} are read here")
        if (parts := self._get("split.count", 1)) > 1:
            raise InputError(f"{self.path}: one of {parts} parts; join them first (llama-gguf-split --merge)")
        sizes = {ours: self._get(f"{architecture}.{theirs}") for ours, theirs in SIZES.items()}
        if missing := [name for name, value in sizes.items() if type(value) is not int or value < 1]:
            raise InputError(f"{self.path}: no {architecture}.{SIZES[missing[0]]}")
        if sizes["num_hidden_layers"] > len(names):
            raise InputError(f"{self.path}: {len(names):,} weights for {sizes['num_hidden_layers']:,} layers")
        head_dim = (
            self._get(f"{architecture}.attention.key_length") or sizes["hidden_size"] // sizes["num_attention_heads"]
        )
        for name, plain in {**_PLAIN, "rope.dimension_count": head_dim, "attention.value_length": head_dim}.items():
            if (value := self._get(f"{architecture}.{name}", plain)) != plain:
                raise InputError(f"{self.path}: {architecture}.{name} is {value}: such models are not read here")
        # What llama.cpp takes where no base of positions is named; of the other there is no usual value.
        given = {ours: self._get(f"{architecture}.{theirs}") for ours, theirs in NUMBERS.items()}
        if given["rms_norm_eps"] is None:
            raise InputError(f"{self.path}: no {architecture}.{NUMBERS['rms_norm_eps']}")
        numbers = {name: _decimal(1e4 if value is None else value) for name, value in given.items()}
        stops = {self._get(f"tokenizer.ggml.{name}_token_id") for name in ("eos", "eot")} - {None}
        return {
            "architectures": [ARCHITECTURES[kind][1]],
            "model_type": kind,
            **sizes,
            "head_dim": head_dim,
            "hidden_act": "silu",
            "vocab_size": len(self._get("tokenizer.ggml.tokens", ())),
            **numbers,
            "rope_scaling": self._rope_scaling(numbers["rope_theta"], head_dim),
            "tie_word_embeddings": "output.weight" not in names,
            **{"llama": {"attention_bias": False, "mlp_bias": False}, "mistral": {"sliding_window": None}}.get(
                kind, {}
            ),
            "bos_token_id": self._get("tokenizer.ggml.bos_token_id"),
            "eos_token_id": sorted(stops) if len(stops) > 1 else next(iter(stops), None),
            "pad_token_id": self._get("tokenizer.ggml.padding_token_id"),
            "dtype": _FLOATS.get(self.types[0], "float32"),
        }

    def _rope_scaling(self, theta: float, head_dim: int) -> dict[str, Any] | None:
        found = next((tensor.data for tensor in self._reader.tensors if tensor.name == ROPE_FREQUENCIES), None)
        if found is None:
            return None
        scaling = {"rope_type": "llama3", "factor": _decimal(found.max()), **_LLAMA3_ROPE}
        if not np.allclose(found, llama3_frequencies(scaling, theta, head_dim), rtol=1e-3):
            raise InputError(f"{self.path}: {ROPE_FREQUENCIES}: not those of Llama 3.1 or 3.2")
        return scaling

    def weights(self) -> Iterator[tuple[str, torch.Tensor]]:
        """Hugging Face's name and tensor of each weight."""
        config = self.config
        names = {ours: theirs for theirs, ours in weight_names(config).items()}
        there = {tensor.name for tensor in self._reader.tensors}
        if missing := [name for name in names if name not in there and name != "output.weight"]:
            raise InputError(f"{self.path}: {len(missing)} weights are missing; first: {min(missing)}")
        for tensor in self._reader.tensors:
            if tensor.name == ROPE_FREQUENCIES:
                continue
            if tensor.name not in names:
                raise InputError(f"{self.path}: {tensor.name} is no weight of a {config['model_type']}")
            with as_input_error(f"{self.path}: cannot be read as GGUF"):
                values = torch.from_numpy(np.array(dequantize(tensor.data, tensor.tensor_type), np.float32))
                values = values.to(getattr(torch, _FLOATS.get(tensor.tensor_type.name, "float32")))
                yield names[tensor.name], reordered(tensor.name, values, config, to_gguf=False)

    def tokenizer(self) -> dict[str, Any]:
        """The ``tokenizer.json`` of the model."""
        with as_input_error(f"{self.path}: cannot be read as GGUF"):
            tokens, types = self._get("tokenizer.ggml.tokens"), self._get("tokenizer.ggml.token_type")
            kind, split = self._get("tokenizer.ggml.model"), self._get("tokenizer.ggml.pre")
            if kind == "gpt2" and split in SPLITS:
                merges = [merge.split(" ") for merge in self._get("tokenizer.ggml.merges")]
                parts = _byte_pairs(split, merges)
            elif kind == "llama":
                prefix = self._get("tokenizer.ggml.add_space_prefix", True)
                parts = _sentence_pieces(tokens, self._get("tokenizer.ggml.scores"), prefix)
            else:
                known = ", ".join(SPLITS)
                raise InputError(
                    f"{self.path}: tokenizer {kind}, {split}: only sentencepiece and {known} are read here"
                )
            # What stands behind the last ordinary token is only an added one; unused ones fill the model's table up.
            last = max(number for number, kind in enumerate(types) if kind in (TokenType.NORMAL, TokenType.BYTE))
            parts["model"]["vocab"] = {token: number for number, token in enumerate(tokens[: last + 1])}
            special = (TokenType.CONTROL, TokenType.USER_DEFINED, TokenType.UNKNOWN)
            added = [
                _added(number, token, types[number] != TokenType.USER_DEFINED)
                for number, token in enumerate(tokens)
                if types[number] in special
            ]
            begin = self._get("tokenizer.ggml.bos_token_id")
            if self._get("tokenizer.ggml.add_bos_token", kind == "llama" or split == "llama-bpe") and begin is not None:
                parts["post_processor"] = _begin_with(tokens[begin], begin)
            return {"version": "1.0", "truncation": None, "padding": None, "added_tokens": added, **parts}

    def tokenizer_config(self) -> dict[str, Any]:
        """The ``tokenizer_config.json`` of the model."""
        tokens, numbers = self._get("tokenizer.ggml.tokens"), {"bos": "bos", "eos": "eos", "pad": "padding"}
        given = {name: self._get(f"tokenizer.ggml.{theirs}_token_id") for name, theirs in numbers.items()}
        with as_input_error(f"{self.path}: cannot be read as GGUF"):
            texts = {f"{name}_token": tokens[number] for name, number in given.items() if number is not None}
        return {
            "tokenizer_class": "PreTrainedTokenizerFast",
            **texts,
            "model_max_length": self.config["max_position_embeddings"],
            "clean_up_tokenization_spaces": False,
        }

    def write(self, folder: Path, source_sha256: str) -> None:
        """Writes a model folder that says where it comes from, whole or not at all."""
        template, config = self._get("tokenizer.chat_template"), self.config
        generation = {name: value for name, value in config.items() if name.endswith("_token_id")}
        files = {
            "config.json": config,
            "generation_config.json": generation,
            TOKENIZER: self.tokenizer(),
            TOKENIZER_CONFIG: self.tokenizer_config(),
        }
        with write_whole_folder(folder) as whole:
            for name, content in files.items():
                (whole / name).write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
            if template:
                (whole / TEMPLATE).write_text(template, encoding="utf-8")
            (whole / "README.md").write_text(self._card(source_sha256), encoding="utf-8")
            _write_weights(whole, self.weights())

    def _card(self, source_sha256: str) -> str:
        facts = {"source": self.path.name, "source_sha256": source_sha256, "weights": self.types, **self.about}
        header = {name: facts[name] for name in ("license",) if name in facts}
        lossy = "" if self.is_exact else f"\nIts weights are {LOSSY}.\n"
        return (
            f"---\n{yaml.safe_dump(header) if header else ''}---\n\n# {facts.get('name', self.path.stem)}\n\n"
            f"Made from a GGUF file by radtune.\n{lossy}\n```yaml\n{yaml.safe_dump(facts, sort_keys=False)}```\n"
        )


def _write_weights(folder: Path, weights: Iterable[tuple[str, torch.Tensor]]) -> None:
    """Weights in files of some gigabytes, so that no model is held whole; with an index where there are several."""
    part, size, places = {}, 0, {}
    for name, weight in weights:
        if part and size + weight.nbytes > _MOST_BYTES:
            _save(folder, part, places)
            part, size = {}, 0
        part[name], size = weight, size + weight.nbytes
    one = not places
    _save(folder, part, places)
    if one:
        (folder / places[next(iter(part))]).rename(folder / "model.safetensors")
    else:
        (folder / INDEX).write_text(json.dumps({"metadata": {}, "weight_map": places}, indent=1), encoding="utf-8")


def _save(folder: Path, part: dict[str, torch.Tensor], places: dict[str, str]) -> None:
    file = f"model-{len(set(places.values())) + 1:05}.safetensors"
    with as_input_error(f"{folder / file}: cannot write", SafetensorError):
        save_file(part, folder / file, metadata={"format": "pt"})
    places |= dict.fromkeys(part, file)


def _decimal(value: Any) -> float:
    """A float of 32 bits as it was meant: 1e-05, and not 9.999999747378752e-06."""
    return float(str(np.float32(value)))


def weight_names(config: dict[str, Any]) -> dict[str, str]:
    """GGUF's name of each weight that a model may have, by Hugging Face's."""
    architecture, layers = ARCHITECTURES[config["model_type"]][0], config["num_hidden_layers"]
    number = next(number for number, name in MODEL_ARCH_NAMES.items() if name == architecture)
    known, names = get_tensor_name_map(number, layers), {}
    families = [family for family in FAMILIES if family.model_type == config["model_type"]]
    for pattern in {pattern for family in families for pattern in family.weights}:
        for layer in range(layers if "{}" in pattern else 1):
            name = pattern.format(layer)
            if ours := known.get_name(name, try_suffixes=(".weight", ".bias")):
                names[name] = ours
    return names


def reordered(name: str, weight: torch.Tensor, config: dict[str, Any], to_gguf: bool) -> torch.Tensor:
    """A weight, by its name in GGUF, with rows in the order of GGUF, or back in Hugging Face's.

    llama.cpp's rotary positions of a Llama turn neighbours, Hugging Face's the two halves of a head.
    """
    heads = {"attn_q": "num_attention_heads", "attn_k": "num_key_value_heads"}.get(name.split(".")[-2])
    if heads is None or ARCHITECTURES[config["model_type"]][0] != "llama":
        return weight
    order = (2, -1) if to_gguf else (-1, 2)
    return weight.view(config[heads], *order, *weight.shape[1:]).transpose(1, 2).reshape(weight.shape)


def llama3_frequencies(scaling: dict[str, Any], theta: float, head_dim: int) -> np.ndarray:
    """By what Llama 3 divides the frequency of each pair of a head (transformers, ``_compute_llama3_parameters``)."""
    waves = 2 * math.pi * theta ** (np.arange(0, head_dim, 2) / head_dim)
    turns = scaling["original_max_position_embeddings"] / waves
    low, high = scaling["low_freq_factor"], scaling["high_freq_factor"]
    smooth = np.clip((turns - low) / (high - low), 0, 1)
    return (1 / ((1 - smooth) / scaling["factor"] + smooth)).astype(np.float32)


def quantized(weight: np.ndarray, kind: str) -> np.ndarray:
    """Float32 values (rows, columns) as a type of GGUF holds them: floats, or blocks of bytes.

    What the package gguf cannot make, types of K among them, is made by llama.cpp where xllamacpp is installed.
    """
    number = GGMLQuantizationType[kind]
    try:
        return quantize(weight, number)
    except NotImplementedError:
        from xllamacpp import xllamacpp

    rows, columns = weight.shape
    blocks = np.empty(quant_shape_to_byte_shape(weight.shape, number), np.uint8)
    chunk = ctypes.CDLL(xllamacpp.__file__).ggml_quantize_chunk
    chunk.argtypes = [ctypes.c_int, *[ctypes.c_void_p] * 2, *[ctypes.c_int64] * 3, ctypes.c_void_p]
    chunk.restype = ctypes.c_size_t
    weight = np.ascontiguousarray(weight, np.float32)
    chunk(number, weight.ctypes.data, blocks.ctypes.data, 0, rows, columns, None)
    return blocks


def _byte_pairs(split: str, merges: list[list[str]]) -> dict[str, Any]:
    whole = split == "llama-bpe"  # a word that is a token is taken whole, however it would be merged
    return {
        "normalizer": {"type": "NFC"} if split == "qwen2" else None,
        "pre_tokenizer": SPLITS[split],
        "post_processor": None,
        "decoder": {**_BYTE_LEVEL, "add_prefix_space": True, "use_regex": True},
        "model": {"type": "BPE", "ignore_merges": whole, "vocab": {}, "merges": merges},
    }


def _sentence_pieces(tokens: list[str], scores: list[float], prefix: bool) -> dict[str, Any]:
    """Sentencepiece's byte pairs: any two pieces that make a third are merged, the best third first."""
    numbers = {token: number for number, token in enumerate(tokens)}
    merges = [
        (-scores[number], number, cut, token)
        for token, number in numbers.items()
        for cut in range(1, len(token))
        if token[:cut] in numbers and token[cut:] in numbers
    ]
    begin = [{"type": "Prepend", "prepend": BLANK}] if prefix else []
    strip = [{"type": "Strip", "content": " ", "start": 1, "stop": 0}] if prefix else []
    replace = {"type": "Replace", "pattern": {"String": " "}, "content": BLANK}
    back = {"type": "Replace", "pattern": {"String": BLANK}, "content": " "}
    model = {"type": "BPE", "unk_token": "<unk>", "fuse_unk": True, "byte_fallback": True, "vocab": {}}
    return {
        "normalizer": {"type": "Sequence", "normalizers": [*begin, replace]},
        "pre_tokenizer": None,
        "post_processor": None,
        "decoder": {"type": "Sequence", "decoders": [back, {"type": "ByteFallback"}, {"type": "Fuse"}, *strip]},
        "model": {**model, "merges": [[token[:cut], token[cut:]] for _, _, cut, token in sorted(merges)]},
    }


def _added(number: int, token: str, special: bool) -> dict[str, Any]:
    plain = dict.fromkeys(("single_word", "lstrip", "rstrip", "normalized"), False)
    return {"id": number, "content": token, **plain, "special": special}


def _begin_with(token: str, number: int) -> dict[str, Any]:
    begin, text = {"SpecialToken": {"id": token, "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}
    second = {"Sequence": {"id": "B", "type_id": 1}}
    tokens = {token: {"id": token, "ids": [number], "tokens": [token]}}
    return {
        "type": "TemplateProcessing", "single": [begin, text], "pair": [begin, text, second], "special_tokens": tokens,
    }  # fmt: skip
