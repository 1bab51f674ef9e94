"""Buildings of a city from a PNG and from GeoJSON: one reader, one limit."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from radiodiff.data.geodesy import metres_per_degree
from radiodiff.errors import InputError
from radiodiff.experiments.city_files import read_city

SHAPE = (40, 60)
LATITUDE = 48.0
X_SCALE, Y_SCALE = metres_per_degree(LATITUDE)
BOUNDS = (
    12.0,
    LATITUDE - SHAPE[0] / 2 / Y_SCALE,
    12.0 + SHAPE[1] / X_SCALE,
    LATITUDE + SHAPE[0] / 2 / Y_SCALE,
)


@pytest.fixture
def files(tmp_path: Path) -> dict[str, Path]:
    """One block, rows 8 .. 17 and columns 10 .. 29, as pixels and as degrees."""
    mask = np.zeros(SHAPE, dtype=np.uint8)
    mask[8:18, 10:30] = 255
    Image.fromarray(mask).save(tmp_path / "city.png")
    x = [BOUNDS[0] + column / X_SCALE for column in (10, 30)]
    y = [BOUNDS[3] - row / Y_SCALE for row in (8, 18)]
    ring = [[x[0], y[0]], [x[1], y[0]], [x[1], y[1]], [x[0], y[1]], [x[0], y[0]]]
    feature = {
        "type": "Feature",
        "properties": {"building": "yes"},
        "geometry": {"type": "Polygon", "coordinates": [ring]},
    }
    (tmp_path / "city.geojson").write_text(json.dumps(feature))
    return {kind: tmp_path / f"city.{kind}" for kind in ("png", "geojson")}


def test_a_block_covers_the_same_pixels_from_both_kinds_of_file(files: dict[str, Path]) -> None:
    png = read_city(files["png"], 10_000, "")
    drawn = read_city(files["geojson"], 10_000, "", BOUNDS)
    assert png.projection is None
    assert drawn.projection is not None
    assert drawn.projection.bounds == BOUNDS
    np.testing.assert_array_equal(drawn.building_mask, png.building_mask)
    # Without bounds the map is the block.
    assert read_city(files["geojson"], 10_000, "").building_mask.shape == (10, 20)


@pytest.mark.parametrize("kind", ["png", "geojson"])
def test_a_map_of_too_many_pixels_is_refused(files: dict[str, Path], kind: str) -> None:
    bounds = BOUNDS if kind == "geojson" else None
    read_city(files[kind], 2400, "", bounds)
    with pytest.raises(InputError, match=r"40 x 60 pixels, at most 2399 are allowed; cut it"):
        read_city(files[kind], 2399, "cut it", bounds)


def test_larger_pixels_are_fewer(files: dict[str, Path]) -> None:
    read_city(files["geojson"], 600, "", BOUNDS, resolution_m=2.0)
    with pytest.raises(InputError, match="20 x 30 pixels"):
        read_city(files["geojson"], 599, "", BOUNDS, resolution_m=2.0)
