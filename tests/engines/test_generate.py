"""Batched generation: the same answers as plain decoding, as transformers, and whatever the batch."""

import json
import random
import shutil
import warnings
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from radtune.config import InputError
from radtune.engines.decoding import _choose
from radtune.engines.local import generate
from radtune.engines.prompt import Sampling
from radtune.models.checkpoint import load_checkpoint, read_weights
from radtune.models.hugging_face import load_pretrained
from radtune.models.tokenizer import prompt_tokens
from radtune.sources import synthetic
from radtune.tasks import load_task, task_names
from radtune.tasks.rendering import user_message

MINI = Path("data/mini")


@pytest.fixture(scope="module")
def checkpoint():
    return load_checkpoint(MINI, None, torch.device("cpu"), torch.float32)


@pytest.fixture(scope="module")
def prompts(checkpoint):
    reports = [item.report for item in synthetic.generate(12, 77)]
    instructions = [load_task(name).prompt("inference").instruction for name in task_names()]
    return [
        prompt_tokens(checkpoint.tokenizer, user_message(instructions[n % 2], report.text))
        for n, report in enumerate(reports)
    ]


def answers(checkpoint, prompts, **changes):
    values = {"batch_size": 5, "max_new_tokens": 40, "temperature": 0.0} | changes
    seeds = values.pop("seeds", [str(n) for n in range(len(prompts))])
    sampling = Sampling(values["temperature"], values["max_new_tokens"])
    responses = dict(generate(checkpoint, prompts, seeds, values["batch_size"], sampling))
    return [responses[n] for n in range(len(prompts))]


def plain(checkpoint, prompt, limit):
    """Greedy decoding without a cache, one token at a time, by the model's own forward."""
    tokens = list(prompt)
    for _ in range(limit):
        with torch.inference_mode():
            chosen = checkpoint.model(torch.tensor([tokens]))[0, -1].argmax().item()
        if chosen in checkpoint.tokenizer.stop_tokens:
            break
        tokens.append(chosen)
    return checkpoint.tokenizer.decode(tokens[len(prompt) :], truncate_at_eos=False)


def test_cache_and_batch_change_nothing(checkpoint, prompts):
    expected = [plain(checkpoint, prompt, 40) for prompt in prompts[:4]]
    assert [r.text for r in answers(checkpoint, prompts[:4], batch_size=3)] == expected
    assert [r.text for r in answers(checkpoint, prompts[:4], batch_size=1)] == expected


def test_sampling_depends_on_seeds_alone(checkpoint, prompts):
    hot = {"temperature": 1.5}
    first = answers(checkpoint, prompts, **hot)
    assert answers(checkpoint, prompts, batch_size=12, **hot) == first
    assert answers(checkpoint, prompts[3:], seeds=[str(n) for n in range(3, 12)], **hot) == first[3:]
    assert answers(checkpoint, prompts, seeds=["x"] * 12, **hot) != first


def test_cut_off_answers_are_not_finished(checkpoint, prompts):
    cut = answers(checkpoint, prompts, max_new_tokens=1)
    assert not any(response.finished for response in cut)
    assert any(response.finished for response in answers(checkpoint, prompts, max_new_tokens=100))


def test_sampling_follows_the_distribution():
    logits = torch.tensor([[0.0, 1.0, 2.0]])
    draws = [random.Random(n) for n in range(4000)]  # noqa: S311  (no secret)
    chosen = _choose(logits.expand(4000, 3), 1.0, draws)
    shares = torch.bincount(chosen, minlength=3) / 4000
    assert torch.allclose(shares, torch.softmax(logits[0], 0), atol=0.03)


def test_same_answers_as_transformers(checkpoint, prompts):
    from transformers import AutoModelForCausalLM, AutoTokenizer

    model = AutoModelForCausalLM.from_pretrained(MINI, dtype=torch.float32)
    tokenizer = AutoTokenizer.from_pretrained(MINI)
    responses = answers(checkpoint, prompts[:8])
    for prompt, response in zip(prompts[:8], responses, strict=True):
        output = model.generate(torch.tensor([prompt]), max_new_tokens=40, do_sample=False)
        assert tokenizer.decode(output[0, len(prompt) :], skip_special_tokens=True) == response.text


def test_both_tokenizers_agree(checkpoint):
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(MINI)
    for item in synthetic.generate(50, 78, "wcm"):
        text = user_message(
            load_task("open_ended").prompt("inference").instruction, item.report.text + "\nÄ 12345 ‘x’  \t\n\n."
        )
        ours = prompt_tokens(checkpoint.tokenizer, text)
        theirs = tokenizer.apply_chat_template(
            [{"role": "user", "content": text}], add_generation_prompt=True, return_dict=False
        )
        assert ours == theirs


def lora_adapter(folder, rank=4, alpha=8):
    """A random adapter in PEFT's format."""
    torch.manual_seed(0)
    weights = dict(read_weights(MINI / "model.safetensors"))
    tensors = {}
    for name, weight in weights.items():
        if name.endswith(("q_proj.weight", "v_proj.weight")):
            module = f"base_model.model.{name.removesuffix('.weight')}"
            tensors[f"{module}.lora_A.weight"] = torch.randn(rank, weight.shape[1]) * 0.05
            tensors[f"{module}.lora_B.weight"] = torch.randn(weight.shape[0], rank) * 0.05
    folder.mkdir(exist_ok=True)
    save_file(tensors, folder / "adapter_model.safetensors")
    config = {"r": rank, "lora_alpha": alpha, "target_modules": ["q_proj", "v_proj"], "peft_type": "LORA"}
    (folder / "adapter_config.json").write_text(json.dumps(config))
    return folder


def test_adapter_acts_as_in_peft(tmp_path, prompts):
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    folder = lora_adapter(tmp_path / "adapter")
    ours = load_checkpoint(MINI, folder, torch.device("cpu"), torch.float32)
    theirs = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(MINI, dtype=torch.float32), str(folder))
    tokens = torch.tensor([prompts[0]])
    with torch.inference_mode():
        expected = theirs(tokens).logits
        assert torch.allclose(ours.model(tokens), expected, atol=2e-3)


def adapter_config(folder, **changes):
    path = folder / "adapter_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def change_weights(folder, change):
    path = folder / "adapter_model.safetensors"
    changed = {name: change(weight) for name, weight in read_weights(path)}
    save_file(changed, path)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda f: adapter_config(f, r=None), "r or lora_alpha is missing"),
        (lambda f: change_weights(f, lambda w: w * float("nan")), "holds values that are no numbers"),
        (lambda f: adapter_config(f, use_rslora=True), "use_rslora is not supported"),
        (lambda f: adapter_config(f, r=16), "another shape"),
        (lambda f: (f / "adapter_config.json").unlink(), "adapter_config.json: No such file"),
        (lambda f: (f / "adapter_model.safetensors").write_bytes(b"x" * 50), "cannot be read as safetensors"),
        (
            lambda f: save_file({"a.lora_A.weight": torch.ones(1, 1)}, f / "adapter_model.safetensors"),
            "not a plain LoRA",
        ),
    ],
)
def test_damaged_adapters_are_told(tmp_path, damage, message):
    folder = lora_adapter(tmp_path / "adapter")
    damage(folder)
    with pytest.raises(InputError, match=message):
        load_checkpoint(MINI, folder, torch.device("cpu"), torch.float32)


def without_last_layer(folder):
    path = folder / "adapter_model.safetensors"
    save_file({name: w for name, w in read_weights(path) if ".layers.3." not in name}, path)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda f: change_weights(f, lambda w: w * float("nan")), "holds values that are no numbers"),
        (lambda f: change_weights(f, lambda w: w[:, :3].contiguous()), "cannot be loaded with peft"),
        (without_last_layer, "adapter and model do not fit: 4 weights"),
        (lambda f: adapter_config(f, r=0), "cannot be loaded with peft"),
        (lambda f: (f / "adapter_model.safetensors").unlink(), "adapter_model.safetensors: no such file"),
    ],
)
def test_adapters_that_peft_would_warn_of_are_refused(tmp_path, damage, message):
    folder = lora_adapter(tmp_path / "adapter")
    damage(folder)
    with warnings.catch_warnings(), pytest.raises(InputError, match=message):
        warnings.simplefilter("ignore")
        load_pretrained(MINI, folder, torch.device("cpu"), torch.float32, None)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"num_hidden_layers": 3}, "do not fit: 9 weights"),
        ({"num_hidden_layers": 5}, "do not fit: 9 weights"),
        ({"num_attention_heads": 7}, "cannot be loaded with transformers"),
        ({"num_attention_heads": 0}, "cannot be loaded with transformers"),
    ],
)
def test_configurations_that_transformers_would_warn_of_are_refused(tmp_path, changes, message):
    folder = shutil.copytree(MINI, tmp_path / "model")
    config = json.loads((folder / "config.json").read_text()) | changes
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(InputError, match=message):
        load_pretrained(folder, None, torch.device("cpu"), torch.float32, None)


def test_other_models_are_refused(tmp_path):
    (tmp_path / "config.json").write_text(json.dumps({"vocab_size": 10}))
    save_file({"x": torch.ones(1)}, tmp_path / "model.safetensors")
    with pytest.raises(InputError, match=r"of no family that is trained and run here .Llama 3\.1"):
        load_checkpoint(tmp_path, None, torch.device("cpu"), torch.float32)
