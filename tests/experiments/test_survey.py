import json
import shutil

import numpy as np
import pytest
from PIL import Image

from radiodiff.data.surveys.samples import read_samples
from radiodiff.data.surveys.settings import SurveySettings
from radiodiff.errors import InputError
from radiodiff.experiments.survey import reconstruct_survey
from radiodiff.experiments.survey_buildings import read_buildings
from radiodiff.experiments.survey_files import write_outlines
from radiodiff.experiments.survey_groups import survey_configs
from radiodiff.experiments.survey_settings import SurveyConfig
from radiodiff.units import gray_to_db, level_to_gray


def write_csv(path, gain_db, mask, header="x,y,gain_db"):
    lines = [f"{c},{r},{gain_db[r, c]}" for r, c in np.argwhere(mask)]
    path.write_text("\n".join([header, *lines]) + "\n")
    return path


@pytest.fixture(scope="module")
def truth(tree):
    image = np.asarray(Image.open(tree / "gain" / "DPM" / "1_0.png"))
    return gray_to_db(level_to_gray(image).astype(float))


def config(prior, output, **changes):
    return SurveyConfig.model_validate(
        {
            "method": "prior",
            "prior": prior,
            "output": output,
            "survey": {"y_axis": "south", "noise_std_db": 0.05, "resolution_m": 1},
            "num_particles": 2,
            "num_inference_steps": 4,
            "tile_overlap": 8,
            **changes,
        }
    )


def test_a_map_surveyed_everywhere_comes_back(prior_directory, truth, tmp_path):
    path = write_csv(tmp_path / "s.csv", truth, np.ones_like(truth, dtype=bool))
    report = reconstruct_survey(path, config(prior_directory, tmp_path / "run"))
    with np.load(tmp_path / "run" / "map.npz") as arrays:
        assert np.abs(arrays["gain_db"] - truth).max() < 1.0
        assert np.array_equal(arrays["building_mask"], truth == -147)
        assert (arrays["gain_db_q05"] <= arrays["gain_db_q95"]).all()
    assert report["transmitter"]["x_y"] == pytest.approx([9, 16], abs=0.3)
    assert report["truncation_floor_db"] == pytest.approx(-147, abs=1)
    written = {file.name for file in (tmp_path / "run").iterdir()}
    assert {"config.yaml", "map.png", "map.npz", "buildings.geojson", "report.json"} <= written
    assert not [name for name in written if "partial" in name]
    assert Image.open(tmp_path / "run" / "map.png").size[0] > 500
    outlines = json.loads((tmp_path / "run" / "buildings.geojson").read_text())["features"]
    assert sum(f["properties"]["area_m2"] for f in outlines) == pytest.approx(
        (truth == -147).sum(), rel=0.1
    )


def test_areas_larger_than_the_prior_are_tiled(prior_directory, tmp_path):
    rows, columns = np.indices((50, 70))
    gain = -60.0 - 0.2 * rows - 0.3 * columns
    path = write_csv(tmp_path / "s.csv", gain, np.ones_like(gain, dtype=bool))
    report = reconstruct_survey(path, config(prior_directory, tmp_path / "run"))
    assert report["shape"] == [50, 70]
    with np.load(tmp_path / "run" / "map.npz") as arrays:
        assert np.abs(arrays["gain_db"] - gain).max() < 1.0


def test_known_buildings_are_kept(prior_directory, truth, tmp_path):
    buildings = truth == -147
    Image.fromarray(buildings.astype(np.uint8) * 255).save(tmp_path / "b.png")
    path = write_csv(tmp_path / "s.csv", truth, np.indices(truth.shape).sum(axis=0) % 3 == 0)
    settings = {
        "y_axis": "south",
        "noise_std_db": 1,
        "resolution_m": 1,
        "origin": (0, 0),
        "shape": truth.shape,
    }
    reconstruct_survey(
        path,
        config(prior_directory, tmp_path / "run", buildings=tmp_path / "b.png", survey=settings),
    )
    with np.load(tmp_path / "run" / "map.npz") as arrays:
        assert np.array_equal(arrays["building_mask"], buildings)
        assert np.allclose(arrays["gain_db"][buildings], -147)


def test_outlines_are_buildings_of_the_next_survey(tmp_path):
    path = tmp_path / "s.csv"
    path.write_text("x,y,gain_db\n8.0,50.0,-80\n8.001,50.001,-90\n")
    grid = read_samples(path, SurveySettings(coordinates="degrees", resolution_m=1)).grid
    mask = np.zeros(grid.shape, dtype=bool)
    mask[20:50, 10:40] = True
    write_outlines(tmp_path / "b.geojson", mask, grid)
    found, _ = read_buildings(tmp_path / "b.geojson", grid)
    assert (found ^ mask).sum() <= 120  # at most the pixels of the rim
    assert json.loads((tmp_path / "b.geojson").read_text())["features"][0]["properties"] == {
        "building": "yes",
        "area_m2": 900.0,
    }


def test_geotiff_lies_where_the_grid_does(prior_directory, truth, tmp_path):
    rasterio = pytest.importorskip("rasterio")
    path = write_csv(tmp_path / "s.csv", truth, np.ones_like(truth, dtype=bool))
    reconstruct_survey(path, config(prior_directory, tmp_path / "run"))
    with rasterio.open(tmp_path / "run" / "map.tif") as file:
        assert file.index(9, 16) == (16, 9)
        assert np.abs(file.read(2) - truth).max() < 1.0


def test_the_report_says_what_was_read_and_left_out(prior_directory, truth, tmp_path, capsys):
    path = write_csv(tmp_path / "s.csv", truth, np.ones_like(truth, dtype=bool))
    with path.open("a") as file:
        file.write("3,4,-200\n5,6,\n")
    report = reconstruct_survey(path, config(prior_directory, tmp_path / "run"))
    assert report["dropped"] == {"value -200": 1, "no value": 1}
    assert report["rows"] == truth.size + 2
    assert report["source"]["measurements"]["path"] == str(path)
    assert "note: left out 1 row: value -200" in capsys.readouterr().out
    # The same survey goes on, another one is refused and leaves the result as it is.
    reconstruct_survey(path, config(prior_directory, tmp_path / "run"))
    other = write_csv(tmp_path / "other.csv", truth, np.eye(*truth.shape, dtype=bool))
    before = (tmp_path / "run" / "report.json").read_bytes()
    with pytest.raises(InputError, match=r"result of another survey.*s\.csv, now .*other\.csv"):
        reconstruct_survey(other, config(prior_directory, tmp_path / "run"))
    assert (tmp_path / "run" / "report.json").read_bytes() == before


def test_one_map_is_made_of_each_transmitter(prior_directory, tmp_path, capsys):
    rows = [f"{n},{n * n % 7},{-90 - n},gw:{n % 2}" for n in range(20)]
    path = tmp_path / "s.csv"
    path.write_text("\n".join(["x,y,gain_db,gateway", *rows, "1,1,-80,rare"]))
    settings = {"group_by": "gateway", "resolution_m": 1}
    whole = config(prior_directory, tmp_path / "run", survey=settings)
    configs = survey_configs(path, whole)
    assert [c.output.name for c in configs] == ["gateway_gw_0", "gateway_gw_1"]
    assert [c.survey.where for c in configs] == [{"gateway": "gw:0"}, {"gateway": "gw:1"}]
    assert "no map is made of 1 values" in capsys.readouterr().out
    assert survey_configs(path, configs[0]) == [configs[0]]
    report = reconstruct_survey(path, configs[1])
    assert report["samples"] == 10
    assert (tmp_path / "run" / "gateway_gw_1" / "map.png").is_file()


def write_survey(path, xy, values):
    rows = [f"{x:.2f},{y:.2f},{v:.1f}" for (x, y), v in zip(xy, values, strict=True)]
    path.write_text("\n".join(["x,y,value", *rows]) + "\n")
    return path


def field_config(output, **survey):
    settings = {"coordinates": "metres", "value": "received_dbm", **survey}
    return SurveyConfig.model_validate({"prior": "none", "output": output, "survey": settings})


@pytest.mark.parametrize("given", ["file", "share"])
def test_held_out_samples_score_the_field(given, tmp_path):
    rng = np.random.default_rng(0)
    xy = rng.uniform(0, 200, (300, 2))
    values = -20 - 30 * np.log10(np.linalg.norm(xy - 90, axis=1) + 3) + rng.normal(0, 2, 300)
    if given == "file":
        train = write_survey(tmp_path / "train.csv", xy[:240], values[:240])
        held = write_survey(tmp_path / "held.csv", xy[240:], values[240:])
        report = reconstruct_survey(train, field_config(tmp_path / "run"), held)
        assert report["held_out"]["samples"] == 60
    else:
        train = write_survey(tmp_path / "train.csv", xy, values)
        report = reconstruct_survey(train, field_config(tmp_path / "run", held_out=0.2))
        assert report["samples"] + report["held_out"]["samples"] == 300
    table = np.genfromtxt(tmp_path / "run" / "held_out.csv", delimiter=",", names=True)
    assert table.dtype.names == ("x", "y", "value", "predicted", "std", "q05", "q95")
    error = table["predicted"] - table["value"]
    assert np.sqrt(np.mean(error**2)) == pytest.approx(report["held_out"]["rmse_db"], abs=1e-3)
    assert report["held_out"]["rmse_db"] < 3.2
    assert report["sample_noise_db"] == pytest.approx(2, rel=0.4)
    assert report["transmitter"]["x_y"] == pytest.approx([90, 90], abs=15)
    assert report["cross_validation"]["random"]["kriging_rmse_db"] > 1.5
    with np.load(tmp_path / "run" / "map.npz") as arrays:
        assert np.isfinite(arrays["gain_db"]).all()
        power = report["transmit_power_dbm"]
        assert arrays["gain_db"].max() + power < values.max() + 10


def test_a_prior_of_another_scale_is_refused(prior_directory, truth, tmp_path):
    path = write_csv(tmp_path / "s.csv", truth, np.ones_like(truth, dtype=bool))
    prior = tmp_path / "prior"
    shutil.copytree(prior_directory, prior)
    index = json.loads((prior / "model_index.json").read_text())
    index["gain_scale_db"] = [-160, -40]
    (prior / "model_index.json").write_text(json.dumps(index))
    with pytest.raises(InputError, match=r"prior: learned maps from -160 to -40 dB.*method=field"):
        reconstruct_survey(path, config(prior, tmp_path / "run"))
