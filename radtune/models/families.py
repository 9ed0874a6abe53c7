"""The families of models that radtune reads, trains and runs by itself: a row each.

Another family costs a row here: `tests/models/test_families.py` holds every row's logits, losses and exports to those
of transformers and peft. Rows are of what torchtune builds: Gemma 2 scales embeddings, caps logits and slides windows,
which our attention does not; Phi-3 stores queries, keys and values as one weight, so it would cost a second mapping.
"""

import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from radtune.config import InputError
from radtune.models.tokenizer import json_tokenizer_of, llama3_tokenizer_of

_LAYER = re.compile(r"(?<=layers\.)\d+")
# Of every model that torchtune builds; an encoder made of a decoder sees what comes after.
_ALWAYS = {"is_causal": True, "partial_rotary_factor": 1.0}


@dataclass(frozen=True)
class Family:
    """How models of one kind lie on disk and in torchtune.

    Attributes:
        model_type: Of its ``config.json``, as are the entries ``rope`` of rotary positions and whether embeddings are
            ``tied``, so that no weight of the output layer is stored; None where some are.
        fixed: Further entries that ``config.json`` must have, if it has them at all: what torchtune builds.
        usual: What nearly all its models have of some entries; with others, weights of these are another model in
            silence.
        builder: torchtune's, in its package of that name, and with ``lora_`` before it; both take ``arguments`` of a
            ``config.json``.
        weights: From Hugging Face's names of weights to torchtune's; ``{}`` is a layer's number.
        neighbours: Whether torchtune's rotary positions turn neighbours where Hugging Face's turn the two halves of a
            head, so that rows of queries and keys stand in another order.
        load_tokenizer: From the folder, the vocabulary's size and where rows are cut (or None) to a tokenizer, which
            knows the stop tokens.
    """

    name: str
    model_type: str
    rope: Mapping[str, Any]
    tied: bool | None
    usual: Mapping[str, Sequence[float]]
    builder: str
    arguments: Callable[[dict[str, Any]], dict[str, Any]]
    weights: Mapping[str, str]
    fixed: Mapping[str, Any]
    neighbours: bool
    load_tokenizer: Callable[[Path, int, int | None], Any]

    def unusual(self, config: dict[str, Any]) -> list[str]:
        """Warnings of what in a ``config.json`` no other model of the family has."""
        values = {**config, **rope_of(config)}
        return [
            f"warning: the base model's config.json has {name} {values[name]}, nearly every {self.name} has "
            f"{' or '.join(map(str, usual))}"
            for name, usual in self.usual.items()
            if not any(math.isclose(values[name], value, rel_tol=1e-6) for value in usual)
        ]

    def to_torchtune(self, name: str, weight: torch.Tensor, config: dict[str, Any]) -> tuple[str, torch.Tensor]:
        """A weight of Hugging Face's layout in torchtune's; a KeyError or RuntimeError where it is of another model."""
        return _renamed(name, self.weights), self._reordered(name, weight, config, (2, -1))

    def to_hugging_face(self, name: str, weight: torch.Tensor, config: dict[str, Any]) -> tuple[str, torch.Tensor]:
        """A weight of torchtune's layout, or an adapter's up-projection by its weight's name, in Hugging Face's."""
        name = _renamed(name, {ours: theirs for theirs, ours in self.weights.items()})
        return name, self._reordered(name, weight, config, (-1, 2))

    def _reordered(self, name: str, weight: torch.Tensor, config: dict[str, Any], order: Sequence[int]) -> torch.Tensor:
        counts = {"q_proj": "num_attention_heads", "k_proj": "num_key_value_heads"}
        heads = next((config[count] for module, count in counts.items() if f".{module}." in name), None)
        if heads is None or not self.neighbours:
            return weight
        return weight.view(heads, *order, *weight.shape[1:]).transpose(1, 2).reshape(weight.shape)


def rope_of(config: dict[str, Any]) -> dict[str, Any]:
    """The rotary positions of a ``config.json``, which transformers has written under two names, or not at all.

    Their kind has had two names, too; what Qwen2.5's page says to write for long texts has the older.
    """
    rope = config.get("rope_scaling") or config.get("rope_parameters") or {}
    rope = rope if isinstance(rope, dict) else {"type": rope}
    plain = {"rope_type": rope.get("type", "default"), "rope_theta": config.get("rope_theta", 10_000.0)}
    return {**plain, **rope}


def find_family(config: dict[str, Any], where: object) -> Family:
    """The family that a ``config.json`` is of; for one of none, an InputError that names those there are."""
    kind, tied, rope = config.get("model_type"), bool(config.get("tie_word_embeddings")), rope_of(config)
    for family in FAMILIES:
        fits = kind == family.model_type and family.tied in (tied, None)
        if fits and family.rope.items() <= rope.items():
            for name, value in (_ALWAYS | family.fixed).items():
                if {**config, **rope}.get(name, value) not in (value, None):
                    raise InputError(f"{where}: {name} is not {value!r}, as it is in every {family.name} run here")
            return family
    raise InputError(
        f"{where}: model type {kind!r}, rotary positions {rope['rope_type']!r}, {'tied' if tied else 'untied'} "
        f"embeddings: of no family that is trained and run here ({', '.join(family.name for family in FAMILIES)}); "
        "engine=transformers runs others, too"
    )


def _renamed(name: str, names: Mapping[str, str]) -> str:
    layer = _LAYER.search(name)
    return names[_LAYER.sub("{}", name)].format(layer[0] if layer else "")


def _arguments(config: dict[str, Any]) -> dict[str, Any]:
    rope, width, heads = rope_of(config), config["hidden_size"], config["num_attention_heads"]
    if (config.get("head_dim") or width // heads) * heads != width:
        raise ValueError("head_dim is not hidden_size over num_attention_heads")
    return {
        "vocab_size": config["vocab_size"],
        "num_layers": config["num_hidden_layers"],
        "num_heads": heads,
        "num_kv_heads": config["num_key_value_heads"],
        "embed_dim": width,
        "intermediate_dim": config["intermediate_size"],
        "max_seq_len": config["max_position_embeddings"],
        "norm_eps": _number(config["rms_norm_eps"], "rms_norm_eps"),
        "rope_base": _number(rope["rope_theta"], "rope_theta"),
    }


def _llama_arguments(config: dict[str, Any]) -> dict[str, Any]:
    rope = rope_of(config)
    # Scaled by 1, torchtune's positions are plain ones.
    factor = 1.0 if rope["rope_type"] == "default" else _number(rope.get("factor", 1.0), "factor")
    return {**_arguments(config), "scale_factor": factor}


def _qwen_arguments(config: dict[str, Any]) -> dict[str, Any]:
    return {**_arguments(config), "tie_word_embeddings": bool(config.get("tie_word_embeddings"))}


def _number(value: Any, name: str) -> float:
    # What is no number would make every weight one that is none.
    if type(value) not in (int, float) or not 0 < value < math.inf:
        raise ValueError(f"{name} is no number above 0")
    return value


_LLAMA_WEIGHTS = {
    "model.embed_tokens.weight": "tok_embeddings.weight",
    "model.layers.{}.self_attn.q_proj.weight": "layers.{}.attn.q_proj.weight",
    "model.layers.{}.self_attn.k_proj.weight": "layers.{}.attn.k_proj.weight",
    "model.layers.{}.self_attn.v_proj.weight": "layers.{}.attn.v_proj.weight",
    "model.layers.{}.self_attn.o_proj.weight": "layers.{}.attn.output_proj.weight",
    "model.layers.{}.mlp.gate_proj.weight": "layers.{}.mlp.w1.weight",
    "model.layers.{}.mlp.up_proj.weight": "layers.{}.mlp.w3.weight",
    "model.layers.{}.mlp.down_proj.weight": "layers.{}.mlp.w2.weight",
    "model.layers.{}.input_layernorm.weight": "layers.{}.sa_norm.scale",
    "model.layers.{}.post_attention_layernorm.weight": "layers.{}.mlp_norm.scale",
    "model.norm.weight": "norm.scale",
    "lm_head.weight": "output.weight",
}

_BIASES = {f"model.layers.{{}}.self_attn.{name}_proj.bias": f"layers.{{}}.attn.{name}_proj.bias" for name in "qkv"}
# What torchtune's scaled rotary positions are built with.
_SCALED = {
    "rope_type": "llama3", "low_freq_factor": 1.0, "high_freq_factor": 4.0, "original_max_position_embeddings": 8192,
}  # fmt: skip
_PLAIN = {"rope_type": "default"}

# Of any size: the tiny model in data/mini is one.
_LLAMA_3_1 = Family(
    name="Llama 3.1",
    model_type="llama",
    rope=_SCALED,
    tied=False,
    usual={"rope_theta": [500_000.0], "factor": [8.0], "rms_norm_eps": [1e-5]},
    builder="llama3_1",
    arguments=_llama_arguments,
    weights=_LLAMA_WEIGHTS,
    fixed={"hidden_act": "silu", "attention_bias": False, "mlp_bias": False},
    neighbours=True,
    load_tokenizer=llama3_tokenizer_of,
)
# The others by what they have otherwise.
FAMILIES = (
    _LLAMA_3_1,
    # 1B and 3B.
    replace(
        _LLAMA_3_1, name="Llama 3.2", tied=True, builder="llama3_2",
        usual={"rope_theta": [500_000.0], "factor": [32.0], "rms_norm_eps": [1e-5]},
    ),
    # 135M and 360M, and 1.7B with the other base of positions.
    replace(
        _LLAMA_3_1, name="SmolLM2", rope=_PLAIN, tied=True, builder="llama3_2", load_tokenizer=json_tokenizer_of,
        usual={"rope_theta": [100_000.0, 130_000.0], "rms_norm_eps": [1e-5]},
    ),
    # 0.5B to 7B; embeddings are tied below 7B.
    replace(
        _LLAMA_3_1, name="Qwen2.5", model_type="qwen2", rope=_PLAIN, tied=None, builder="qwen2",
        arguments=_qwen_arguments, weights=_LLAMA_WEIGHTS | _BIASES, neighbours=False, load_tokenizer=json_tokenizer_of,
        usual={"rope_theta": [1_000_000.0], "rms_norm_eps": [1e-6]},
        fixed={"hidden_act": "silu", "use_sliding_window": False},
    ),
    # 7B v0.3: v0.1 slides a window over what it sees, and the turns of both before it are no special tokens.
    replace(
        _LLAMA_3_1, name="Mistral", model_type="mistral", rope=_PLAIN, builder="mistral", arguments=_arguments,
        load_tokenizer=json_tokenizer_of, usual={"rope_theta": [1_000_000.0], "rms_norm_eps": [1e-5]},
        fixed={"hidden_act": "silu", "sliding_window": None},
    ),
)  # fmt: skip
