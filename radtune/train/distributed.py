"""One process or several: torchrun's environment, sharding with FSDP2, and whole tensors from sharded ones."""

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
    """The processes of a run.

    Attributes:
        size: How many.
        rank: This one's number.
        device: This one's device.
    """

    size: int
    rank: int
    device: torch.device

    @property
    def leads(self) -> bool:
        """Whether this process writes and prints."""
        return self.rank == 0


def start_world(device: str) -> World:
    """Joins the processes that torchrun started; alone, nothing of torch.distributed is touched.

    Raises:
        InputError: No CUDA device where one is asked for.
    """
    size, rank, local = (int(os.environ.get(name, default)) for name, default in _VARIABLES)
    if device == "cuda":
        if not torch.cuda.is_available():
            raise InputError("device=cuda: no CUDA device here")
        torch.cuda.set_device(local)
        place = torch.device("cuda", local)
    else:
        place = torch.device("cpu")
    if size > 1:
        dist.init_process_group("nccl" if device == "cuda" else "gloo")
    return World(size, rank, place)


_VARIABLES = (("WORLD_SIZE", "1"), ("RANK", "0"), ("LOCAL_RANK", "0"))


def end_world() -> None:
    """Leaves the group, where there is one."""
    if dist.is_initialized():
        dist.destroy_process_group()


def lost_process(error: Exception) -> bool:
    """Whether an error tells that another process of the run ended or cannot be reached."""
    # gloo raises plain RuntimeErrors.
    return isinstance(error, dist.DistError) or "gloo" in str(error)


def tell_torchrun(message: str, path: Path) -> None:
    """Leaves what went wrong for torchrun, so that its report ends with this and not with a link.

    Args:
        message: One line.
        path: Where torchrun looks for it: its ``TORCHELASTIC_ERROR_FILE``.
    """
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


def total(values: list[float], world: World, highest: bool = False) -> list[float]:
    """Sums (or the highest) of numbers over all processes, in float64."""
    if world.size == 1:
        return values
    tensor = torch.tensor(values, dtype=torch.float64, device=world.device)
    dist.all_reduce(tensor, dist.ReduceOp.MAX if highest else dist.ReduceOp.SUM)
    return tensor.tolist()


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
        parameter.copy_(like(parameter, tensors[name]))


def like(parameter: torch.Tensor, tensor: torch.Tensor) -> torch.Tensor:
    """A whole tensor on a parameter's device, sharded as it is."""
    tensor = tensor.to(parameter.device)
    if isinstance(parameter, DTensor):
        return distribute_tensor(tensor, parameter.device_mesh, parameter.placements)
    return tensor


def load_optimizer(optimizer: torch.optim.Optimizer, state: dict[str, Any]) -> None:
    """Loads an optimizer's state that :func:`whole` made, sharding what has the shape of its parameter."""
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    sharded = {
        number: {
            name: like(parameters[number], value)
            if isinstance(value, torch.Tensor) and value.shape == parameters[number].shape
            else value
            for name, value in values.items()
        }
        for number, values in state["state"].items()
    }
    optimizer.load_state_dict({"state": sharded, "param_groups": state["param_groups"]})
