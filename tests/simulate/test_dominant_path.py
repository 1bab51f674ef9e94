import os
import time
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import shapely
from scipy.ndimage import maximum_filter, minimum_filter

from radiodiff.data.polygons import rasterise
from radiodiff.errors import InputError
from radiodiff.simulate import dominant_path
from radiodiff.simulate.calibration import correct_transmitter, map_error, read_maps
from radiodiff.simulate.city import City
from radiodiff.simulate.dominant_path import Layout, link_gain, path_gain
from radiodiff.simulate.median import median_filter
from radiodiff.simulate.path_loss_model import constants
from radiodiff.simulate.path_search import spread_to_pixels
from radiodiff.simulate.procedural import procedural_city
from radiodiff.simulate.vehicles import box_loss_db
from radiodiff.units import GAIN_MAX_DB, GAIN_MIN_DB

LAW = constants().path_loss_model
SIZE = 96


def town():
    """A dozen rectangles and two slanted buildings, none touching."""
    boxes = [
        shapely.box(c, r, c + w, r + h)
        for r, c, h, w in [
            (6, 8, 14, 20), (8, 40, 10, 12), (5, 64, 18, 9), (30, 6, 22, 10), (34, 26, 8, 24),
            (30, 60, 12, 12), (56, 40, 12, 8), (60, 8, 10, 18), (78, 12, 9, 30), (76, 56, 12, 10),
        ]
    ]  # fmt: skip
    slanted = [
        shapely.Polygon([(60, 52), (72, 56), (69, 66), (57, 62)]),
        shapely.Polygon([(80, 40), (90, 47), (82, 60), (75, 55)]),
    ]
    return boxes + slanted


@pytest.fixture(scope="module")
def layout():
    return Layout.from_polygons(town(), (SIZE, SIZE))


def distance(transmitter, shape=(SIZE, SIZE)):
    rows, cols = np.indices(shape)
    return np.hypot(rows - transmitter[0], cols - transmitter[1])


def diffraction(a, b, c):
    """Angle in degrees by which a path a -> b -> c changes direction, in any dimension."""
    u, v = np.subtract(b, a), np.subtract(c, b)
    cosine = np.dot(u, v) / np.linalg.norm(u) / np.linalg.norm(v)
    return float(np.degrees(np.arccos(np.clip(cosine, -1, 1))))


def loss_along(*points):
    length = sum(np.linalg.norm(np.subtract(q, p)) for p, q in pairwise(points))
    diffractions = zip(points, points[1:], points[2:], strict=False)
    return LAW.path_loss(float(length), tuple(diffraction(*three) for three in diffractions))


def test_empty_city_is_free_space():
    gain = path_gain(np.zeros((SIZE, SIZE), dtype=bool), (40, 30))
    closed_form = -LAW.line_of_sight_db_at_1m - LAW.line_of_sight_db_per_decade * np.log10(
        np.maximum(distance((40, 30)), 1.0)
    )
    closed_form = np.clip(closed_form, GAIN_MIN_DB, GAIN_MAX_DB)
    everywhere = np.ones((SIZE, SIZE), dtype=bool)
    np.testing.assert_allclose(gain, median_filter(closed_form, everywhere), atol=1e-4)
    far = distance((40, 30)) > 6
    np.testing.assert_allclose(gain[far], closed_form[far], atol=0.4)


def test_half_plane_loses_one_interaction():
    # The wall fills the lower left; its far corners lie beyond reach of a better path.
    wall = shapely.box(-4000, 50, 40, 4000)
    gain = Layout.from_polygons([wall], (SIZE, SIZE)).path_gain((80, 44))
    for receiver in [(30, 10), (45, 20), (20, 30)]:
        assert -gain[receiver] == pytest.approx(loss_along((80, 44), (50, 40), receiver), abs=0.2)


def test_single_building_takes_the_better_of_corners_and_roof():
    building = shapely.box(20, 40, 60, 50)  # 40 m wide, 10 m deep
    layout = Layout.from_polygons([building], (SIZE, SIZE))
    transmitter = (70, 40)
    gain = layout.path_gain(transmitter)
    height, part = LAW.roof_height_m, LAW.roof_part_m
    parts = int(np.ceil(40 / part))
    points = 20 + (np.arange(parts) + 0.5) * 40 / parts
    for receiver in [(30, 30), (25, 42), (10, 50), (33, 25)]:
        around = [loss_along(transmitter, (50, c), (40, c), receiver) for c in (20, 60)]
        over = [
            loss_along((*transmitter, 0), (50, a, height), (40, b, height), (*receiver, 0))
            for a in points
            for b in points
        ]
        assert -gain[receiver] == pytest.approx(min(around + over), abs=0.02)


def test_what_the_straight_line_rules_out_would_not_have_won(layout, monkeypatch):
    """Without that bound every path is tried, and the losses and paths are the same."""
    places = [(2, 2), (50, 30), (94, 94)]
    pruned = [layout._pixel_losses(*place)[:2] for place in places]

    def spread_all(*arguments):
        *first, direct, loss, label = arguments
        spread_to_pixels(*first, np.full_like(direct, -np.inf), loss, label)

    monkeypatch.setattr(dominant_path, "spread_to_pixels", spread_all)
    for place, (loss, path) in zip(places, pruned, strict=True):
        every_loss, every_path = layout._pixel_losses(*place)[:2]
        np.testing.assert_array_equal(loss, every_loss)
        np.testing.assert_array_equal(path, every_path)


def test_threads_that_ask_for_one_layout_make_it_once(monkeypatch):
    made = []
    mask = np.zeros((24, 24), dtype=bool)
    mask[8:12, 8:12] = True
    build = Layout.from_mask

    def slowly(mask):
        made.append(mask)
        time.sleep(0.2)
        return build(mask)

    monkeypatch.setattr(Layout, "from_mask", slowly)
    dominant_path.forget_layouts()
    with ThreadPoolExecutor(2) as pool:
        maps = list(pool.map(lambda place: path_gain(mask, place), [(2, 2), (20, 20)]))
    assert len(made) == 1
    np.testing.assert_array_equal(maps[1], build(mask).path_gain((20, 20)))


def test_last_turns_part_the_map_by_corner_and_sight(layout):
    transmitter = (25, 45)
    gain, diffractions = layout.gain_and_diffractions(transmitter)
    np.testing.assert_array_equal(gain, layout.path_gain(transmitter))
    at = tuple(layout.pixels.T)
    np.testing.assert_array_equal(diffractions[at] == -1, layout.line_of_sight(transmitter))
    assert (diffractions[layout.building_mask] == -2).all()
    # Behind a lone building, every pixel is reached around one of its corners or over its roof.
    block = Layout.from_polygons([shapely.box(40, 30, 56, 60)], (SIZE, SIZE))
    _, diffractions = block.gain_and_diffractions((45, 20))
    assert set(diffractions[:, :40].flat) == {-1}
    pixel, length, _ = block.single_diffractions((45, 20))
    at_corner = diffractions[tuple(block.pixels[pixel].T)]
    assert (at_corner >= 0).all()
    for number in np.unique(at_corner):
        # What is left of the length from the turn on is the distance to one corner.
        own = pixel[at_corner == number]
        first = length[at_corner == number][:, None] - np.hypot(
            *(block.pixels[own][:, None] - block.corners.position[None]).transpose(2, 0, 1)
        )
        assert np.ptp(first, axis=0).min() < 1e-9


def test_pixels_without_a_path_are_not_in_sight(layout):
    steep = layout.with_path_loss_model(LAW.model_copy(update={"interaction_offset_db": 150.0}))
    _, diffractions = steep.gain_and_diffractions((25, 45))
    seen = diffractions[tuple(layout.pixels.T)] == -1
    np.testing.assert_array_equal(seen, layout.line_of_sight((25, 45)))
    assert (diffractions == -2).sum() > layout.building_mask.sum()


@pytest.mark.parametrize("method", ["gain_and_diffractions", "line_of_sight"])
def test_nothing_is_seen_from_inside_a_building(layout, method):
    with pytest.raises(InputError, match="inside a building"):
        getattr(layout, method)((10, 12))


def test_swapping_transmitter_and_receiver_changes_little(layout):
    generator = np.random.default_rng(0)
    clear = ~rasterise([p.buffer(3) for p in town()], (SIZE, SIZE))
    places = generator.permutation(np.argwhere(clear))[:14]
    number = np.full((SIZE, SIZE), -1)
    number[tuple(layout.pixels.T)] = np.arange(len(layout.pixels))
    receivers = number[tuple(places.T)]
    loss = np.array([layout._pixel_losses(*place)[0][receivers] for place in places])
    np.testing.assert_allclose(loss, loss.T, atol=0.05)
    # The final median filter mixes lit and shadowed pixels, at one end of a path only.
    gain = np.array([layout.path_gain(tuple(place))[tuple(places.T)] for place in places])
    assert np.mean(np.abs(gain - gain.T) < 0.5) > 0.95


@pytest.mark.parametrize("seed", [0, 2, 3])
def test_links_are_reciprocal_and_agree_with_the_map_where_it_is_smooth(seed):
    city = procedural_city(np.random.default_rng(seed), 96)
    places = np.argwhere(~city.building_mask)
    places = np.random.default_rng(seed).permutation(places)[:24]
    a, b = np.repeat(places, len(places), axis=0), np.tile(places, (len(places), 1))
    shape = (len(places), len(places))
    for vehicles in (None, city.vehicle_mask):
        gain = link_gain(city, a, b, vehicles).reshape(shape)
        assert np.abs(gain - gain.T).max() < 0.05
        # From the other end the path-loss model says the same, but for links that just touch a wall
        # or the corner of a vehicle's pixel.
        maps = np.array([path_gain(city, tuple(place), vehicles) for place in places])
        rows, cols = places.T
        steps = maximum_filter(maps, (0, 3, 3)) - minimum_filter(maps, (0, 3, 3))
        smooth = steps[:, rows, cols] < 0.5
        assert smooth.sum() > 50
        assert np.mean(np.abs(maps[:, rows, cols] - gain)[smooth] < 0.5) > 0.9


def test_links_that_touch_a_wall_are_the_same_in_both_directions():
    # The diagonal touches the corner (24, 48) of the one building.
    layout = Layout.from_polygons([shapely.box(48, 24, 72, 48)], (SIZE, SIZE))
    a = [(36, 36), (62, 10), (12, 60)]
    b = [(12, 60), (23, 49), (25, 47)]
    np.testing.assert_array_equal(layout.link_gain(a, b), layout.link_gain(b, a))


def test_links_in_an_empty_city_follow_the_line_of_sight_path_loss_model():
    a, b = [(3, 4), (90, 90), (10, 10)], [(33, 44), (3, 4), (10, 10)]
    length = np.array([50.0, np.hypot(87, 86), 1.0])
    expected = -LAW.line_of_sight_db_at_1m - LAW.line_of_sight_db_per_decade * np.log10(length)
    expected = np.clip(expected, GAIN_MIN_DB, GAIN_MAX_DB)
    np.testing.assert_allclose(link_gain(np.zeros((SIZE, SIZE), bool), a, b), expected, atol=1e-4)


def test_refuses_bad_links(layout):
    with pytest.raises(InputError, match=r"points_b: \(10, 12\) is inside a building"):
        layout.link_gain([(2, 2)], [(10, 12)])
    with pytest.raises(InputError, match="2 points_a and 1 points_b"):
        layout.link_gain([(2, 2), (2, 3)], [(2, 4)])
    with pytest.raises(InputError, match="points_a: expected"):
        layout.link_gain([2, 2], [(2, 4)])


def test_rotating_the_polygons_rotates_the_map(layout):
    rotated = [
        shapely.Polygon([(SIZE - y, x) for x, y in polygon.exterior.coords]) for polygon in town()
    ]
    other = Layout.from_polygons(rotated, (SIZE, SIZE))
    gain = layout.path_gain((25, 45))
    # (row, col) -> (col, SIZE - row): the turned map lacks one column.
    back = other.path_gain((45, SIZE - 25))[:, ::-1].T
    difference = np.abs(gain[1:] - back[:-1])
    clear = ~rasterise([p.buffer(2) for p in town()], (SIZE, SIZE))[1:]
    assert np.quantile(difference[clear], 0.98) < 0.2
    assert np.median(difference[clear]) < 1e-3


def test_merging_polygons_moves_no_wall():
    # Half a metre apart, on a grid of metres: merged on that grid they would become one.
    apart = [
        shapely.set_precision(shapely.Polygon(points), 1.0)
        for points in (
            [(81, 88), (90, 90), (92, 76), (83, 75)],
            [(92, 80), (123, 84), (127, 52), (96, 48)],
        )
    ]
    crossing = [shapely.box(20, 20, 40, 30), shapely.Polygon([(30, 25), (61, 29), (57, 61)])]
    for polygons in (apart, crossing):
        layout = Layout.from_polygons(polygons, (128, 128))
        city = City((128, 128), tuple(polygons))
        np.testing.assert_array_equal(layout.building_mask, city.building_mask)
    assert len(Layout.from_polygons(apart, (128, 128)).edges) == 8


def test_buildings_have_no_gain_and_a_shadow_is_darker_than_free_space(layout):
    gain = layout.path_gain((25, 45))
    assert np.all(gain[layout.building_mask] == GAIN_MIN_DB)
    free = path_gain(np.zeros((SIZE, SIZE)), (25, 45))
    far = ~layout.building_mask & (distance((25, 45)) > 12)  # the median's reach beside walls
    assert np.all(gain[far] <= free[far] + 0.7)
    assert gain.max() <= GAIN_MAX_DB + 1e-5
    assert gain.min() >= GAIN_MIN_DB


def test_a_mask_and_an_object_with_polygons_give_the_same_map(layout):
    city = SimpleNamespace(building_mask=layout.building_mask, polygons=town())
    np.testing.assert_array_equal(path_gain(city, (25, 45)), layout.path_gain((25, 45)))
    from_mask = path_gain(layout.building_mask.astype(np.uint8), (25, 45))
    outdoor = ~layout.building_mask
    assert np.median(np.abs(from_mask - layout.path_gain((25, 45)))[outdoor]) < 0.01


def test_vehicles_only_ever_lower_the_gain(layout):
    generator = np.random.default_rng(1)
    vehicles = np.zeros((SIZE, SIZE), dtype=bool)
    previous = layout.path_gain((25, 45))
    np.testing.assert_array_equal(layout.path_gain((25, 45), vehicles), previous)
    for _ in range(6):
        for row, col in generator.integers(0, SIZE - 6, size=(12, 2)):
            vehicles[row : row + 2, col : col + 5] = True
        gain = layout.path_gain((25, 45), vehicles & ~layout.building_mask)
        assert np.max(gain - previous) <= 1e-6
        assert np.mean(gain) < np.mean(previous)
        previous = gain


def test_vehicle_loss_is_partial_and_falls_with_distance():
    near, middle, far = (box_loss_db(1.0, d, d) for d in (2.0, 20.0, 200.0))
    assert 6.03 > near > middle > far > 0.0
    assert box_loss_db(50.0, 5.0, 5.0) == pytest.approx(6.0, abs=0.2)  # a wide knife edge, grazed


def test_median_takes_the_greater_middle_value_of_outdoor_pixels():
    gain = np.array([[1.0, 2.0, 9.0], [4.0, 5.0, 6.0]])
    outdoor = np.array([[True, True, False], [True, True, False]])
    result = median_filter(gain, outdoor)
    assert result[0, 0] == 4.0
    assert result[0, 2] == 9.0


@pytest.mark.parametrize(
    ("transmitter", "message"),
    [((10, 12), "inside a building"), ((SIZE, 3), "outside the map"), ((1.5, 3), "integers")],
)
def test_refuses_a_bad_transmitter(layout, transmitter, message):
    with pytest.raises(InputError, match=message):
        layout.path_gain(transmitter)


def test_refuses_masks_that_do_not_fit(layout):
    with pytest.raises(InputError, match="not a binary mask"):
        path_gain(np.full((8, 8), 255), (1, 1))
    with pytest.raises(InputError, match="shape"):
        layout.path_gain((25, 45), np.zeros((3, 3), dtype=bool))


def test_shipped_constants_meet_the_targets_on_held_out_layouts():
    validation = constants().cross_validation
    assert validation is not None
    assert validation.nmse <= 0.005
    assert validation.rmse <= 0.022


@pytest.mark.real
@pytest.mark.skipif("RADIOMAPSEER_ROOT" not in os.environ, reason="needs a RadioMapSeer tree")
def test_agrees_with_real_maps():
    maps, masks = read_maps(Path(os.environ["RADIOMAPSEER_ROOT"]))
    errors, squares, count = [], 0.0, 0
    for name in list(masks)[:24]:
        layout = Layout.from_mask(masks[name])
        for real in (real for real in maps if real.layout == name):
            real = correct_transmitter(real, layout)
            errors.append(map_error(layout, real))
            seen = int(layout.line_of_sight(real.transmitter).sum())
            squares += errors[-1].line_of_sight_rmse ** 2 * seen
            count += seen
    nmse, rmse, _ = np.mean(errors, axis=0)
    assert nmse <= 0.005
    assert rmse <= 0.022
    assert np.sqrt(squares / count) <= 0.004
