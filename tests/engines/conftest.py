"""The mini model and prompts about synthetic reports, for the tests of generation."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from radtune.engines.prompt import Engine, Prompt, Response, Sampling
from radtune.models.checkpoint import Checkpoint, load_checkpoint
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
