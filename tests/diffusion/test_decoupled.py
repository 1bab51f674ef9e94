"""Samplers against closed forms, with the exact predictors of Gaussian mixtures."""

import itertools
import math

import pytest
import torch
from torch import Tensor

from radiodiff.diffusion.decoupled import DecoupledScheduler, sample
from radiodiff.diffusion.settings import DecoupledSettings
from radiodiff.errors import InputError

N = 50_000
ATTENUATIONS = ["constant", "linear"]
SAMPLERS = ["released", "bridge_mean", "probability_flow", "second_order"]


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


class Mixture:
    """Exact E[C, eps | z_t], or E[a, b, eps | z_t], for scalar data from a Gaussian mixture."""

    def __init__(self, attenuation: str, means: list[float], variance: float, weights=(1.0,)):
        self.linear = attenuation == "linear"
        self.means, self.variance = torch.tensor(means, dtype=torch.float64), variance
        self.weights = torch.tensor(weights, dtype=torch.float64)

    def __call__(self, z: Tensor, t: Tensor) -> tuple[Tensor, ...]:
        z, t = z.double()[:, None], t[0].item()
        beta = (t * t - t) / 2 if self.linear else 0.0
        total = (1 - t) ** 2 * self.variance + beta**2 + t
        residual = z - (1 - t) * self.means
        posterior = torch.softmax(self.weights.log() - residual**2 / (2 * total), dim=1)
        residual_mean = (posterior * residual).sum(dim=1)
        z_0 = (posterior * self.means).sum(dim=1) + (1 - t) * self.variance / total * residual_mean
        eps = math.sqrt(t) / total * residual_mean
        if not self.linear:
            return -z_0, eps
        a = beta / total * residual_mean
        return a, -z_0 - a / 2, eps


def released_recursion(attenuation: str, mean: float, variance: float, steps: int, start: float):
    """Mean and variance after uniform steps of RadioDiff, eq. (16), exact, from N(start, 1)."""
    m, v = start, 1.0
    predict = Mixture(attenuation, [mean], variance)
    for i in range(steps):
        t, t_next = 1 - i / steps, 1 - (i + 1) / steps
        s = t - t_next

        def deterministic(z: float, t=t, t_next=t_next, s=s) -> float:
            *c, eps = (x.item() for x in predict(torch.tensor([z]), torch.tensor([t]).double()))
            if attenuation == "constant":
                drift = -c[0] * s
            else:
                drift = c[0] * (t_next**2 - t**2) / 2 - c[1] * s
            return z + drift - s / math.sqrt(t) * eps

        # The step is affine in z: two evaluations give its slope.
        slope = deterministic(1.0) - deterministic(0.0)
        m, v = deterministic(m), slope**2 * v + s * t_next / t
    return m, v


def run(scheduler: DecoupledScheduler, predict, steps: int, noise: Tensor, seed: int = 1) -> Tensor:
    scheduler.set_timesteps(steps)
    return sample(predict, scheduler, noise, generator(seed))


# The released sampler ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("variance", "ratios"),
    [
        (0.1, [0, 0.045, 0.217, 0.385, 0.715, 0.878]),
        (1.0, [0, 0.222, 0.535, 0.703, 0.909, 0.970]),
        (4.0, [0, 0.222, 0.568, 0.747, 0.937, 0.982]),
    ],
)
def test_recursion_reproduces_known_variance_ratios(variance, ratios):
    """Guards the reference itself: for constant attenuation the recursion has a short form."""
    for steps, ratio in zip((1, 2, 5, 10, 50, 200), ratios, strict=True):
        _, v = released_recursion("constant", 0.0, variance, steps, start=0.0)
        assert v / variance == pytest.approx(ratio, abs=6e-4)


@pytest.mark.parametrize("attenuation", ATTENUATIONS)
@pytest.mark.parametrize("variance", [0.1, 1.0, 4.0])
@pytest.mark.parametrize("steps", [1, 5, 50])
def test_released_sampler_follows_the_recursion(attenuation, variance, steps):
    scheduler = DecoupledScheduler(attenuation=attenuation)
    # Started off its mean, so that the recursion of the mean is put to the test as well.
    noise = 0.5 + torch.randn(N, generator=generator())
    z = run(scheduler, Mixture(attenuation, [0.7], variance), steps, noise)
    mean, expected = released_recursion(attenuation, 0.7, variance, steps, start=0.5)
    assert z.mean().item() == pytest.approx(mean, abs=5 * math.sqrt(expected / N) + 1e-5)
    assert z.var().item() == pytest.approx(expected, rel=5 * math.sqrt(2 / N), abs=1e-9)


def test_released_sampler_follows_the_recursion_over_1000_steps():
    n = 20_000
    noise = torch.randn(n, generator=generator())
    z = run(DecoupledScheduler(), Mixture("constant", [0.7], 1.0), 1000, noise)
    _, expected = released_recursion("constant", 0.7, 1.0, 1000, start=0.0)
    assert expected == pytest.approx(0.993, abs=1e-3)
    assert z.mean().item() == pytest.approx(0.7, abs=5 / math.sqrt(n))
    assert z.var().item() == pytest.approx(expected, rel=5 * math.sqrt(2 / n))


def test_released_step_replaces_the_attenuation_by_the_estimated_data():
    """By hand, from z = 1 to time 0 in one step, with a prediction that contradicts itself."""
    z, two, half = torch.ones(1), torch.full((1,), 2.0), torch.full((1,), 0.5)
    # z_0 = z - C - eps = 1 + 2 - 0.5 = 2.5, then z + 2.5 - eps = 3.
    scheduler = DecoupledScheduler()
    scheduler.set_timesteps(1)
    out = scheduler.step((-two, half), 1.0, z)
    assert out.pred_original_sample.item() == 2.5
    assert out.prev_sample.item() == 3.0
    # a = 2, b = -2: z_0 = 1 - (1 - 2) - 0.5 = 1.5, b' = -1.5 - 1, then z - (1 - 2.5) - 0.5 = 2.
    scheduler = DecoupledScheduler(attenuation="linear")
    scheduler.set_timesteps(1)
    out = scheduler.step((two, -two, half), 1.0, z)
    assert out.pred_original_sample.item() == 1.5
    assert out.prev_sample.item() == 2.0


# Every sampler -----------------------------------------------------------------------------------


@pytest.mark.parametrize("attenuation", ATTENUATIONS)
@pytest.mark.parametrize("sampler", SAMPLERS)
@pytest.mark.parametrize("steps", [1, 2, 7])
def test_a_point_mass_is_hit_exactly(attenuation, sampler, steps):
    scheduler = DecoupledScheduler(attenuation=attenuation, sampler=sampler)
    z = run(scheduler, Mixture(attenuation, [1.3], 0.0), steps, torch.randn(100))
    torch.testing.assert_close(z, torch.full((100,), 1.3), rtol=0, atol=2e-6)


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_one_step_returns_the_mean(sampler):
    predict = Mixture("constant", [-1.0, 2.0], 0.01, [0.25, 0.75])
    z = run(DecoupledScheduler(sampler=sampler), predict, 1, torch.randn(10))
    torch.testing.assert_close(z, torch.full((10,), 1.25))


@pytest.mark.parametrize("attenuation", ATTENUATIONS)
@pytest.mark.parametrize("sampler", ["released", "probability_flow", "second_order"])
def test_both_modes_of_a_mixture_are_found(attenuation, sampler):
    n, std = 20_000, 0.2
    predict = Mixture(attenuation, [-1.0, 1.0], std**2, [0.3, 0.7])
    scheduler = DecoupledScheduler(attenuation=attenuation, sampler=sampler, grid_power=2.0)
    z = run(scheduler, predict, 100, torch.randn(n, generator=generator()))
    right = z > 0
    assert right.float().mean().item() == pytest.approx(0.7, abs=0.02)
    for mode, mean in ((z[right], 1.0), (z[~right], -1.0)):
        assert mode.mean().item() == pytest.approx(mean, abs=0.02)
        assert mode.std().item() == pytest.approx(std, rel=0.1)


@pytest.mark.parametrize("attenuation", ATTENUATIONS)
@pytest.mark.parametrize(("sampler", "order"), [("probability_flow", 1), ("second_order", 2)])
@pytest.mark.parametrize("grid_power", [1.0, 2.0])
def test_order_of_convergence(attenuation, sampler, order, grid_power):
    """The flow of Gaussian data is known: it carries z_1 to mean + standard deviation z_1."""
    predict = Mixture(attenuation, [0.7], 1.5**2)
    # sample() works in float32, whose rounding stays far below these errors.
    scheduler = DecoupledScheduler(attenuation=attenuation, sampler=sampler, grid_power=grid_power)
    z_1 = torch.tensor([-1.0, 2.0])
    errors = [
        (run(scheduler, predict, steps, z_1) - (0.7 + 1.5 * z_1)).abs().max().item()
        for steps in (20, 40, 80)
    ]
    orders = [math.log2(a / b) for a, b in itertools.pairwise(errors)]
    assert orders[-1] == pytest.approx(order, abs=0.25)


@pytest.mark.parametrize("attenuation", ATTENUATIONS)
@pytest.mark.parametrize("variance", [0.1, 1.0, 4.0])
def test_mode_sample_keeps_the_variance_at_50_steps(attenuation, variance):
    scheduler = DecoupledScheduler(attenuation=attenuation, mode="sample")
    z = run(scheduler, Mixture(attenuation, [0.0], variance), 50, torch.tensor([1.0]))
    # The sampler is linear and draws no noise, so the square of its slope is the variance.
    assert 0.99 < z.item() ** 2 / variance < 1.01


@pytest.mark.parametrize("steps", [2, 5, 50])
@pytest.mark.parametrize("variance", [0.1, 1.0])
def test_mode_mean_has_the_least_squared_error_and_mode_sample_the_most(steps, variance):
    """Truth and draw are independent, so the error is the sum of their variances."""
    truth = math.sqrt(variance) * torch.randn(N, generator=generator(5))
    noise = torch.randn(N, generator=generator(6))
    predict = Mixture("constant", [0.0], variance)
    error = {
        mode: (run(DecoupledScheduler(mode=mode), predict, steps, noise) - truth).var().item()
        for mode in ("mean", "released", "sample")
    }
    _, of_released = released_recursion("constant", 0.0, variance, steps, start=0.0)
    assert error["released"] == pytest.approx(variance + of_released, rel=0.03)
    assert error["mean"] < error["released"] < error["sample"]
    assert 0.97 * variance < error["mean"] < 1.33 * variance


# The scheduler's interface -----------------------------------------------------------------------


def test_training_times_are_uniform_and_never_reach_zero():
    t = DecoupledScheduler().sample_training_times(N, generator())
    assert t.dtype == torch.float32
    assert t.shape == (N,)
    assert 1e-4 < t.min().item() < 1e-3
    assert 0.999 < t.max().item() <= 1.0
    quantiles = torch.quantile(t, torch.tensor([0.25, 0.5, 0.75]))
    torch.testing.assert_close(quantiles, torch.tensor([0.25, 0.5, 0.75]), atol=0.01, rtol=0)


def test_shifted_training_times_lie_near_one():
    t = DecoupledScheduler(time_shift=4.0).sample_training_times(N, generator())
    quantiles = torch.quantile(t, torch.tensor([0.2, 0.5, 0.8]))
    torch.testing.assert_close(quantiles, torch.tensor([0.5, 0.8, 16 / 17]), atol=0.01, rtol=0)
    assert 0.0 < t.min().item() < t.max().item() <= 1.0
    with pytest.raises(InputError, match="time_shift"):
        DecoupledScheduler(time_shift=0.0)


def test_add_noise_by_hand():
    z_0, eps, t = torch.tensor([[2.0]]), torch.tensor([[3.0]]), torch.tensor([0.25])
    assert DecoupledScheduler().add_noise(z_0, eps, t).item() == pytest.approx(1.5 + 1.5)
    linear = DecoupledScheduler(attenuation="linear")
    with pytest.raises(InputError, match=r"\(a, b\)"):
        linear.add_noise(z_0, eps, t)
    coefficients = torch.tensor([[4.0]]), torch.tensor([[-4.0]])
    assert linear.add_noise(z_0, eps, t, coefficients).item() == pytest.approx(2 + 0.125 - 1 + 1.5)


def test_loss_follows_the_configuration():
    target = torch.zeros(2, 1, 2, 2), torch.zeros(2, 1, 2, 2)
    prediction = torch.ones(2, 1, 2, 2), torch.ones(2, 1, 2, 2)
    t = torch.ones(2)
    assert DecoupledScheduler(loss="paper").loss(prediction, target, t).item() == 2.0
    released = DecoupledScheduler(loss="released").loss(prediction, target, t).item()
    assert released == pytest.approx(2 + math.e)
    with pytest.raises(InputError, match="a, b, eps"):
        DecoupledScheduler(attenuation="linear").loss(prediction, target, t)


def test_generators_make_a_sample_independent_of_its_batch():
    predict, scheduler = Mixture("constant", [0.0], 1.0), DecoupledScheduler()
    noise = torch.randn(3, generator=generator())
    scheduler.set_timesteps(5)
    together = sample(predict, scheduler, noise, [generator(i) for i in range(3)])
    scheduler.set_timesteps(5)
    alone = sample(predict, scheduler, noise[2:], [generator(2)])
    torch.testing.assert_close(together[2:], alone)


def test_a_scheduler_can_be_run_again():
    predict, scheduler = Mixture("constant", [0.0], 1.0), DecoupledScheduler(mode="sample")
    first = run(scheduler, predict, 6, torch.ones(2))
    assert torch.equal(first, run(scheduler, predict, 6, torch.ones(2)))
    with pytest.raises(InputError, match="set_timesteps"):
        scheduler.step((torch.ones(2), torch.ones(2)), 1.0, torch.ones(2))


def test_timesteps_can_be_given():
    scheduler = DecoupledScheduler()
    scheduler.set_timesteps(timesteps=[1.0, 0.4, 0.1])
    assert scheduler.timesteps.tolist() == pytest.approx([1.0, 0.4, 0.1])
    scheduler.step((torch.ones(1), torch.ones(1)), scheduler.timesteps[0], torch.ones(1))
    with pytest.raises(InputError, match=r"0\.4 is next"):
        scheduler.step((torch.ones(1), torch.ones(1)), 0.1, torch.ones(1))


@pytest.mark.parametrize("timesteps", [[], [0.5, 0.5], [1.5, 0.5], [1.0, 0.0]])
def test_impossible_timesteps_are_refused(timesteps):
    with pytest.raises(InputError, match=r"\(0, 1\]"):
        DecoupledScheduler().set_timesteps(timesteps=timesteps)


def test_bad_arguments_are_refused():
    with pytest.raises(InputError, match="at least 1"):
        DecoupledScheduler().set_timesteps(0)
    with pytest.raises(InputError, match=r"sampler: found 'ddim', allowed: released"):
        DecoupledScheduler(sampler="ddim")
    with pytest.raises(InputError, match="grid_power"):
        DecoupledScheduler(grid_power=-1.0)
    with pytest.raises(InputError, match="2 tensors"):
        DecoupledScheduler(attenuation="linear").step(
            (torch.ones(1), torch.ones(1)), 1.0, torch.ones(1)
        )


def test_saved_scheduler_is_the_same(tmp_path):
    settings = DecoupledSettings(
        attenuation="linear", mode="sample", grid_power=1.5, split_last_step=True, loss="paper"
    )
    DecoupledScheduler(**settings.model_dump()).save_pretrained(tmp_path)
    loaded = DecoupledScheduler.from_pretrained(tmp_path)
    assert {name: loaded.config[name] for name in DecoupledSettings.model_fields} == (
        settings.model_dump()
    )
    assert loaded.sampler == "second_order"
    assert loaded.grid_power == 1.5
