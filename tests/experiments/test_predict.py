"""A custom city: where its maps lie, and what antennas, power and carrier do to them."""

import importlib.util
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import shapely
from PIL import Image

from radiodiff.commands import main as command
from radiodiff.data.geodesy import metres_per_degree
from radiodiff.errors import InputError
from radiodiff.experiments.predict import predict_city, run_predict
from radiodiff.experiments.predict_settings import PredictCitiesConfig, PredictConfig
from radiodiff.simulate import dominant_path
from radiodiff.simulate.antennas import antenna_gain
from radiodiff.simulate.dominant_path import Layout
from radiodiff.simulate.path_loss_model import constants

WEST, NORTH = 12.5, 48.1
X_SCALE, Y_SCALE = metres_per_degree(NORTH)
BLOCKS = [shapely.box(20, 20, 60, 50), shapely.box(80, 30, 110, 90), shapely.box(30, 70, 60, 100)]
"""Metres east and south of the north-western corner."""


def degrees(x: float, y: float) -> tuple[float, float]:
    return WEST + x / X_SCALE, NORTH - y / Y_SCALE


@pytest.fixture
def city(tmp_path: Path) -> Path:
    features = [
        {
            "type": "Feature",
            "properties": {"building": "yes"},
            "geometry": {
                "type": "Polygon",
                "coordinates": [[list(degrees(*p)) for p in block.exterior.coords]],
            },
        }
        for block in BLOCKS
    ]
    path = tmp_path / "city.geojson"
    path.write_text(json.dumps({"type": "FeatureCollection", "features": features}))
    return path


def config_of(city: Path, **changes: object) -> PredictConfig:
    corners = (*degrees(0, 128), *degrees(128, 0))
    values = {"output": city.parent / "out", "city": city, "bounds": corners}
    values |= {"transmitters": [degrees(70.5, 60.5)], "resolution_m": 1.0, "threads": 1}
    return PredictConfig.model_validate(values | changes)


def test_power_antenna_and_carrier_add_up(city):
    plain = predict_city(config_of(city))
    np.testing.assert_array_equal(plain.pixels, [[60, 70]])
    assert plain.building_mask[35, 40]
    assert np.isnan(plain.received_dbm[0][plain.building_mask]).all()
    # In line of sight: 23 dBm minus the loss of the model at that distance.
    loss = constants().path_loss_model.line_of_sight_loss(np.array([35.0]))
    assert plain.received_dbm[0, 95, 70] == pytest.approx(23.0 - loss[0], abs=0.1)
    other = predict_city(config_of(city, transmit_power_dbm=33.0, frequency_ghz=11.8))
    difference = (other.received_dbm - plain.received_dbm)[0][~plain.building_mask]
    np.testing.assert_allclose(difference, 10.0 - 20.0 * np.log10(2.0), atol=1e-3)


def test_an_antenna_points_where_it_is_told_to(city, tmp_path):
    pattern = tmp_path / "pattern.csv"
    pattern.write_text("azimuth,dB\n0,0\n90,-10\n180,-20\n270,-10\n")
    plain = predict_city(config_of(city)).received_dbm[0]
    east = predict_city(config_of(city, antenna=str(pattern), azimuths_degree=[90.0]))
    difference = east.received_dbm[0] - plain
    assert difference[60, 76] == pytest.approx(0.0, abs=1e-3)  # straight east
    assert difference[40, 70] == pytest.approx(-10.0, abs=1e-3)  # north
    assert difference[60, 20] == pytest.approx(-20.0, abs=1e-3)  # west
    # Behind the eastern block: its path leaves around a corner, not straight through the wall.
    assert difference[60, 120] < -1.0


def test_pixels_of_two_metres_agree_with_those_of_one(city):
    fine = predict_city(config_of(city))
    coarse = predict_city(config_of(city, resolution_m=2.0))
    assert coarse.grid.shape == (64, 64)
    blocks = fine.received_dbm[0].reshape(64, 2, 64, 2)
    same = np.abs(coarse.received_dbm[0] - blocks.mean(axis=(1, 3)))
    assert np.nanmedian(same) < 0.3
    assert np.nanquantile(same, 0.9) < 3.0
    np.testing.assert_allclose(
        np.subtract(coarse.grid.origin, fine.grid.origin),
        [0.5 / X_SCALE, -0.5 / Y_SCALE],
        rtol=1e-3,
    )


def test_the_best_server_is_the_strongest(city):
    places = [degrees(70.5, 60.5), degrees(10.5, 10.5)]
    maps = predict_city(config_of(city, transmitters=places))
    assert maps.best_server[61, 71] == 1
    assert maps.best_server[11, 11] == 2
    np.testing.assert_array_equal(maps.best_dbm, np.fmax(*maps.received_dbm))
    covered = maps.covered(-70.0)
    np.testing.assert_array_equal(covered[11, 11], 1.0)
    assert np.isnan(covered[maps.building_mask]).all()


def test_the_command_writes_maps_that_lie_where_the_city_is(city, tmp_path, monkeypatch):
    words = ["radiodiff", "predict", "--city", str(city), "--out", str(tmp_path / "out")]
    words += [
        "--tx",
        "{},{}".format(*degrees(70.5, 60.5)),
        "--tx={},{}".format(*degrees(10.5, 10.5)),
    ]
    corners = [*degrees(0, 128), *degrees(128, 0)]
    monkeypatch.setattr(sys, "argv", [*words, f"bounds={json.dumps(corners)}", "--resolution", "4"])
    with pytest.raises(SystemExit) as status:
        command.main()
    assert status.value.code == 0
    summary = json.loads((tmp_path / "out" / "summary.json").read_text())
    assert summary["shape"] == [32, 32]
    assert 0.0 < summary["covered_share_outdoors"] <= 1.0
    assert (tmp_path / "out" / "maps.png").is_file()
    if importlib.util.find_spec("rasterio") is not None:
        import rasterio

        with rasterio.open(tmp_path / "out" / "maps.tif") as file:
            np.testing.assert_allclose(file.bounds, corners, atol=1e-7)
            assert file.count == 5
            row, column = file.index(*degrees(40, 35))
            assert np.isnan(file.read(1)[row, column])  # inside the first block


def test_many_cities_on_dask_are_each_mapped_once(city, tmp_path, monkeypatch, capsys):
    distributed = pytest.importorskip("distributed")
    alone = config_of(city, resolution_m=4.0, output=tmp_path / "alone")
    run_predict(alone)
    one = alone.model_dump(mode="json", exclude={"output"})
    other = one | {"transmitters": [degrees(10.5, 10.5)]}
    broken = one | {"transmitters": [degrees(40, 35)]}
    with distributed.LocalCluster(
        n_workers=1, threads_per_worker=1, processes=False, dashboard_address=None
    ) as cluster:
        executor = {"kind": "dask", "address": cluster.scheduler_address}
        values = {"output": str(tmp_path / "cities"), "executor": executor}
        path = tmp_path / "cities.yaml"

        def predict(**cities):
            path.write_text(json.dumps(values | {"cities": cities}))
            monkeypatch.setattr(sys, "argv", ["radiodiff", "predict", "--config", str(path)])
            with pytest.raises(SystemExit) as status:
                command.main()
            return status.value.code, capsys.readouterr()

        assert predict(here=one, there=broken)[0] == 2
        assert not (tmp_path / "cities" / "there").exists()
        written = (tmp_path / "cities" / "here" / "summary.json").stat().st_mtime_ns
        code, shown = predict(here=one, there=other)
    assert code == 0
    assert "1 of 2 cities were missing" in shown.out
    assert (tmp_path / "cities" / "here" / "summary.json").stat().st_mtime_ns == written
    assert (tmp_path / "cities" / "there" / "maps.png").is_file()
    maps = tmp_path / "cities" / "here" / "maps.png"
    assert maps.read_bytes() == (tmp_path / "alone" / "maps.png").read_bytes()


def test_a_city_is_the_name_of_a_folder(city):
    one = config_of(city).model_dump(exclude={"output"})
    for name in ("a/b", "..", ""):
        with pytest.raises(ValueError, match="cannot be the name of a folder"):
            PredictCitiesConfig.model_validate({"output": "out", "cities": {name: one}})


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"transmitters": [degrees(40, 35)]}, r"inside a building; the nearest place outdoors is"),
        ({"transmitters": [(48.1, 12.5)]}, r"outside of the area, .*longitude comes first"),
        (
            {"resolution_m": 0.5, "bounds": (12.5, 48.0, 12.6, 48.1)},
            r"at most 16000000 are allowed",
        ),
        ({"antenna": "nowhere.csv"}, r"antenna 'nowhere.csv': expected isotropic, 3gpp or a CSV"),
    ],
)
def test_wrong_input_is_named(city, changes, words):
    with pytest.raises(InputError, match=words):
        predict_city(config_of(city, **changes))


def test_a_mask_has_no_place_on_earth(tmp_path):
    Image.fromarray(np.zeros((8, 8), dtype=np.uint8)).save(tmp_path / "city.png")
    with pytest.raises(InputError, match=r"city\.png: a PNG has no longitudes and latitudes"):
        predict_city(config_of(tmp_path / "city.png"))


def test_the_pattern_of_3gpp():
    # TR 38.901, Table 7.3-1: 8 dBi, 3 dB less at half the beam width, at most 30 dB less.
    gain = antenna_gain("3gpp", np.array([0.0, 32.5, -32.5, 180.0, 360.0]))
    np.testing.assert_allclose(gain, [8.0, 5.0, 5.0, -22.0, 8.0])


def test_links_within_reach_are_all_there_are_if_it_spans_the_map():
    blocks = [shapely.box(20, 20, 60, 50), shapely.box(80, 30, 110, 90)]
    whole = Layout.from_polygons(blocks, (128, 128))
    bounded = Layout.from_polygons(blocks, (128, 128), reach_m=128.0, threads=2)
    gain = whole.path_gain((60, 70))
    np.testing.assert_array_equal(bounded.path_gain((60, 70)), gain)
    np.testing.assert_array_equal(dominant_path.path_gain(whole.building_mask, (60, 70)), gain)
    near = Layout.from_polygons(blocks, (128, 128), reach_m=20.0)
    assert (near.path_gain((60, 70)) <= gain).all()
    assert (near.path_gain((60, 70)) < gain).any()


def test_a_map_without_a_network_waits_for_no_network_s_libraries() -> None:
    code = (
        "import sys, radiodiff.experiments.predict; "
        "print([name for name in ('torch', 'pandas', 'diffusers') if name in sys.modules])"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"
