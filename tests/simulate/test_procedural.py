import numpy as np
import pytest
import shapely

from radiodiff.errors import InputError
from radiodiff.simulate.procedural import procedural_city


@pytest.fixture(scope="module")
def city():
    return procedural_city(np.random.default_rng(4), 192)


def test_equal_generators_give_equal_cities(city):
    again = procedural_city(np.random.default_rng(4), 192)
    for layer in ("buildings", "roads", "vehicles"):
        assert (
            shapely.to_wkb(getattr(again, layer)).tolist()
            == shapely.to_wkb(getattr(city, layer)).tolist()
        )
    other = procedural_city(np.random.default_rng(5), 192)
    assert (other.building_mask != city.building_mask).any()


def test_buildings_have_integer_vertices_and_do_not_overlap(city):
    assert city.size == (192, 192)
    for building in city.buildings:
        assert building.is_valid
        vertices = shapely.get_coordinates(building)
        np.testing.assert_array_equal(vertices, np.rint(vertices))
    total = shapely.union_all(city.buildings).area
    assert total == pytest.approx(sum(b.area for b in city.buildings))
    assert city.building_mask.sum() == pytest.approx(total, rel=0.02)


def test_vehicles_stand_on_roads_and_keep_apart(city):
    assert len(city.vehicles) > 10
    roads = shapely.union_all(city.roads)
    on_road = [v.intersection(roads.buffer(1.5)).area / v.area for v in city.vehicles]
    assert np.mean(on_road) > 0.98
    assert all(v.area == pytest.approx(10.0) for v in city.vehicles)
    assert shapely.union_all(city.vehicles).area == pytest.approx(10.0 * len(city.vehicles))
    assert not shapely.union_all(city.buildings).intersects(shapely.union_all(city.vehicles))
    assert not (city.road_mask & city.building_mask).any()


@pytest.mark.parametrize("size", [32, 64, 512])
def test_any_size_works(size):
    mask = procedural_city(np.random.default_rng(1), size).building_mask
    assert mask.shape == (size, size)
    assert 0.08 <= mask.mean() <= 0.5


@pytest.mark.parametrize("size", [0, 31, 5000])
def test_impossible_sizes_are_refused(size):
    with pytest.raises(InputError, match=f"layout size {size}: must be in 32 .. 1024"):
        procedural_city(np.random.default_rng(0), size)
