import numpy as np
import pytest
import torch

from radiodiff import units


@pytest.mark.parametrize(("level", "db"), [(0, -147.0), (255, -47.84), (51, -127.168)])
def test_levels_mean_the_documented_decibels(level: int, db: float) -> None:
    assert units.gray_to_db(level / 255) == pytest.approx(db, abs=1e-9)
    assert units.db_to_level(np.array(db)) == level


def test_free_space_at_one_metre_is_full_scale() -> None:
    wavelength = 299_792_458.0 / units.CARRIER_FREQUENCY_HZ
    free_space = 20 * np.log10(wavelength / (4 * np.pi))
    assert free_space == pytest.approx(units.GAIN_MAX_DB, abs=0.05)


def test_conversions_are_inverse_and_keep_the_type() -> None:
    model = torch.linspace(-1, 1, 11, dtype=torch.float64)
    assert torch.allclose(units.db_to_model(units.model_to_db(model)), model)
    assert torch.allclose(units.gray_to_model(units.model_to_gray(model)), model)
    assert units.model_to_db(model)[[0, -1]].tolist() == [
        units.GAIN_MIN_DB,
        pytest.approx(units.GAIN_MAX_DB),
    ]
    levels = np.arange(256, dtype=np.uint8)
    assert np.array_equal(units.gray_to_level(units.level_to_gray(levels)), levels)


def test_a_standard_deviation_scales_like_a_difference() -> None:
    difference_db = 3.0
    difference = units.db_to_model(-100.0 + difference_db) - units.db_to_model(-100.0)
    assert units.db_std_to_model(difference_db) == pytest.approx(difference)
    assert units.model_std_to_db(units.db_std_to_model(difference_db)) == pytest.approx(3.0)


def test_quantising_clips_to_the_image_range() -> None:
    assert units.db_to_level(np.array([-200.0, 0.0])).tolist() == [0, 255]
