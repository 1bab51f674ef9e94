"""The filter against exact posteriors of Gaussian and two-mode priors with the exact predictor."""

import pytest
import torch

from radiodiff.inverse.filtering import sample_posterior
from radiodiff.inverse.levels import choose_levels
from radiodiff.inverse.presets import CALIBRATED, CALIBRATED_BY_WEIGHTS
from radiodiff.inverse.samplers import Candidates, Combined, Published

ALPHAS_CUMPROD = torch.cumprod(1.0 - torch.linspace(1e-4, 0.02, 1000, dtype=torch.float64), 0)
EXACT = CALIBRATED_BY_WEIGHTS.sampler.model_copy(update={"clip": False})
FIXED_LEVEL = CALIBRATED.sampler
PUBLISHED = Published(stochasticity="ddpm", clip=False)


def gaussian_prior(covariance):
    """E[eps | x_t] = sqrt(1 - abar) (abar C + (1 - abar) I)^-1 x_t, float32."""
    variances, axes = torch.linalg.eigh(covariance)
    axes = axes.float()

    def denoise(x, abar):
        level = abar[0]
        gain = (1.0 - level).sqrt() / (level * variances + 1.0 - level)
        return (x @ axes * gain.float()) @ axes.T

    return denoise


def gaussian_prior_of_levels(covariance):
    """E[eps | x] with a level for every coordinate: S (R C R + S^2)^-1 x, R^2 = abar = 1 - S^2."""

    def denoise(x, abar):
        assert (abar == abar[0]).all()
        signal, noise = abar[0].sqrt(), (1.0 - abar[0]).sqrt()
        total = signal[:, None] * covariance * signal + torch.diag(noise**2)
        return (x.double() @ torch.linalg.inv(total) * noise).float()

    return denoise


def exact_posterior(covariance, index, y, noise_std):
    block = covariance[index][:, index] + torch.diag(noise_std**2)
    gain = torch.linalg.solve(block, covariance[index]).T
    return gain @ y, covariance - gain @ covariance[index]


def moments(result):
    """Mean and covariance over runs and particles."""
    weights = result.log_weights.exp() / len(result.log_weights)
    samples = result.samples.double()
    mean = (weights[..., None] * samples).sum(dim=(0, 1))
    offset = samples - mean
    return mean, torch.einsum("bm,bmi,bmj->ij", weights, offset, offset)


def run(
    covariance,
    index,
    y,
    noise_std,
    *,
    settings,
    particles,
    steps,
    runs,
    seed=0,
    prior=gaussian_prior,
):
    size = len(covariance)
    values, sigma = torch.zeros(runs, size), torch.zeros(runs, size)
    observed = torch.zeros(runs, size, dtype=torch.bool)
    values[:, index], sigma[:, index], observed[:, index] = y.float(), noise_std.float(), True
    return sample_posterior(
        prior(covariance),
        values,
        observed,
        sigma,
        choose_levels(ALPHAS_CUMPROD, steps, settings.spacing),
        particles,
        torch.Generator().manual_seed(seed),
        settings,
    )


COVARIANCE_2 = torch.tensor([[1.0, 0.8], [0.8, 1.0]], dtype=torch.float64)
OBSERVED_2 = ([0], torch.tensor([1.2], dtype=torch.float64), torch.tensor([0.3]).double())


def test_matched_filter_has_the_exact_posterior_in_two_dimensions():
    mean, covariance = exact_posterior(COVARIANCE_2, *OBSERVED_2)
    result = run(COVARIANCE_2, *OBSERVED_2, settings=EXACT, particles=64, steps=1000, runs=400)
    found_mean, found_covariance = moments(result)
    torch.testing.assert_close(found_mean, mean, rtol=0.08, atol=0)
    torch.testing.assert_close(found_covariance, covariance, rtol=0.08, atol=0)


@pytest.mark.parametrize("stochasticity", ["ddpm", 0.95])
def test_published_filter_is_over_confident(stochasticity):
    """It counts one measurement once per step, so the observed variance all but vanishes."""
    settings = PUBLISHED.model_copy(update={"stochasticity": stochasticity})
    mean, covariance = exact_posterior(COVARIANCE_2, *OBSERVED_2)
    result = run(COVARIANCE_2, *OBSERVED_2, settings=settings, particles=64, steps=1000, runs=60)
    found_mean, found_covariance = moments(result)
    assert found_covariance[0, 0] < 0.15 * covariance[0, 0]
    assert found_mean[0] > mean[0] + 0.06  # pinned to the noisy 1.2
    assert found_mean[0] == pytest.approx(1.2, abs=0.02)


def test_candidates_as_printed_are_over_confident_too():
    settings = Candidates(stochasticity=0.95, clip=False)
    _, covariance = exact_posterior(COVARIANCE_2, *OBSERVED_2)
    result = run(COVARIANCE_2, *OBSERVED_2, settings=settings, particles=64, steps=200, runs=300)
    _, found = moments(result)
    assert found[0, 0] < 0.6 * covariance[0, 0]
    assert found[1, 1] < 0.6 * covariance[1, 1]


@pytest.mark.parametrize("option", [{"guidance": True}, {"repaint_jumps": 3}])
def test_guidance_and_repaint_jumps_carry_the_measurement_to_the_hidden_coordinate(option):
    mean, _ = exact_posterior(COVARIANCE_2, *OBSERVED_2)
    errors = []
    for changes in ({}, option):
        settings = Combined(clip=False, spacing="log_snr", **changes)
        result = run(COVARIANCE_2, *OBSERVED_2, settings=settings, particles=8, steps=50, runs=300)
        errors.append(float((moments(result)[0] - mean)[1].abs()))
    assert errors[0] > 0.2
    assert errors[1] < 0.1


GRID = torch.arange(16, dtype=torch.float64)
COVARIANCE_16 = 0.9 ** (GRID[:, None] - GRID[None]).abs()
SIXTEEN = {1: [5], 5: [0, 4, 7, 11, 14], 15: [k for k in range(16) if k != 8]}
RUNS = {1: 48, 5: 16, 15: 8}


def draw_16(index, noise_std, seed=3):
    generator = torch.Generator().manual_seed(seed)
    x = torch.linalg.cholesky(COVARIANCE_16) @ torch.randn(16, generator=generator).double()
    return x[index] + noise_std * torch.randn(len(index), generator=generator).double()


def noise_levels(count, noise_std):
    """One sigma for all samples, or another for each."""
    if noise_std == "per sample":
        return torch.linspace(0.05, 0.3, count + 1, dtype=torch.float64)[1:]
    return torch.full((count,), noise_std, dtype=torch.float64)


def assert_posterior(result, mean, covariance, index):
    """Mean within 0.05 prior standard deviations (they are 1), covariance within 10 %."""
    found_mean, found = moments(result)
    assert (found_mean - mean).abs().max() <= 0.05
    assert (found - covariance).norm() <= 0.1 * covariance.norm()
    ratio = (found.diag() / covariance.diag())[index]
    assert (ratio - 1.0).abs().max() <= 0.1


@pytest.mark.parametrize("count", SIXTEEN)
@pytest.mark.parametrize("noise_std", [0.05, 0.3, "per sample"])
def test_matched_filter_in_sixteen_dimensions(count, noise_std):
    index = SIXTEEN[count]
    sigma = noise_levels(count, noise_std)
    y = draw_16(index, sigma)
    mean, covariance = exact_posterior(COVARIANCE_16, index, y, sigma)
    result = run(
        COVARIANCE_16, index, y, sigma, settings=EXACT, particles=256, steps=1000, runs=RUNS[count]
    )
    assert_posterior(result, mean, covariance, index)


@pytest.mark.parametrize(
    ("count", "noise_std"), [(1, 0.3), (5, "per sample"), (15, 0.05), (15, "per sample")]
)
def test_measurements_held_at_their_level_give_the_posterior_with_one_particle(count, noise_std):
    index = SIXTEEN[count]
    sigma = noise_levels(count, noise_std)
    y = draw_16(index, sigma)
    mean, covariance = exact_posterior(COVARIANCE_16, index, y, sigma)
    result = run(
        COVARIANCE_16,
        index,
        y,
        sigma,
        settings=FIXED_LEVEL,
        particles=1,
        steps=1000,
        runs=4000,
        prior=gaussian_prior_of_levels,
    )
    assert_posterior(result, mean, covariance, index)


def test_clean_measurements_are_shown_with_the_minimum_noise_and_put_in_by_their_own():
    index = SIXTEEN[5]
    own, least = torch.full((5,), 0.01, dtype=torch.float64), 0.1
    own[0] = 0.0  # exact, so known as it is
    shown = own.clamp(min=least).where(own > 0, own)
    y = draw_16(index, shown)
    arguments = {"particles": 2, "steps": 5, "runs": 3, "prior": gaussian_prior_of_levels}
    settings = FIXED_LEVEL
    raised = settings.model_copy(update={"min_noise_std": least})
    found = run(COVARIANCE_16, index, y, own, settings=raised, **arguments).samples
    plain = run(COVARIANCE_16, index, y, shown, settings=settings, **arguments).samples
    # Two independent estimates of a measured value, weighted by their precisions.
    weight = own**-2 / (own**-2 + shown**-2)
    weight[0] = 1.0
    expected = plain.double()
    expected[..., index] = weight * y + (1.0 - weight) * expected[..., index]
    torch.testing.assert_close(found, expected.float())
    assert not torch.allclose(found[..., index[1:]], plain[..., index[1:]], atol=1e-3)


def test_measurements_that_are_all_exact_are_measurements():
    index = SIXTEEN[5]
    y = draw_16(index, exact := torch.zeros(5, dtype=torch.float64))
    arguments = {"particles": 1, "steps": 5, "runs": 3, "prior": gaussian_prior_of_levels}
    settings = FIXED_LEVEL
    raised = settings.model_copy(update={"min_noise_std": 0.1})
    found = run(COVARIANCE_16, index, y, exact, settings=raised, **arguments).samples
    shown = run(COVARIANCE_16, index, y, exact + 0.1, settings=settings, **arguments).samples
    missing = [k for k in range(16) if k not in index]
    torch.testing.assert_close(found[..., missing], shown[..., missing])
    torch.testing.assert_close(found[0, 0, index], y.float())


def test_training_levels_alone_lose_the_variance_of_exact_measurements():
    """Few of them lie below tau, and the DDPM variance of each step is too small."""
    index, sigma = SIXTEEN[15], torch.full((15,), 0.05, dtype=torch.float64)
    y = draw_16(index, sigma)
    _, covariance = exact_posterior(COVARIANCE_16, index, y, sigma)
    ratio = []
    for spacing in ("uniform", "log_snr"):
        settings = EXACT.model_copy(update={"spacing": spacing})
        result = run(
            COVARIANCE_16, index, y, sigma, settings=settings, particles=64, steps=1000, runs=16
        )
        ratio.append(float((moments(result)[1].diag() / covariance.diag())[index].mean()))
    assert ratio[0] < 0.85
    assert ratio[1] > 0.9


def test_error_falls_with_particles():
    index, sigma = SIXTEEN[5], torch.full((5,), 0.3, dtype=torch.float64)
    y = draw_16(index, sigma)
    mean, _ = exact_posterior(COVARIANCE_16, index, y, sigma)
    errors = []
    for particles in (1, 8, 64):
        result = run(
            COVARIANCE_16, index, y, sigma, settings=EXACT, particles=particles, steps=100, runs=100
        )
        errors.append(float((moments(result)[0] - mean).square().mean().sqrt()))
    assert errors[0] > 2.0 * errors[1] > 4.0 * errors[2]


def test_error_falls_with_steps():
    index, sigma = SIXTEEN[15], torch.full((15,), 0.3, dtype=torch.float64)
    y = draw_16(index, sigma)
    _, covariance = exact_posterior(COVARIANCE_16, index, y, sigma)
    errors = []
    for steps in (10, 50, 250):
        result = run(
            COVARIANCE_16, index, y, sigma, settings=EXACT, particles=64, steps=steps, runs=40
        )
        errors.append(float((moments(result)[1] - covariance).norm() / covariance.norm()))
    assert errors[0] > 1.5 * errors[1] > 2.25 * errors[2]


def test_two_modes_come_in_the_right_proportion_with_particles_only():
    """The hidden coordinate takes sides long before the evidence of the observed one counts."""
    means = torch.tensor([[0.0, -2.0], [0.6, 2.0]])
    spread, noise_std, value = 0.1, 0.1, 0.25

    def denoise(x, abar):
        level = abar[0].float()
        variance = level * spread**2 + 1.0 - level
        offset = x[:, None] - level.sqrt() * means
        share = torch.softmax(-offset.square().sum(dim=2) / (2 * variance), dim=1)
        return (1.0 - level).sqrt() / variance * (share[..., None] * offset).sum(dim=1)

    evidence = -(torch.tensor(value) - means[:, 0]).square() / (2 * (spread**2 + noise_std**2))
    expected = float(torch.softmax(evidence, dim=0)[0])
    assert 0.75 < expected < 0.9

    def share_of_first(particles, runs):
        y = torch.tensor([value, 0.0]).repeat(runs, 1)
        observed = torch.tensor([True, False]).repeat(runs, 1)
        result = sample_posterior(
            denoise,
            y,
            observed,
            torch.full_like(y, noise_std),
            choose_levels(ALPHAS_CUMPROD, 200, "log_snr"),
            particles,
            torch.Generator().manual_seed(0),
            EXACT,
        )
        first = (result.samples[..., 1] < 0).double()
        return float((result.log_weights.exp() * first).sum(dim=1).mean())

    assert share_of_first(256, 40) == pytest.approx(expected, abs=0.05)
    assert share_of_first(1, 2000) < expected - 0.15
