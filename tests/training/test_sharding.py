"""Sharded parameters on two gloo processes; as a script, one of the two."""

from collections.abc import Callable
from copy import deepcopy
from pathlib import Path

import pytest
import torch
from torch import nn
from torch.distributed.tensor import DTensor

from radiodiff.models.layers import ResidualBlock
from radiodiff.training import sharding
from radiodiff.training.settings import TrainSettings


def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(ResidualBlock(8, 8, 4), nn.Conv2d(8, 2, 1))


def is_spread_and_comes_back() -> None:
    torch.distributed.init_process_group("gloo")
    original = network()
    trained = sharding.replicate(original, frozen=[])
    sharding.shard(trained, torch.device("cpu"))
    parameters = list(trained.parameters())
    assert all(isinstance(parameter, DTensor) for parameter in parameters)
    local = sum(parameter.to_local().numel() for parameter in parameters)
    total = sum(parameter.numel() for parameter in original.parameters())
    assert local < 0.6 * total

    same = sharding.matching(original, original, trained)
    for own, other in zip(original.parameters(), same, strict=True):
        assert torch.equal(own, sharding.gather_full(other))

    optimizer = torch.optim.AdamW(parameters, lr=0.1)
    for parameter in parameters:
        parameter.grad = parameter.detach() * 2
    optimizer.step()
    state = sharding.gather_full([trained.state_dict(), optimizer.state_dict()])
    assert not any(isinstance(tensor, DTensor) for tensor in state[0].values())

    again = sharding.replicate(original, frozen=[])
    sharding.shard(again, torch.device("cpu"))
    second = torch.optim.AdamW(again.parameters(), lr=0.1)
    sharding.load_module(again, state[0])
    sharding.load_optimizer(second, state[1])
    moments = [entry["exp_avg"] for entry in second.state.values()]
    assert all(isinstance(moment, DTensor) for moment in moments)
    for first, other in zip(trained.parameters(), again.parameters(), strict=True):
        assert torch.equal(first.to_local(), other.to_local())
    for entry, other in zip(optimizer.state.values(), second.state.values(), strict=True):
        assert torch.equal(entry["exp_avg_sq"].to_local(), other["exp_avg_sq"].to_local())

    sharding.gather_into(original, parameters)
    for own, value in zip(original.state_dict().values(), state[0].values(), strict=True):
        assert torch.equal(own, value)
    torch.distributed.destroy_process_group()


def test_parameters_are_spread_and_come_back(run_on_two: Callable[..., None]) -> None:
    run_on_two(__file__)


def test_frozen_networks_are_shared() -> None:
    frozen = nn.Linear(1, 1)
    objective = nn.Module()
    objective.trained, objective.frozen = nn.Linear(1, 1), (frozen,)
    replica = sharding.replicate(objective, [frozen])
    assert replica.frozen[0] is frozen
    assert replica.trained is not objective.trained


def test_sharding_needs_a_wide_exponent(tmp_path: Path) -> None:
    values = {"steps": 1, "batch_size": 1, "precision": "fp16", "shard": True, "seed": 0}
    values |= {"ema": None, "log_every": 1, "validate_every": 1, "validation_maps": 1}
    with pytest.raises(ValueError, match="shard needs precision fp32 or bf16"):
        TrainSettings.model_validate(values | {"checkpoint_every": 1})


def test_moments_loaded_into_another_memory_format_continue_the_same_run():
    def make(memory_format: torch.memory_format) -> tuple[nn.Parameter, torch.optim.Optimizer]:
        torch.manual_seed(0)
        weight = nn.Parameter(torch.randn(4, 8, 3, 3).to(memory_format=memory_format))
        return weight, torch.optim.AdamW([weight], lr=0.1, fused=True)

    def step(weight: nn.Parameter, optimizer: torch.optim.Optimizer, seed: int) -> None:
        gradient = torch.randn(weight.shape, generator=torch.Generator().manual_seed(seed))
        weight.grad = torch.empty_like(weight).copy_(gradient)
        optimizer.step()

    weight, optimizer = make(torch.contiguous_format)
    step(weight, optimizer, seed=1)
    other, resumed = make(torch.channels_last)
    with torch.no_grad():
        other.copy_(weight)
    sharding.load_optimizer(resumed, deepcopy(optimizer.state_dict()))
    step(weight, optimizer, seed=2)
    step(other, resumed, seed=2)
    torch.testing.assert_close(other, weight)


if __name__ == "__main__":
    is_spread_and_comes_back()
