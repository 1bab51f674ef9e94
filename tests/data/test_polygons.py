import numpy as np
import pytest
import shapely

from radiodiff.data.polygons import (
    GAIN_RULE,
    PNG_RULE,
    polygon_rings,
    polygons_from_mask,
    rasterise,
)
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


def test_the_png_rule_samples_half_a_pixel_further_by_hand():
    # The pixel is sampled at (row - 1/2 - eps, col + 1/2): a pixel on the hypotenuse is inside.
    mask = rasterise([shapely.Polygon([(0, 0), (4, 0), (0, 4)])], (6, 6), PNG_RULE)
    expected = np.array([[row >= 1 and row + col <= 4 for col in range(6)] for row in range(6)])
    np.testing.assert_array_equal(mask, expected)


def test_walls_along_the_axes_look_the_same_under_both_rules():
    polygon = shapely.box(2, 3, 9, 7).union(shapely.box(6, 5, 12, 15))
    masks = [rasterise([polygon], (20, 20), rule) for rule in (GAIN_RULE, PNG_RULE)]
    np.testing.assert_array_equal(*masks)
    assert masks[0].sum() == polygon.area


def star(generator, size=64):
    """A polygon with integer vertices that is not convex."""
    angles = np.sort(generator.uniform(0, 2 * np.pi, 9))
    radii = generator.uniform(size / 8, size / 2 - 2, 9)
    points = np.rint(size / 2 + radii[:, None] * np.column_stack([np.cos(angles), np.sin(angles)]))
    return max(
        shapely.get_parts(shapely.make_valid(shapely.Polygon(points))), key=lambda part: part.area
    )


@pytest.mark.parametrize("rule", [GAIN_RULE, PNG_RULE], ids=lambda rule: rule.name)
@pytest.mark.parametrize("seed", range(10))
def test_rasterising_is_point_in_polygon(seed, rule):
    polygon = star(np.random.default_rng(seed))
    rows, cols = np.mgrid[:64, :64]
    inside = shapely.contains_xy(polygon, cols + rule.column, rows + rule.row)
    np.testing.assert_array_equal(rasterise([polygon], (64, 64), rule), inside)


def test_polygons_fitted_to_an_image_show_where_there_is_no_gain():
    generator = np.random.default_rng(0)
    shape, wrong, as_it_is = (80, 80), 0, 0
    for _ in range(20):
        length, width = generator.integers(12, 25, 2)
        # Not at 45 degrees, where walls run through sampling points and whole rows are ambiguous.
        turned = shapely.affinity.rotate(shapely.box(0, 0, length, width), generator.uniform(5, 40))
        placed = shapely.affinity.translate(turned, 40 - turned.centroid.x, 40 - turned.centroid.y)
        polygon = shapely.set_precision(placed, 1.0)
        image, footprint = (rasterise([polygon], shape, rule) for rule in (PNG_RULE, GAIN_RULE))
        fitted = polygons_from_mask(image, PNG_RULE)
        np.testing.assert_array_equal(rasterise(fitted, shape, PNG_RULE), image)
        assert vertex_count(fitted) <= vertex_count([polygon])
        # The image is not drawn by the gain's rule: there, it needs more vertices.
        assert vertex_count(polygons_from_mask(image)) > vertex_count(fitted)
        wrong += (rasterise(fitted, shape) != footprint).sum()
        as_it_is += (image != footprint).sum()
    assert wrong < as_it_is / 10


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


@pytest.mark.parametrize("rule", [GAIN_RULE, PNG_RULE], ids=lambda rule: rule.name)
def test_noise_is_reproduced_exactly(rule):
    mask = np.random.default_rng(0).random((40, 40)) < 0.6
    np.testing.assert_array_equal(rasterise(polygons_from_mask(mask, rule), mask.shape, rule), mask)


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
    with pytest.raises(InputError, match=r"^buildings: (shape|not a binary mask)"):
        polygons_from_mask(mask)
