import itertools
import math

import pytest
import torch

from radiodiff.diffusion.process import (
    MIN_TIME,
    attenuation_coefficients,
    attenuation_integral,
    bridge_step,
    diffuse,
    estimate_data,
    flow_step,
    time_grid,
)

N = 40_000


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def slope_for(attenuation: str, z_0: torch.Tensor, g: torch.Generator) -> torch.Tensor | None:
    return torch.randn(z_0.shape, generator=g) if attenuation == "linear" else None


@pytest.mark.parametrize("attenuation", ["constant", "linear"])
def test_data_vanish_at_time_one(attenuation):
    g = generator()
    z_0, eps = torch.randn(3, 2, 4, 4, generator=g), torch.randn(3, 2, 4, 4, generator=g)
    coefficients = attenuation_coefficients(z_0, slope_for(attenuation, z_0, g))
    torch.testing.assert_close(diffuse(z_0, coefficients, eps, 1.0), eps)
    torch.testing.assert_close(diffuse(z_0, coefficients, eps, 0.0), z_0)


def test_attenuation_integral_by_hand():
    a, b = torch.tensor([[4.0], [4.0]]), torch.tensor([[3.0], [3.0]])
    t = torch.tensor([0.5, 1.0])
    assert attenuation_integral((b,), t).flatten().tolist() == [1.5, 3.0]
    assert attenuation_integral((a, b), t).flatten().tolist() == [2.0, 5.0]


@pytest.mark.parametrize("attenuation", ["constant", "linear"])
@pytest.mark.parametrize("t", [0.3, 0.8])
def test_marginals_equal_a_simulation_of_the_stochastic_equation(attenuation, t):
    """Euler-Maruyama on RadioDiff, eq. (13), against diffuse and N((1-t) z_0, ...)."""
    g, steps = generator(1), 200
    z_0 = torch.full((N,), 1.5)
    coefficients = attenuation_coefficients(z_0, slope_for(attenuation, z_0, g))
    z, dt = z_0.clone(), t / steps
    for step in range(steps):
        time = step * dt
        f = (
            coefficients[0]
            if attenuation == "constant"
            else coefficients[0] * time + coefficients[1]
        )
        z += f * dt + math.sqrt(dt) * torch.randn(N, generator=g)
    direct = diffuse(z_0, coefficients, torch.randn(N, generator=g), t)

    variance = t + (((t * t - t) / 2) ** 2 if attenuation == "linear" else 0.0)
    for sample in (z, direct):
        assert sample.mean().item() == pytest.approx((1 - t) * 1.5, abs=5 * math.sqrt(variance / N))
        assert sample.var().item() == pytest.approx(variance, rel=5 * math.sqrt(2 / N))


def test_constant_attenuation_has_the_marginals_of_equations_9_to_11():
    """gamma_t = 1 - t and delta_t^2 = t give f = -1/(1-t) and g^2 = (1+t)/(1-t), free of z_0.

    The marginals are RadioDiff, eq. (8), of the process RadioDiff, eq. (9).
    """
    g, steps, t_end = generator(2), 400, 0.7
    z, dt = torch.full((N,), 1.5), t_end / steps
    for step in range(steps):
        t = (step + 0.5) * dt
        noise = torch.randn(N, generator=g)
        z += -z / (1 - t) * dt + math.sqrt((1 + t) / (1 - t) * dt) * noise
    assert z.mean().item() == pytest.approx((1 - t_end) * 1.5, abs=0.02)
    assert z.var().item() == pytest.approx(t_end, rel=0.03)


@pytest.mark.parametrize("attenuation", ["constant", "linear"])
def test_bridge_step_with_the_true_targets_lands_on_the_marginal(attenuation):
    g = generator(3)
    z_0 = torch.full((N,), 2.0)
    slope = slope_for(attenuation, z_0, g)
    coefficients = attenuation_coefficients(z_0, slope)
    eps, noise = torch.randn(N, generator=g), torch.randn(N, generator=g)
    t, t_next = 0.8, 0.3
    z = bridge_step(diffuse(z_0, coefficients, eps, t), coefficients, eps, t, t_next, noise)
    residual = z - diffuse(z_0, coefficients, torch.zeros(N), t_next)
    assert residual.mean().item() == pytest.approx(0.0, abs=5 * math.sqrt(t_next / N))
    assert residual.var().item() == pytest.approx(t_next, rel=5 * math.sqrt(2 / N))


def test_bridge_step_by_hand():
    """z = 1, C = -2, eps = 0.5, t = 1 -> 0.25: 1 + 2 * 0.75 - 0.75 * 0.5 + sqrt(3/16) * 2."""
    z = bridge_step(
        torch.tensor([1.0]), [torch.tensor([-2.0])], torch.tensor([0.5]), 1.0, 0.25,
        torch.tensor([2.0]),
    )  # fmt: skip
    assert z.item() == pytest.approx(1 + 1.5 - 0.375 + 2 * math.sqrt(3 / 16))


@pytest.mark.parametrize("attenuation", ["constant", "linear"])
def test_estimate_data_and_flow_step_invert_diffuse(attenuation):
    g = generator(4)
    z_0, eps = torch.randn(2, 5, generator=g), torch.randn(2, 5, generator=g)
    slope = slope_for(attenuation, z_0, g)
    coefficients = attenuation_coefficients(z_0, slope)
    z_t = diffuse(z_0, coefficients, eps, 0.7)
    torch.testing.assert_close(estimate_data(z_t, coefficients, eps, 0.7), z_0)
    truth = (z_0,) if slope is None else (z_0, slope)
    for t_next in (0.4, 0.0):
        torch.testing.assert_close(
            flow_step(z_t, truth, None, 0.7, t_next), diffuse(z_0, coefficients, eps, t_next)
        )


def test_flow_step_integrates_estimates_that_are_linear_in_time():
    """Against a fine quadrature of d(z / sqrt t) = z_0 d(alpha / sqrt t) + a d(beta / sqrt t)."""
    t, t_next, n = 0.9, 0.2, 200_000
    z, z_0, a, z_0_rate, a_rate = 0.3, 1.0, -2.0, 3.0, 5.0
    grid = torch.linspace(t, t_next, n + 1, dtype=torch.float64)
    middle = (grid[1:] + grid[:-1]) / 2 - t
    alpha, beta = (1 - grid) / grid.sqrt(), (grid**2 - grid) / 2 / grid.sqrt()
    integral = ((z_0 + z_0_rate * middle) * alpha.diff()).sum()
    integral += ((a + a_rate * middle) * beta.diff()).sum()
    expected = math.sqrt(t_next) * (z / math.sqrt(t) + integral.item())

    def tensors(*values: float) -> tuple[torch.Tensor, ...]:
        return tuple(torch.tensor([value]) for value in values)

    step = flow_step(torch.tensor([z]), tensors(z_0, a), tensors(z_0_rate, a_rate), t, t_next)
    assert step.item() == pytest.approx(expected, abs=1e-5)


def test_time_grids():
    assert time_grid(1) == [1.0, 0.0]
    assert time_grid(4) == pytest.approx([1.0, 0.75, 0.5, 0.25, 0.0])
    assert time_grid(4, power=2.0) == pytest.approx([1.0, 9 / 16, 4 / 16, 1 / 16, 0.0])
    assert time_grid(2, split_last_step=True) == pytest.approx([1.0, 0.5, 1e-4, 0.0])
    assert time_grid(1, split_last_step=True) == pytest.approx([1.0, 1e-4, 0.0])


def test_time_grid_never_asks_below_the_trained_times():
    times = time_grid(1000, power=2.0, split_last_step=True)
    assert len(times) == 1001
    assert times[0] == 1.0
    assert times[-2] == pytest.approx(MIN_TIME)
    assert all(a > b for a, b in itertools.pairwise(times))
