"""What the page computes, without a browser."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from radiodiff.app import work
from radiodiff.errors import InputError
from radiodiff.simulate import dominant_path

MAP_SHAPE = (64, 64)
HERE, THERE = (10, 10), (50, 55)


@pytest.fixture
def block() -> np.ndarray:
    """One building, rows 20 .. 39 and columns 24 .. 39."""
    mask = np.zeros(MAP_SHAPE, dtype=bool)
    mask[20:40, 24:40] = True
    return mask


@pytest.fixture
def table(tmp_path: Path) -> Path:
    """120 samples of a path-loss exponent of 3 round the middle of 100 m x 100 m."""
    rng = np.random.default_rng(0)
    xy = rng.uniform(0.0, 100.0, (120, 2))
    power = -40.0 - 30.0 * np.log10(np.hypot(*(xy - 50.0).T) + 1.0)
    rows = [f"{x:.2f},{y:.2f},{p:.2f}" for (x, y), p in zip(xy, power, strict=True)]
    path = tmp_path / "survey.csv"
    path.write_text("\n".join(["east,north,level", *rows]))
    return path


KEYS = ("east", "north", "level", "received_dbm", None)


def test_two_transmitters_give_the_stronger_of_their_maps(block: np.ndarray) -> None:
    both = work.city_gain(block, [HERE, THERE], work.ENGINE)
    one, other = (dominant_path.path_gain(block, place) for place in (HERE, THERE))
    assert (one > other).any()
    assert (one < other).any()
    np.testing.assert_array_equal(both, np.where(one > other, one, other))


def test_vehicles_only_weaken_the_engine_s_map_and_are_no_buildings(
    block: np.ndarray, tmp_path: Path
) -> None:
    drawn = np.zeros(MAP_SHAPE, np.uint8)
    drawn[12:24, 10:30] = 255
    Image.fromarray(drawn).save(tmp_path / "cars.png")
    vehicles = work.read_vehicles(tmp_path / "cars.png", block)
    np.testing.assert_array_equal(vehicles, (drawn > 0) & ~block)
    without, with_them = (
        work.city_gain(block, [HERE], work.ENGINE, given) for given in (None, vehicles)
    )
    assert (with_them <= without).all()
    assert (with_them < without - 1.0).any()


def test_vehicles_of_another_size_are_refused(block: np.ndarray, tmp_path: Path) -> None:
    Image.fromarray(np.zeros((32, 64), np.uint8)).save(tmp_path / "cars.png")
    with pytest.raises(InputError, match=r"32 x 64 pixels .*, the city has 64 x 64"):
        work.read_vehicles(tmp_path / "cars.png", block)


def test_a_drawing_becomes_the_pixels_that_its_strokes_cover() -> None:
    first, second = np.zeros((2, *MAP_SHAPE, 4), np.uint8)
    first[5:9, 5:9, 3] = 255
    second[30:40, 2:6, 3] = 200
    second[50:, 50:, 3] = 20  # the rim of a stroke
    expected = np.zeros(MAP_SHAPE, dtype=bool)
    expected[5:9, 5:9] = expected[30:40, 2:6] = True
    np.testing.assert_array_equal(work.drawn_city([first, second]), expected)
    for empty in ([], [np.zeros_like(first)]):
        with pytest.raises(InputError, match="nothing is drawn"):
            work.drawn_city(empty)


def test_a_transmitter_is_added_outdoors_and_up_to_the_limit(block: np.ndarray) -> None:
    places: list[tuple[int, int]] = []
    for row in range(work.MAX_TRANSMITTERS):
        places = work.add_transmitter(block, places, (row, 0))
    assert places == [(row, 0) for row in range(work.MAX_TRANSMITTERS)]
    with pytest.raises(InputError, match=f"at most {work.MAX_TRANSMITTERS} transmitters"):
        work.add_transmitter(block, places, HERE)
    with pytest.raises(InputError, match="row 30, column 30 is inside a building; click outdoors"):
        work.add_transmitter(block, [], (30, 30))


def test_the_transmitter_of_a_new_city_is_the_outdoor_pixel_nearest_to_its_middle(
    block: np.ndarray,
) -> None:
    # The middle (32, 32) is a building; rows 19 and 40, columns 23 and 40 are its neighbours.
    assert work.default_transmitter(block) in {(32, 40), (40, 32)}
    with pytest.raises(InputError, match="no pixel outdoors"):
        work.default_transmitter(np.ones(MAP_SHAPE, dtype=bool))


def test_an_uploaded_city_is_its_mask_and_has_a_limit(block: np.ndarray, tmp_path: Path) -> None:
    Image.fromarray(block.astype(np.uint8) * 255).save(tmp_path / "city.png")
    np.testing.assert_array_equal(work.read_city(tmp_path / "city.png"), block)
    Image.fromarray(np.zeros((513, 512), np.uint8)).save(tmp_path / "large.png")
    with pytest.raises(InputError, match=r"513 x 512 pixels, at most 262144"):
        work.read_city(tmp_path / "large.png")


def test_a_table_is_recognised_or_corrected(table: Path) -> None:
    said, layers = work.recognised(table, work.survey_keys(*KEYS))
    assert "120 rows; " in said
    powers = np.array([float(row.rpartition(",")[2]) for row in table.read_text().split()[1:]])
    np.testing.assert_allclose(layers.sample_values, powers, atol=1e-6)
    assert layers.quantity == "received power, dBm"
    assert layers.mean is None
    for key, name in (("x", "east"), ("y", "north"), ("value", "level")):
        assert f"{key} is `{name}`" in said
    with pytest.raises(InputError, match="height"):
        work.recognised(table, work.survey_keys("", "", "height", "received_dbm", None))


def test_two_visitors_get_folders_of_their_own(table: Path) -> None:
    keys = work.survey_keys(*KEYS)
    shares: list[float] = []
    report, folder, layers = work.map_survey(
        table, keys, lambda done, total: shares.append(done / total)
    )
    _, other, _ = work.map_survey(table, keys)
    assert shares == sorted(shares)
    assert shares[-1] == 1.0
    assert layers.mean is not None
    rows, columns = layers.sample_pixels.round().astype(int).T
    assert np.abs(layers.mean[rows, columns] - layers.sample_values).max() < 6.0
    assert layers.transmitter == tuple(report["transmitter"]["row_column"])
    assert folder.parent != other.parent
    assert oct(folder.parent.stat().st_mode)[-3:] == "700"
    assert report["samples"] == 120
    x, y = report["transmitter"]["x_y"]
    assert np.hypot(x - 50.0, y - 50.0) < 5.0
    names = {path.name for path in folder.iterdir()}
    assert {"map.tif", "map.csv", "map.png", "samples.geojson", "buildings.geojson"} <= names
