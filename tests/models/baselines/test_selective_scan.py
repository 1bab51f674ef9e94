import pytest
import torch
from torch import Tensor
from torch.nn import functional

from radiodiff.models.baselines import selective_scan as module
from radiodiff.models.baselines.selective_scan import (
    SelectiveStateSpace,
    linear_recurrence,
    scan_with_kernel,
    selective_scan,
)


def noise(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def plain_recurrence(decay: Tensor, drive: Tensor) -> Tensor:
    state, states = torch.zeros_like(drive[..., 0]), []
    for t in range(drive.shape[-1]):
        state = decay[..., t] * state + drive[..., t]
        states.append(state)
    return torch.stack(states, dim=-1)


def plain_scan(u: Tensor, delta: Tensor, a: Tensor, b: Tensor, c: Tensor, d: Tensor) -> Tensor:
    """The definition, one step after the other."""
    state = u.new_zeros(len(u), *a.shape)
    outputs = []
    for t in range(u.shape[-1]):
        step = delta[:, :, t, None]
        state = (step * a).exp() * state + step * b[:, None, :, t] * u[:, :, t, None]
        outputs.append((state * c[:, None, :, t]).sum(dim=-1) + d * u[:, :, t])
    return torch.stack(outputs, dim=-1)


def scan_arguments(length: int) -> list[Tensor]:
    return [
        noise(2, 3, length, seed=1),
        functional.softplus(noise(2, 3, length, seed=2)),
        -noise(3, 4, seed=3).exp(),
        noise(2, 4, length, seed=4),
        noise(2, 4, length, seed=5),
        noise(3, seed=6),
    ]


@pytest.mark.parametrize("length", [1, 2, 3, 7, 8, 33, 100])
def test_the_parallel_scan_equals_the_recurrence_with_its_gradients(length: int) -> None:
    decay, drive = torch.sigmoid(noise(2, 3, length)), noise(2, 3, length, seed=1)
    weights = noise(2, 3, length, seed=2)
    results = []
    for scan in (linear_recurrence, plain_recurrence):
        a, b = decay.clone().requires_grad_(), drive.clone().requires_grad_()
        states = scan(a, b)
        results.append((states, *torch.autograd.grad((states * weights).sum(), (a, b))))
    for found, expected in zip(*results, strict=True):
        assert torch.allclose(found, expected, rtol=1e-10, atol=1e-12)


def test_the_gradient_passes_a_numerical_check() -> None:
    decay, drive = torch.sigmoid(noise(2, 5)).requires_grad_(), noise(2, 5).requires_grad_()
    assert torch.autograd.gradcheck(linear_recurrence, (decay, drive))


@pytest.mark.parametrize("chunk", [256, 5])
def test_the_selective_scan_equals_its_definition_for_any_chunk(
    chunk: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "CHUNK", chunk)
    weights = noise(2, 3, 17)
    results = []
    for scan in (selective_scan, plain_scan):
        arguments = [argument.requires_grad_() for argument in scan_arguments(17)]
        y = scan(*arguments)
        results.append((y, *torch.autograd.grad((y * weights).sum(), arguments)))
    for found, expected in zip(*results, strict=True):
        scale = expected.abs().max()
        assert (found - expected).abs().max() < 1e-5 * scale


def test_the_kernel_is_given_what_its_signature_asks_for() -> None:
    arguments = [argument.float() for argument in scan_arguments(9)]

    def kernel(u, delta, A, B, C, D=None, z=None, delta_bias=None, delta_softplus=False):
        assert z is None
        assert delta_bias is None
        assert not delta_softplus
        assert all(tensor.is_contiguous() for tensor in (u, delta, A, B, C, D))
        return plain_scan(u, delta, A, B, C, D)

    strided = [
        argument.mT.contiguous().mT if argument.ndim > 1 else argument for argument in arguments
    ]
    found = scan_with_kernel(kernel, *strided)
    assert torch.allclose(found, selective_scan(*arguments), atol=1e-5)


def test_decay_far_below_the_smallest_float_is_no_trouble() -> None:
    u, delta, a, b, c, d = scan_arguments(50)
    y = selective_scan(u, 1e4 * delta, a, b, c, d)
    assert y.isfinite().all()


def test_the_block_is_causal_and_remembers() -> None:
    torch.manual_seed(0)
    block = SelectiveStateSpace(6, states=4)
    x = noise(1, 20, 6).float()
    changed = x.clone()
    changed[:, 9] += 1.0
    with torch.no_grad():
        difference = (block(changed) - block(x)).abs().amax(dim=(0, 2))
    assert not difference[:9].any()
    assert (difference[9:] > 0).all()  # beyond the four taps of the convolution


def test_the_block_starts_as_published() -> None:
    torch.manual_seed(0)
    block = SelectiveStateSpace(32, states=16)
    steps = functional.softplus(block.step_proj.bias)
    assert 1e-3 * 0.999 < steps.min() < steps.max() < 0.1 * 1.001
    assert torch.allclose(block.log_rate.exp()[7], torch.arange(1.0, 17.0))
    # 3 expand width^2 of the projections, and the small ones (Gu & Dao, Sec. 3.4).
    inner = 64
    small = inner * (4 + 1) + inner * (2 + 32) + (2 + 1) * inner + 16 * inner + inner
    assert sum(p.numel() for p in block.parameters()) == 3 * 2 * 32**2 + small


def test_autocast_keeps_the_recurrence_in_float32() -> None:
    torch.manual_seed(0)
    block = SelectiveStateSpace(16)
    x = noise(2, 12, 16).float()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        y = block(x)
        scanned = selective_scan(*(argument.bfloat16() for argument in scan_arguments(6)))
    assert scanned.dtype == torch.float32
    assert (y.float() - block(x)).abs().max() < 0.05 * block(x).abs().max()
