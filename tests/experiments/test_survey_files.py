"""Files of a map lie where the survey does, and hold what was computed."""

import json
import zipfile
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pandas as pd
import pytest
import shapely
from PIL import Image

from radiodiff.data.surveys.samples import read_samples
from radiodiff.data.surveys.settings import SurveySettings
from radiodiff.errors import InputError
from radiodiff.experiments.survey_files import (
    SurveyMap,
    claim_directory,
    distance_trust,
    write_geotiff,
    write_kmz,
    write_survey_files,
)

LON, LAT = 7.75, 49.42
KML = "{http://www.opengis.net/kml/2.2}"


def make(tmp_path, kind, power=None, known=False):
    """A survey of 60 x 40 m, and a map that rises with the column and falls with the row."""
    generator = np.random.default_rng(0)
    east, north = generator.uniform(0, 60, 30), generator.uniform(0, 40, 30)
    east[:2], north[:2] = (0, 60), (0, 40)
    if kind == "degrees":
        x, y, crs = LON + east / 72_550, LAT + north / 111_220, None
    elif kind == "utm":
        x, y, crs = 409_400 + east, 5_475_200 + north, "EPSG:32632"
    else:
        x, y, crs = east, north, None
    path = tmp_path / "s.csv"
    value = -90 - east / 10
    rows = [f"{a:.8f},{b:.8f},{v:.2f}" for a, b, v in zip(x, y, value, strict=True)]
    header = "lon,lat,rssi" if kind == "degrees" else "x,y,rssi"
    path.write_text("\n".join([header, *rows]))
    samples = read_samples(path, SurveySettings(crs=crs, resolution_m=1))
    rows, columns = np.indices(samples.grid.shape)
    gain = -100.0 + 0.1 * columns - 0.2 * rows
    buildings = np.zeros(gain.shape, dtype=bool)
    buildings[10:20, 5:25] = True
    result = SurveyMap(
        gain_db=gain,
        outdoor_gain_db=gain + 1.0,
        std_db=np.full(gain.shape, 2.5),
        trust=columns / columns.max(),
        building_mask=buildings,
        transmitter=np.array([5.0, 50.0]),
        transmit_power_dbm=power,
        power_is_known=known,
    )
    return samples, result


def on_wgs84(x, y, samples):
    if samples.grid.crs is None:
        return x, y
    pyproj = pytest.importorskip("pyproj")
    return pyproj.Transformer.from_crs(samples.grid.crs, "EPSG:4326", always_xy=True).transform(
        x, y
    )


@pytest.mark.parametrize("kind", ["degrees", "utm", "metres"])
def test_the_geotiff_lies_where_the_samples_do(tmp_path, kind):
    rasterio = pytest.importorskip("rasterio")
    samples, result = make(tmp_path, kind)
    assert write_geotiff(tmp_path / "map.tif", samples.grid, result)
    with rasterio.open(tmp_path / "map.tif") as file:
        expected = {"degrees": "EPSG:4326", "utm": "EPSG:32632", "metres": None}[kind]
        assert (file.crs and file.crs.to_string()) == expected
        assert file.tags(ns="IMAGE_STRUCTURE")["LAYOUT"] == "COG"
        assert [d.split(":")[0] for d in file.descriptions] == [
            "outdoor path gain in dB",
            "mean path gain in dB",
            "standard deviation in dB",
            "trust",
        ]
        np.testing.assert_allclose(file.read(2), result.gain_db, rtol=1e-6)
        pixels = np.rint(samples.grid.to_pixels(*samples.position.T)).astype(int)
        for (x, y), pixel in zip(samples.position, pixels, strict=True):
            assert file.index(x, y) == tuple(pixel)


@pytest.mark.parametrize(("power", "known"), [(23.0, True), (30.0, False), (None, False)])
def test_received_power_is_written_beside_the_gain(tmp_path, power, known):
    _, result = make(tmp_path, "metres", power, known)
    layers = result.layers()
    assert ("received_dbm" in layers) == (power is not None)
    if power is not None:
        np.testing.assert_allclose(layers["received_dbm"][1], result.gain_db + power)
        np.testing.assert_allclose(layers["outdoor_received_dbm"][1], result.gain_db + 1 + power)
    taken = "taking 30 dBm as transmit power" in layers["gain_db"][0]
    assert taken == (power == 30.0)


@pytest.mark.parametrize("kind", ["degrees", "utm"])
def test_the_overlay_covers_the_samples_and_fades(tmp_path, kind):
    pytest.importorskip("simplekml")
    samples, result = make(tmp_path, kind, power=23.0)
    assert write_kmz(tmp_path / "map.kmz", samples.grid, result)
    assert {file.name for file in tmp_path.iterdir()} == {"s.csv", "map.kmz"}
    with zipfile.ZipFile(tmp_path / "map.kmz") as archive:
        (document,) = [n for n in archive.namelist() if n.endswith(".kml")]
        root = ElementTree.fromstring(archive.read(document))
        (overlay,) = root.iter(f"{KML}GroundOverlay")
        href = overlay.find(f"{KML}Icon/{KML}href").text
        with archive.open(href) as stream:
            picture = np.asarray(Image.open(stream)).copy()
    box = {e.tag.removeprefix(KML): float(e.text) for e in overlay.find(f"{KML}LatLonBox")}
    lon, lat = on_wgs84(*samples.position.T, samples)
    assert box["west"] <= lon.min() < lon.max() <= box["east"]
    assert box["south"] <= lat.min() < lat.max() <= box["north"]
    assert (box["east"] - box["west"]) * 72_550 == pytest.approx(61, abs=2)
    assert picture.shape == (*samples.grid.shape, 4)
    assert picture[20, 5, 3] < picture[20, 50, 3]  # trust rises to the east
    mark = next(root.iter(f"{KML}Placemark")).find(f"{KML}Point/{KML}coordinates").text
    place = samples.grid.to_survey(result.transmitter)
    np.testing.assert_allclose(
        [float(v) for v in mark.split(",")[:2]], on_wgs84(*place, samples), atol=1e-7
    )


def test_an_overlay_that_fails_leaves_nothing_behind(tmp_path, monkeypatch):
    simplekml = pytest.importorskip("simplekml")
    samples, result = make(tmp_path, "degrees", power=23.0)

    def stop(kml, path):
        Path(path).write_bytes(b"half")
        raise KeyboardInterrupt

    monkeypatch.setattr(simplekml.Kml, "savekmz", stop)
    with pytest.raises(KeyboardInterrupt):
        write_kmz(tmp_path / "map.kmz", samples.grid, result)
    assert {file.name for file in tmp_path.iterdir()} == {"s.csv"}


@pytest.mark.parametrize("kind", ["degrees", "utm", "metres"])
def test_all_files_are_written(tmp_path, kind):
    pytest.importorskip("rasterio")
    samples, result = make(tmp_path, kind, power=23.0, known=True)
    directory = tmp_path / "run"
    directory.mkdir()
    notes = write_survey_files(directory, samples, result)
    names = {file.name for file in directory.iterdir()}
    expected = {"map.tif", "map.kmz", "map.csv", "map.png", "samples.geojson", "buildings.geojson"}
    if kind == "metres":
        expected -= {"map.kmz"}
        assert "map.kmz is left out" in notes[0]
    assert names == expected
    # GeoJSON: longitude and latitude, or a word about what the numbers are.
    content = json.loads((directory / "samples.geojson").read_text())
    assert ("coordinate_system" in content) == (kind == "metres")
    found = np.array([f["geometry"]["coordinates"] for f in content["features"]])
    np.testing.assert_allclose(
        found, np.stack(on_wgs84(*samples.position.T, samples), 1), atol=1e-7
    )
    (outline,) = json.loads((directory / "buildings.geojson").read_text())["features"]
    assert outline["properties"] == {"building": "yes", "area_m2": 200.0}
    corner = samples.grid.to_survey(np.array([[9.5, 4.5], [19.5, 24.5]]))
    bounds = np.sort(np.stack(on_wgs84(*corner.T, samples), 1), axis=0)
    shape = shapely.geometry.shape(outline["geometry"])
    np.testing.assert_allclose(shape.bounds, bounds.ravel(), atol=1e-4 if kind != "metres" else 1)
    # The grid as a table.
    table = pd.read_csv(directory / "map.csv")
    assert len(table) == result.gain_db.size
    assert ("longitude" in table) == (kind == "utm")
    pixels = samples.grid.to_pixels(table["x"].to_numpy(), table["y"].to_numpy())
    row, column = np.rint(pixels).astype(int).T
    np.testing.assert_allclose(table["gain_db"], result.gain_db[row, column], atol=1e-3)
    assert Image.open(directory / "map.png").size[0] > 500


def test_without_the_extra_packages_the_others_are_written(tmp_path, monkeypatch):
    samples, result = make(tmp_path, "degrees")
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    notes = write_survey_files(tmp_path, samples, result)
    assert [note.split()[0] for note in notes] == ["map.tif", "map.kmz"]
    assert all("radiodiff[geo]" in note for note in notes)
    assert (tmp_path / "map.csv").is_file()


def test_trust_falls_with_the_distance(tmp_path):
    samples, _ = make(tmp_path, "metres")
    trust = distance_trust(samples.grid, np.array([[0.0, 20.0, 40.0]]), 5.0)
    np.testing.assert_allclose(trust, [[1.0, 0.5, 0.2]])


def test_a_result_of_another_survey_is_not_overwritten(tmp_path):
    first, second = tmp_path / "a.csv", tmp_path / "b.csv"
    first.write_text("x,y,rssi\n1,2,-80\n")
    second.write_text("x,y,rssi\n1,2,-90\n")
    run = tmp_path / "run"
    sources = claim_directory(run, {"measurements": first, "buildings": None})
    assert sources["measurements"]["path"] == str(first)
    assert len(sources["measurements"]["sha256"]) == 64
    assert claim_directory(run, {"measurements": first}) == sources
    with pytest.raises(InputError, match=r"another survey \(measurements: .*a.csv, now .*b.csv"):
        claim_directory(run, {"measurements": second})
    with pytest.raises(InputError, match=r"another survey \(buildings: none"):
        claim_directory(run, {"measurements": first, "buildings": second})
    copy = tmp_path / "copy.csv"
    copy.write_bytes(first.read_bytes())
    claim_directory(run, {"measurements": copy})
