import numpy as np
import shapely

from radiodiff.data.polygons import polygon_rings, rasterise
from radiodiff.simulate.over_roof import horizontal_losses, roof_pairs, roof_points
from radiodiff.simulate.visibility import (
    PIXEL_SHIFT,
    convex_corners,
    edges_of,
    tangent_side,
    visible_pixels,
)


def town():
    polygons = [
        shapely.Polygon([(10, 8), (22, 12), (19, 21), (7, 17)]),
        shapely.box(30, 5, 42, 16),
        shapely.Polygon([(12, 30), (25, 28), (27, 44), (21, 45), (20, 36), (13, 37)]),
        shapely.box(36, 30, 39, 33),
    ]
    return polygons, edges_of(polygon_rings(polygons))


def test_sweep_agrees_with_every_segment_tested_on_its_own():
    polygons, edges = town()
    solid = shapely.union_all(polygons)
    outdoor = np.argwhere(~rasterise(polygons, (50, 50)))
    for row, col in [(2, 3), (25, 27), (40, 31), (12, 26), (24, 15)]:
        source = (row - PIXEL_SHIFT, col + PIXEL_SHIFT)
        seen = visible_pixels(*source, edges, outdoor.astype(float))
        targets = outdoor + np.array([-PIXEL_SHIFT, PIXEL_SHIFT])
        rays = shapely.linestrings(
            [[(source[1], source[0]), (target[1], target[0])] for target in targets]
        )
        np.testing.assert_array_equal(seen, ~shapely.crosses(rays, solid))


def test_everything_is_visible_without_buildings():
    pixels = np.argwhere(np.ones((5, 7), dtype=bool)).astype(float)
    assert visible_pixels(2.0, 3.0, np.zeros((0, 4)), pixels).all()


def test_wall_can_be_grazed_on_both_of_its_sides():
    # Source and pixels in the row of the wall's upper edge: the raster rule puts them outside.
    edges = edges_of(polygon_rings([shapely.box(10, 10, 20, 20)]))
    row = np.array([[10.0, col] for col in range(40)])
    assert visible_pixels(10 - PIXEL_SHIFT, 2 + PIXEL_SHIFT, edges, row).all()


def test_corners_are_the_convex_ones_and_stand_outside():
    polygon = shapely.Polygon([(0, 0), (10, 0), (10, 10), (5, 10), (5, 5), (0, 5)])
    corners = convex_corners(polygon_rings([polygon]))
    assert {tuple(p) for p in corners.position} == {(0, 0), (0, 10), (10, 10), (10, 5), (5, 0)}
    assert not shapely.contains_xy(polygon, corners.outside[:, ::-1]).any()


def test_tangent_side_of_a_square_corner():
    corners = convex_corners(polygon_rings([shapely.box(10, 10, 20, 20)]))
    k = int(np.flatnonzero((corners.position == (10, 10)).all(1))[0])  # upper left
    assert tangent_side(-1.0, 1.0, corners, k) == 1  # up and right: the square on the right
    assert tangent_side(1.0, -1.0, corners, k) == -1
    assert tangent_side(1.0, 1.0, corners, k) == 0  # into the square
    assert tangent_side(0.0, 1.0, corners, k) == 1  # along its upper wall


def test_roof_points_are_the_middles_of_equal_parts():
    edges = edges_of(polygon_rings([shapely.box(0, 0, 40, 10)]))
    points = roof_points(edges, 30.0)
    expected = {(0, 10), (0, 30), (10, 10), (10, 30), (5, 0), (5, 40)}
    assert {tuple(np.rint(p)) for p in points} == expected


def test_level_paths_pay_for_every_wall_beyond_two():
    edges = edges_of(polygon_rings([shapely.box(10, 0, 20, 10), shapely.box(30, 0, 40, 10)]))
    points = np.array([[5.0, 9.9], [5.0, 20.1], [5.0, 29.9], [5.0, 40.1]])
    pairs = roof_pairs(points, edges)
    of = np.repeat(np.arange(4), np.diff(pairs.start))
    walls = dict(zip(zip(of, pairs.target, strict=True), pairs.crossings, strict=True))
    expected = {(0, 1): 2, (0, 2): 2, (0, 3): 4, (1, 3): 2, (2, 3): 2}  # 1 to 2 is a street
    assert walls == expected | {(b, a): n for (a, b), n in expected.items()}
    np.testing.assert_array_equal(pairs.back[pairs.back], np.arange(len(of)))
    np.testing.assert_array_equal(pairs.target[pairs.back], of)
    assert horizontal_losses(pairs.crossings, 2.0)[:3].tolist() == [0.0, 0.0, 4.0]
