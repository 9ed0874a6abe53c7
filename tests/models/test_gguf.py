"""GGUF files: what is read of them is what transformers reads, within the rounding of each type."""

import json

import numpy as np
import pytest
import torch
from gguf import GGMLQuantizationType, GGUFWriter, TokenType
from safetensors.torch import load_file
from tokenizers import Tokenizer
from transformers import AutoModelForCausalLM, AutoTokenizer

from radtune.config import InputError
from radtune.models.checkpoint import INDEX
from radtune.models.gguf import GgufModel, quantized

# The most that a value may be off, as a share of the largest of its block.
ROUNDING = {"F32": 0, "F16": 2**-11, "BF16": 2**-8, "Q8_0": 1 / 127, "Q4_0": 1 / 8, "Q4_1": 1 / 8, "Q4_K": 1 / 6}
WIDTH, HEADS, KV_HEADS, LAYERS, INNER = 256, 4, 2, 2, 512
SPECIAL = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")
BYTES = [*range(33, 127), *range(161, 173), *range(174, 256)]
PIECES = [chr(code) for code in BYTES] + [chr(256 + number) for number in range(256 - len(BYTES))]
MERGES = ["Ġ t", "h e", "Ġt he", "i n", "e f", "f u", "s i"]


def random_weights(tied):
    """Weights of a tiny Llama, by Hugging Face's names."""
    draw = np.random.default_rng(0)
    head = WIDTH // HEADS
    shapes = {"model.embed_tokens": (300, WIDTH), "model.norm": (WIDTH,), "lm_head": (300, WIDTH)}
    for layer in range(LAYERS):
        inside = {
            "self_attn.q_proj": (WIDTH, WIDTH), "self_attn.k_proj": (KV_HEADS * head, WIDTH),
            "self_attn.v_proj": (KV_HEADS * head, WIDTH), "self_attn.o_proj": (WIDTH, WIDTH),
            "mlp.gate_proj": (INNER, WIDTH), "mlp.up_proj": (INNER, WIDTH), "mlp.down_proj": (WIDTH, INNER),
            "input_layernorm": (WIDTH,), "post_attention_layernorm": (WIDTH,),
        }  # fmt: skip
        shapes |= {f"model.layers.{layer}.{name}": shape for name, shape in inside.items()}
    shapes = {name: shape for name, shape in shapes.items() if not (tied and name == "lm_head")}
    return {f"{name}.weight": draw.normal(0, 0.05, shape).astype(np.float32) for name, shape in shapes.items()}


# llama.cpp's names, as in the table "Standardized tensor names" of its description of the file.
NAMES = {
    "model.embed_tokens": "token_embd", "model.norm": "output_norm", "lm_head": "output", "model.layers": "blk",
    "self_attn.q_proj": "attn_q", "self_attn.k_proj": "attn_k", "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output", "mlp.gate_proj": "ffn_gate", "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down", "input_layernorm": "attn_norm", "post_attention_layernorm": "ffn_norm",
}  # fmt: skip


def write_file(path, kind="F32", tied=True, **changes):
    """A tiny Llama as llama.cpp's converter lays it out, written by hand; returns its weights."""
    weights = random_weights(tied)
    tokens = [*SPECIAL, *PIECES, *(merge.replace(" ", "") for merge in MERGES)]
    types = [TokenType.CONTROL] * len(SPECIAL) + [TokenType.NORMAL] * (len(tokens) - len(SPECIAL))
    fill = 300 - len(tokens)
    writer = GGUFWriter(path, "llama")
    values = {
        "llama.context_length": 128, "llama.embedding_length": WIDTH, "llama.block_count": LAYERS,
        "llama.feed_forward_length": INNER, "llama.attention.head_count": HEADS,
        "llama.attention.head_count_kv": KV_HEADS, "llama.rope.freq_base": 1e5,
        "llama.attention.layer_norm_rms_epsilon": 1e-5, "llama.vocab_size": 300, "general.name": "Tiny",
        "general.license": "mit", "tokenizer.ggml.model": "gpt2", "tokenizer.ggml.pre": "smollm",
        "tokenizer.ggml.tokens": [*tokens, *(f"[PAD{number}]" for number in range(fill))],
        "tokenizer.ggml.token_type": [*map(int, types), *[int(TokenType.UNUSED)] * fill],
        "tokenizer.ggml.merges": MERGES, "tokenizer.ggml.bos_token_id": 1, "tokenizer.ggml.eos_token_id": 2,
        "tokenizer.ggml.padding_token_id": 2, "tokenizer.ggml.add_bos_token": False,
        "tokenizer.chat_template": "{% for m in messages %}{{ '<|im_start|>' + m['content'] }}{% endfor %}",
    } | changes  # fmt: skip
    adders = {str: writer.add_string, int: writer.add_uint32, float: writer.add_float32, bool: writer.add_bool,
              list: writer.add_array}  # fmt: skip
    for name, value in values.items():
        if value is not None:
            adders[type(value)](name, value)
    for name, weight in weights.items():
        heads = HEADS if "q_proj" in name else KV_HEADS if "k_proj" in name else 0
        if heads:
            weight = weight.reshape(heads, 2, -1, WIDTH).swapaxes(1, 2).reshape(weight.shape)
        for theirs, ours in NAMES.items():
            name = name.replace(theirs, ours)
        # Norms and other vectors are kept in full.
        number = GGMLQuantizationType[kind if weight.ndim > 1 else "F32"]
        writer.add_tensor(name, quantized(weight, number.name), raw_dtype=number)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return weights


@pytest.mark.parametrize("kind", ROUNDING)
def test_weights_are_those_that_transformers_reads_and_near_what_was_written(tmp_path, kind):
    if kind == "Q4_K":
        pytest.importorskip("xllamacpp")
    weights = write_file(tmp_path / "tiny.gguf", kind, tied=kind != "F32")
    model = GgufModel(tmp_path / "tiny.gguf")
    model.write(tmp_path / "tiny", "0" * 64)
    read = load_file(tmp_path / "tiny" / "model.safetensors")
    assert read.keys() == weights.keys()
    assert str(read["model.embed_tokens.weight"].dtype) == f"torch.{model.config['dtype']}"
    assert model.is_exact == (kind in ("F32", "F16", "BF16"))
    assert ("a lossy start" in (tmp_path / "tiny" / "README.md").read_text()) != model.is_exact
    for name, weight in weights.items():
        limit = ROUNDING[kind] * np.abs(weight).max()
        assert np.abs(read[name].float().numpy() - weight).max() <= limit, name
    # As another reader has it, and as a model that transformers runs.
    theirs = AutoModelForCausalLM.from_pretrained(tmp_path, gguf_file="tiny.gguf", dtype=torch.float32)
    ours = AutoModelForCausalLM.from_pretrained(tmp_path / "tiny", dtype=torch.float32)
    tokens = torch.arange(3, 60)[None]
    with torch.no_grad():
        assert torch.equal(ours(tokens).logits, theirs(tokens).logits)


def test_config_and_tokenizer_are_as_they_were_meant(tmp_path):
    write_file(tmp_path / "tiny.gguf")
    GgufModel(tmp_path / "tiny.gguf").write(tmp_path / "tiny", "0" * 64)
    config = json.loads((tmp_path / "tiny" / "config.json").read_text())
    assert (config["rms_norm_eps"], config["rope_theta"], config["rope_scaling"]) == (1e-5, 1e5, None)
    assert (config["vocab_size"], config["head_dim"], config["eos_token_id"]) == (300, WIDTH // HEADS, 2)
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "tiny")
    text = "the effusion is 12 mm, naïve\n"
    tokens = tokenizer(text)["input_ids"]
    assert tokenizer.decode(tokens) == text
    assert tokenizer.convert_ids_to_tokens(tokens)[:4] == ["t", "he", "Ġ", "ef"]
    # Digits stand alone, as its splitting has it, and the chat template is its own.
    assert Tokenizer.from_file(str(tmp_path / "tiny" / "tokenizer.json")).encode("12").tokens == ["1", "2"]
    chat = tokenizer.apply_chat_template([{"role": "user", "content": "the"}], tokenize=False)
    assert (chat, tokenizer.eos_token) == ("<|im_start|>the", "<|im_end|>")


def test_a_large_model_is_written_in_parts(tmp_path, monkeypatch):
    monkeypatch.setattr("radtune.models.gguf._MOST_BYTES", 2**20)
    weights = write_file(tmp_path / "tiny.gguf")
    GgufModel(tmp_path / "tiny.gguf").write(tmp_path / "tiny", "0" * 64)
    places = json.loads((tmp_path / "tiny" / INDEX).read_text())["weight_map"]
    parts = {name: load_file(tmp_path / "tiny" / name) for name in set(places.values())}
    assert len(parts) > 2
    assert all(np.array_equal(parts[places[name]][name].numpy(), weight) for name, weight in weights.items())


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"llama.block_count": 0}, "no llama.block_count"),
        ({"llama.block_count": 2**31}, "20 weights for 2,147,483,648 layers"),
        ({"llama.block_count": 3}, "9 weights are missing; first: blk.2.attn_k.weight"),
        ({"llama.attention.head_count": 5}, "cannot be read as GGUF"),
        ({"llama.attention.layer_norm_rms_epsilon": None}, "no llama.attention.layer_norm_rms_epsilon"),
        ({"llama.rope.scaling.type": "yarn"}, "llama.rope.scaling.type is yarn: such models are not read"),
        ({"llama.rope.scale_linear": 4.0}, "llama.rope.scale_linear is 4.0"),
        ({"llama.rope.dimension_count": 32}, "llama.rope.dimension_count is 32"),
        ({"llama.attention.sliding_window": 64}, "llama.attention.sliding_window is 64"),
        ({"split.count": 2}, "one of 2 parts; join them first"),
        ({"tokenizer.ggml.bos_token_id": 9_999}, "cannot be read as GGUF"),
        ({"llama.block_count": 1}, "blk.1.attn_q.weight is no weight of a llama"),
        ({"tokenizer.ggml.pre": "odd"}, "tokenizer gpt2, odd: only sentencepiece and llama-bpe"),
        ({"tokenizer.ggml.merges": None}, "cannot be read as GGUF"),
    ],
)
def test_what_cannot_be_read_is_said_in_a_line_and_nothing_is_left(tmp_path, changes, message):
    write_file(tmp_path / "tiny.gguf", **changes)
    with pytest.raises(InputError, match=message) as caught:
        GgufModel(tmp_path / "tiny.gguf").write(tmp_path / "tiny", "0" * 64)
    assert "\n" not in str(caught.value)
    assert [path.name for path in tmp_path.iterdir()] == ["tiny.gguf"]


def test_the_command_names_file_types_and_folder(tmp_path, command):
    (tmp_path / "pack").mkdir()
    (tmp_path / "pack" / "__init__.py").write_text("raise ImportError('needs more than is installed')\n")
    write_file(tmp_path / "pack" / "tiny.Q8_0.gguf", "Q8_0")
    script, output = "scripts/import_gguf.py", f"output={tmp_path / 'tiny'}"
    code, _, said = command(script, output)
    assert code == 2 and "give input=" in said
    code, _, said = command(script, output, "package=pack")
    assert code == 2 and "package=pack: not installed" in said
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(tmp_path)
        code, printed, said = command(script, output, "package=pack")
    assert code == 0, said
    assert "Q8_0 -> float32: written to" in printed and "a lossy start" in said
    card = (tmp_path / "tiny" / "README.md").read_text()
    assert "source: tiny.Q8_0.gguf" in card and "license: mit" in card
    code, _, said = command(script, output, f"input={tmp_path / 'pack' / 'tiny.Q8_0.gguf'}")
    assert code == 2 and "exists" in said
    (tmp_path / "none.gguf").write_bytes(b"GGUF" + bytes(60))
    code, _, said = command(script, f"output={tmp_path / 'other'}", f"input={tmp_path / 'none.gguf'}")
    assert code == 2 and "cannot be read as GGUF" in said and not (tmp_path / "other").exists()
