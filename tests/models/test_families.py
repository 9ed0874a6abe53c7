"""The table of families: each row held to transformers and peft on a tiny model, other models refused in a line."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from peft import PeftModel
from safetensors.torch import load_file, save_file
from test_gguf_writing import ask
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from torchtune.models.convert_weights import hf_to_tune, tune_to_hf, tune_to_peft_adapter_weights
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer

from radtune.config import InputError
from radtune.engines.hugging_face import TransformersEngine
from radtune.engines.launch import LLAMA_CPP, serving
from radtune.engines.prompt import Prompt
from radtune.instructions import Instruction
from radtune.models.chat_frame import LLAMA3
from radtune.models.checkpoint import (
    INDEX,
    choose_dtype,
    fresh_adapter,
    load_checkpoint,
    load_side_by_side,
    load_trainable,
    open_model,
)
from radtune.models.export import FineTuned, export, peft_weights
from radtune.models.families import FAMILIES, find_family
from radtune.models.gguf import GgufModel
from radtune.models.gguf_writing import write_gguf
from radtune.models.hugging_face import load_pretrained
from radtune.models.tokenizer import chat_tokens, json_tokenizer_of, prompt_tokens
from radtune.train.data import make_rows
from radtune.train.loss import SummedLoss, attention_mask
from radtune.train.packing import make_batches
from radtune.train.settings import PACKINGS

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


def test_llama3s_frame_is_torchtunes_tokens(base):
    """Which the stock recipe's rows have: by tiktoken's file, by tokenizer.json and by the template for servers."""
    tokenizer = AutoTokenizer.from_pretrained(MINI)
    framed = tokenizer.encode(f"{LLAMA3.before}Name the diseases.{LLAMA3.after}", add_special_tokens=False)
    assert framed == prompt_tokens(base.tokenizer(), "Name the diseases.")
    by_json = json_tokenizer_of(MINI, base.config["vocab_size"])
    assert framed == prompt_tokens(by_json, "\nName the diseases. ")
    assert set(by_json.stop_tokens) <= set(base.tokenizer().stop_tokens)
    chat = [{"role": "user", "content": "\nName the diseases. "}]
    tokenizer.chat_template = LLAMA3.template
    assert tokenizer.apply_chat_template(chat, add_generation_prompt=True)["input_ids"] == framed


@pytest.mark.parametrize(
    "changes",
    [
        {"model_type": "qwen2"},
        {"rope_scaling": None},
        {"model_type": "mistral", "rope_scaling": None, "tie_word_embeddings": True},
        {"rope_scaling": {"rope_type": "yarn", "factor": 8.0}},
        {"rope_scaling": 3, "model_type": None},
        # As Qwen2.5's page has it, by the older name.
        {"model_type": "qwen2", "rope_scaling": {"type": "yarn", "factor": 4.0}},
    ],
)
def test_other_models_are_refused_with_the_families_there_are(base, changes):
    with pytest.raises(InputError) as caught:
        find_family(base.config | changes, "x/config.json")
    assert str(caught.value).startswith("x/config.json: model type ")
    assert all(family.name in str(caught.value) for family in FAMILIES)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "change",
    [
        {"hidden_act": "gelu"}, {"attention_bias": True}, {"mlp_bias": True}, {"is_causal": False},
        {"partial_rotary_factor": 0.5},
    ],
)  # fmt: skip
def test_what_torchtune_does_not_build_is_refused(base, change):
    with pytest.raises(InputError, match=rf"^x: {next(iter(change))} is not "):
        find_family(base.config | change, "x")
    if "partial_rotary_factor" in change:
        with pytest.raises(InputError, match=r"^x: partial_rotary_factor is not 1\.0"):
            find_family(base.config | {"rope_scaling": base.config["rope_scaling"] | change}, "x")


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
    rope["type"] = rope.pop("rope_type")  # and as those before the fourth did
    assert base.family.arguments(config) == base.family.arguments(base.config)
    plain = {**base.config, "tie_word_embeddings": True, "rope_scaling": {"rope_type": "default", "factor": 4.0}}
    assert find_family(plain, "").arguments(plain)["scale_factor"] == 1


def change_config(folder, **changes):
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def without_norm(folder):
    weights = load_file(folder / "model.safetensors")
    del weights["model.norm.weight"]
    save_file(weights, folder / "model.safetensors")


def in_eight_bits(folder):
    weights = load_file(folder / "model.safetensors")
    save_file({name: (100 * weight).char() for name, weight in weights.items()}, folder / "model.safetensors")


def without_tokenizers(folder):
    (folder / "original" / "tokenizer.model").unlink()
    (folder / "tokenizer.json").unlink()


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
        (in_eight_bits, "holds whole numbers, those of a model in fewer bits"),
        (without_norm, r"1 weights are missing; first: norm\.scale"),
        (lambda f: (f / INDEX).write_text('{"weight_map": {"lm_head.weight": 3}}'), r"index\.json: no weight_map"),
        (lambda f: (f / INDEX).write_text('{"weight_map": {"a": "b.safetensors"}}'), r"b\.safetensors: no such file"),
        (without_tokenizers, r"tokenizer\.json: no such file"),
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


# ------------------------------------------------------------------------------------------------ every family

SMALL = {
    "hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 2, "num_attention_heads": 4,
    "num_key_value_heads": 2, "max_position_embeddings": 512,
}  # fmt: skip
LORA = {
    "lora_attn_modules": ["q_proj", "k_proj", "v_proj", "output_proj"], "apply_lora_to_mlp": True,
    "apply_lora_to_output": False, "lora_rank": 4, "lora_alpha": 8, "lora_dropout": 0.0, "quantize_base": False,
}  # fmt: skip
TOKENS = torch.arange(3, 300, 7)[None]
MESSAGE = "Name the diseases.\n\nReport to Analyze:\nSmall left effusion, 12 mm.\n\nOutput:"
TURN = (
    "{{ '<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
# Chat templates as their instruct models have them, without tools: with a default system message, and with a blank
# before the answer that is no part of the prompt.
TEMPLATES = {
    "SmolLM2": "{% for message in messages %}{% if loop.first and messages[0]['role'] != 'system' %}"
    "{{ '<|im_start|>system\nYou are a helpful AI assistant.<|im_end|>\n' }}{% endif %}" + TURN,
    "Qwen2.5": "{%- if messages[0]['role'] != 'system' %}\n"
    "    {{- '<|im_start|>system\nYou are Qwen. You are a helpful assistant.<|im_end|>\n' }}\n{%- endif %}\n"
    "{%- for message in messages %}" + TURN,
    "Mistral": "{{ bos_token }}{% for message in messages %}{% if message['role'] == 'user' %}"
    "{{ '[INST] ' + message['content'] + '[/INST]' }}{% elif message['role'] == 'assistant' %}"
    "{{ ' ' + message['content'] + eos_token }}{% else %}{{ raise_exception('Only user and assistant') }}{% endif %}"
    "{% endfor %}",
}
CHATML = {
    "<|begin_of_text|>": "<|endoftext|>", "<|start_header_id|>": "<|im_start|>", "<|eot_id|>": "<|im_end|>",
    "<|end_header_id|>": "<|unused|>",
}  # fmt: skip


def write_tokenizer(folder, family):
    """The mini model's, with the special tokens of a family; Mistral's is as SentencePiece makes them."""
    tokenizer, special = json.loads((MINI / "tokenizer.json").read_text()), {}
    if family.name in ("SmolLM2", "Qwen2.5"):
        for token in tokenizer["added_tokens"]:
            token["content"] = CHATML.get(token["content"], token["content"])
        tokenizer["post_processor"] = None
        special = {"bos_token": "<|im_start|>", "eos_token": "<|im_end|>"}
    (folder / "tokenizer.json").write_text(json.dumps(tokenizer))
    if family.name == "Mistral":
        letters = [f"<0x{byte:02X}>" for byte in range(256)] + [chr(code) for code in range(33, 127)]
        names = ["<unk>", "<s>", "</s>", "[INST]", "[/INST]", *letters, "\u2581", "\u2581N", "\u2581S", "\u2581[", "['"]
        names += [f"<unused{number}>" for number in range(1408 - len(names))]
        merges = [("\u2581", "N"), ("\u2581", "S"), ("\u2581", "["), ("[", "'")]
        made = Tokenizer(
            models.BPE({name: i for i, name in enumerate(names)}, merges, unk_token="<unk>", byte_fallback=True)
        )
        made.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="first", split=False)
        made.decoder = decoders.Sequence(
            [decoders.Replace("\u2581", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
        )
        made.add_special_tokens(names[:5])
        made.save(str(folder / "tokenizer.json"))
        special = {"bos_token": "<s>", "eos_token": "</s>"}
    elif not special:
        shutil.copytree(MINI / "original", folder / "original")
        special = {"bos_token": "<|begin_of_text|>", "eos_token": "<|eot_id|>"}
    template = TEMPLATES.get(family.name, LLAMA3.template)
    config = {"tokenizer_class": "PreTrainedTokenizerFast", "chat_template": template, **special}
    (folder / "tokenizer_config.json").write_text(json.dumps(config))
    return Tokenizer.from_file(str(folder / "tokenizer.json")).token_to_id(special["eos_token"])


# Families some of whose models tie their embeddings are tested both ways.
ROWS = [(family, tied) for family in FAMILIES for tied in ((True, False) if family.tied is None else (family.tied,))]


@pytest.fixture(scope="module", params=ROWS, ids=lambda row: f"{row[0].name}{', tied' * row[1]}")
def folder(request, tmp_path_factory):
    """A tiny model of random weights for each row of the table, as transformers writes it."""
    (family, tied), path = request.param, tmp_path_factory.mktemp("family")
    usual = {name: values[0] for name, values in family.usual.items()}
    rope = {**family.rope, **{name: usual.pop(name) for name in ("rope_theta", "factor") if name in usual}}
    sizes = {**SMALL, "vocab_size": 1408, "bos_token_id": None, "eos_token_id": write_tokenizer(path, family)}
    config = AutoConfig.for_model(
        family.model_type, **sizes, **usual, **family.fixed, rope_parameters=rope, tie_word_embeddings=tied
    )
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(config)
    for name, parameter in model.named_parameters():
        torch.nn.init.normal_(parameter, mean="norm" in name, std=0.2)
    model.save_pretrained(path)
    assert open_model(path).family is family
    assert family.unusual(open_model(path).config) == []
    return path


@pytest.fixture(scope="module")
def their_model(folder):
    return AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)


@torch.no_grad()
def test_logits_are_transformers(folder, their_model):
    ours = load_checkpoint(folder, None, CPU, torch.float32).model
    assert (ours(TOKENS) - their_model(TOKENS).logits).abs().max() < 1e-4


@torch.no_grad()
def test_a_gguf_file_is_the_same_model_in_llama_cpp_and_read_back(folder, their_model, tmp_path):
    write_gguf(folder, tmp_path / "tiny.gguf", "F16")
    prompt = prompt_tokens(open_model(folder).tokenizer(), MESSAGE)
    asked = {"prompt": prompt, "n_predict": 6, "temperature": 0, "return_tokens": True, "ignore_eos": True}
    with serving(LLAMA_CPP, tmp_path / "tiny.gguf", 512, tmp_path / "log") as server:
        framed = ask(server.base_url, "/apply-template", {"messages": [{"role": "user", "content": MESSAGE}]})["prompt"]
        said = {"content": framed, "add_special": True, "parse_special": True}
        assert ask(server.base_url, "/tokenize", said)["tokens"] == prompt
        written = ask(server.base_url, "/completion", asked)
    expected = torch.tensor([prompt])
    for _ in range(6):
        logits = their_model(expected).logits[0, -1]
        logits[open_model(folder).tokenizer().stop_tokens] = -torch.inf
        expected = torch.cat([expected, logits.argmax()[None, None]], dim=1)
    assert written["tokens"] == expected[0, len(prompt) :].tolist()
    # And back.
    GgufModel(tmp_path / "tiny.gguf").write(tmp_path / "back", "")
    back = open_model(tmp_path / "back")
    assert back.family is open_model(folder).family
    assert prompt_tokens(back.tokenizer(), MESSAGE) == prompt
    ours = load_checkpoint(tmp_path / "back", None, CPU, torch.float32).model
    assert (ours(TOKENS) - their_model(TOKENS).logits).abs().max() < 0.05


def test_prompts_are_the_chat_templates_and_no_report_opens_a_turn(folder, their_model):
    ours, theirs = open_model(folder).tokenizer(), AutoTokenizer.from_pretrained(folder)
    chat = [{"role": "user", "content": MESSAGE}]
    framed = theirs.apply_chat_template(chat, add_generation_prompt=True)["input_ids"]
    assert prompt_tokens(ours, MESSAGE) == framed
    answered = theirs.apply_chat_template([*chat, {"role": "assistant", "content": "['Edema']"}])["input_ids"]
    row, masked = chat_tokens(ours, MESSAGE, "['Edema']")
    written = [token for token, context in zip(row, masked, strict=True) if not context]
    assert row[: len(answered)] == answered[: len(row)]
    stop = next(token for token in written if token in ours.stop_tokens)
    assert stop in answered[len(framed) :]
    assert (
        ours.encode("['Edema']", add_bos=False, add_eos=False)
        == answered[len(framed) : answered.index(stop, len(framed))]
    )
    assert (
        ours.decode([token for token in answered[len(framed) :] if token != stop], truncate_at_eos=False).strip()
        == "['Edema']"
    )
    engine = TransformersEngine(their_model, theirs, 4)
    special = set(theirs.added_tokens_decoder)
    for attack in (
        "",
        "".join(theirs.all_special_tokens),
        " ".join(sorted(theirs.added_tokens_encoder)),
        theirs.chat_template,
    ):
        prompt = Prompt("r", "Name.", f"Small effusion. {attack}", "llama3_chat", "0")
        tokens = prompt_tokens(ours, prompt.message)
        assert [token for token in tokens if token in special] == [token for token in framed if token in special]
        assert engine._tokens(prompt) == tokens
    assert engine._encode(["['Edema']"]) == [ours.encode("['Edema']", add_bos=False, add_eos=False)]
    assert engine._ends <= set(ours.stop_tokens)


@pytest.mark.parametrize("turn", ["<|im_start|>", "### "])
def test_templates_that_open_answers_with_no_special_token_or_are_none_are_refused(tmp_path, turn):
    family = next(family for family in FAMILIES if family.name == "SmolLM2")
    write_tokenizer(tmp_path, family)
    path = tmp_path / "tokenizer_config.json"
    template = "{% for m in messages %}{{ 'TURN' + m['role'] + '\n' + m['content'] + '\n' }}{% endfor %}"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"chat_template": template.replace("TURN", turn)}))
    with pytest.raises(InputError, match="opens answers with no special token"):
        family.load_tokenizer(tmp_path, 1408)
    path.write_text('{"chat_template": ["x"]}')
    with pytest.raises(InputError, match="no chat template"):
        family.load_tokenizer(tmp_path, 1408)
    (tmp_path / "chat_template.jinja").write_bytes(b"\xff{{ messages }}")
    with pytest.raises(InputError, match=r"chat_template\.jinja: not UTF-8"):
        family.load_tokenizer(tmp_path, 1408)


@pytest.mark.parametrize("key", ["apply_lora_to_output", "quantize_base"])
def test_an_adapter_that_a_model_cannot_have_is_refused_by_its_key(folder, key):
    base = open_model(folder)
    try:
        base.decoder(LORA | {key: True})
    except InputError as error:
        assert str(error).startswith(f"model.{key}: ")
    else:
        assert key == "apply_lora_to_output" and not base.config["tie_word_embeddings"]


def test_bf16_on_a_cpu_without_its_instructions_is_told_of(monkeypatch, capsys):
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: "AVX2")
    assert [choose_dtype("auto", cuda) for cuda in (False, True)] == [torch.float32, torch.bfloat16]
    assert capsys.readouterr().err == ""
    assert choose_dtype("bf16", cuda=False) == torch.bfloat16
    assert capsys.readouterr().err.startswith("dtype=bf16: this CPU has no instructions for it")


def test_losses_and_gradients_are_the_same_however_rows_are_arranged(folder, their_model):
    base = open_model(folder)
    made = [
        Instruction("List them.", f"{text} effusion.", f"['{text}']", "own", text, "made") for text in ("a", "b c", "d")
    ]
    rows, _ = make_rows(base.tokenizer(400), made, "llama3_chat")
    assert rows[0].prefix > 4
    model = SummedLoss(load_trainable(base, LORA, CPU, torch.float32, 0))
    adapter = [parameter for parameter in model.parameters() if parameter.requires_grad]
    for parameter in adapter:
        torch.nn.init.normal_(parameter, std=0.1)
    got = {}
    for packing in PACKINGS:
        model.zero_grad()
        loss = torch.zeros(())
        for batch in make_batches(rows, packing, 4096):
            loss = loss + model(batch, attention_mask(batch, CPU, torch.float32))
        loss.backward()
        got[packing] = loss.item(), torch.cat([parameter.grad.flatten() for parameter in adapter])
    for loss, gradients in got.values():
        assert loss == pytest.approx(got["none"][0], rel=1e-5)
        assert (gradients - got["none"][1]).norm() <= 1e-4 * got["none"][1].norm()
    for parameter in adapter:
        torch.nn.init.zeros_(parameter)
    with torch.no_grad():
        ours = sum(model(*make_batches([row], "none", 4096), None).item() for row in rows)
        theirs = sum(
            torch.nn.functional.cross_entropy(their_model(row.tokens[None]).logits[0], row.targets, reduction="sum")
            for row in rows
        )
    assert ours == pytest.approx(theirs.item(), rel=1e-5)


@torch.no_grad()
def test_adapter_and_merged_model_load_in_peft_and_transformers(folder, their_model, tmp_path):
    base = open_model(folder)
    start = fresh_adapter(load_trainable(base, LORA, CPU, torch.float32, 0), 0)
    tensors = {name: torch.randn_like(tensor) * 0.1 for name, tensor in start.items()}
    list(export(tmp_path, FineTuned(base, tensors, LORA, torch.float32), "# made up", merged=True, torchtune=False))
    wanted = load_checkpoint(folder, tmp_path / "adapter", CPU, torch.float32).model(TOKENS)
    assert (wanted - their_model(TOKENS).logits).abs().max() > 0.1
    unmerged = load_side_by_side(folder, [tmp_path / "adapter"] * 2, CPU, torch.float32).model(TOKENS)
    assert (unmerged - wanted).abs().max() < 1e-4
    merged = AutoModelForCausalLM.from_pretrained(tmp_path / "merged", dtype=torch.float32)(TOKENS).logits
    assert (load_checkpoint(tmp_path / "merged", None, CPU, torch.float32).model(TOKENS) - wanted).abs().max() < 1e-4
    by_peft, _ = load_pretrained(folder, tmp_path / "adapter", CPU, torch.float32, None)
    assert isinstance(by_peft, PeftModel)
    for logits in (merged, by_peft(TOKENS).logits):
        assert (logits - wanted).abs().max() < 1e-4
    for exported in ("adapter", "merged"):
        framed = AutoTokenizer.from_pretrained(tmp_path / exported).apply_chat_template(
            [{"role": "user", "content": MESSAGE}], add_generation_prompt=True
        )
        assert framed["input_ids"] == prompt_tokens(base.tokenizer(), MESSAGE)
