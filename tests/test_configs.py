"""Every YAML in configs/: valid for its recipe, no key that it would swallow, twins alike, graphs whole."""

import importlib.util
import re
from pathlib import Path

import pytest
import torch
import yaml
from huggingface_hub.utils import filter_repo_objects
from omegaconf import OmegaConf
from torchtune._recipe_registry import get_all_recipes
from torchtune.config import validate

from radtune.config import parse_config, read_yaml
from radtune.models.checkpoint import ModelFolder, open_model
from radtune.models.families import FAMILIES
from radtune.train.settings import TrainingSettings, component

ALL_TRAINING = sorted(path for path in Path("configs").glob("*/*.yaml") if "lora" in path.stem)
# For torchtune's stock recipes, and for our own.
TRAINING = [path for path in ALL_TRAINING if path.stem == "8B_lora" or "single_device" in path.stem]
FAST = [path for path in ALL_TRAINING if path not in TRAINING]

# The paper's run, section 2.4 and the configuration in its repository.
PAPER = {
    "model.lora_attn_modules": ["q_proj", "v_proj"],
    "model.lora_rank": 8,
    "model.lora_alpha": 16,
    "optimizer._component_": "torch.optim.AdamW",
    "optimizer.lr": 3e-4,
    "optimizer.weight_decay": 0.01,
    "lr_scheduler._component_": "torchtune.training.lr_schedulers.get_cosine_schedule_with_warmup",
    "lr_scheduler.num_warmup_steps": 100,
    "batch_size": 2,
    "epochs": 1,
    "dtype": "bf16",
}
# What a tiny model on a CPU needs otherwise.
TWIN_DIFFERS = {
    "output_dir", "model", "tokenizer", "checkpointer", "batch_size", "optimizer", "lr_scheduler", "dtype", "device",
    "gradient_accumulation_steps", "enable_activation_checkpointing", "log_peak_memory_stats",
}  # fmt: skip


def recipe_of(path):
    return "lora_finetune_single_device" if "single_device" in path.stem else "lora_finetune_distributed"


def header_of(path):
    header = path.read_text().split("\n\n")[0]
    assert all(line.startswith("#") for line in header.splitlines())
    assert ("tune download" in header) == (path.parent.name != "mini")
    # Of what hubs hold twice, in another format, the second copy is left out.
    for pattern in re.findall(r'--ignore-patterns "(.*)"', header):
        files = ["model.safetensors", "onnx/model.onnx", "original/consolidated.00.pth", "consolidated.safetensors"]
        assert len(kept := [*filter_repo_objects(files, ignore_patterns=pattern)]) == 3 and files[0] in kept, pattern
    return header


def stock_config(name):
    """torchtune's own 8B config for a recipe: the keys that the recipe reads."""
    import torchtune

    stem = {"lora_finetune_single_device": "8B_lora_single_device", "lora_finetune_distributed": "8B_lora"}[name]
    assert name in {recipe.name for recipe in get_all_recipes()}
    folder = Path(torchtune.__file__).parents[1] / "recipes" / "configs" / "llama3_1"
    return yaml.safe_load((folder / f"{stem}.yaml").read_text())


@pytest.mark.parametrize("path", TRAINING, ids=str)
def test_training_yaml_is_valid(path):
    config = OmegaConf.load(path)
    # The check of `tune validate`: each component exists and takes these arguments.
    validate(config)
    known = stock_config(recipe_of(path))
    # Its one documented key that the stock YAML leaves out.
    assert set(config) <= set(known) | ({"fsdp_cpu_offload"} if "distributed" in recipe_of(path) else set())
    for name in ("tokenizer", "checkpointer"):
        assert set(config[name]) <= set(known[name]) | {"special_tokens_path"}
    header = header_of(path)
    assert f"--config {path}" in header
    assert recipe_of(path) in header
    assert "Override any key" in header


@pytest.mark.parametrize("path", [path for path in TRAINING if path.parent.name == "llama3_1"], ids=str)
def test_8b_configs_hold_the_papers_values(path):
    config = OmegaConf.load(path)
    assert {name: OmegaConf.select(config, name) for name in PAPER} == PAPER
    gpus = 4 if "distributed" in recipe_of(path) else 1
    assert config.batch_size * config.gradient_accumulation_steps * gpus == 128
    assert not config.model.apply_lora_to_mlp
    assert not config.model.apply_lora_to_output


@pytest.mark.parametrize("path", [path for path in TRAINING if path.parent.name == "mini"], ids=str)
def test_mini_twins_differ_only_in_size(path):
    mini, full = (OmegaConf.load(p) for p in (path, f"configs/llama3_1/8B_{path.name}"))
    assert set(mini) == set(full)
    # Unresolved: what only follows output_dir is no difference.
    plain, full_plain = (OmegaConf.to_container(config, resolve=False) for config in (mini, full))
    assert {name for name in plain if plain[name] != full_plain[name]} <= TWIN_DIFFERS
    for name in ("lora_attn_modules", "lora_rank", "lora_alpha", "apply_lora_to_mlp", "apply_lora_to_output"):
        assert mini.model[name] == full.model[name]
    shape = yaml.safe_load(Path("data/mini/config.json").read_text())
    assert mini.model.embed_dim == shape["hidden_size"]
    assert mini.model.vocab_size == shape["vocab_size"]


@pytest.mark.parametrize("path", FAST, ids=str)
def test_fast_yaml_is_read_and_whole(path):
    """Each key is known and stands there, each component exists and takes its arguments."""
    settings = parse_config(TrainingSettings, ["--config", str(path)])
    assert set(read_yaml(path)) == set(TrainingSettings.__dataclass_fields__)
    for name in ("lr_scheduler", "metric_logger"):
        component(getattr(settings, name), name)
    if "bitsandbytes" not in settings.optimizer["_component_"] or importlib.util.find_spec("bitsandbytes"):
        component(settings.optimizer, "optimizer")
    launch = f"tune run --nproc_per_node 1 recipes/lora_finetune.py --config {path}"
    assert header_of(path).count(launch) == 2


# Families and sizes of published models, as their config.json has them.
SIZES = (
    "vocab_size", "num_hidden_layers", "num_attention_heads", "num_key_value_heads", "hidden_size", "intermediate_size",
)  # fmt: skip
MODELS = {
    "llama3_1": ("Llama 3.1", 128_256, 32, 32, 8, 4096, 14_336),
    "llama3_2": ("Llama 3.2", 128_256, 16, 32, 8, 2048, 8192),
    "mistral": ("Mistral", 32_768, 32, 32, 8, 4096, 14_336),
    "smollm2": ("SmolLM2", 49_152, 30, 9, 3, 576, 1536),
    "mini": ("Llama 3.1", 1408, 4, 8, 2, 256, 512),
}


@pytest.mark.parametrize("path", [path for path in FAST if "differential" in path.stem], ids=str)
def test_an_adapter_on_all_linear_layers_is_5_percent(path):
    name, *sizes = MODELS[path.parent.name]
    config = open_model(Path("data/mini")).config | dict(zip(SIZES, sizes, strict=True)) | {"head_dim": None}
    base = ModelFolder(path, config, next(family for family in FAMILIES if family.name == name))
    lora = read_yaml(path)["model"]
    trained, there = base.parameters(lora)
    assert trained / there == pytest.approx(0.05, abs=0.0025)
    with torch.device("meta"):
        weights = dict(base.decoder(lora | {"quantize_base": False}).named_parameters())
    changed = {name.replace("lora_a.", "") for name in weights if "lora_a." in name}
    assert changed == {name for name in weights if ("attn." in name or "mlp." in name) and "lora_" not in name}
    # torchao's NF4 cuts weights into blocks of 64, and their scales into blocks of 256.
    fits = all(weights[name].numel() % (64 * 256) == 0 for name in changed)
    assert fits == lora.get("quantize_base", False)


def stock_of(path):
    return path.with_stem(path.stem.replace("fast", "single_device"))


@pytest.mark.parametrize("path", [path for path in FAST if stock_of(path) in TRAINING], ids=str)
def test_fast_yaml_trains_as_its_stock_one_does(path):
    """The same model, data and schedule; the effective batch of the stock config."""
    ours, stock = OmegaConf.create(read_yaml(path)), OmegaConf.load(stock_of(path))
    # Ours takes family, sizes and tokenizer from the base model's folder.
    assert all(ours.model[name] == stock.model[name] for name in ours.model if name != "quantize_base")
    assert ours.tokenizer.max_seq_len == stock.tokenizer.max_seq_len
    assert ours.lr_scheduler == stock.lr_scheduler
    assert (ours.optimizer.lr, ours.optimizer.weight_decay) == (stock.optimizer.lr, stock.optimizer.weight_decay)
    assert ours.rows_per_step == stock.batch_size * stock.gradient_accumulation_steps
    assert ours.checkpoint_dir == stock.checkpointer.checkpoint_dir
    for name in ("seed", "epochs", "clip_grad_norm", "dtype", "device"):
        assert ours[name] == stock[name]
