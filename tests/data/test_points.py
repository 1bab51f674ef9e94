import numpy as np
import pytest

from radiodiff.data.points import PointMeasurements
from radiodiff.errors import InputError

SHAPE = (6, 7)


def test_bilinear_means_of_a_plane_are_its_values():
    rng = np.random.default_rng(0)
    positions = rng.uniform(-0.5, np.array(SHAPE) - 0.5, (20, 2))
    points = PointMeasurements(positions, rng.normal(size=20), rng.uniform(0.05, 0.5, 20), SHAPE)
    rows, columns = np.indices(SHAPE)
    inside = np.clip(points.positions, 0, np.array(SHAPE) - 1)
    plane = (2.0 * rows - 3.0 * columns + 1.0).ravel()
    np.testing.assert_allclose(points.matrix @ plane, 2.0 * inside[:, 0] - 3.0 * inside[:, 1] + 1.0)


def test_measurements_that_cannot_be_used_are_refused():
    with pytest.raises(InputError, match="1 of 2 measurements lie outside the grid of 6 x 7"):
        PointMeasurements(np.array([[1.0, 1.0], [5.6, 0.0]]), np.zeros(2), np.ones(2), SHAPE)
    with pytest.raises(InputError, match="noise level > 0"):
        PointMeasurements(np.array([[1.0, 1.0]]), np.zeros(1), np.zeros(1), SHAPE)
