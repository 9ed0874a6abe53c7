"""One process or several: torchrun's environment, sharding with FSDP2, and whole tensors from sharded ones.

torchtune's own helpers for whole tensors gather the frozen base model, too; these gather what training changes.
"""

import json
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch import nn
from torch.distributed.fsdp import FSDPModule, MixedPrecisionPolicy, fully_shard
from torch.distributed.tensor import DTensor, distribute_tensor

from radtune.config import InputError


@dataclass(frozen=True)
class World:
    """The processes of a run: how many, and this one's number and device."""

    size: int
    rank: int
    device: torch.device

    @property
    def leads(self) -> bool:
        """Whether this process writes and prints."""
        return self.rank == 0


def start_world(device: str) -> World:
    """Joins the processes that torchrun started; alone, nothing of torch.distributed is touched."""
    started = (("WORLD_SIZE", "1"), ("RANK", "0"), ("LOCAL_RANK", "0"))
    size, rank, local = (int(os.environ.get(name, default)) for name, default in started)
    place = torch.device("cpu")
    if device == "cuda":
        if not torch.cuda.is_available():
            raise InputError("device=cuda: no CUDA device here")
        torch.cuda.set_device(local)
        place = torch.device("cuda", local)
    if size > 1:
        dist.init_process_group("nccl" if device == "cuda" else "gloo")
    return World(size, rank, place)


def end_world() -> None:
    """Leaves the group, where there is one."""
    if dist.is_initialized():
        dist.destroy_process_group()


def lost_process(error: Exception) -> bool:
    """Whether an error tells that another process of the run ended or cannot be reached."""
    # gloo raises plain RuntimeErrors.
    return isinstance(error, dist.DistError) or "gloo" in str(error)


def tell_torchrun(message: str, path: Path) -> None:
    """Leaves a line at ``TORCHELASTIC_ERROR_FILE``, so that torchrun's report ends with it and not with a link."""
    extra = {"py_callstack": message, "timestamp": str(int(time.time()))}
    path.write_text(json.dumps({"message": {"message": message, "extraInfo": extra}}), encoding="utf-8")


def place_model(loss: nn.Module, world: World) -> None:
    """Moves a :class:`radtune.train.loss.SummedLoss` to its device; sharded over the processes if there are more."""
    if world.size == 1:
        loss.to(world.device)
        return
    mesh = dist.init_device_mesh(world.device.type, (world.size,))
    # Gradients are summed in float32, whatever the weights are held in.
    policy = MixedPrecisionPolicy(reduce_dtype=torch.float32)
    for layer in loss.decoder.layers:
        fully_shard(layer, mesh=mesh, mp_policy=policy)
    fully_shard(loss, mesh=mesh, mp_policy=policy)
    for name, buffer in loss.named_buffers():
        if buffer.device != world.device:
            owner = loss.get_submodule(name.rpartition(".")[0])
            owner.register_buffer(name.rpartition(".")[2], buffer.to(world.device), persistent=False)


@contextmanager
def whole_model(model: nn.Module) -> Iterator[None]:
    """Holds all weights in every process for a while, so that each can generate by itself."""
    sharded = [module for module in model.modules() if isinstance(module, FSDPModule)]
    for module in sharded:
        module.set_reshard_after_forward(False, recurse=False)
        module.unshard()
    try:
        yield
    finally:
        for module in sharded:
            module.reshard()
            module.set_reshard_after_forward(module is not model, recurse=False)


def total(values: list[float], world: World) -> list[float]:
    """Sums of numbers over all processes, in float64."""
    if world.size == 1:
        return values
    tensor = torch.tensor(values, dtype=torch.float64, device=world.device)
    dist.all_reduce(tensor)
    return tensor.tolist()


def everyones(value: Any, world: World) -> list[Any]:
    """A value of each process, in the order of their numbers."""
    values = [value] * world.size
    if world.size > 1:
        dist.all_gather_object(values, value)
    return values


def whole(value: Any) -> Any:
    """A copy on the CPU of all tensors in dicts and lists; sharded ones are gathered, so all processes must call it."""
    if isinstance(value, DTensor):
        value = value.full_tensor()
    if isinstance(value, torch.Tensor):
        return value.detach().to("cpu", copy=True)
    if isinstance(value, dict):
        return {name: whole(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [whole(item) for item in value]
    return value


@torch.no_grad()
def set_parameters(parameters: dict[str, nn.Parameter], tensors: dict[str, torch.Tensor]) -> None:
    """Copies whole tensors into parameters, sharded or not."""
    for name, parameter in parameters.items():
        parameter.copy_(_like(parameter, tensors[name]))


def load_optimizer(optimizer: torch.optim.Optimizer, state: dict[str, Any]) -> None:
    """Loads an optimizer's state that :func:`whole` made, sharding what has the shape of its parameter."""
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    sharded = {number: dict(values) for number, values in state["state"].items()}
    for number, values in sharded.items():
        for name, value in values.items():
            if isinstance(value, torch.Tensor) and value.shape == parameters[number].shape:
                values[name] = _like(parameters[number], value)
    optimizer.load_state_dict({"state": sharded, "param_groups": state["param_groups"]})


def _like(parameter: torch.Tensor, tensor: torch.Tensor) -> torch.Tensor:
    """A whole tensor on a parameter's device, sharded as it is."""
    tensor = tensor.to(parameter.device)
    if isinstance(parameter, DTensor):
        return distribute_tensor(tensor, parameter.device_mesh, parameter.placements)
    return tensor
