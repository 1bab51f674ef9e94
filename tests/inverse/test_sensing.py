import numpy as np
import pytest
import shapely
from scipy.ndimage import gaussian_filter

from radiodiff.inverse.sensing import (
    SHADOW_MARGIN,
    SHADOW_SIGMAS,
    locate_transmitter,
    noise_std_from_repeats,
    outlines,
    sensing_term,
    shadow_mask,
    shadow_threshold,
    truncation_floor,
)

TRANSMITTER = np.array([40.3, 55.8])


@pytest.fixture(scope="module")
def buildings():
    mask = np.zeros((96, 96), dtype=bool)
    mask[10:30, 12:40] = True
    mask[60:85, 20:50] = True
    mask[66:79, 27:42] = False  # a courtyard
    mask[5:25, 70:90] = True
    return mask


@pytest.fixture(scope="module")
def gain(buildings):
    rows, columns = np.indices(buildings.shape)
    distance = np.hypot(rows - TRANSMITTER[0], columns - TRANSMITTER[1])
    return np.where(buildings, -1.0, 0.9 - 0.5 * np.log10(np.maximum(distance, 1.0)))


def noisy(gain, std, seed=0):
    return gain + std * np.random.default_rng(seed).standard_normal(gain.shape)


@pytest.mark.parametrize("std", [0.0, 0.02, 0.06])
def test_noise_floor_is_found_in_the_flat_weak_regions(gain, std):
    floor = truncation_floor(noisy(gain, std))
    assert floor.level == pytest.approx(-1.0, abs=0.02)
    assert floor.std == pytest.approx(std, rel=0.25, abs=1e-9)
    expected = floor.level + SHADOW_MARGIN + SHADOW_SIGMAS * floor.std
    assert shadow_threshold(noisy(gain, std)) == pytest.approx(expected)


def test_blurred_walls_stay_where_they_are():
    # A straight wall blurred by any symmetric kernel passes half its height at the wall.
    buildings = np.zeros((64, 64), bool)
    buildings[:, 20:40] = True
    blurred = gaussian_filter(np.where(buildings, -1.0, 0.2), 1.5, mode="nearest")
    assert np.array_equal(shadow_mask(blurred), buildings)
    assert shadow_mask(blurred, shadow_threshold(blurred)).sum() < 0.9 * buildings.sum()


def test_shadows_are_the_buildings(gain, buildings):
    assert np.array_equal(shadow_mask(gain), buildings)
    assert np.array_equal(shadow_mask(gain, threshold=-0.5), buildings)
    found = shadow_mask(noisy(gain, 0.05))
    assert (found & buildings).sum() / (found | buildings).sum() > 0.95


def test_repeated_samples_give_the_measurement_error():
    generator = np.random.default_rng(0)
    values = generator.uniform(-1, 1, 2000) + 0.07 * generator.standard_normal((3, 2000))
    values[2, ::2] = np.nan
    values[1:, 0] = np.nan  # one place sampled once
    assert noise_std_from_repeats(values) == pytest.approx(0.07, rel=0.05)
    assert np.isnan(noise_std_from_repeats(values[:1]))


def test_sensing_term_is_the_share_of_cells_that_disagree():
    known = np.array([[True, True], [False, False]])
    assert sensing_term(known, known) == 0
    assert sensing_term(known, np.array([[True, False], [False, False]])) == 0.25


def test_outlines_follow_the_buildings_with_few_vertices(buildings):
    polygons = outlines(buildings)
    assert len(polygons) == 3
    assert all(polygon.is_valid for polygon in polygons)
    assert sum(polygon.area for polygon in polygons) == pytest.approx(buildings.sum())
    assert sorted(len(polygon.exterior.coords) for polygon in polygons) == [5, 5, 5]
    assert sorted(len(polygon.interiors) for polygon in polygons) == [0, 0, 1]
    inside = shapely.Point(20, 15)  # x = column, y = row
    assert sum(polygon.contains(inside) for polygon in polygons) == 1


def test_specks_are_no_outlines():
    mask = np.zeros((20, 20), dtype=bool)
    mask[3:6, 3:6] = True
    mask[10:14, 10:14] = True
    assert [polygon.area for polygon in outlines(mask)] == [16.0]
    assert outlines(np.zeros((8, 8), dtype=bool)) == []


@pytest.mark.parametrize(("std", "tolerance"), [(0.0, 0.05), (0.05, 0.3)])
def test_transmitter_is_found_between_pixels(gain, std, tolerance):
    found = locate_transmitter(noisy(gain, std))
    assert np.abs(found.position - TRANSMITTER).max() < tolerance
    assert found.slope == pytest.approx(0.5, abs=0.05)


def test_stated_deviation_covers_the_error_of_the_position(gain):
    fits = [locate_transmitter(noisy(gain, 0.05, seed)) for seed in range(40)]
    scaled = np.array([(fit.position - TRANSMITTER) / fit.std for fit in fits])
    assert 0.6 < np.sqrt((scaled**2).mean()) < 1.6


def test_without_a_fit_the_strongest_spot_is_returned_as_uncertain():
    gain = np.full((40, 40), -1.0)
    gain[20, 21] = 0.5
    found = locate_transmitter(gain)
    assert np.array_equal(found.position, [20, 21])
    assert (found.std > 5).all()
    assert np.isnan(found.slope)
