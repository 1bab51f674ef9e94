from pathlib import Path

import numpy as np
import pytest
import torch

from radiodiff.inverse.transitions import (
    conditional_step,
    measurement_step,
    predict_clean,
    prior_step,
    stochastic_share,
)

REFERENCE = Path(__file__).parents[1] / "reference" / "filtering_posterior_step.npz"
ALPHAS_CUMPROD = torch.cumprod(1.0 - torch.linspace(1e-4, 0.02, 1000, dtype=torch.float64), 0)


@pytest.fixture(scope="module")
def reference():
    with np.load(REFERENCE) as arrays:
        return {key: torch.from_numpy(arrays[key]).double() for key in arrays}


@pytest.mark.parametrize("c", [0.95, 0.3])
@pytest.mark.parametrize("t", [999, 500, 20, 1])
def test_step_equals_the_released_filter(reference, c, t):
    r = {key.removeprefix(f"c{c}_"): value for key, value in reference.items()}
    abar_t, abar_s = reference["alphas_cumprod"][t], reference["alphas_cumprod"][t - 1]
    x_0 = predict_clean(r["x"], r["eps"], abar_t, clip=True)
    mean, variance = prior_step(x_0, r["eps"], abar_s, c)
    torch.testing.assert_close(x_0, r[f"t{t}_x0"], atol=1e-5, rtol=0)
    torch.testing.assert_close(mean, r[f"t{t}_prior_mean"], atol=1e-5, rtol=0)
    torch.testing.assert_close(variance, r["prior_variance"][t], atol=1e-12, rtol=0)


@pytest.mark.parametrize("c", [0.95, 0.3])
@pytest.mark.parametrize("t", [999, 500, 20, 1])
def test_conditional_mean_equals_the_released_filter(reference, c, t):
    r = {key.removeprefix(f"c{c}_"): value for key, value in reference.items()}
    # The released code adds 1e-6 to the variance and works in float32 on terms as large as
    # y / variance, which it then subtracts: what it leaves is uncertain by their last bit.
    variance = r["prior_variance"][t] + 1e-6
    likelihood = r["likelihood_variance"][t]
    infinite = torch.full_like(r["mask"], torch.inf)
    mean, _ = conditional_step(
        r[f"t{t}_prior_mean"], variance, r["y"], torch.where(r["mask"] > 0, likelihood, infinite)
    )
    rounding = float(variance / likelihood * r["y"].abs().max()) * 2.0**-22
    torch.testing.assert_close(mean, r[f"t{t}_posterior_mean"], atol=1e-5 + rounding, rtol=0)
    assert t > 20 or rounding < 1e-5


def test_conditional_step_is_the_product_of_two_gaussians():
    mean, variance = conditional_step(
        torch.tensor([1.0, 1.0, 1.0]),
        torch.tensor(2.0),
        torch.tensor([4.0, 4.0, 4.0]),
        torch.tensor([1.0, torch.inf, 0.0]),
    )
    torch.testing.assert_close(mean, torch.tensor([3.0, 1.0, 4.0]))
    torch.testing.assert_close(variance, torch.tensor([2.0 / 3.0, 2.0, 0.0]))


def test_ddpm_share_is_the_variance_of_the_ddpm_posterior():
    abar_t, abar_s = ALPHAS_CUMPROD[500], ALPHAS_CUMPROD[480]
    beta = 1.0 - abar_t / abar_s
    c = stochastic_share("ddpm", abar_t, abar_s)
    expected = (1.0 - abar_s) / (1.0 - abar_t) * beta
    torch.testing.assert_close(c * (1.0 - abar_s), expected)


@pytest.mark.parametrize("c", [0.0, 0.3, 0.95, 1.0])
def test_measurement_sequence_keeps_the_path_loss_model_of_the_diffused_measurement(c):
    generator = torch.Generator().manual_seed(0)
    abar_t, abar_s = ALPHAS_CUMPROD[600], ALPHAS_CUMPROD[400]
    noise = torch.randn((2, 200_000), generator=generator, dtype=torch.float64)
    y_0 = torch.tensor(0.7, dtype=torch.float64)
    y_t = abar_t.sqrt() * y_0 + (1.0 - abar_t).sqrt() * noise[0]
    y_s = measurement_step(y_t, y_0, abar_t, abar_s, c, noise[1])
    assert float(y_s.mean()) == pytest.approx(float(abar_s.sqrt() * y_0), abs=0.01)
    assert float(y_s.var()) == pytest.approx(float(1.0 - abar_s), rel=0.02)
