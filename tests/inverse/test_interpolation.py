import numpy as np
import pytest
from pykrige.ok import OrdinaryKriging

from radiodiff.errors import InputError
from radiodiff.inverse.interpolation import (
    INTERPOLATORS,
    Variogram,
    fit_variogram,
    kriging,
    linear,
    nearest,
)


def samples(seed=0, share=0.2, shape=(30, 40)):
    generator = np.random.default_rng(seed)
    mask = generator.random(shape) < share
    rows, columns = np.indices(shape)
    return 0.02 * rows - 0.01 * columns + 0.3, mask


@pytest.mark.parametrize("name", ["nearest", "linear", "rbf"])
def test_observed_pixels_are_kept(name):
    truth, mask = samples()
    result = INTERPOLATORS[name](np.where(mask, truth, np.nan), mask)
    np.testing.assert_allclose(result[mask], truth[mask])
    assert np.isfinite(result).all()


def test_nearest_takes_the_nearest():
    values, mask = np.zeros((1, 9)), np.zeros((1, 9), dtype=bool)
    values[0, [1, 7]], mask[0, [1, 7]] = [5.0, 9.0], True
    np.testing.assert_array_equal(nearest(values, mask)[0, [0, 2, 3, 5, 6, 8]], [5, 5, 5, 9, 9, 9])


def test_linear_is_exact_on_a_plane_inside_the_hull():
    truth, mask = samples()
    mask[[0, 0, -1, -1], [0, -1, 0, -1]] = True
    np.testing.assert_allclose(linear(truth, mask), truth, atol=1e-12)


def test_linear_falls_back_where_samples_span_no_triangle():
    truth, mask = samples()
    mask[:] = False
    mask[3, [2, 9, 30]] = True
    np.testing.assert_array_equal(linear(truth, mask), nearest(truth, mask))


def exponential_field(shape, sill, length, seed=0):
    """A Gaussian field with covariance sill exp(-h / length), by circulant embedding."""
    rows, columns = (np.minimum(np.arange(2 * n), 2 * n - np.arange(2 * n)) for n in shape)
    covariance = sill * np.exp(-np.hypot(rows[:, None], columns[None]) / length)
    spectrum = np.maximum(np.fft.fft2(covariance).real, 0.0)
    noise = np.random.default_rng(seed).standard_normal((2, *spectrum.shape))
    field = np.fft.ifft2(np.sqrt(spectrum * spectrum.size) * (noise[0] + 1j * noise[1])).real
    return field[: shape[0], : shape[1]]


def test_variogram_of_a_known_field_is_found():
    field = exponential_field((200, 200), sill=0.5, length=5.0)
    field += 0.2 * np.random.default_rng(1).standard_normal(field.shape)
    _, mask = samples(share=0.3, shape=field.shape)
    found = fit_variogram(np.argwhere(mask).astype(float), field[mask])
    assert found.nugget == pytest.approx(0.04, abs=0.03)
    assert found.sill == pytest.approx(0.5, rel=0.15)
    assert found.length == pytest.approx(5.0, rel=0.25)


def test_kriging_of_few_samples_is_the_best_linear_unbiased_estimate():
    """With all samples in the neighbourhood: generalised least squares in one dense solve."""
    field = exponential_field((12, 12), sill=0.5, length=4.0, seed=2)
    mask = np.zeros_like(field, dtype=bool)
    mask.flat[np.random.default_rng(3).choice(144, 14, replace=False)] = True
    points, y = np.argwhere(mask).astype(float), field[mask]
    v = fit_variogram(points, y)

    def covariance(a, b):
        return v.sill * np.exp(-np.linalg.norm(a[:, None] - b[None], axis=2) / v.length)

    inverse = np.linalg.inv(covariance(points, points) + v.nugget * np.eye(14))
    mean = (inverse @ y).sum() / inverse.sum()
    grid = np.indices(field.shape).reshape(2, -1).T.astype(float)
    expected = mean + covariance(grid, points) @ inverse @ (y - mean)
    np.testing.assert_allclose(kriging(field, mask).ravel(), expected, atol=1e-6)


@pytest.mark.parametrize("nugget", [0.0, 0.02])
def test_kriging_of_300_samples_is_pykriges_exact_solution(nugget):
    field = exponential_field((24, 24), sill=0.5, length=6.0, seed=6)
    mask = np.zeros_like(field, dtype=bool)
    mask.flat[np.random.default_rng(7).choice(field.size, 300, replace=False)] = True
    rows, columns = np.argwhere(mask).astype(float).T
    library = OrdinaryKriging(
        columns,
        rows,
        field[mask],
        variogram_model="exponential",
        # There the range is where 95 % of the sill are reached: 3 lengths.
        variogram_parameters={"psill": 0.5, "range": 3 * 6.0, "nugget": nugget},
        exact_values=False,
    )
    expected, _ = library.execute("grid", np.arange(24.0), np.arange(24.0))
    found = kriging(field, mask, variogram=Variogram(nugget, 0.5, 6.0), neighbours=300, chunk=32)
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-6)
    near = kriging(field, mask, variogram=Variogram(nugget, 0.5, 6.0))
    assert 1e-4 < np.abs(near - expected).max() < 0.3


def test_kriging_is_the_same_map_for_any_chunking():
    field = exponential_field((30, 41), sill=0.5, length=4.0, seed=8)
    _, mask = samples(share=0.2, shape=field.shape)
    whole = kriging(field, mask, chunk=field.size)
    for chunk in (1, 7, 1000):
        np.testing.assert_array_equal(kriging(field, mask, chunk=chunk), whole)


def test_kriging_filters_noise_that_linear_interpolation_keeps():
    truth = exponential_field((80, 80), sill=0.5, length=30.0, seed=4)
    noisy = truth + 0.3 * np.random.default_rng(5).standard_normal(truth.shape)
    _, mask = samples(share=0.3, shape=truth.shape)
    error = {
        name: np.mean((INTERPOLATORS[name](noisy, mask) - truth) ** 2) for name in INTERPOLATORS
    }
    assert error["kriging"] < 0.8 * min(error["linear"], error["rbf"], error["nearest"])


def test_a_single_sample_is_spread_over_the_map():
    mask = np.zeros((5, 6), dtype=bool)
    mask[2, 3] = True
    for name, interpolate in INTERPOLATORS.items():
        assert (interpolate(np.full((5, 6), 0.25), mask) == 0.25).all(), name


@pytest.mark.parametrize("name", INTERPOLATORS)
def test_no_sample_is_refused(name):
    with pytest.raises(InputError, match="no observed pixel"):
        INTERPOLATORS[name](np.zeros((4, 4)), np.zeros((4, 4), dtype=bool))
