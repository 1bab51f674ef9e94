"""Custom prompt channels: modules, further images of maps, heights of buildings."""

import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from radiodiff.config import load_config
from radiodiff.data.prompts import PROMPT_FEATURES, build_prompt
from radiodiff.data.radiomapseer import build_dataset
from radiodiff.data.settings import DataConfig
from radiodiff.errors import InputError
from radiodiff.training.settings import VAEExperiment

ROOT = Path(__file__).parents[2]
MODULE = """
from radiodiff.data.prompts import PROMPT_FEATURES
PROMPT_FEATURES["terrain_of_test"] = lambda scene: 2 * scene.extra["terrain"] - 1
"""


@pytest.fixture
def own_module(tmp_path, monkeypatch):
    (tmp_path / "channels_of_test.py").write_text(MODULE)
    monkeypatch.chdir(tmp_path)
    yield "channels_of_test"
    PROMPT_FEATURES.pop("terrain_of_test", None)


def test_a_module_adds_a_channel_that_reads_further_images(make_tree, own_module):
    root = make_tree()
    (root / "png" / "terrain").mkdir()
    terrain = np.random.default_rng(0).integers(0, 65535, (24, 32), dtype=np.uint16)
    for map_id in (3, 7, 12, 30):
        Image.fromarray(terrain).save(root / "png" / "terrain" / f"{map_id}.png")
    experiment = load_config(
        ROOT / "configs" / "smoke" / "vae.yaml",
        VAEExperiment,
        [
            f"imports=[{own_module}]",
            f"data.root={root}",
            "data.split=all",
            "data.extra={terrain: 'png/terrain/{map}.png'}",
            "data.prompt_features=[buildings, terrain_of_test]",
        ],
    )
    dataset = build_dataset(experiment.data, "test")
    np.testing.assert_allclose(dataset[0]["prompt"][1], 2 * (terrain / 65535) - 1, atol=1e-6)
    assert root / "png" / "terrain" / "3.png" in dataset.files(0)
    shutil.rmtree(root / "png" / "terrain")
    with pytest.raises(InputError, match=r"terrain/7\.png: this file is missing"):
        dataset[3]


def test_wrong_modules_and_places_are_one_line(tmp_path):
    with pytest.raises(InputError, match="imports: 'no_such_module' cannot be imported"):
        load_config(
            ROOT / "configs" / "smoke" / "vae.yaml", VAEExperiment, ["imports=[no_such_module]"]
        )
    with pytest.raises(ValueError, match=r"needs \{map\} in it"):
        DataConfig(root=tmp_path, extra={"terrain": "png/terrain.png"})


def test_images_of_heights_are_buildings_and_a_channel(make_tree):
    root = make_tree()
    plain = build_dataset(DataConfig(root=root, split="all", buildings="png"), "test")[0]
    mask = np.asarray(Image.open(root / "png/buildings_complete/3.png")) > 0
    heights = (mask * np.random.default_rng(0).integers(60, 200, mask.shape)).astype(np.uint8)
    Image.fromarray(heights).save(root / "png/buildings_complete/3.png")
    config = DataConfig(
        root=root,
        split="explicit",
        maps={"test": (3,)},
        building_heights=True,
        prompt_features=("buildings", "building_height"),
    )
    item = build_dataset(config, "test")[0]
    assert np.array_equal(item["buildings"][0], mask)
    np.testing.assert_allclose(item["prompt"][1], 2 * (heights / 255) - 1, atol=1e-6)
    assert plain["gain"].equal(item["gain"])
    with pytest.raises(InputError, match="no heights are known"):
        build_prompt(["building_height"], mask, tuple(np.argwhere(~mask)[0]))
