import numpy as np
import pytest

from radiodiff.errors import InputError
from radiodiff.inverse.field.model import fit_field
from radiodiff.inverse.field.validation import Predictions, fit_average


@pytest.fixture(scope="module")
def survey():
    """Shadowing of 6 dB over 30 m around a transmitter, noise of 2 dB, 3 % gross errors."""
    rng = np.random.default_rng(0)
    xy = rng.uniform(0, 250, (500, 2))
    apart = np.linalg.norm(xy[:, None] - xy[None], axis=-1)
    shadow = np.linalg.cholesky(36 * np.exp(-apart / 30) + 1e-6 * np.eye(500)) @ rng.normal(
        size=500
    )
    path_loss = -30 * np.log10(np.linalg.norm(xy - [60, 60], axis=1) + 1)
    clean = path_loss + shadow + rng.normal(0, 2, 500)
    values = clean.copy()
    values[::33] += 40.0
    return xy, values, clean


@pytest.fixture(scope="module")
def fitted(survey):
    xy, values, _ = survey
    return fit_field(xy[:380], values[:380])


def test_held_out_samples_are_within_the_intervals(survey, fitted):
    xy, _, clean = survey
    found = fitted.predict(xy[380:])
    error = found.mean - clean[380:]
    kriged = fitted.validation.kriging_rmse_db[0]
    assert np.sqrt(np.mean(error**2)) < kriged  # which the gross errors are in
    inside = (found.q05 <= clean[380:]) & (clean[380:] <= found.q95)
    assert 0.8 <= inside.mean() <= 0.99
    assert 0.86 <= fitted.validation.coverage90[0] <= 0.94


def test_std_of_the_map_is_its_error_and_the_noise_is_that_of_samples():
    rng = np.random.default_rng(3)
    xy = rng.uniform(0, 250, (700, 2))
    apart = np.linalg.norm(xy[:, None] - xy[None], axis=-1)
    level = np.linalg.cholesky(36 * np.exp(-apart / 40) + 1e-6 * np.eye(700)) @ rng.normal(size=700)
    found = fit_field(xy[:400], -80 + level[:400] + rng.normal(0, 3, 400))
    predicted = found.predict(xy[400:])
    error = predicted.mean - (-80 + level[400:])
    assert found.nugget**0.5 == pytest.approx(3.0, rel=0.25)
    assert np.sqrt(np.mean(predicted.map_std**2)) == pytest.approx(
        np.sqrt(np.mean(error**2)), rel=0.25
    )
    assert np.mean(np.abs(error) < 1.645 * predicted.map_std) == pytest.approx(0.9, abs=0.06)


def test_gross_errors_are_trusted_less(survey, fitted):
    _, values, clean = survey
    factor = fitted.samples.noise_factor(fitted.samples.rows)
    wrong = np.abs(values - clean)[:380] > 1
    assert np.median(factor[wrong]) > 3
    assert np.median(factor[~wrong]) == 1


def test_far_away_the_spread_of_the_data_remains(survey, fitted):
    found = fitted.predict(np.array([[100.0, 100.0], [3000.0, 3000.0]]))
    assert found.std[1] > 1.5 * found.std[0]
    assert 0.6 < found.std[1] / survey[1].std() < 2.0


def test_many_positions_in_patches_are_as_single_ones(fitted):
    axis = np.linspace(0, 250, 150)
    grid = np.stack(np.meshgrid(axis, axis), axis=-1).reshape(-1, 2)
    every = fitted.predict(grid)
    some = fitted.predict(grid[::97])
    assert np.abs(every.mean[::97] - some.mean).max() < 1.0
    assert np.allclose(every.std[::97], some.std, rtol=0.1)


@pytest.mark.parametrize("count", [1, 2, 3, 4, 15])
def test_few_samples_give_a_map(count):
    rng = np.random.default_rng(count)
    xy, values = rng.uniform(0, 50, (count, 2)), rng.normal(-80, 5, count)
    found = fit_field(xy, values).predict(np.r_[xy, [[500.0, 500.0]]])
    assert np.isfinite(found.mean).all()
    assert (found.q05 < found.mean).all()
    assert (found.mean < found.q95).all()
    assert (np.abs(found.mean[:count] - values) < 15).all()


@pytest.mark.parametrize("count", [3, 5])
def test_intervals_of_few_samples_hold_others(count):
    rng = np.random.default_rng(11)
    inside = []
    for _ in range(15):
        xy = rng.uniform(0, 200, (count + 20, 2))
        values = -80 + rng.normal(0, 8, count + 20)
        found = fit_field(xy[:count], values[:count]).predict(xy[count:])
        inside.append((found.q05 <= values[count:]) & (values[count:] <= found.q95))
    assert 0.75 <= np.mean(inside) < 1


def test_three_equal_values_are_no_certainty():
    xy = np.array([[0.0, 0.0], [50.0, 0.0], [0.0, 50.0]])
    found = fit_field(xy, np.full(3, -80.0)).predict(np.array([[300.0, 300.0]]))
    assert found.std[0] > 3


@pytest.mark.parametrize("count", [6, 30])
def test_samples_at_one_position_are_averaged(count):
    values = -80 + np.random.default_rng(1).normal(0, 4, count)
    found = fit_field(np.full((count, 2), 30.0), values).predict(np.array([[30.0, 30], [900, 30]]))
    assert found.mean[0] == pytest.approx(values.mean(), abs=1.5)
    assert found.map_std[1] > 5


def test_the_empty_middle_of_a_survey_is_less_certain():
    rng = np.random.default_rng(2)
    xy = rng.uniform(0, 400, (260, 2))
    xy = xy[np.abs(xy - 200).max(axis=1) > 110]
    path_loss = -30 * np.log10(np.linalg.norm(xy - [100, 300], axis=1) + 1)
    found = fit_field(xy, path_loss + rng.normal(0, 4, len(xy)))
    predicted = found.predict(np.array([[200.0, 200.0], xy[0] + 1.0]))
    assert predicted.map_std[0] > predicted.map_std[1]
    assert path_loss.min() < predicted.mean[0] < path_loss.max()


def test_equal_values_and_a_single_line_are_no_fault():
    xy = np.c_[np.arange(40.0), np.zeros(40)]
    found = fit_field(xy, np.full(40, -90.0)).predict(xy[:3] + 0.5)
    assert found.mean == pytest.approx([-90] * 3, abs=0.1)


def test_wrong_arrays_are_refused():
    with pytest.raises(InputError, match="finite"):
        fit_field(np.zeros((3, 2)), np.array([1.0, np.nan, 2.0]))
    with pytest.raises(InputError, match="expected N >= 1"):
        fit_field(np.zeros((0, 2)), np.zeros(0))


def test_weights_follow_what_is_good_at_each_distance():
    rng = np.random.default_rng(7)
    near = np.arange(2000) % 2 == 0
    value = rng.normal(0, 5, 2000)
    good, bad = value + rng.normal(0, 1, 2000), value + rng.normal(0, 6, 2000)
    mean = np.stack([np.where(near, good, bad), np.where(near, bad, good)], axis=1)
    found = Predictions(mean, np.ones((2000, 2)), value, np.where(near, 0.5, 60.0), near)
    average = fit_average(found, spacing=1.0, extent=500.0)
    weights = average.weights(np.array([0.5, 60.0]))
    assert weights[0, 0] > 0.85
    assert weights[1, 1] > 0.85


def test_intervals_are_calibrated_to_skewed_residuals():
    rng = np.random.default_rng(8)
    value = rng.exponential(3.0, 4000)
    mean = np.full((4000, 1), 3.0)
    found = Predictions(
        mean, np.ones((4000, 1)), value, rng.uniform(0, 20, 4000), np.ones(4000, bool)
    )
    average = fit_average(found, spacing=1.0, extent=500.0)
    scale, low, high = average.calibration(found.distance)
    assert np.mean((value - 3 >= low) & (value - 3 <= high)) == pytest.approx(0.9, abs=0.02)
    assert high.mean() > -2 * low.mean()
    assert scale.mean() == pytest.approx(3.0, rel=0.25)
