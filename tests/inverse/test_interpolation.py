import numpy as np
import pytest

from radiodiff.errors import InputError
from radiodiff.inverse.interpolation import INTERPOLATORS, linear, nearest


def samples(seed=0, share=0.2, shape=(30, 40)):
    generator = np.random.default_rng(seed)
    mask = generator.random(shape) < share
    rows, columns = np.indices(shape)
    return 0.02 * rows - 0.01 * columns + 0.3, mask


@pytest.mark.parametrize("name", ["nearest", "linear"])
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


@pytest.mark.parametrize("name", INTERPOLATORS)
def test_no_sample_is_refused(name):
    with pytest.raises(InputError, match="no observed pixel"):
        INTERPOLATORS[name](np.zeros((4, 4)), np.zeros((4, 4), dtype=bool))
