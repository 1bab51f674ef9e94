"""Measurements from points and from arrays, against the definition of the units."""

import numpy as np
import pytest
import torch

from radiodiff.data.measurements import Measurements
from radiodiff.errors import InputError
from radiodiff.units import model_std_to_db, model_to_db


def test_points_in_dbm_fall_on_the_pixels_of_their_metres():
    xy = [[100.0, 50.0], [104.0, 50.0], [100.0, 44.0]]
    made = Measurements.from_points(
        xy,
        [-70.0, -80.0, -90.0],
        transmit_power_dbm=23.0,
        noise_std_db=1.0,
        resolution_m=2.0,
        shape=(8, 8),
    )
    # 4 m east are 2 columns, 6 m south are 3 rows; path gain is received less transmitted power.
    for (row, column), gain_db in {(0, 0): -93.0, (0, 2): -103.0, (3, 0): -113.0}.items():
        assert made.mask[0, 0, row, column]
        assert float(model_to_db(made.values)[0, 0, row, column]) == pytest.approx(
            gain_db, abs=1e-3
        )
        assert float(model_std_to_db(made.noise_std)[0, 0, row, column]) == pytest.approx(1.0)
    assert int(made.mask.sum()) == 3


def test_the_origin_and_the_direction_of_y_are_the_callers():
    made = Measurements.from_points(
        [[3.0, 2.0]], [-100.0], shape=(8, 8), origin=(0.0, 0.0), y_axis="south"
    )
    assert made.mask[0, 0].nonzero().tolist() == [[2, 3]]


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_one_map_in_every_unit_is_one_set_of_measurements(dtype):
    gray = np.array([[0.25, np.nan], [np.nan, 0.5]], dtype=dtype)
    arrays = {
        "gray": gray,
        "model": 2 * gray - 1,
        "db": -147 + 99.16 * gray.astype(np.float64),
        "dbm": -124 + 99.16 * gray.astype(np.float64),
    }
    for unit, array in arrays.items():
        power = {"transmit_power_dbm": 23.0} if unit == "dbm" else {}
        for given in (array, torch.from_numpy(array)):
            made = Measurements.from_array(given, unit, **power)
            assert made.values.dtype == torch.float32
            assert made.mask[0, 0].tolist() == [[True, False], [False, True]]
            expected = torch.tensor([-0.5, 0.0])
            torch.testing.assert_close(made.values[made.mask], expected, atol=2e-3, rtol=0)


def test_noise_is_in_the_unit_of_the_array():
    for unit, value, std in (("db", -100.0, 2.479), ("gray", 0.5, 0.025), ("model", 0.0, 0.05)):
        made = Measurements.from_array([[value]], unit, noise_std=std)
        assert float(made.noise_std) == pytest.approx(0.05, abs=1e-5)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Measurements.from_array(np.full((4, 4), np.nan), "db"), "every value is NaN"),
        (lambda: Measurements.from_array([[np.inf]], "db"), "infinite"),
        (
            lambda: Measurements.from_array([[-80.0]], "model"),
            r"is -80; allowed are -1 \.\. 1",
        ),
        (lambda: Measurements.from_array([[3.0]], "gray"), r"allowed are 0 \.\. 1"),
        (lambda: Measurements.from_array([[0.3]], "volt"), "unit: found 'volt'"),
        (lambda: Measurements.from_array([[-80.0]], "dbm"), "transmit_power_dbm"),
        (lambda: Measurements.from_array([0.3], "gray"), "shape"),
        (lambda: Measurements.from_array([["a"]], "gray"), "no numbers"),
        (lambda: Measurements.from_points([[0, 0]], [-30.0]), "needs transmit_power_dbm"),
        (lambda: Measurements.from_points([[0, 0]], [np.nan]), "not finite"),
        (lambda: Measurements.from_points([[0, 0, 0]], [-90.0]), "shape"),
        (lambda: Measurements.from_points([[0, 0], [900, 0]], [-90.0, -90.0]), "outside the grid"),
        (lambda: Measurements.from_points(np.empty((0, 2)), []), "no measurements"),
        (lambda: Measurements.from_points([[0, 0]], [-90.0], noise_std_db=0.0), "noise level > 0"),
    ],
)
def test_what_is_no_measurement_gets_one_line(make, message):
    with pytest.raises(InputError, match=message) as error:
        make()
    assert "\n" not in str(error.value)
