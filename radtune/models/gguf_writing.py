"""A model folder written as GGUF, for llama.cpp and Ollama, with the prompt that was trained and its stop tokens."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from gguf import GGMLQuantizationType, GGUFWriter, LlamaFileType, TokenType
from gguf.constants import GGML_QUANT_SIZES

from radtune.config import InputError
from radtune.files import read_json, write_whole
from radtune.models.chat_frame import TOKENIZER, read_frame, tokenizer_settings
from radtune.models.checkpoint import ModelFolder, check_weights, open_model
from radtune.models.families import rope_of
from radtune.models.gguf import (
    ARCHITECTURES,
    BLANK,
    NUMBERS,
    ROPE_FREQUENCIES,
    SIZES,
    SPLITS,
    llama3_frequencies,
    quantized,
    reordered,
    weight_names,
)

# What each type is called in the file; the larger keep more.
FILE_TYPES = {
    "F16": LlamaFileType.MOSTLY_F16, "Q8_0": LlamaFileType.MOSTLY_Q8_0, "Q6_K": LlamaFileType.MOSTLY_Q6_K,
    "Q5_K": LlamaFileType.MOSTLY_Q5_K_S, "Q4_K": LlamaFileType.MOSTLY_Q4_K_S, "Q4_0": LlamaFileType.MOSTLY_Q4_0,
}  # fmt: skip
# What llama.cpp takes where rows cannot be cut into the blocks of 256 values of a type of K (its llama-quant.cpp).
_SMALLER_BLOCKS = {"Q6_K": "Q8_0", "Q5_K": "Q5_1", "Q4_K": "Q5_0"}
# Rounding costs most here, and the two are one weight in many models; llama.cpp, too, spares them.
_SPARED = ("token_embd.weight", "output.weight")


def write_gguf(folder: Path, path: Path, kind: str) -> None:
    """Writes a model folder as a GGUF file of one of :data:`FILE_TYPES`, whole or not at all.

    Raises:
        InputError: The folder is no model of a family, or has a tokenizer that llama.cpp would not read as it is.
    """
    base = open_model(folder)
    check_weights(base)
    architecture = ARCHITECTURES[base.config["model_type"]][0]
    with write_whole(path) as stream:
        writer = GGUFWriter(stream.buffer.raw.name, architecture)  # type: ignore[attr-defined]
        _add_sizes(writer, base, architecture)
        writer.add_file_type(FILE_TYPES[kind])
        writer.add_quantization_version(2)
        _add_tokenizer(writer, base)
        names = weight_names(base.config)
        # All shapes and types stand before the first value.
        for _, name, values in _tensors(base, names):
            number = _type_of(name, values.shape, kind)
            plain = {"F32": np.float32, "F16": np.float16}.get(number.name)
            block, size = GGML_QUANT_SIZES[number]
            shape = values.shape if plain else (*values.shape[:-1], values.shape[-1] // block * size)
            writer.add_tensor_info(name, shape, np.dtype(plain or np.uint8), values.size // block * size, number)
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_ti_data_to_file()
        for theirs, name, values in _tensors(base, names):
            number = _type_of(name, values.shape, kind)
            with np.errstate(over="ignore"):
                data = quantized(values, number.name)
            if number.name == "F16" and not np.isfinite(data).all():
                raise InputError(f"{folder}: {theirs} holds values that 16 bits of this type cannot")
            writer.write_tensor_data(data)
        writer.close()


def _tensors(base: ModelFolder, names: dict[str, str]) -> Iterator[tuple[str, str, np.ndarray]]:
    """Hugging Face's and GGUF's name of each weight, with its values in float32 and GGUF's order."""
    for theirs, weight in base.weights():
        if theirs not in names:
            raise InputError(f"{base.path}: {theirs} is no weight of a {base.family.name}")
        yield theirs, names[theirs], reordered(names[theirs], weight.float(), base.config, to_gguf=True).numpy()
    rope = rope_of(base.config)
    if rope["rope_type"] == "llama3":
        width = base.config.get("head_dim") or base.config["hidden_size"] // base.config["num_attention_heads"]
        yield ROPE_FREQUENCIES, ROPE_FREQUENCIES, llama3_frequencies(rope, rope["rope_theta"], width)


def _type_of(name: str, shape: tuple[int, ...], kind: str) -> GGMLQuantizationType:
    if len(shape) == 1:
        return GGMLQuantizationType.F32
    kind = "Q8_0" if name in _SPARED and kind != "F16" else kind
    for fitting in (kind, _SMALLER_BLOCKS.get(kind, kind)):
        if shape[-1] % GGML_QUANT_SIZES[GGMLQuantizationType[fitting]][0] == 0:
            return GGMLQuantizationType[fitting]
    return GGMLQuantizationType.F16


def _add_sizes(writer: GGUFWriter, base: ModelFolder, architecture: str) -> None:
    values = {**base.config, **rope_of(base.config)}
    writer.add_name(base.path.resolve().name)
    for ours, theirs in SIZES.items():
        writer.add_uint32(f"{architecture}.{theirs}", values[ours])
    for ours, theirs in NUMBERS.items():
        writer.add_float32(f"{architecture}.{theirs}", values[ours])
    width = values.get("head_dim") or values["hidden_size"] // values["num_attention_heads"]
    writer.add_rope_dimension_count(width)
    writer.add_key_length(width)
    writer.add_value_length(width)
    writer.add_vocab_size(values["vocab_size"])


def _add_tokenizer(writer: GGUFWriter, base: ModelFolder) -> None:
    path = base.path / TOKENIZER
    content = read_json(path)
    model, added = content.get("model") or {}, content.get("added_tokens") or []
    try:
        merges = [pair if isinstance(pair, str) else " ".join(pair) for pair in model["merges"]]
        tokens = {number: token for token, number in model["vocab"].items()}
        sentencepiece, split = bool(model.get("byte_fallback")), None if model.get("byte_fallback") else _split(content)
        kinds = {
            number: TokenType.BYTE
            if sentencepiece and len(token) == 6 and token.startswith("<0x")
            else TokenType.NORMAL
            for number, token in tokens.items()
        }
        for token in added:
            tokens[token["id"]] = token["content"]
            kinds[token["id"]] = TokenType.CONTROL if token["special"] else TokenType.USER_DEFINED
    except (AttributeError, KeyError, TypeError):
        raise InputError(f"{path}: not a tokenizer of byte pairs") from None
    if not sentencepiece and split is None:
        raise InputError(f"{path}: splits text as no model that is known here, so llama.cpp may read other tokens")
    size = base.config["vocab_size"]
    filled = [tokens.get(number, f"[PAD{number}]") for number in range(size)]
    if len(tokens) > size or max(tokens) >= size:
        raise InputError(f"{path}: has more tokens than the model")
    if sentencepiece:
        _add_sentence_pieces(writer, content, filled, merges)
    else:
        writer.add_tokenizer_model("gpt2")
        writer.add_tokenizer_pre(split)
        writer.add_token_merges(merges)
    writer.add_token_list(filled)
    writer.add_token_types([kinds.get(number, TokenType.UNUSED) for number in range(size)])
    _add_prompting(writer, base, {token: number for number, token in enumerate(filled)})


def _split(content: dict[str, Any]) -> str | None:
    """llama.cpp's name for how a tokenizer splits texts; None where it has none."""
    whole, normalizer = bool(content["model"].get("ignore_merges")), content.get("normalizer")
    wanted = _essence(content.get("pre_tokenizer"))
    for name, split in SPLITS.items():
        fits = normalizer is None or (name == "qwen2" and normalizer == {"type": "NFC"})
        if wanted == _essence(split) and fits and whole == (name == "llama-bpe"):
            return name
    return None


def _essence(part: Any) -> Any:
    """What of a pre-tokenizer decides tokens; offsets, which are trimmed or not, do not."""
    if isinstance(part, dict):
        return {name: _essence(value) for name, value in part.items() if name != "trim_offsets"}
    return [_essence(item) for item in part] if isinstance(part, list) else part


def _add_sentence_pieces(writer: GGUFWriter, content: dict[str, Any], tokens: list[str], merges: list[str]) -> None:
    """Sentencepiece's tokens, the sooner merged the better scored.

    Where only the first word of a text gets a blank before it (``prepend_scheme: first``), llama.cpp is told of none:
    it would put one behind every special token, and a prompt begins with one.
    """
    scores: dict[str, float] = {}
    for rank, merge in enumerate(merges):
        scores.setdefault(merge.replace(" ", ""), -float(rank))
    writer.add_tokenizer_model("llama")
    writer.add_tokenizer_pre("default")
    writer.add_token_scores([scores.get(token, -float(len(merges))) for token in tokens])
    before = [content.get("normalizer") or {}, *(content.get("normalizer") or {}).get("normalizers", ())]
    always = {"type": "Prepend", "prepend": BLANK} in before
    writer.add_add_space_prefix(always or (content.get("pre_tokenizer") or {}).get("prepend_scheme") == "always")


def _add_prompting(writer: GGUFWriter, base: ModelFolder, numbers: dict[str, int]) -> None:
    """The chat template that was trained, special tokens, and that only the template brings them."""
    known = tokenizer_settings(base.path)
    for name, add in (("bos", writer.add_bos_token_id), ("pad", writer.add_pad_token_id)):
        if (token := known.get(f"{name}_token")) in numbers:
            add(numbers[token])
    # What ends an answer in training comes first.
    stops = sorted(base.stop_tokens(), key=lambda number: number != numbers.get(known.get("eos_token", "")))
    adders = (writer.add_eos_token_id, writer.add_eot_token_id, writer.add_eom_token_id)
    for add, number in zip(adders, stops, strict=False):
        add(number)
    writer.add_add_bos_token(False)
    writer.add_chat_template(read_frame(base.path).template)


def modelfile(folder: Path, path: Path) -> str:
    """Ollama's Modelfile for a GGUF file beside it: the prompt that was trained, without a system message; greedy."""
    base = open_model(folder)
    frame = read_frame(folder)
    names = {token["id"]: token["content"] for token in read_json(folder / TOKENIZER)["added_tokens"]}
    stops = "".join(f'PARAMETER stop "{names[number]}"\n' for number in base.stop_tokens() if number in names)
    return (
        f"FROM ./{path.name}\n"
        f'TEMPLATE """{frame.before}{{{{ .Prompt }}}}{frame.after}{{{{ .Response }}}}"""\n'
        f"{stops}PARAMETER temperature 0\nPARAMETER num_ctx {min(base.config['max_position_embeddings'], 8192)}\n"
    )
