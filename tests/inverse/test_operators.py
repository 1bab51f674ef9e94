import numpy as np
import pytest
import torch

from radiodiff.data.points import PointMeasurements
from radiodiff.errors import InputError
from radiodiff.inverse.filtering import sample_posterior
from radiodiff.inverse.levels import choose_levels
from radiodiff.inverse.operators import PixelOperator, PointOperator, correct_by_points
from radiodiff.inverse.prior import build_noise_schedule
from radiodiff.inverse.samplers import Combined, IndependentNoise

SHAPE = (6, 7)


def draw_points(count=20, seed=0):
    rng = np.random.default_rng(seed)
    positions = rng.uniform(-0.5, np.array(SHAPE) - 0.5, (count, 2))
    return PointMeasurements(
        positions, rng.normal(size=count), rng.uniform(0.05, 0.5, count), SHAPE
    )


def test_the_correction_is_the_mean_of_the_gaussian_posterior():
    points, variance = draw_points(), 0.3
    prior_mean = np.random.default_rng(1).normal(size=SHAPE)
    matrix = points.matrix.toarray()
    information = np.eye(matrix.shape[1]) / variance + matrix.T / points.noise_std**2 @ matrix
    weighted = prior_mean.ravel() / variance + matrix.T @ (points.values / points.noise_std**2)
    exact = np.linalg.solve(information, weighted).reshape(SHAPE)
    np.testing.assert_allclose(correct_by_points(prior_mean, variance, points), exact, atol=1e-5)


def test_measurements_in_pixel_centres_correct_like_pixels():
    generator = torch.Generator().manual_seed(0)
    x_0 = torch.randn((1, 3, 1, *SHAPE), generator=generator)
    pixels = np.array([[0, 0], [2, 3], [5, 6]])
    values, sigma = np.array([0.1, -0.4, 0.7]), np.array([0.1, 0.2, 0.4])
    y, observed = torch.zeros(1, 1, *SHAPE), torch.zeros((1, 1, *SHAPE), dtype=torch.bool)
    noise_std = torch.zeros(1, 1, *SHAPE)
    for field, content in ((y, values), (observed, True), (noise_std, sigma)):
        field[0, 0, pixels[:, 0], pixels[:, 1]] = torch.as_tensor(content, dtype=field.dtype)
    variance = torch.tensor(0.2)
    by_pixels = PixelOperator(y, observed, noise_std).correct(x_0, variance)
    points = PointMeasurements(pixels.astype(float), values, sigma, SHAPE)
    nothing = PixelOperator(y, torch.zeros_like(observed), noise_std)
    by_points = PointOperator([points], nothing)
    torch.testing.assert_close(by_points.correct(x_0, variance), by_pixels, atol=1e-5, rtol=0)


@pytest.mark.parametrize("off_grid", [False, True])
def test_a_white_prior_follows_its_measurements(off_grid):
    """Many precise measurements of a map leave a white prior no freedom."""

    def denoise(x, abar):
        return (1.0 - abar).sqrt().to(x.dtype).view(-1, 1, 1, 1) * x

    rng = np.random.default_rng(2)
    truth = rng.uniform(-0.9, 0.9, SHAPE)
    y = torch.from_numpy(truth).float()[None, None]
    positions = rng.uniform(0, np.array(SHAPE) - 1, (400, 2))
    points = PointMeasurements(positions, np.zeros(400), np.full(400, 0.02), SHAPE)
    values = points.matrix @ truth.ravel()
    result = sample_posterior(
        denoise,
        y,
        torch.full(y.shape, not off_grid),
        torch.full_like(y, 0.02),
        choose_levels(build_noise_schedule().alphas_cumprod, 40, "log_snr"),
        8,
        torch.Generator().manual_seed(0),
        Combined(),
        points=[PointMeasurements(positions, values, points.noise_std, SHAPE)]
        if off_grid
        else None,
    )
    mean = result.samples[0, :, 0].mean(dim=0)
    assert (mean - y[0, 0]).abs().mean() < 0.03


def test_measurements_need_a_filter_that_takes_them():
    y = torch.zeros(1, 1, *SHAPE)
    with pytest.raises(InputError, match="measurements between the pixels need combined"):
        sample_posterior(
            lambda x, abar: x,
            y,
            y == 0,
            y + 0.1,
            choose_levels(build_noise_schedule().alphas_cumprod, 2),
            1,
            torch.Generator(),
            IndependentNoise(),
            points=[draw_points()],
        )
