"""Known buildings come onto the grid of the survey from whatever system they are in."""

import json

import numpy as np
import pytest
import shapely
from PIL import Image
from shapely.geometry import box, mapping

from radiodiff.data.surveys.samples import read_samples
from radiodiff.data.surveys.settings import SurveySettings
from radiodiff.errors import InputError
from radiodiff.experiments.survey_buildings import check_samples_outside, read_buildings

pyproj = pytest.importorskip("pyproj")
TO_UTM = pyproj.Transformer.from_crs("EPSG:4326", "EPSG:32632", always_xy=True).transform
TO_DEGREES = pyproj.Transformer.from_crs("EPSG:32632", "EPSG:4326", always_xy=True).transform
X, Y = 409_400.0, 5_475_200.0
HOUSES = [box(X + 10, Y + 10, X + 40, Y + 30), box(X + 60, Y + 50, X + 80, Y + 70)]


def survey(path, system, inside=0):
    """Samples on the rim of 100 x 80 m, and some inside of the first house."""
    generator = np.random.default_rng(0)
    x = np.concatenate([X + generator.uniform(0, 100, 20), np.full(inside, X + 20)])
    y = np.concatenate([Y + np.repeat([0.0, 80.0], 10), np.full(inside, Y + 15)])
    x[:2] = X, X + 100
    if system == "degrees":
        x, y = TO_DEGREES(x, y)
    if system == "local":
        x, y = x - X, y - Y
    rows = [f"{a:.8f},{b:.8f},-90" for a, b in zip(x, y, strict=True)]
    path.write_text("\n".join(["x,y,rssi", *rows]))
    crs = "EPSG:32632" if system == "utm" else None
    coordinates = "degrees" if system == "degrees" else "metres"
    return read_samples(path, SurveySettings(crs=crs, coordinates=coordinates, resolution_m=1))


def write(path, shapes, system, crs=None):
    def convert(x, y):
        return TO_DEGREES(x, y) if system == "degrees" else (x - X, y - Y)

    if system != "utm":
        shapes = [shapely.transform(s, lambda p: np.stack(convert(*p.T), 1)) for s in shapes]
    features = [
        {"type": "Feature", "geometry": mapping(s), "properties": {"building": "yes"}}
        for s in shapes
    ]
    content = {"type": "FeatureCollection", "features": features}
    if crs is not None:
        content["crs"] = {"type": "name", "properties": {"name": crs}}
    path.write_text(json.dumps(content))
    return path


@pytest.mark.parametrize(
    ("of_survey", "of_buildings", "crs"),
    [
        ("degrees", "degrees", None),
        ("utm", "degrees", None),
        ("utm", "utm", None),
        ("utm", "utm", "urn:ogc:def:crs:EPSG::32632"),
        ("degrees", "utm", "urn:ogc:def:crs:EPSG::32632"),
        ("local", "local", None),
    ],
)
def test_buildings_are_put_where_they_are(tmp_path, of_survey, of_buildings, crs):
    samples = survey(tmp_path / "s.csv", of_survey)
    path = write(tmp_path / "b.geojson", HOUSES, of_buildings, crs)
    mask, notes = read_buildings(path, samples.grid)
    assert not notes
    assert mask.sum() == pytest.approx(1000, abs=60)
    row, column = np.argwhere(mask).mean(axis=0)
    x, y = samples.grid.to_survey(np.array([row, column]))
    if of_survey == "degrees":
        x, y = TO_UTM(x, y)
    if of_survey == "local":
        x, y = x + X, y + Y
    assert (x, y) == pytest.approx((X + 43, Y + 36), abs=1)  # 600 m2 at (25, 20), 400 at (70, 60)


@pytest.mark.parametrize(
    ("of_survey", "of_buildings", "crs", "message"),
    [
        ("local", "degrees", None, r"in degrees, the survey is in metres.*survey.crs"),
        ("local", "utm", "EPSG:32632", r"in EPSG:32632, the survey is in metres"),
        ("degrees", "utm", None, "no longitudes and latitudes, and the file names no"),
    ],
)
def test_systems_that_are_not_known_are_asked_for(tmp_path, of_survey, of_buildings, crs, message):
    samples = survey(tmp_path / "s.csv", of_survey)
    with pytest.raises(InputError, match=message):
        read_buildings(write(tmp_path / "b.geojson", HOUSES, of_buildings, crs), samples.grid)


def test_the_zone_of_a_survey_that_looks_like_utm_is_found(tmp_path):
    named = survey(tmp_path / "s.csv", "utm")
    unnamed = read_samples(tmp_path / "s.csv", SurveySettings(resolution_m=1))
    path = write(tmp_path / "b.geojson", HOUSES, "degrees")
    mask, notes = read_buildings(path, unnamed.grid)
    assert (mask == read_buildings(path, named.grid)[0]).all()
    assert notes == ["the survey is taken to be in EPSG:32632; name it with survey.crs"]
    elsewhere = [box(X + 5000, Y, X + 5050, Y + 50)]
    with pytest.raises(InputError, match=r"metres of no named system.*survey.crs"):
        read_buildings(write(tmp_path / "c.geojson", elsewhere, "degrees"), unnamed.grid)


def test_buildings_elsewhere_and_none_at_all_are_refused(tmp_path):
    samples = survey(tmp_path / "s.csv", "utm")
    elsewhere = [box(X + 5000, Y, X + 5050, Y + 50)]
    with pytest.raises(InputError, match="no building lies on the survey's grid"):
        read_buildings(write(tmp_path / "b.geojson", elsewhere, "degrees"), samples.grid)
    with pytest.raises(InputError, match="holds no feature"):
        read_buildings(write(tmp_path / "b.geojson", [], "degrees"), samples.grid)


def test_samples_inside_of_buildings_are_said_and_most_are_refused(tmp_path):
    path = write(tmp_path / "b.geojson", HOUSES, "utm")
    for inside, said in ((0, []), (5, ["5 of 25 samples (20 %) lie inside"]), (30, None)):
        samples = survey(tmp_path / "s.csv", "utm", inside)
        mask, _ = read_buildings(path, samples.grid)
        if said is None:
            with pytest.raises(InputError, match="30 of 50 samples lie inside"):
                check_samples_outside(path, mask, samples)
            continue
        notes = check_samples_outside(path, mask, samples)
        assert [note[:33] for note in notes] == [line[:33] for line in said]


def test_a_building_as_large_as_the_map_is_refused(tmp_path):
    samples = survey(tmp_path / "s.csv", "utm")
    mask = np.ones(samples.grid.shape, dtype=bool)
    mask[:1] = mask[-1:] = False
    with pytest.raises(InputError, match="cover 98 % of the map"):
        check_samples_outside(tmp_path / "b.geojson", mask, samples)


def test_a_mask_is_on_the_grid(tmp_path):
    samples = survey(tmp_path / "s.csv", "local")
    mask = np.zeros(samples.grid.shape, dtype=np.uint8)
    mask[5:9, 7:20] = 255
    Image.fromarray(mask).save(tmp_path / "b.png")
    found, _ = read_buildings(tmp_path / "b.png", samples.grid)
    assert (found == (mask > 0)).all()
