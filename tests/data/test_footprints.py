import json

import numpy as np
import pytest
import shapely
from PIL import Image

from radiodiff.data import footprints
from radiodiff.data.footprints import (
    Footprint,
    footprint_from_gain,
    footprint_from_png,
    footprint_from_polygons,
    gain_footprint,
    read_rings,
    rings_of,
)
from radiodiff.data.polygons import GAIN_RULE, PNG_RULE, rasterise
from radiodiff.data.radiomapseer import RadioMapSeer
from radiodiff.errors import InputError

SHAPE = (48, 64)
TOWN = (
    shapely.Polygon([(6, 20), (20, 8), (26, 15), (12, 27)]),
    shapely.Polygon([(36, 12), (55, 17), (52, 30), (33, 25)]),
    shapely.box(10, 33, 30, 44),
)


def masks(polygons, shape=SHAPE):
    return [rasterise(polygons, shape, rule) for rule in (GAIN_RULE, PNG_RULE)]


def write(path, rings):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(rings))
    return path


def write_image(path, mask):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(mask * np.uint8(255)).save(path)


def write_town(root, png=None, rings=None):
    """Write a tree of one map and two transmitters; png and rings replace those of TOWN."""
    footprint, image = masks(TOWN)
    write_image(root / "png/buildings_complete/1.png", image if png is None else png)
    write(root / "polygon/buildings_complete/1.json", rings or rings_of(TOWN, SHAPE[0]))
    for number, position in enumerate(((2, 3), (30, 30))):
        antenna = np.zeros(SHAPE, dtype=bool)
        antenna[position] = True
        write_image(root / f"png/antennas/1_{number}.png", antenna)
        levels = np.where(footprint, 0, 100).astype(np.uint8)
        levels[46, 50 + number] = 0  # weaker than the truncation
        path = root / f"gain/DPM/1_{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(levels).save(path)
    return root


# Polygon files


def test_a_ring_lies_where_the_dataset_draws_it(tmp_path):
    # Gain: col + 1 + eps in (2, 5) and 8 - row + eps in (1, 3); the image moves both by 1/2.
    path = write(tmp_path / "1.json", [[[2, 1], [5, 1], [5, 3], [2, 3], [2, 1]]])
    expected = np.zeros((8, 10), dtype=bool)
    expected[6:8, 1:4] = True
    for mask in masks(read_rings(path, (8, 10)), (8, 10)):
        np.testing.assert_array_equal(mask, expected)
    # x + y < 6 in a triangle: col + 1 + 8 - row + 2 eps < 6 for the gain.
    path = write(tmp_path / "2.json", [[[1, 1], [5, 1], [1, 5], [1, 1]]])
    rows, cols = np.mgrid[:8, :10]
    gain, image = masks(read_rings(path, (8, 10)), (8, 10))
    np.testing.assert_array_equal(gain, (rows <= 7) & (cols - rows + 9 < 6))
    np.testing.assert_array_equal(image, (rows <= 7) & (cols - rows + 10 < 6))


@pytest.mark.parametrize("count", [0, 1, 3])
def test_written_rings_are_closed_whole_and_come_back(tmp_path, count):
    outline = shapely.Polygon([(4, 4), (44, 2), (50, 40), (8, 44)])
    courtyards = [
        shapely.Polygon([(12, 10), (20, 10), (18, 20)]),
        # The last one is enclosed by this one on three sides.
        shapely.Polygon([(24, 12), (42, 12), (42, 34), (24, 34), (24, 30), (38, 30), (38, 16)]),
        shapely.box(27, 18, 33, 27),
    ][:count]
    polygons = [outline.difference(shapely.union_all(courtyards)), shapely.box(55, 3, 60, 9)]
    rings = rings_of(polygons, SHAPE[0])
    assert len(rings) == 2
    assert all(ring[0] == ring[-1] for ring in rings)
    assert all(isinstance(value, int) for ring in rings for point in ring for value in point)
    found = read_rings(write(tmp_path / "1.json", rings), SHAPE)
    assert sum(len(polygon.interiors) for polygon in found) == count
    assert shapely.union_all(found).symmetric_difference(shapely.union_all(polygons)).area == 0
    for first, second in zip(masks(found), masks(polygons), strict=True):
        np.testing.assert_array_equal(first, second)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ([[[1, 1], [5, 1], [5, 5]]], "1 of 1 rings are open, the first is ring 0"),
        ([[[1, 1], [90, 1], [1, 5], [1, 1]]], r"1 points are outside the map; x is in 0 .. 64"),
        ([[[1, 1], [5, 1], [5, -3], [1, 1]]], "1 points are outside"),
        ([[[[1, 1], [5, 1], [5, 5], [1, 1]]]], "expected a JSON list of closed rings"),
        ([[1, 2, 3]], "expected a JSON list of closed rings"),
        ({"type": "FeatureCollection"}, "expected a JSON list of closed rings"),
        ([[]], "expected a JSON list of closed rings"),
    ],
)
def test_a_bad_polygon_file_is_named(tmp_path, content, words):
    path = write(tmp_path / "7.json", content)
    with pytest.raises(InputError, match=words) as error:
        read_rings(path, SHAPE)
    assert str(path) in str(error.value)
    assert "\n" not in str(error.value)
    with pytest.raises(InputError, match="is missing"):
        read_rings(tmp_path / "8.json", SHAPE)


# Images and gain


def test_the_rule_of_an_image_is_told_by_the_gain():
    footprint, image = masks(TOWN)
    levels = np.where(footprint, 0, 100).astype(np.uint8)
    found = footprint_from_png(image, levels)
    assert found.source == "png"
    assert (found.mask != footprint).sum() <= 2
    np.testing.assert_array_equal(found.png, image)
    np.testing.assert_array_equal(gain_footprint(image), found.mask)
    np.testing.assert_array_equal(rasterise(found.polygons, SHAPE), found.mask)
    drawn_from_gain = footprint_from_png(footprint, levels)
    assert drawn_from_gain.source == "png of gain rule"
    np.testing.assert_array_equal(drawn_from_gain.mask, footprint)


def test_gain_images_together_tell_buildings_from_weak_pixels():
    footprint, image = masks(TOWN)
    first = np.where(footprint, 0, 100).astype(np.uint8)
    second = first.copy()
    first[46, 50] = second[46, 51] = 0
    found = footprint_from_gain([first, second])
    np.testing.assert_array_equal(found.mask, footprint)
    assert (found.png != image).sum() < (footprint != image).sum() / 4
    with pytest.raises(InputError, match="no gain image"):
        footprint_from_gain([])


def test_a_transmitter_in_a_pixel_that_the_fit_got_wrong_is_outdoors():
    footprint, image = masks(TOWN)
    found = Footprint(footprint, "png", image)
    edge, inside = (33 + 1, 12), (38, 20)
    assert found.mask[edge]
    assert found.mask[inside]
    opened = found.opened_at(edge)
    assert not opened.mask[edge]
    assert (opened.mask != found.mask).sum() == 1
    np.testing.assert_array_equal(rasterise(opened.polygons, SHAPE), opened.mask)
    assert found.mask[edge]
    for position in (inside, (0, 0), (99, 5)):
        assert found.opened_at(position) is found
    exact = footprint_from_polygons(TOWN, SHAPE)
    assert exact.opened_at(edge) is exact


# Trees


@pytest.mark.parametrize("source", ["auto", "polygon", "png", "gain"])
def test_every_source_gives_the_pixels_without_gain(tmp_path, source):
    root = write_town(tmp_path / "tree")
    footprint, image = masks(TOWN)
    dataset = RadioMapSeer(root, buildings=source)
    sample = dataset[1]
    off = int((sample["buildings"][0].numpy() != footprint).sum())
    assert off <= (2 if source == "png" else 0)
    np.testing.assert_array_equal(sample["buildings_png"][0], image)
    np.testing.assert_array_equal(sample["prompt"][0] > 0, sample["buildings"][0])
    named = {"auto": "polygon"}.get(source, source)
    assert dataset.building_sources() == {named: 1}
    assert dataset.footprint(1).source == named
    np.testing.assert_array_equal(
        rasterise(dataset.footprint(1).polygons, SHAPE), sample["buildings"][0]
    )


def test_a_tree_without_polygons_falls_back_to_its_images_and_one_without_images_does_not(tmp_path):
    root = write_town(tmp_path / "tree")
    (root / "polygon/buildings_complete/1.json").unlink()
    assert RadioMapSeer(root).building_sources() == {"png": 1}
    with pytest.raises(InputError, match=r"1\.json: this file is missing"):
        RadioMapSeer(root, buildings="polygon")[0]
    write(root / "polygon/buildings_complete/1.json", rings_of(TOWN, SHAPE[0]))
    (root / "png/buildings_complete/1.png").unlink()
    sample = RadioMapSeer(root)[0]
    for key, mask in zip(("buildings", "buildings_png"), masks(TOWN), strict=True):
        np.testing.assert_array_equal(sample[key][0], mask)


def test_polygons_and_image_that_contradict_each_other_are_refused_with_the_pixels(tmp_path):
    root = write_town(tmp_path / "tree", png=masks(TOWN[:2])[1])
    lacking = int(masks(TOWN[2:])[1].sum())
    with pytest.raises(InputError, match=rf"1\.json: differs from .* in {lacking} pixels") as error:
        RadioMapSeer(root)[0]
    assert "set data.buildings to polygon or png" in str(error.value)
    buildings = RadioMapSeer(root, buildings="polygon")[0]["buildings"]
    np.testing.assert_array_equal(buildings[0], masks(TOWN)[0])
    assert RadioMapSeer(root, buildings="png")[0]["buildings"].sum() < buildings.sum()


def test_an_image_of_neither_rule_is_refused_with_the_pixels(tmp_path):
    shifted = np.roll(masks(TOWN)[1], 3, axis=1)
    root = write_town(tmp_path / "tree", png=shifted)
    (root / "polygon/buildings_complete/1.json").unlink()
    with pytest.raises(InputError, match=r"1\.png: follows neither raster rule .* \d+ pixels"):
        RadioMapSeer(root)[0]
    found = RadioMapSeer(root, buildings="gain")[0]["buildings"][0]
    np.testing.assert_array_equal(found, masks(TOWN)[0])
    assert RadioMapSeer(root, buildings="png")[0]["buildings"].any()


def test_incomplete_layouts_have_polygons_too(tmp_path):
    root = write_town(tmp_path / "tree")
    write(root / "polygon/buildings_missing1/2/1.json", rings_of(TOWN[1:], SHAPE[0]))
    sample = RadioMapSeer(root, layout="missing1", layout_version=2)[0]
    np.testing.assert_array_equal(sample["buildings"][0], masks(TOWN[1:])[0])
    with pytest.raises(InputError, match="not the layout missing1"):
        RadioMapSeer(root, layout="missing1", layout_version=2, buildings="gain")


# The dataset itself


@pytest.mark.real
def test_polygons_of_the_dataset_are_the_pixels_without_gain(real_root):
    exact, gain = (RadioMapSeer(real_root, buildings=b) for b in ("auto", "gain"))
    assert set(exact.building_sources()) == {"polygon"}
    for index, (map_id, _) in enumerate(exact.pairs):
        mask, levels = exact.footprint(index).mask, exact.levels(index)
        # Map 0 has the dataset's own polygons; in a sample those of other maps may be fitted.
        allowed = 0 if map_id == 0 else footprints.MAX_DISAGREEMENT * mask.sum()
        assert (mask & (levels > 0)).sum() <= allowed
        if map_id == 0:
            np.testing.assert_array_equal(mask, gain.footprint(index).mask)


@pytest.mark.real
def test_images_of_the_dataset_give_the_footprint_within_few_pixels(real_root):
    exact, fitted = (RadioMapSeer(real_root, buildings=b) for b in ("polygon", "png"))
    checked = set()
    for index, (map_id, _) in enumerate(exact.pairs):
        if map_id in checked:
            continue
        checked.add(map_id)
        found = fitted.footprint(index)
        assert found.source == "png"
        off = (found.mask != exact.footprint(index).mask).sum()
        assert off <= 200
        assert 5 * off < (found.png != exact.footprint(index).mask).sum()
