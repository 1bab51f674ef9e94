"""Weights, gradients and optimiser states spread over the processes (FSDP2, ``fully_shard``).

Accelerate offers FSDP2 on GPUs alone; torch's own runs anywhere, so one path serves GPUs and, over
gloo, the tests. What is trained is a sharded copy of an objective. The network of the task itself
stays whole: it is what is validated and exported, after the values have been gathered into it.

Outside this module states are whole tensors: a checkpoint does not tell how it was trained.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import DTensor, distribute_tensor

from radiodiff.training.blocks import blocks_of


def replicate(objective: nn.Module, frozen: Iterable[nn.Module]) -> nn.Module:
    """Return a copy of ``objective`` that shares the networks that are not trained."""
    return copy.deepcopy(objective, {id(network): network for network in frozen})


def shard(module: nn.Module, device: torch.device) -> None:
    """Spread the parameters of ``module`` over all processes, in place.

    Every block of :data:`radiodiff.training.blocks.BLOCKS` is gathered by itself, just before it
    computes; what lies outside of them is gathered for the whole of a step.
    """
    mesh = init_device_mesh(device.type, (torch.distributed.get_world_size(),))
    for block in blocks_of(module):
        fully_shard(block, mesh=mesh)
    fully_shard(module, mesh=mesh)


def gather_full(value: Any, device: str | None = None) -> Any:
    """Return nested containers with every sharded tensor gathered; all processes must call it.

    Args:
        value: dicts, lists and tuples of tensors and anything else.
        device: where a gathered tensor goes before the next is gathered; None leaves it.
    """
    if isinstance(value, DTensor):
        gathered = value.full_tensor()
        return gathered if device is None else gathered.to(device)
    if isinstance(value, dict):
        return {key: gather_full(entry, device) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(gather_full(entry, device) for entry in value)
    return value


def distribute_like(value: Any, reference: Tensor) -> Any:
    """Return a whole tensor spread and laid out as ``reference`` is; other shapes stay."""
    if not isinstance(value, Tensor) or value.shape != reference.shape:
        return value
    if isinstance(reference, DTensor):
        value = value.to(reference.device)
        return distribute_tensor(value, reference.device_mesh, reference.placements)
    if value.stride() == reference.stride():
        return value
    # A fused optimiser goes through parameters and moments in the order of memory.
    return torch.empty_like(reference, dtype=value.dtype, device=value.device).copy_(value)


def load_module(module: nn.Module, state: dict[str, Tensor]) -> None:
    """Load a whole state dict into a module, sharded or not."""
    own = module.state_dict()
    module.load_state_dict(
        {key: distribute_like(value, own.get(key, value)) for key, value in state.items()}
    )


def load_optimizer(optimizer: torch.optim.Optimizer, state: dict[str, Any]) -> None:
    """Load a whole state dict into the optimiser of a module, sharded or not."""
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    spread = {
        index: {name: distribute_like(value, parameters[index]) for name, value in entry.items()}
        for index, entry in state["state"].items()
    }
    optimizer.load_state_dict(state | {"state": spread})


def matching(network: nn.Module, objective: nn.Module, trained: nn.Module) -> list[nn.Parameter]:
    """Return the parameters of ``trained``, a copy of ``objective``, in the order of ``network``.

    Parameters of ``network`` outside of ``objective`` stand for themselves.
    """
    names = {id(parameter): name for name, parameter in objective.named_parameters()}
    copies = dict(trained.named_parameters())
    return [copies[names[id(p)]] if id(p) in names else p for p in network.parameters()]


@torch.no_grad()
def gather_into(network: nn.Module, values: Iterable[Tensor]) -> None:
    """Copy values, sharded or whole, into the parameters of ``network``."""
    for parameter, value in zip(network.parameters(), values, strict=True):
        parameter.copy_(gather_full(value))


@torch.no_grad()
def copy_buffers(objective: nn.Module, trained: nn.Module) -> None:
    """Copy buffers, such as running statistics, back into the original of ``trained``."""
    values = dict(trained.named_buffers())
    for name, buffer in objective.named_buffers():
        buffer.copy_(values[name])
