"""The mini model, a random adapter, and prompts about synthetic reports, for the tests of generation."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from radtune.engines.prompt import Engine, Prompt, Response, Sampling
from radtune.models.checkpoint import Checkpoint, load_checkpoint, read_weights
from radtune.sources import synthetic
from radtune.tasks import load_task

MINI = Path("data/mini")


@pytest.fixture(scope="session")
def mini() -> Checkpoint:
    return load_checkpoint(MINI, None, torch.device("cpu"), torch.float32)


@pytest.fixture(scope="session")
def random_model() -> Checkpoint:
    """The mini model with weights that know nothing."""
    checkpoint = load_checkpoint(MINI, None, torch.device("cpu"), torch.float32)
    torch.manual_seed(0)
    for parameter in checkpoint.model.parameters():
        torch.nn.init.normal_(parameter, std=0.05)
    return checkpoint


def write_adapter(folder: Path, modules: tuple[str, ...] = ("q_proj", "v_proj"), rank: int = 4, **more: object) -> Path:
    """A random adapter in PEFT's format, another one for another rank."""
    torch.manual_seed(rank)
    tensors = {}
    for name, weight in read_weights(MINI / "model.safetensors"):
        if name.removesuffix(".weight").endswith(modules):
            module = f"base_model.model.{name.removesuffix('.weight')}"
            tensors[f"{module}.lora_A.weight"] = torch.randn(rank, weight.shape[1]) * 0.05
            tensors[f"{module}.lora_B.weight"] = torch.randn(weight.shape[0], rank) * 0.05
    folder.mkdir()
    save_file(tensors, folder / "adapter_model.safetensors")
    config = {"r": rank, "lora_alpha": 8, "target_modules": modules, "peft_type": "LORA", "task_type": "CAUSAL_LM"}
    config["base_model_name_or_path"] = str(MINI)
    (folder / "adapter_config.json").write_text(json.dumps(config | more))
    return folder


@pytest.fixture
def adapter(tmp_path: Path) -> Path:
    """A random adapter."""
    return write_adapter(tmp_path / "adapter")


@pytest.fixture(scope="session")
def adapters(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Adapters of other layers, ranks and scales each."""
    folder = tmp_path_factory.mktemp("adapters")
    linear = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj", "lm_head")
    return [
        write_adapter(folder / "attention"),
        write_adapter(folder / "all", linear, 7, lora_alpha=4),
        write_adapter(folder / "mlp", ("down_proj",), 3, use_rslora=True),
    ]


@pytest.fixture(scope="session")
def make_prompts() -> Callable[..., list[Prompt]]:
    def make(task: str, count: int, extra: str = "") -> list[Prompt]:
        instruction = load_task(task).prompt("inference").instruction
        return [
            Prompt(made.report.report_id, instruction, made.report.text + extra, "llama3_chat", str(number))
            for number, made in enumerate(synthetic.generate(count, 77))
        ]

    return make


@pytest.fixture(scope="session")
def respond() -> Callable[..., list[Response]]:
    def respond(engine: Engine, prompts: list[Prompt], task: str | None = None, **sampling: object) -> list[Response]:
        """Responses in the order of the prompts; closed ones of a task where it is named."""
        grammar = load_task(task).grammar() if task else None
        settings = {"max_new_tokens": 70, "temperature": 0.0, "grammar": grammar} | sampling
        responses = dict(engine.generate(prompts, Sampling(**settings)))
        return [responses[index] for index in range(len(prompts))]

    return respond
