"""The table of families: weights to and fro, frames like torchtune's, other models refused in a line."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torchtune.models.convert_weights import hf_to_tune, tune_to_hf, tune_to_peft_adapter_weights
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer

from radtune.config import InputError
from radtune.models.checkpoint import INDEX, fresh_adapter, load_checkpoint, load_trainable, open_model
from radtune.models.export import FineTuned, peft_weights
from radtune.models.families import FAMILIES, find_family, frame_of
from radtune.models.tokenizer import prompt_tokens

MINI = Path("data/mini")
CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def base():
    return open_model(MINI)


def heads(config):
    return {
        "num_heads": config["num_attention_heads"], "num_kv_heads": config["num_key_value_heads"],
        "dim": config["hidden_size"], "head_dim": config["head_dim"],
    }  # fmt: skip


def test_weights_are_torchtunes_and_come_back(base):
    theirs = dict(base.weights())
    ours = dict(base.family.to_torchtune(*named, base.config) for named in theirs.items())
    wanted = hf_to_tune(theirs, **heads(base.config))
    assert set(ours) == set(wanted)
    assert all(torch.equal(ours[name], wanted[name]) for name in ours)
    back = dict(base.family.to_hugging_face(*named, base.config) for named in ours.items())
    assert all(torch.equal(back[name], tensor) for name, tensor in tune_to_hf(ours, **heads(base.config)).items())
    assert all(torch.equal(back[name], theirs[name]) for name in theirs)


def test_adapters_on_every_layer_are_named_as_torchtune_names_them(base):
    lora = {
        "lora_attn_modules": ["q_proj", "k_proj", "v_proj", "output_proj"], "apply_lora_to_mlp": True,
        "apply_lora_to_output": True, "lora_rank": 4, "lora_alpha": 8, "quantize_base": False,
    }  # fmt: skip
    model = load_trainable(base, lora, CPU, torch.float32, 0)
    start = fresh_adapter(model, 0)
    trainable = {name: parameter for name, parameter in model.named_parameters() if parameter.requires_grad}
    assert set(trainable) == set(start)
    assert all(torch.equal(trainable[name], start[name]) for name in start)
    tensors = {name: torch.randn_like(tensor) for name, tensor in start.items()}
    got = peft_weights(FineTuned(base, tensors, lora, torch.float32).adapter())
    wanted = tune_to_peft_adapter_weights(tensors, **heads(base.config))
    assert set(got) == set(wanted)
    assert all(torch.equal(got[name], wanted[name]) for name in got)


def test_a_frames_text_is_torchtunes_tokens(base):
    tokenizer = AutoTokenizer.from_pretrained(MINI)
    frame = frame_of(lambda token: tokenizer.convert_tokens_to_ids(token) not in (None, tokenizer.unk_token_id))
    assert frame is base.family.frame
    framed = tokenizer.encode(f"{frame.before}Name the diseases.{frame.after}", add_special_tokens=False)
    assert framed == prompt_tokens(base.tokenizer(), "Name the diseases.")
    chat = [{"role": "user", "content": "\nName the diseases. "}]
    tokenizer.chat_template = frame.template
    assert tokenizer.apply_chat_template(chat, add_generation_prompt=True)["input_ids"] == framed
    assert frame_of(lambda token: False) is None


@pytest.mark.parametrize(
    "changes",
    [
        {"model_type": "qwen2"},
        {"tie_word_embeddings": True},
        {"rope_scaling": None},
        {"rope_scaling": {"rope_type": "yarn", "factor": 8.0}},
        {"rope_scaling": 3, "model_type": None},
    ],
)
def test_other_models_are_refused_with_the_families_there_are(base, changes):
    with pytest.raises(InputError) as caught:
        find_family(base.config | changes, "x/config.json")
    assert str(caught.value).startswith("x/config.json: model type ")
    assert all(family.name in str(caught.value) for family in FAMILIES)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("change", [{"hidden_act": "gelu"}, {"attention_bias": True}, {"mlp_bias": True}])
def test_what_torchtune_does_not_build_is_refused(base, change):
    with pytest.raises(InputError, match=rf"^x: {next(iter(change))} is not "):
        find_family(base.config | change, "x")


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"rope_theta": 10_000.0}, "rope_theta 10000.0"),
        ({"rms_norm_eps": 0.01}, "rms_norm_eps 0.01"),
        ({"rope_scaling": {"factor": 32.5}}, "factor 32.5"),
    ],
)
@torch.no_grad()
def test_positions_and_norm_are_the_base_models_own(base, tmp_path, change, named):
    """No YAML says them, so training, inference and transformers cannot differ; a warning says what is unusual."""
    folder = Path(shutil.copytree(MINI, tmp_path / "base"))
    rope = {**base.config["rope_scaling"], **change.get("rope_scaling", {})}
    change_config(folder, **{**change, "rope_scaling": rope})
    (warning,) = base.family.unusual(open_model(folder).config)
    assert named in warning
    tokens = torch.arange(3, 60)[None]
    theirs = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    ours = load_checkpoint(folder, None, CPU, torch.float32).model
    assert (ours(tokens) - theirs(tokens).logits).abs().max() < 1e-4
    assert base.family.unusual(base.config) == []


def test_positions_as_transformers_5_writes_them(base):
    rope = {**base.config["rope_scaling"], "rope_theta": base.config["rope_theta"]}
    config = {name: value for name, value in base.config.items() if not name.startswith("rope_")}
    config["rope_parameters"] = rope
    assert find_family(config, "") is base.family
    assert base.family.arguments(config) == base.family.arguments(base.config)


def change_config(folder, **changes):
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def without_norm(folder):
    weights = load_file(folder / "model.safetensors")
    del weights["model.norm.weight"]
    save_file(weights, folder / "model.safetensors")


def cut_by(path, count):
    path.write_bytes(path.read_bytes()[:-count])


def with_tokens_of_another(folder):
    tokenizer = json.loads((folder / "tokenizer.json").read_text())
    tokenizer["added_tokens"].append({**tokenizer["added_tokens"][-1], "id": 5000, "content": "<|far|>"})
    (folder / "tokenizer.json").write_text(json.dumps(tokenizer))


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (
            lambda f: change_config(f, num_attention_heads=0),
            r"config\.json: num_attention_heads is missing or no number",
        ),
        (lambda f: change_config(f, vocab_size="many"), r"config\.json: vocab_size is missing"),
        (lambda f: change_config(f, num_hidden_layers=5), r"9 weights are missing; first: layers\.4"),
        (lambda f: change_config(f, num_hidden_layers=3), r"layers\.3\..* does not fit its config\.json"),
        (lambda f: change_config(f, intermediate_size=256), r"of shape \[256, 512\] does not fit its config\.json"),
        (lambda f: change_config(f, num_attention_heads=7), r"config\.json: not that of a Llama 3\.1"),
        (lambda f: change_config(f, rms_norm_eps=None), r"not that of a Llama 3\.1: rms_norm_eps is no number above 0"),
        (lambda f: change_config(f, rope_theta=float("nan")), r"not that of a Llama 3\.1: rope_theta is no number"),
        (lambda f: change_config(f, head_dim=16), r"not that of a Llama 3\.1: head_dim is not hidden_size over"),
        (lambda f: change_config(f, max_position_embeddings=10**9), r"max_position_embeddings: at most 1,048,576"),
        (lambda f: (f / "config.json").write_text("["), r"config\.json: not valid JSON"),
        (lambda f: (f / "config.json").write_text("[]"), r"config\.json: expected a JSON object"),
        (lambda f: (f / "config.json").unlink(), r"config\.json: No such file"),
        (lambda f: (f / "model.safetensors").unlink(), r"model: no \*\.safetensors"),
        (lambda f: (f / "model.safetensors").write_bytes(b"x" * 100), "cannot be read as safetensors"),
        (without_norm, r"1 weights are missing; first: norm\.scale"),
        (lambda f: (f / INDEX).write_text('{"weight_map": {"lm_head.weight": 3}}'), r"index\.json: no weight_map"),
        (lambda f: (f / INDEX).write_text('{"weight_map": {"a": "b.safetensors"}}'), r"b\.safetensors: no such file"),
        (lambda f: (f / "original" / "tokenizer.model").unlink(), r"tokenizer\.model: no such file"),
        (lambda f: (f / "original" / "tokenizer.model").write_text("x"), r"tokenizer\.model: not a tokenizer"),
        (lambda f: (f / "tokenizer.json").write_text("[" * 200_000), r"not a tokenizer: maximum recursion depth"),
        (lambda f: cut_by(f / "original" / "tokenizer.model", 3), r"not a tokenizer: two tokens have one number"),
        (with_tokens_of_another, r"tokenizer\.model: 5,001 tokens, but the model has 1,408; it is another model's"),
    ],
)
def test_a_damaged_folder_is_one_line(tmp_path, damage, message):
    folder = Path(shutil.copytree(MINI, tmp_path / "model"))
    damage(folder)
    with pytest.raises(InputError, match=message) as caught:
        load_checkpoint(folder, None, CPU, torch.float32)
    assert "\n" not in str(caught.value)


SMALL = {
    "vocab_size": 200, "hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 2, "num_attention_heads": 4,
    "num_key_value_heads": 2, "max_position_embeddings": 128, "rms_norm_eps": 1e-5, "rope_theta": 100_000.0,
}  # fmt: skip
LLAMA = FAMILIES[0]
UNSCALED = {"rope_type": "default"}


def arguments(*left_out, **more):
    """Llama's, without scaled rotary positions."""

    def of(config):
        values = LLAMA.arguments(config | {"rope_parameters": {**config["rope_parameters"], "factor": 1}}) | more
        return {name: value for name, value in values.items() if name not in left_out}

    return of


BIASES = {f"model.layers.{{}}.self_attn.{n}_proj.bias": f"layers.{{}}.attn.{n}_proj.bias" for n in "qkv"}
TIED = {name: ours for name, ours in LLAMA.weights.items() if name != "lm_head.weight"}


@pytest.mark.parametrize(
    ("kind", "row"),
    [
        # Llama 3.2 and SmolLM2: the output layer is the embeddings.
        ("llama", {"tied": True, "builder": "torchtune.models.llama3_2.llama3_2", "weights": TIED,
                   "arguments": arguments()}),
        ("qwen2", {"builder": "torchtune.models.qwen2.qwen2", "weights": LLAMA.weights | BIASES, "neighbours": False,
                   "arguments": arguments("scale_factor", tie_word_embeddings=False)}),
        ("mistral", {"builder": "torchtune.models.mistral.mistral", "arguments": arguments("scale_factor")}),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)  # fmt: skip
@torch.no_grad()
def test_another_family_costs_a_row(tmp_path, monkeypatch, kind, row):
    """Rows as the next families will have them, held to transformers with random weights."""
    added = replace(LLAMA, name=kind, model_type=kind, rope=UNSCALED, load_tokenizer=lambda *of: None, **row)
    monkeypatch.setattr("radtune.models.families.FAMILIES", (LLAMA, added))
    torch.manual_seed(0)
    config = AutoConfig.for_model(kind, **SMALL, tie_word_embeddings=added.tied, bos_token_id=None, eos_token_id=None)
    theirs = AutoModelForCausalLM.from_config(config)
    for parameter in theirs.parameters():
        torch.nn.init.normal_(parameter, std=0.1)
    theirs.save_pretrained(tmp_path)
    tokens = torch.arange(3, 60)[None]
    ours = load_checkpoint(tmp_path, None, CPU, torch.float32).model
    assert (ours(tokens) - theirs(tokens).logits).abs().max() < 1e-5
