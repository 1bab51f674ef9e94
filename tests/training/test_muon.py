"""Muon against its definition and torch's, on one process and, as a script, on two."""

from collections.abc import Callable
from copy import deepcopy

import pytest
import torch
from torch import Tensor, nn

from radiodiff.models.layers import ResidualBlock
from radiodiff.training import sharding
from radiodiff.training.muon import Muon, build_optimizer, orthogonalise
from radiodiff.training.settings import OptimizerSettings


def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(ResidualBlock(32, 64, 4), nn.Conv2d(64, 2, 1))


def random_gradients(parameters: list[nn.Parameter], seed: int) -> list[Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(p.shape, generator=generator) for p in parameters]


def train(module: nn.Module, optimizer: torch.optim.Optimizer, steps: range) -> None:
    parameters = list(module.parameters())
    for step in steps:
        for parameter, gradient in zip(parameters, random_gradients(parameters, step), strict=True):
            parameter.grad = sharding.distribute_like(gradient, parameter)
        optimizer.step()


def muon(module: nn.Module) -> Muon:
    return Muon(module, lr=0.01, betas=(0.9, 0.99), weight_decay=0.1)


@pytest.mark.parametrize("shape", [(40, 90), (90, 40), (64, 64)])
def test_singular_values_come_near_one_and_singular_vectors_stay(shape: tuple[int, int]) -> None:
    torch.manual_seed(1)
    rank = min(shape)
    left = torch.linalg.qr(torch.randn(3, shape[0], rank)).Q
    right = torch.linalg.qr(torch.randn(3, shape[1], rank)).Q
    values = torch.logspace(-1, 0.5, rank)
    result = orthogonalise(left * values @ right.mT)
    inside = left.mT @ result @ right
    diagonal = inside.diagonal(dim1=-2, dim2=-1)
    assert (diagonal > 0.6).all()
    assert (diagonal < 1.3).all()
    torch.testing.assert_close(diagonal.diag_embed(), inside, atol=0.08, rtol=0)
    torch.testing.assert_close(left @ inside @ right.mT, result, atol=0.03, rtol=0)


@pytest.mark.skipif(not hasattr(torch.optim, "Muon"), reason="torch before 2.9 has no Muon")
def test_a_linear_layer_is_updated_as_torchs_own_muon_does() -> None:
    ours, theirs = (nn.Linear(48, 32, bias=False) for _ in range(2))
    theirs.load_state_dict(ours.state_dict())
    reference = torch.optim.Muon(
        theirs.parameters(), lr=0.01, weight_decay=0.1, adjust_lr_fn="match_rms_adamw"
    )
    before = ours.weight.detach().clone()
    train(ours, muon(ours), range(5))
    train(theirs, reference, range(5))
    # Both compute in bfloat16, but round at different places.
    assert (ours.weight - theirs.weight).norm() < 0.05 * (ours.weight - before).norm()


@pytest.mark.parametrize("layer", [nn.Conv2d, nn.ConvTranspose2d])
def test_a_kernel_is_the_matrix_of_its_first_axis_in_any_memory_format(layer: type) -> None:
    convolution = layer(32, 48, 3, bias=False)
    other = deepcopy(convolution).to(memory_format=torch.channels_last)
    rows = convolution.weight.shape[0]
    matrix = nn.Linear(convolution.weight.numel() // rows, rows, bias=False)
    with torch.no_grad():
        matrix.weight.copy_(convolution.weight.flatten(1))
    for module in (convolution, other, matrix):
        optimizer = muon(module)
        generator = torch.Generator().manual_seed(2)
        gradient = torch.randn(convolution.weight.shape, generator=generator)
        module.weight.grad = gradient.view_as(module.weight)
        optimizer.step()
    torch.testing.assert_close(convolution.weight.flatten(1), matrix.weight)
    torch.testing.assert_close(other.weight, convolution.weight)


def test_an_update_has_the_size_of_adams() -> None:
    layer = nn.Linear(256, 64, bias=False)
    before = layer.weight.detach().clone()
    optimizer = Muon(layer, lr=0.01, betas=(0.9, 0.99), weight_decay=0.0)
    train(layer, optimizer, range(1))
    size = (layer.weight - before).square().mean().sqrt().item()
    assert size == pytest.approx(0.01 * 0.2, rel=0.2)


def test_what_is_no_kernel_is_updated_by_adamw() -> None:
    module, other = network(), network()
    train(module, muon(module), range(4))
    adamw = torch.optim.AdamW(other.parameters(), 0.01, (0.9, 0.99), weight_decay=0.1, fused=True)
    train(other, adamw, range(4))
    by_muon = {
        name
        for (name, own), theirs in zip(module.named_parameters(), other.parameters(), strict=True)
        if not torch.equal(own, theirs)
    }
    kernels = {
        name
        for name, parameter in module.named_parameters()
        if parameter.ndim > 1 and min(parameter.shape[:2]) >= 32
    }
    assert by_muon == kernels
    assert 0 < len(kernels) < len(list(module.parameters()))


def test_a_restored_state_continues_the_same_run() -> None:
    module = network()
    optimizer = muon(module)
    train(module, optimizer, range(3))
    again = network().to(memory_format=torch.channels_last)
    again.load_state_dict(module.state_dict())
    resumed = muon(again)
    sharding.load_optimizer(resumed, deepcopy(optimizer.state_dict()))
    train(module, optimizer, range(3, 6))
    train(again, resumed, range(3, 6))
    for one, other in zip(module.parameters(), again.parameters(), strict=True):
        torch.testing.assert_close(one, other)


def test_the_settings_choose_the_optimiser() -> None:
    values = {"learning_rate": 0.1, "final_learning_rate": 0.0, "schedule": "constant"}
    values |= {"weight_decay": 0.0, "gradient_clip": None}
    for method, kind in (("adamw", torch.optim.AdamW), ("muon", Muon)):
        settings = OptimizerSettings.model_validate(values | {"method": method})
        assert type(build_optimizer(network(), settings)) is kind


def is_the_same_when_spread() -> None:
    torch.distributed.init_process_group("gloo")
    original = network()
    spread = sharding.replicate(original, frozen=[])
    sharding.shard(spread, torch.device("cpu"))
    train(original, muon(original), range(3))
    train(spread, muon(spread), range(3))
    for own, other in zip(original.parameters(), spread.parameters(), strict=True):
        torch.testing.assert_close(own, sharding.gather_full(other))
    torch.distributed.destroy_process_group()


def test_sharded_kernels_are_updated_as_whole_ones(run_on_two: Callable[..., None]) -> None:
    run_on_two(__file__)


if __name__ == "__main__":
    is_the_same_when_spread()
