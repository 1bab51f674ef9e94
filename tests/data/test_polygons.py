import numpy as np
import pytest
import shapely

from radiodiff.data.polygons import polygon_rings, polygons_from_mask, rasterise
from radiodiff.errors import InputError


def vertex_count(polygons):
    return sum(len(ring) for ring in polygon_rings(polygons))


def random_polygon(generator, size=64):
    """A convex polygon with integer vertices."""
    points = generator.integers(4, size - 4, size=(8, 2))
    return shapely.MultiPoint(points).convex_hull


def test_rectangle_has_its_bottom_and_left_edges():
    # Rows 3..7 and columns 2..8: the top edge (row 2) and the right one (column 9) are outside.
    mask = np.zeros((12, 12), dtype=bool)
    mask[3:8, 2:9] = True
    (polygon,) = polygons_from_mask(mask)
    assert polygon.bounds == (2, 2, 9, 7)
    assert vertex_count([polygon]) == 4
    np.testing.assert_array_equal(rasterise([shapely.box(2, 2, 9, 7)], mask.shape), mask)


def test_rasterise_slanted_wall_by_hand():
    # x + y <= 4; a pixel on the hypotenuse is sampled at (row - eps, column + eps'), eps' > eps, so
    # outside.
    mask = rasterise([shapely.Polygon([(0, 0), (4, 0), (0, 4)])], (6, 6))
    expected = np.array([[row >= 1 and row + col < 4 for col in range(6)] for row in range(6)])
    np.testing.assert_array_equal(mask, expected)


@pytest.mark.parametrize("seed", range(20))
def test_recovered_polygon_reproduces_the_mask_with_no_more_vertices(seed):
    polygon = random_polygon(np.random.default_rng(seed))
    mask = rasterise([polygon], (64, 64))
    recovered = polygons_from_mask(mask)
    np.testing.assert_array_equal(rasterise(recovered, mask.shape), mask)
    assert len(recovered) == 1
    # Sharp tips can be cut off by the raster, which may need a vertex more.
    assert vertex_count(recovered) <= vertex_count([polygon]) + 1


def test_courtyard_is_a_hole_and_the_map_border_is_kept():
    mask = np.zeros((30, 30), dtype=bool)
    mask[0:20, 0:20] = True
    mask[5:12, 5:12] = False
    (polygon,) = polygons_from_mask(mask)
    assert len(polygon.interiors) == 1
    np.testing.assert_array_equal(rasterise([polygon], mask.shape), mask)


def test_pixels_that_touch_diagonally_stay_separate():
    mask = np.zeros((6, 6), dtype=bool)
    mask[2, 2] = mask[3, 3] = True
    polygons = polygons_from_mask(mask)
    assert len(polygons) == 2
    np.testing.assert_array_equal(rasterise(polygons, mask.shape), mask)


def test_noise_is_reproduced_exactly():
    mask = np.random.default_rng(0).random((40, 40)) < 0.6
    np.testing.assert_array_equal(rasterise(polygons_from_mask(mask), mask.shape), mask)


def test_rings_keep_the_building_on_the_right():
    polygon = shapely.box(0, 0, 10, 10).difference(shapely.box(3, 3, 6, 6))
    outer, inner = polygon_rings([polygon])
    area = [
        0.5 * np.sum(r[:, 1] * np.roll(r[:, 0], -1) - r[:, 0] * np.roll(r[:, 1], -1))
        for r in (outer, inner)
    ]
    assert area == [100.0, -9.0]


@pytest.mark.parametrize("mask", [np.zeros(5), np.full((4, 4), 255), np.full((4, 4), 0.5)])
def test_refuses_what_is_no_mask(mask):
    with pytest.raises(InputError, match="building mask"):
        polygons_from_mask(mask)
