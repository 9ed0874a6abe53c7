"""The folders that training leaves: one model, four ways to load it, the same logits."""

import json
from pathlib import Path

import pytest
import torch
from peft import AutoPeftModelForCausalLM
from recipe_runs import MINI, Run
from torchtune.training import FullModelTorchTuneCheckpointer
from transformers import AutoModelForCausalLM, AutoTokenizer

from radtune.models.checkpoint import load_checkpoint, open_model

TOKENS = torch.arange(5, 1205, 17)[None]
CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def trained(recipe_main, rows, tmp_path_factory):
    folder = tmp_path_factory.mktemp("exports")
    arguments = [
        "--config", MINI, f"output_dir={folder / 'run'}", f"dataset.data_files={rows / 'train.jsonl'}",
        "lr_scheduler.num_warmup_steps=1", "write_torchtune=True",
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
def test_the_adapter_changes_the_model(logits):
    base = load_checkpoint(Path("data/mini"), None, CPU, torch.float32).model(TOKENS)
    assert (base - logits).abs().max() > 0.1


@torch.no_grad()
def test_merged_folder_loads_with_transformers_and_torchtune(trained, logits):
    model = AutoModelForCausalLM.from_pretrained(trained / "merged")
    assert model.dtype == torch.float32
    assert_close(model(TOKENS).logits, logits)
    assert_close(load_checkpoint(trained / "merged", None, CPU, torch.float32).model(TOKENS), logits)
    tokenizer = AutoTokenizer.from_pretrained(trained / "merged")
    assert tokenizer.decode(tokenizer("small effusion")["input_ids"], skip_special_tokens=True) == "small effusion"


@torch.no_grad()
def test_adapter_folder_loads_with_peft(trained, logits):
    assert (
        json.loads((trained / "adapter" / "adapter_config.json").read_text())["base_model_name_or_path"] == "data/mini"
    )
    model = AutoPeftModelForCausalLM.from_pretrained(trained / "adapter", dtype=torch.float32)
    assert_close(model(TOKENS).logits, logits)


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


def test_no_folder_mixes_two(trained):
    def weights(folder):
        return sorted(path.name for path in (trained / folder).rglob("*") if path.suffix in (".safetensors", ".pt"))

    assert weights("adapter") == ["adapter_model.safetensors"]
    assert weights("merged") == ["model.safetensors"]
    assert weights("torchtune") == ["adapter_0.pt", "model.pt"]
    for folder in ("adapter", "merged", "torchtune"):
        card = (trained / folder / "README.md").read_text()
        assert card.startswith("---\nbase_model: data/mini\n")
        assert "rows_per_step: 8" in card
        assert len(list((trained / folder).glob("*.manifest.json"))) == 1
        assert all(path.stat().st_mode & 0o077 == 0 for path in (trained / folder).rglob("*"))
