"""The folders that training leaves: one model, four ways to load it, the same logits."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from recipe_runs import MINI, Run
from torchtune.training import FullModelTorchTuneCheckpointer
from transformers import AutoModelForCausalLM, AutoTokenizer, GenerationConfig

from radtune.models.checkpoint import load_checkpoint, open_model
from radtune.models.tokenizer import prompt_tokens

TOKENS = torch.arange(5, 1205, 17)[None]
CPU = torch.device("cpu")
# As Llama 3.1's own template begins.
DATED = "{{ bos_token }}Today Date: 26 Jul 2024 {{ messages[0].content }}"


@pytest.fixture(scope="module")
def trained(recipe_main, rows, tmp_path_factory):
    folder = tmp_path_factory.mktemp("exports")
    base = Path(shutil.copytree("data/mini", folder / "base"))
    tokenizer = json.loads((base / "tokenizer_config.json").read_text())
    (base / "tokenizer_config.json").write_text(json.dumps({**tokenizer, "chat_template": DATED}))
    (base / "generation_config.json").unlink()
    arguments = [
        "--config", MINI, f"checkpoint_dir={base}", f"output_dir={folder / 'run'}", "write_torchtune=True",
        f"dataset.data_files={rows / 'train.jsonl'}", "lr_scheduler.num_warmup_steps=1",
    ]  # fmt: skip
    run = Run(recipe_main, arguments, folder / "output").wait()
    assert run.code == 0, run.err
    return folder / "run"


@pytest.fixture(scope="module")
def logits(trained):
    """Of the base model with the adapter, as inference.py loads them."""
    with torch.no_grad():
        return load_checkpoint(Path("data/mini"), trained / "adapter", CPU, torch.float32).model(TOKENS)


def assert_close(got, wanted):
    assert (got - wanted).abs().max() <= 1e-4


@torch.no_grad()
def test_merged_folder_loads_with_transformers_and_torchtune(trained, logits):
    model = AutoModelForCausalLM.from_pretrained(trained / "merged")
    assert model.dtype == torch.float32
    assert_close(model(TOKENS).logits, logits)
    assert_close(load_checkpoint(trained / "merged", None, CPU, torch.float32).model(TOKENS), logits)
    tokenizer = AutoTokenizer.from_pretrained(trained / "merged")
    assert tokenizer.decode(tokenizer("small effusion")["input_ids"], skip_special_tokens=True) == "small effusion"


@torch.no_grad()
def test_torchtune_folder_loads_with_torchtune(trained, logits, tmp_path):
    checkpointer = FullModelTorchTuneCheckpointer(
        checkpoint_dir=str(trained / "torchtune"), checkpoint_files=["model.pt"], output_dir=str(tmp_path),
        model_type="LLAMA3",
    )  # fmt: skip
    model = open_model(Path("data/mini")).decoder()
    model.load_state_dict(checkpointer.load_checkpoint()["model"])
    assert_close(model(TOKENS), logits)
    adapter = torch.load(trained / "torchtune" / "adapter_0.pt", weights_only=True)
    assert set(adapter) == {
        f"layers.{layer}.attn.{name}_proj.lora_{part}.weight" for layer in range(4) for name in "qv" for part in "ab"
    }


@pytest.mark.parametrize("folder", ["merged", "adapter"])
def test_servers_find_the_prompt_and_the_end_that_was_trained(trained, folder):
    """Whatever the base model's own template was: here one with a date, as Llama 3.1's."""
    tokenizer = AutoTokenizer.from_pretrained(trained / folder)
    chat = [{"role": "user", "content": "Small effusion."}]
    own = open_model(Path("data/mini")).tokenizer()
    got = tokenizer.apply_chat_template(chat, add_generation_prompt=True)["input_ids"]
    assert got == prompt_tokens(own, "Small effusion.")
    assert GenerationConfig.from_pretrained(trained / folder).eos_token_id == sorted(own.stop_tokens)
    assert tokenizer.chat_template == (trained / folder / "chat_template.jinja").read_text()


def test_no_folder_mixes_two(trained):
    config = json.loads((trained / "adapter" / "adapter_config.json").read_text())
    assert config["base_model_name_or_path"] == str(trained.parent / "base")
    assert (trained / "curve.png").stat().st_size > 10_000

    def weights(folder):
        return sorted(path.name for path in (trained / folder).rglob("*") if path.suffix in (".safetensors", ".pt"))

    assert weights("adapter") == ["adapter_model.safetensors"]
    assert weights("merged") == ["model.safetensors"]
    assert weights("torchtune") == ["adapter_0.pt", "model.pt"]
    for folder in ("adapter", "merged", "torchtune"):
        card = (trained / folder / "README.md").read_text()
        assert card.startswith(f"---\nbase_model: {trained.parent / 'base'}\n")
        assert "rows_per_step: 8" in card
        assert len(list((trained / folder).glob("*.manifest.json"))) == 1
        assert all(path.stat().st_mode & 0o077 == 0 for path in (trained / folder).rglob("*"))
