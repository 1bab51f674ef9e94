import pytest
import torch

from radiodiff.errors import InputError
from radiodiff.inverse.levels import (
    choose_levels,
    insert_levels,
    measurement_level,
    share_levels,
    with_repaint_jumps,
)

ALPHAS_CUMPROD = torch.cumprod(1.0 - torch.linspace(1e-4, 0.02, 1000, dtype=torch.float64), 0)


def test_measurement_level_has_the_measurements_noise():
    sigma = torch.tensor([0.0, 0.05, 1.0, 10.0])
    level = measurement_level(sigma)
    torch.testing.assert_close(((1 - level) / level).sqrt(), sigma.double())


@pytest.mark.parametrize("spacing", ["uniform", "log_snr"])
@pytest.mark.parametrize("steps", [1, 2, 10, 999, 1000])
def test_levels_rise_from_the_noisiest_to_the_clean_map(steps, spacing):
    levels = choose_levels(ALPHAS_CUMPROD, steps, spacing)
    assert len(levels) == steps + 1
    assert (levels.diff() > 0).all()
    assert float(levels[0]) == pytest.approx(float(ALPHAS_CUMPROD[-1]))
    assert levels[-1] == 1
    if steps > 1:
        assert float(levels[-2]) == pytest.approx(float(ALPHAS_CUMPROD[0]))


def test_middle_levels_follow_the_noisiest_one_evenly_in_the_logarithm_of_sigma():
    levels = choose_levels(ALPHAS_CUMPROD, 5, "mean_map")
    sigma = ((1 - levels) / levels).sqrt()
    assert float(levels[0]) == pytest.approx(float(ALPHAS_CUMPROD[-1]))
    expected = torch.tensor([1.0, 10 ** -(1 / 3), 10 ** -(2 / 3), 0.1], dtype=torch.float64)
    torch.testing.assert_close(sigma[1:-1], expected)
    assert levels[-1] == 1
    assert choose_levels(ALPHAS_CUMPROD, 1, "mean_map").tolist() == [float(ALPHAS_CUMPROD[-1]), 1.0]


def test_middle_levels_need_a_prior_that_was_trained_beyond_them():
    with pytest.raises(InputError, match=r"noisiest level is 0\.9"):
        choose_levels(ALPHAS_CUMPROD[:50], 5, "mean_map")


def test_all_steps_are_the_training_levels():
    torch.testing.assert_close(choose_levels(ALPHAS_CUMPROD, 1000)[:-1], ALPHAS_CUMPROD.flip(0))


@pytest.mark.parametrize("steps", [0, 1001])
def test_impossible_step_counts_are_refused(steps):
    with pytest.raises(InputError, match=r"allowed are 1 \.\. 1000"):
        choose_levels(ALPHAS_CUMPROD, steps)


def test_inserted_levels_are_exact_and_leave_the_others():
    levels = choose_levels(ALPHAS_CUMPROD, 10)
    wanted = torch.tensor([0.9975, 0.5, 1.0, 1e-9, float(levels[3])], dtype=torch.float64)
    result = insert_levels(levels, wanted)
    assert len(result) == len(levels) + 2
    assert set(result.tolist()) == {*levels.tolist(), 0.9975, 0.5}
    assert (result.diff() > 0).all()


def test_few_noise_levels_are_kept_and_many_are_only_rounded_up():
    sigma = torch.linspace(0.01, 0.5, 100)
    observed = torch.ones(100, dtype=torch.bool)
    assert torch.equal(share_levels(sigma, observed, 100), sigma)
    shared = share_levels(sigma, observed, 8)
    assert len(torch.unique(shared)) <= 8
    assert (shared >= sigma).all()
    assert shared[-1] == sigma[-1]
    assert (shared / sigma).max() < (0.5 / 0.01) ** (1 / 7) * 1.001
    with_exact = share_levels(torch.cat([torch.zeros(1), sigma]), torch.ones(101).bool(), 8)
    assert with_exact[0] == 0
    assert len(torch.unique(with_exact)) <= 8


def test_repaint_jumps_takes_every_step_but_the_last_back():
    levels = torch.tensor([0.1, 0.5, 0.9, 1.0])
    torch.testing.assert_close(with_repaint_jumps(levels, 0), levels)
    expected = torch.tensor([0.1, 0.5, 0.1, 0.5, 0.1, 0.5, 0.9, 0.5, 0.9, 0.5, 0.9, 1.0])
    torch.testing.assert_close(with_repaint_jumps(levels, 2), expected)
