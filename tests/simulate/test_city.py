import logging

import numpy as np
import pytest
from shapely.geometry import Polygon, box

from radiodiff.errors import InputError
from radiodiff.simulate import dominant_path
from radiodiff.simulate.city import City
from radiodiff.simulate.geometry import clip_polygons


def test_building_mask_follows_the_raster_rule():
    # Bottom and left edges are in, top and right edges are out: columns 2..4, rows 4..6.
    mask = City((10, 9), buildings=(box(2, 3, 5, 6),)).building_mask
    assert mask.shape == (10, 9)
    expected = np.zeros((10, 9), dtype=bool)
    expected[4:7, 2:5] = True
    np.testing.assert_array_equal(mask, expected)


def test_courtyard_stays_open_land():
    ring = box(2, 2, 12, 12).difference(box(5, 5, 9, 9))
    mask = City((16, 16), buildings=(ring,)).building_mask
    assert mask.sum() == 100 - 16
    assert not mask[7, 7]


def test_layers_have_their_own_masks():
    city = City(
        (8, 8), buildings=(box(0, 0, 2, 2),), roads=(box(4, 0, 8, 4),), vehicles=(box(5, 1, 6, 3),)
    )
    assert (city.building_mask.sum(), city.road_mask.sum(), city.vehicle_mask.sum()) == (4, 16, 2)
    assert not (city.building_mask & city.road_mask).any()


def test_from_mask_reproduces_the_mask():
    rng = np.random.default_rng(0)
    mask = np.zeros((40, 30), dtype=bool)
    for row, col in rng.integers(0, 25, size=(6, 2)):
        mask[row : row + rng.integers(3, 9), col : col + rng.integers(3, 9)] = True
    vehicles = ~mask & (rng.random(mask.shape) < 0.05)
    city = City.from_mask(mask, vehicles)
    np.testing.assert_array_equal(city.building_mask, mask)
    np.testing.assert_array_equal(city.vehicle_mask, vehicles)


def test_from_mask_refuses_masks_of_different_shapes():
    with pytest.raises(InputError, match=r"\(4, 5\).*\(4, 4\)"):
        City.from_mask(np.zeros((4, 4), bool), np.zeros((4, 5), bool))


def test_self_crossing_polygon_is_repaired_and_logged(caplog):
    bow_tie = Polygon([(2, 2), (10, 10), (10, 2), (2, 10)])
    with caplog.at_level(logging.WARNING):
        city = City((16, 16), buildings=(bow_tie,))
    assert sum(building.area for building in city.buildings) == pytest.approx(32.0)
    assert all(building.is_valid for building in city.buildings)
    assert "buildings: repaired 1" in caplog.text


def test_degenerate_polygon_is_dropped_and_logged(caplog):
    flat = Polygon([(2, 2), (6, 2), (2, 2)])
    with caplog.at_level(logging.WARNING):
        city = City((16, 16), buildings=(flat, box(8, 8, 10, 10)))
    assert len(city.buildings) == 1
    assert "buildings: dropped 1" in caplog.text


def test_a_city_without_buildings_is_free_space():
    gain = dominant_path.path_gain(City((32, 32)), (16, 16))
    path_loss_model = dominant_path.path_gain(np.zeros((32, 32), bool), (16, 16))
    np.testing.assert_array_equal(gain, path_loss_model)
    assert gain[16, 26] == pytest.approx(-47.84 - 25.0, abs=0.1)


def test_clipping_keeps_what_is_inside_the_frame():
    parts = clip_polygons(
        [box(-5, -5, 3, 3), box(20, 20, 30, 30), box(4, 4, 5, 5)], box(0, 0, 10, 10)
    )
    assert sorted(part.area for part in parts) == [1.0, 9.0]


def test_clipping_splits_a_building_that_leaves_and_returns():
    horseshoe = box(-4, 0, 4, 9).difference(box(-1, 3, 5, 6))
    assert len(clip_polygons([horseshoe], box(0, -1, 10, 10))) == 2


@pytest.mark.parametrize("overlap", [0, 7])
def test_tiles_are_windows_of_the_city(overlap):
    rng = np.random.default_rng(3)
    boxes = [box(x, y, x + 9, y + 6) for x, y in rng.integers(0, 60, size=(12, 2))]
    city = City((50, 64), buildings=tuple(boxes), vehicles=(box(10, 10, 12, 15),))
    whole, cars = city.building_mask, city.vehicle_mask
    seen = np.zeros_like(whole)
    tiles = list(city.tiles(20, overlap))
    for (row, column), tile in tiles:
        window = np.s_[row : row + 20, column : column + 20]
        np.testing.assert_array_equal(tile.building_mask, whole[window])
        np.testing.assert_array_equal(tile.vehicle_mask, cars[window])
        seen[window] = True
    assert seen.all()
    columns = sorted({column for (_, column), _ in tiles})
    assert columns[1] - columns[0] == 20 - overlap
    assert columns[-1] == 44


@pytest.mark.parametrize(
    ("size", "overlap", "words"),
    [(20, 20, "tile overlap 20: must be in 0 .. 19"), (100, 0, "smaller than a tile of 100 m")],
)
def test_impossible_tiles_are_refused(size, overlap, words):
    with pytest.raises(InputError, match=words):
        list(City((50, 64)).tiles(size, overlap))
