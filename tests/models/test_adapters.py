"""Adapters: of a plain sum and of other kinds, on the base that they were trained on and on others."""

import json
import shutil
import time
from pathlib import Path

import pytest
import torch
from peft import LoraConfig, get_peft_model
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM

from radtune.config import InputError
from radtune.models.checkpoint import (
    ADAPTER_CONFIG,
    ADAPTER_WEIGHTS,
    check_base,
    fingerprint,
    load_checkpoint,
    open_model,
)
from radtune.models.export import FineTuned, export
from radtune.models.hugging_face import load_pretrained

MINI = Path("data/mini")
CPU = torch.device("cpu")
TOKENS = torch.arange(5, 105)[None]
LORA = {"lora_rank": 4, "lora_alpha": 8, "lora_dropout": 0.0}


@pytest.fixture(scope="module")
def ours(tmp_path_factory):
    """The folder that training leaves, with an adapter of random numbers on q_proj, v_proj and the output layer."""
    folder = tmp_path_factory.mktemp("ours")
    list(export(folder, made_up(), "# made up", merged=True, torchtune=False))
    return folder


def made_up():
    base = open_model(MINI)
    torch.manual_seed(0)
    tensors = {}
    for name, weight in base.decoder().state_dict().items():
        if name.endswith(("q_proj.weight", "v_proj.weight")) or name == "output.weight":
            stem = name.removesuffix(".weight")
            tensors[f"{stem}.lora_a.weight"] = torch.randn(4, weight.shape[1]) / 16
            tensors[f"{stem}.lora_b.weight"] = torch.randn(weight.shape[0], 4) / 4
    return FineTuned(base, tensors, LORA, torch.float32)


@torch.no_grad()
def by_torchtune(folder, adapter=None):
    return load_checkpoint(folder, adapter, CPU, torch.float32).model(TOKENS)


@torch.no_grad()
def by_transformers(folder, adapter=None):
    return load_pretrained(folder, adapter, CPU, torch.float32, None)[0](TOKENS).logits


BOTH = pytest.mark.parametrize("logits", [by_torchtune, by_transformers])


def changed(folder, target, **changes):
    """A copy of an adapter with another config."""
    shutil.copytree(folder, target)
    path = target / ADAPTER_CONFIG
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))
    return target


@pytest.mark.parametrize(
    "changes",
    [
        {"init_lora_weights": "pissa"}, {"init_lora_weights": "pissa_niter_4"}, {"init_lora_weights": "olora"},
        {"init_lora_weights": "corda"}, {"init_lora_weights": "loftq"}, {"init_lora_weights": "of tomorrow"},
        {"use_dora": True}, {"use_qalora": True}, {"alora_invocation_tokens": [5, 6]}, {"lora_bias": True},
        {"modules_to_save": ["lm_head"]}, {"trainable_token_indices": [3]}, {"bias": "all"}, {"of_tomorrow": {"k": 1}},
        {"rank_pattern": {"q_proj": 2}}, {"alpha_pattern": {"q_proj": 2}}, {"layer_replication": [[0, 4], [2, 4]]},
        {"target_parameters": ["experts"]}, {"fan_in_fan_out": True}, {"peft_type": "IA3", "r": None},
    ],
    ids=lambda changes: "-".join(map(str, next(iter(changes.items())))),
)  # fmt: skip
def test_adapters_that_are_more_than_a_sum_are_refused_by_name(ours, tmp_path, changes):
    with pytest.raises(InputError, match=rf"adapter_config\.json: {next(iter(changes))} makes it more than plain LoRA"):
        by_torchtune(MINI, changed(ours / "adapter", tmp_path / "other", **changes))


@pytest.mark.parametrize(
    ("changes", "message"), [({"r": None}, "r or lora_alpha is missing"), ({"r": 16}, "another shape")]
)
def test_a_rank_that_is_missing_or_another_is_told(ours, tmp_path, changes, message):
    with pytest.raises(InputError, match=message):
        by_torchtune(MINI, changed(ours / "adapter", tmp_path / "other", **changes))


@BOTH
@pytest.mark.parametrize(
    "changes",
    [
        {"task_type": "SEQ_CLS"}, {"task_type": "FEATURE_EXTRACTION"}, {"alora_invocation_tokens": [4000]},
        {"init_lora_weights": "pissa_niter_4"}, {"init_lora_weights": "loftq"}, {"init_lora_weights": "lora_ga"},
    ],
    ids=lambda changes: "-".join(map(str, *changes.items())),
)  # fmt: skip
def test_what_no_engine_runs_as_it_was_trained_is_refused(ours, tmp_path, logits, changes):
    with pytest.raises(InputError, match=rf"adapter_config\.json: {next(iter(changes))} makes it more than plain LoRA"):
        logits(MINI, changed(ours / "adapter", tmp_path / "other", **changes))


def test_what_a_newer_peft_has_saved_is_not_left_out(ours, tmp_path):
    adapter = changed(ours / "adapter", tmp_path / "other", of_tomorrow={"k": 1}, unset_of_tomorrow=None)
    with pytest.raises(InputError, match=r"cannot be loaded with peft: .* does not know of_tomorrow"):
        by_transformers(MINI, adapter)


@pytest.mark.parametrize(("start", "bits"), [("pissa", "4bit"), ("olora", "8bit")])
def test_a_start_that_is_taken_off_the_base_is_not_taken_off_fewer_bits(ours, tmp_path, start, bits):
    adapter = changed(ours / "adapter", tmp_path / "other", init_lora_weights=start)
    with pytest.raises(InputError, match=f"{start}, is a part of its base model: leave quantization= out"):
        load_pretrained(MINI, adapter, CPU, torch.float32, bits)


@pytest.mark.parametrize(
    ("base", "factor", "said"),
    [
        ("meta-llama/Llama-3.1-8B-Instruct", 1, "it was trained on meta-llama/Llama-3.1-8B-Instruct; if not on the"),
        ("runs/mine/training/merged", 1, "it was trained on runs/mine/training/merged; if not on the"),
        (None, 1, "it does not say which model it was trained on"),
        ("radtune/mini", 1, ""),
        ("elsewhere/mini", 0, "all of its up-projections are 0"),
    ],
)
def test_what_cannot_be_told_of_anothers_adapter_is_said(ours, tmp_path, capsys, base, factor, said):
    adapter = changed(ours / "adapter", tmp_path / "other", base_model_name_or_path=base)
    weights = load_file(adapter / ADAPTER_WEIGHTS)
    # As PEFT saves it: without the hash of its base.
    save_file({name: weight * factor for name, weight in weights.items()}, adapter / ADAPTER_WEIGHTS)
    check_base(adapter, MINI)
    told = capsys.readouterr().err
    assert (said in told and told.startswith(f"warning: {adapter}: ")) if said else not told


def test_what_pefts_own_config_says_of_a_plain_adapter_is_none_of_it(tmp_path):
    model = AutoModelForCausalLM.from_pretrained(MINI, dtype=torch.float32)
    config = LoraConfig(r=4, lora_alpha=8, target_modules=["q_proj", "k_proj"], task_type="CAUSAL_LM", use_rslora=True)
    model = get_peft_model(model, config)
    for name, parameter in model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter, std=0.1)
    model.save_pretrained(tmp_path)
    with torch.no_grad():
        wanted = model.eval()(TOKENS).logits
    # Rank-stabilised: by the root of the rank.
    assert (by_torchtune(MINI, tmp_path) - wanted).abs().max() < 1e-4
    assert (by_transformers(MINI, tmp_path) - wanted).abs().max() < 1e-4


def test_equal_adapters_are_equal_files(ours, tmp_path):
    for number in range(8):
        [path] = export(tmp_path / str(number), made_up(), "# made up", merged=False, torchtune=False)
        assert path.read_bytes() == (ours / "adapter" / ADAPTER_WEIGHTS).read_bytes()


@BOTH
def test_an_adapter_belongs_on_the_base_that_it_was_trained_on(ours, tmp_path, logits):
    wanted = by_torchtune(ours / "merged")
    assert (logits(MINI, ours / "adapter") - wanted).abs().max() < 1e-4
    weights = load_file(MINI / "model.safetensors")
    same, other = (Path(shutil.copytree(MINI, tmp_path / name)) for name in ("same", "other"))
    save_file({name: weight.float() for name, weight in weights.items()}, same / "model.safetensors")
    assert fingerprint(same) == fingerprint(MINI)
    weights["model.layers.3.mlp.down_proj.weight"] += 0.01
    save_file(weights, other / "model.safetensors")
    both = Path(shutil.copytree(ours / "merged", tmp_path / "both"))
    shutil.copytree(ours / "adapter", both, dirs_exist_ok=True)
    for base, adapter in ((ours / "merged", ours / "adapter"), (other, ours / "adapter"), (both, both)):
        with pytest.raises(InputError, match="another model's, or have the adapter in them already"):
            logits(base, adapter)
    # As torchtune's recipe leaves it: the adapter is in the weights beside it.
    assert (logits(both) - wanted).abs().max() < 1e-4


@pytest.mark.parametrize("pattern", [r"(.*.*)*[qv]_projx", r".*\.(q|v)_proj", "all-linear"])
def test_regular_expressions_of_an_adapter_are_not_run(ours, tmp_path, pattern):
    adapter, began = changed(ours / "adapter", tmp_path / "other", target_modules=pattern), time.process_time()
    assert (by_transformers(MINI, adapter) - by_torchtune(ours / "merged")).abs().max() < 1e-4
    assert time.process_time() - began < 30


@pytest.mark.parametrize(
    "changes",
    [
        {"rank_pattern": {"(.*.*)*[qv]_projx": 4}},
        {"alpha_pattern": {"(a|aa)+$": 4}},
        {"layers_pattern": "(.*.*)*x", "layers_to_transform": [0]},
        {"megatron_config": {"a": 1}, "megatron_core": "antigravity"},
        {"r": 10**7},
        {"rank_pattern": {"q_proj": 10**7}},
    ],
)
def test_nor_are_other_patterns_or_modules(ours, tmp_path, changes):
    with pytest.raises(InputError, match=r"other: cannot be loaded with peft: (patterns|a rank is more)"):
        by_transformers(MINI, changed(ours / "adapter", tmp_path / "other", **changes))


@BOTH
@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        (ADAPTER_CONFIG, "[" * 200_000, "not valid JSON"),
        (ADAPTER_CONFIG, "[]", "expected a JSON object"),
        (ADAPTER_CONFIG, None, "adapter_config.json: No such file"),
        (ADAPTER_WEIGHTS, "no tensors", "cannot be read as safetensors"),
        (ADAPTER_WEIGHTS, None, "cannot be read as safetensors: No such file"),
    ],
)
def test_damaged_adapters_are_one_line(ours, tmp_path, logits, name, content, message):
    adapter = changed(ours / "adapter", tmp_path / "other")
    (adapter / name).unlink()
    if content is not None:
        (adapter / name).write_text(content)
    with pytest.raises(InputError, match=message) as caught:
        logits(MINI, adapter)
    assert "\n" not in str(caught.value)
