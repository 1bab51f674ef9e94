"""Maps of a city without true maps, from GeoJSON and from PNG."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from radiodiff.diffusion.decoupled import DecoupledScheduler
from radiodiff.diffusion.pipeline import RadioDiffPipeline
from radiodiff.errors import InputError
from radiodiff.experiments.city_maps import generate_city_maps
from radiodiff.experiments.settings import GenerateConfig
from radiodiff.models.denoiser import DecoupledUNet
from radiodiff.models.vae import build_vae


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    denoiser = DecoupledUNet(
        dim=8,
        dim_mults=(1, 2),
        prompt_encoder="convolutional",
        prompt_stride=2,
        window_sizes=(2, 1),
        filter_size=(4, 4),
    )
    vae = build_vae(widths=(8, 16), layers_per_block=1, norm_groups=4)
    path = tmp_path_factory.mktemp("model")
    RadioDiffPipeline(
        vae, denoiser, DecoupledScheduler(), gain_scale_db=(-160, -40)
    ).save_pretrained(path)
    return path


def configured(model: Path, output: Path, **city: object) -> GenerateConfig:
    return GenerateConfig.model_validate(
        {
            "output": output,
            "model": model,
            "city": city,
            "num_inference_steps": 1,
            "zero_buildings": True,
            "batch_size": 2,
            "dtype": "float32",
        }
    )


def test_a_png_becomes_maps_in_db(model: Path, tmp_path: Path) -> None:
    mask = np.zeros((35, 50), dtype=np.uint8)
    mask[5:12, 8:30] = 255
    Image.fromarray(mask).save(tmp_path / "city.png")
    spots = [[20, 20], [30, 45], [0, 0]]
    config = configured(
        model, tmp_path / "run", buildings=tmp_path / "city.png", transmitters=spots
    )
    maps = generate_city_maps(config)
    for number, spot in enumerate(spots):
        with np.load(maps / f"{number}.npz") as held:
            gray, gain_db = held["gray"], held["path_gain_db"]
            assert held["transmitter"].tolist() == spot
            assert np.array_equal(held["buildings"], mask > 0)
        assert gray.shape == mask.shape
        np.testing.assert_allclose(gain_db, -160 + 120 * gray, atol=1e-3)
        assert (gray[mask > 0] == 0).all()
        image = np.asarray(Image.open(maps / f"{number}.png"))
        assert np.abs(image / 65535 - gray).max() < 1e-4


def test_a_geojson_becomes_a_geotiff_in_its_place(model: Path, tmp_path: Path) -> None:
    rasterio = pytest.importorskip("rasterio")
    west, south, east, north = 8.4, 49.0, 8.401, 49.0005
    ring = [[8.4002, 49.0001], [8.4006, 49.0001], [8.4006, 49.0003], [8.4002, 49.0003]]
    feature = {
        "type": "Feature",
        "properties": {"building": "yes"},
        "geometry": {"type": "Polygon", "coordinates": [[*ring, ring[0]]]},
    }
    file = tmp_path / "city.geojson"
    file.write_text(json.dumps({"type": "FeatureCollection", "features": [feature]}))
    config = configured(
        model,
        tmp_path / "run",
        buildings=file,
        transmitters=[[2, 2]],
        bounds=[west, south, east, north],
    )
    maps = generate_city_maps(config)
    with rasterio.open(maps / "0.tif") as image:
        gain_db = image.read(1)
        assert image.crs.to_epsg() == 4326
        np.testing.assert_allclose(image.bounds, (west, south, east, north))
        row, column = image.index(8.4004, 49.0002)
    with np.load(maps / "0.npz") as held:
        assert held["buildings"][row, column]
        np.testing.assert_allclose(held["path_gain_db"], gain_db)
        assert gain_db[row, column] == gain_db.min()


@pytest.mark.parametrize(
    ("city", "words"),
    [
        ({"transmitters": [[6, 9]]}, "inside a building"),
        ({"transmitters": [[40, 9]]}, "outside the map"),
        ({"buildings": "none.png", "transmitters": [[0, 0]]}, "missing"),
    ],
)
def test_what_is_no_city_is_one_line(
    model: Path, tmp_path: Path, city: dict[str, object], words: str
) -> None:
    mask = np.zeros((35, 50), dtype=np.uint8)
    mask[5:12, 8:30] = 255
    Image.fromarray(mask).save(tmp_path / "city.png")
    config = configured(model, tmp_path / "run", **({"buildings": tmp_path / "city.png"} | city))
    with pytest.raises(InputError, match=words):
        generate_city_maps(config)
