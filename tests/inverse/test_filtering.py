import pytest
import torch

from radiodiff.errors import InputError
from radiodiff.inverse.filtering import sample_posterior
from radiodiff.inverse.levels import choose_levels
from radiodiff.inverse.particles import Network
from radiodiff.inverse.samplers import (
    Candidates,
    Combined,
    CommonNoise,
    FixedLevel,
    IndependentNoise,
    Published,
)

ALPHAS_CUMPROD = torch.cumprod(1.0 - torch.linspace(1e-4, 0.02, 1000, dtype=torch.float64), 0)
METHODS = {
    "published": Published(stochasticity=0.95),
    "candidates": Candidates(stochasticity=0.95),
    "common_noise": CommonNoise(stochasticity="ddpm"),
    "independent_noise": IndependentNoise(),
    "fixed_level": FixedLevel(stochasticity="ddpm"),
    "with RePaint jumps": FixedLevel(repaint_jumps=1),
    "combined": Combined(),
    "self_ensemble": FixedLevel(self_ensemble=True),
    "guided": Combined(guidance=True, repaint_jumps=1),
}


def white_prior(x, abar):
    """The exact noise predictor of N(0, I): E[eps | x_t] = sqrt(1 - abar) x_t."""
    abar = abar.view(-1, *[1] * (x.ndim - 1)) if abar.ndim == 1 else abar
    return (1.0 - abar).sqrt().to(x.dtype) * x


def problem(batch=3, dims=(1, 6, 6), noise_std=0.3):
    generator = torch.Generator().manual_seed(7)
    y = torch.randn((batch, *dims), generator=generator)
    observed = torch.rand((batch, *dims), generator=generator) < 0.4
    return y, observed, torch.full_like(y, noise_std)


def generators(count):
    return [torch.Generator().manual_seed(100 + b) for b in range(count)]


@pytest.mark.parametrize("sampler", METHODS.values(), ids=METHODS)
@pytest.mark.parametrize("dims", [(5,), (1, 6, 6)])
def test_exact_measurements_are_kept(sampler, dims):
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
        sampler,
    )
    assert result.samples.shape == (3, 1 if sampler.method == "candidates" else 4, *dims)
    torch.testing.assert_close(result.log_weights.exp().sum(dim=1), torch.ones(3).double())
    assert torch.isfinite(result.samples).all()
    if sampler.method in ("common_noise", "independent_noise", "fixed_level"):
        seen = observed[:, None].expand_as(result.samples)
        truth = y[:, None].expand_as(result.samples)
        torch.testing.assert_close(result.samples[seen], truth[seen], atol=2e-3, rtol=0)


@pytest.mark.parametrize("sampler", METHODS.values(), ids=METHODS)
def test_a_map_does_not_depend_on_its_batch(sampler):
    y, observed, noise_std = problem()
    noise_std[1] = 0.05  # another measurement level, hence another schedule
    levels = choose_levels(ALPHAS_CUMPROD, 12)
    run = {"alpha_bar": levels, "num_particles": 6, "sampler": sampler}
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
        IndependentNoise(),
        batch_limit=5,
        progress=lambda done, total: seen.append((done, total)),
    )
    assert max(sizes) == 5
    assert sum(sizes) == 6 * 12  # five steps and the measurements' own level, for 3 x 4 particles
    assert seen == [(k, 6) for k in range(1, 7)]


@pytest.mark.parametrize("method", ["independent_noise", "fixed_level", "guided"])
@pytest.mark.parametrize("dims", [(1, 6, 6), (1, 4, 6)])
def test_turning_changes_nothing_where_every_direction_is_alike(method, dims):
    y, observed, sigma = problem(dims=dims)
    sigma = sigma * torch.linspace(0.5, 1.5, dims[-1]).round(decimals=1)
    samples = [
        sample_posterior(
            white_prior,
            y,
            observed,
            sigma,
            choose_levels(ALPHAS_CUMPROD, 5),
            9,
            generators(3),
            METHODS[method].model_copy(update={"self_ensemble": self_ensemble}),
        ).samples
        for self_ensemble in (False, True)
    ]
    torch.testing.assert_close(*samples)


@pytest.mark.parametrize(("dims", "count"), [((1, 6, 6), 8), ((1, 4, 6), 4)])
def test_particles_in_all_orientations_have_no_preferred_direction(dims, count):
    generator = torch.Generator().manual_seed(0)
    bias = torch.randn(dims, generator=generator)
    network = Network(lambda x, abar: bias.expand_as(x), None, 1, None, self_ensemble=True)
    mean = network(torch.zeros((1, count, *dims)), torch.tensor(0.5), step=3).mean(dim=1)[0]
    for axis in (-1, -2):
        torch.testing.assert_close(mean.flip(axis), mean)
    if count == 8:
        torch.testing.assert_close(mean.mT, mean)


def test_held_estimates_are_not_cut_off_on_one_side():
    # Truth at the truncation and a network that errs to both sides of it.
    errors = torch.Generator().manual_seed(0)

    def erring(x, abar):
        x_0 = -1.0 + 0.1 * torch.randn(x.shape, generator=errors)
        return (x - abar.sqrt() * x_0) / (1.0 - abar).sqrt()

    y, observed, sigma = problem(batch=1, dims=(1, 20, 20))
    result = sample_posterior(
        erring,
        torch.full_like(y, -1.0),
        observed,
        sigma,
        choose_levels(ALPHAS_CUMPROD, 5),
        5,
        generators(1),
        METHODS["fixed_level"],
    )
    assert result.samples.mean() == pytest.approx(-1.0, abs=0.01)


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
            IndependentNoise(),
        )
