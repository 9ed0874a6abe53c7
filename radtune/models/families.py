"""The families of models that radtune reads, trains and runs by itself: a row each.

Another family costs a row here, where its tokenizer is new a function in :mod:`radtune.models.tokenizer`, and a test
that holds its logits to those of transformers.
"""

import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from radtune.config import InputError
from radtune.models.tokenizer import llama3_tokenizer_of

_LAYER = re.compile(r"(?<=layers\.)\d+")


@dataclass(frozen=True)
class ChatFrame:
    """The text around a prompt's one message, and a special token by which a tokenizer is known to use this frame.

    ``template`` is the same for servers, with further messages where a conversation has them.
    """

    header: str
    before: str
    after: str
    template: str


@dataclass(frozen=True)
class Family:
    """How models of one kind lie on disk and in torchtune.

    Attributes:
        model_type: Of its ``config.json``, as are the entries ``rope`` of rotary positions and whether embeddings are
            ``tied``, so that no weight of the output layer is stored.
        fixed: Further entries that ``config.json`` must have, if it has them at all: what torchtune builds.
        usual: Entries that nearly all its models have; with others, weights of these are another model in silence.
        builder: torchtune's; it and ``lora_builder`` take ``arguments`` of a ``config.json``.
        weights: From Hugging Face's names of weights to torchtune's; ``{}`` is a layer's number.
        neighbours: Whether torchtune's rotary positions turn neighbours where Hugging Face's turn the two halves of a
            head, so that rows of queries and keys stand in another order.
        load_tokenizer: From the folder, the vocabulary's size and where rows are cut (or None) to torchtune's
            tokenizer, which knows the stop tokens.
        frame: Its prompts, for tokenizers of transformers.
    """

    name: str
    model_type: str
    rope: Mapping[str, Any]
    tied: bool
    fixed: Mapping[str, Any]
    usual: Mapping[str, float]
    builder: str
    lora_builder: str
    arguments: Callable[[dict[str, Any]], dict[str, Any]]
    weights: Mapping[str, str]
    neighbours: bool
    load_tokenizer: Callable[[Path, int, int | None], Any]
    frame: ChatFrame

    def unusual(self, config: dict[str, Any]) -> list[str]:
        """Warnings of what in a ``config.json`` no other model of the family has."""
        values = {**config, **rope_of(config)}
        return [
            f"warning: the base model's config.json has {name} {values[name]}, nearly every {self.name} has {value}"
            for name, value in self.usual.items()
            if values[name] != value
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
    """The rotary positions of a ``config.json``, which transformers has written under two names, or not at all."""
    rope = config.get("rope_scaling") or config.get("rope_parameters")
    plain = {"rope_type": "default", "rope_theta": config.get("rope_theta", 10_000.0)}
    return {**plain, **rope} if isinstance(rope, dict) else plain


def find_family(config: dict[str, Any], where: object) -> Family:
    """The family that a ``config.json`` is of; for one of none, an InputError that names those there are."""
    kind, tied, rope = config.get("model_type"), bool(config.get("tie_word_embeddings")), rope_of(config)
    for family in FAMILIES:
        if (kind, tied) == (family.model_type, family.tied) and family.rope.items() <= rope.items():
            for name, value in family.fixed.items():
                if config.get(name, value) not in (value, None):
                    raise InputError(f"{where}: {name} is not {value!r}, as it is in every {family.name} run here")
            return family
    raise InputError(
        f"{where}: model type {kind!r}, rotary positions {rope['rope_type']!r}, {'tied' if tied else 'untied'} "
        f"embeddings: of no family that is trained and run here ({', '.join(family.name for family in FAMILIES)}); "
        "engine=transformers runs others, too"
    )


def frame_of(knows: Callable[[str], bool]) -> ChatFrame | None:
    """The frame of a tokenizer, told by whether it knows a special token; None for a tokenizer of no family here."""
    return next((family.frame for family in FAMILIES if knows(family.frame.header)), None)


def _renamed(name: str, names: Mapping[str, str]) -> str:
    layer = _LAYER.search(name)
    return names[_LAYER.sub("{}", name)].format(layer[0] if layer else "")


def _llama3_arguments(config: dict[str, Any]) -> dict[str, Any]:
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
        "scale_factor": _number(rope["factor"], "factor"),
    }


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

FAMILIES = (
    # Of any size: the tiny model in data/mini is one.
    Family(
        name="Llama 3.1",
        model_type="llama",
        # What torchtune's scaled rotary positions are built with.
        rope={
            "rope_type": "llama3", "low_freq_factor": 1.0, "high_freq_factor": 4.0,
            "original_max_position_embeddings": 8192,
        },
        tied=False,
        fixed={"hidden_act": "silu", "attention_bias": False, "mlp_bias": False},
        usual={"rope_theta": 500_000.0, "factor": 8.0, "rms_norm_eps": 1e-5},
        builder="torchtune.models.llama3_1.llama3_1",
        lora_builder="torchtune.models.llama3_1.lora_llama3_1",
        arguments=_llama3_arguments,
        weights=_LLAMA_WEIGHTS,
        neighbours=True,
        load_tokenizer=llama3_tokenizer_of,
        # Without the system message with a date that Llama 3.1's own template adds, and no training row has.
        frame=ChatFrame(
            "<|start_header_id|>",
            "<|begin_of_text|><|start_header_id|>user<|end_header_id|>\n\n",
            "<|eot_id|><|start_header_id|>assistant<|end_header_id|>\n\n",
            "<|begin_of_text|>{% for message in messages %}"
            "{{ '<|start_header_id|>' + message['role'] + '<|end_header_id|>\n\n' }}"
            "{{ (message['content'] | trim) + '<|eot_id|>' }}{% endfor %}"
            "{% if add_generation_prompt %}{{ '<|start_header_id|>assistant<|end_header_id|>\n\n' }}{% endif %}",
        ),
    ),
)  # fmt: skip
