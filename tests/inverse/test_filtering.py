from pathlib import Path

import numpy as np
import pytest
import torch
from pydantic import ValidationError

from radiodiff.errors import InputError
from radiodiff.inverse.filtering import (
    FilterSettings,
    conditional_step,
    measurement_step,
    predict_clean,
    prior_step,
    sample_posterior,
    stochastic_share,
)
from radiodiff.inverse.levels import choose_levels

REFERENCE = Path(__file__).parents[1] / "reference" / "filtering_posterior_step.npz"
ALPHAS_CUMPROD = torch.cumprod(1.0 - torch.linspace(1e-4, 0.02, 1000, dtype=torch.float64), 0)
METHODS = {
    "published": FilterSettings(method="published", stochasticity=0.95),
    "candidates": FilterSettings(method="published", proposal="prior", stochasticity=0.95),
    "matched shared": FilterSettings(noise_path="shared", stochasticity="ddpm"),
    "matched fresh": FilterSettings(),
}


def white_prior(x, abar):
    """The exact noise predictor of N(0, I): E[eps | x_t] = sqrt(1 - abar) x_t."""
    return (1.0 - abar).sqrt().to(x.dtype).view(-1, *[1] * (x.ndim - 1)) * x


def problem(batch=3, dims=(1, 6, 6), noise_std=0.3):
    generator = torch.Generator().manual_seed(7)
    y = torch.randn((batch, *dims), generator=generator)
    observed = torch.rand((batch, *dims), generator=generator) < 0.4
    return y, observed, torch.full_like(y, noise_std)


def generators(count):
    return [torch.Generator().manual_seed(100 + b) for b in range(count)]


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
def test_measurement_sequence_keeps_the_law_of_the_diffused_measurement(c):
    generator = torch.Generator().manual_seed(0)
    abar_t, abar_s = ALPHAS_CUMPROD[600], ALPHAS_CUMPROD[400]
    noise = torch.randn((2, 200_000), generator=generator, dtype=torch.float64)
    y_0 = torch.tensor(0.7, dtype=torch.float64)
    y_t = abar_t.sqrt() * y_0 + (1.0 - abar_t).sqrt() * noise[0]
    y_s = measurement_step(y_t, y_0, abar_t, abar_s, c, noise[1])
    assert float(y_s.mean()) == pytest.approx(float(abar_s.sqrt() * y_0), abs=0.01)
    assert float(y_s.var()) == pytest.approx(float(1.0 - abar_s), rel=0.02)


@pytest.mark.parametrize("settings", METHODS.values(), ids=METHODS)
@pytest.mark.parametrize("dims", [(5,), (1, 6, 6)])
def test_exact_measurements_are_kept(settings, dims):
    y, observed, _ = problem(dims=dims)
    y = y.clamp(-1, 1)
    result = sample_posterior(
        white_prior,
        y,
        observed,
        torch.full_like(y, 1e-4),
        choose_levels(ALPHAS_CUMPROD, 20),
        4,
        generators(3),
        settings,
    )
    assert result.samples.shape == (3, 1 if settings.proposal == "prior" else 4, *dims)
    torch.testing.assert_close(result.log_weights.exp().sum(dim=1), torch.ones(3).double())
    assert torch.isfinite(result.samples).all()
    if settings.method == "matched":
        seen = observed[:, None].expand_as(result.samples)
        truth = y[:, None].expand_as(result.samples)
        torch.testing.assert_close(result.samples[seen], truth[seen], atol=2e-3, rtol=0)


@pytest.mark.parametrize("settings", METHODS.values(), ids=METHODS)
def test_a_map_does_not_depend_on_its_batch(settings):
    y, observed, noise_std = problem()
    noise_std[1] = 0.05  # another measurement level, hence another schedule
    levels = choose_levels(ALPHAS_CUMPROD, 12)
    run = {"alpha_bar": levels, "num_particles": 6, "settings": settings}
    together = sample_posterior(white_prior, y, observed, noise_std, generator=generators(3), **run)
    for b in range(3):
        one = slice(b, b + 1)
        alone = sample_posterior(
            white_prior,
            y[one],
            observed[one],
            noise_std[one],
            generator=generators(3)[one],
            batch_limit=2,
            **run,
        )
        torch.testing.assert_close(alone.samples, together.samples[one])
        torch.testing.assert_close(alone.log_weights, together.log_weights[one])


def test_no_call_exceeds_the_batch_limit_and_progress_counts_to_the_end():
    y, observed, noise_std = problem()
    sizes, seen = [], []

    def watched(x, abar):
        sizes.append(len(x))
        return white_prior(x, abar)

    sample_posterior(
        watched,
        y,
        observed,
        noise_std,
        choose_levels(ALPHAS_CUMPROD, 5),
        4,
        generators(3),
        FilterSettings(),
        batch_limit=5,
        progress=lambda done, total: seen.append((done, total)),
    )
    assert max(sizes) == 5
    assert sum(sizes) == 6 * 12  # five steps and the measurements' own level, for 3 x 4 particles
    assert seen == [(k, 6) for k in range(1, 7)]


def test_values_that_are_not_finite_stop_the_run_and_name_the_step():
    y, observed, noise_std = problem()
    calls = []

    def broken(x, abar):
        calls.append(abar)
        return white_prior(x, abar) * (float("nan") if len(calls) == 3 else 1.0)

    with pytest.raises(InputError, match="not finite at step 3"):
        sample_posterior(
            broken,
            y,
            observed,
            noise_std,
            choose_levels(ALPHAS_CUMPROD, 5),
            2,
            generators(3),
            FilterSettings(),
        )


@pytest.mark.parametrize("value", [-0.1, 1.5, "ddim"])
def test_impossible_stochasticity_is_refused(value):
    with pytest.raises(ValidationError, match="stochasticity"):
        FilterSettings(stochasticity=value)
