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


@pytest.fixture
def adapter(tmp_path: Path) -> Path:
    """A random adapter in PEFT's format."""
    torch.manual_seed(0)
    tensors = {}
    for name, weight in read_weights(MINI / "model.safetensors"):
        if name.endswith(("q_proj.weight", "v_proj.weight")):
            module = f"base_model.model.{name.removesuffix('.weight')}"
            tensors[f"{module}.lora_A.weight"] = torch.randn(4, weight.shape[1]) * 0.05
            tensors[f"{module}.lora_B.weight"] = torch.randn(weight.shape[0], 4) * 0.05
    folder = tmp_path / "adapter"
    folder.mkdir()
    save_file(tensors, folder / "adapter_model.safetensors")
    config = {
        "r": 4, "lora_alpha": 8, "target_modules": ["q_proj", "v_proj"], "peft_type": "LORA", "task_type": "CAUSAL_LM",
    }  # fmt: skip
    (folder / "adapter_config.json").write_text(json.dumps(config))
    return folder


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
