"""The nearest pixel against a search of all."""

import numpy as np

from radiodiff.inverse.nearest import fill_from_nearest


def test_every_pixel_gets_the_value_of_the_nearest_known_one():
    rng = np.random.default_rng(0)
    values, known = rng.random((9, 12)), rng.random((9, 12)) < 0.15
    filled = fill_from_nearest(values, known)
    places = np.argwhere(known)
    for row, column in np.ndindex(values.shape):
        distance = np.hypot(*(places - (row, column)).T)
        nearest = places[np.isclose(distance, distance.min())]
        assert filled[row, column] in values[tuple(nearest.T)]


def test_without_a_known_pixel_the_map_stays():
    values = np.arange(6.0).reshape(2, 3)
    np.testing.assert_array_equal(fill_from_nearest(values, np.zeros((2, 3), bool)), values)
