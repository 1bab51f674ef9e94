import numpy as np
import pytest
import shapely

from radiodiff.data.polygons import rasterise
from radiodiff.data.prompts import Scene, build_prompt
from radiodiff.errors import InputError
from radiodiff.simulate import prompt
from radiodiff.simulate.dominant_path import Layout
from radiodiff.units import db_to_level, gray_to_model, level_to_gray

POLYGONS = (shapely.box(8, 10, 20, 24), shapely.Polygon([(26, 6), (37, 9), (34, 30), (28, 28)]))
MASK = rasterise(POLYGONS, (40, 48))
TRANSMITTER = (5, 3)


@pytest.fixture
def vehicles():
    mask = np.zeros_like(MASK)
    mask[30:34, 5:20] = True
    return mask


def channel_of(gain_db):
    return gray_to_model(level_to_gray(db_to_level(gain_db)))


def test_the_channel_is_the_engines_map(vehicles):
    for cars in (None, vehicles):
        channel = build_prompt(["path_loss_model"], MASK, TRANSMITTER, cars)[0].numpy()
        expected = channel_of(Layout.from_mask(MASK).path_gain(TRANSMITTER, cars))
        assert np.array_equal(channel, expected)
        assert (channel[MASK] == -1).all()
        assert channel[TRANSMITTER] == channel.max()
    static = build_prompt(["path_loss_model"], MASK, TRANSMITTER)[0].numpy()
    assert (static != channel).any()


def test_polygons_that_are_known_are_taken():
    layout = Layout.from_polygons(POLYGONS, MASK.shape)
    scene = Scene(MASK, TRANSMITTER, polygons=POLYGONS)
    assert np.array_equal(prompt.path_loss_model(scene), channel_of(layout.path_gain(TRANSMITTER)))


def test_a_channel_is_computed_once(tmp_path, monkeypatch, vehicles):
    scenes = [
        Scene(MASK, TRANSMITTER, cache=tmp_path / "cache"),
        Scene(MASK, (6, 3), cache=tmp_path / "cache"),
        Scene(MASK, TRANSMITTER, vehicles, cache=tmp_path / "cache"),
        Scene(MASK, TRANSMITTER, polygons=POLYGONS, cache=tmp_path / "cache"),
        Scene(MASK[::-1], TRANSMITTER, cache=tmp_path / "cache"),
    ]
    computed = [prompt.path_loss_model(scene) for scene in scenes]
    assert len(list((tmp_path / "cache").iterdir())) == len(scenes)

    def engine(*arguments):
        raise AssertionError("computed a second time")

    monkeypatch.setattr(prompt, "path_gain", engine)
    for scene, channel in zip(scenes, computed, strict=True):
        assert np.array_equal(prompt.path_loss_model(scene), channel)
    with pytest.raises(AssertionError, match="second time"):
        prompt.path_loss_model(Scene(MASK, (7, 3), cache=tmp_path / "cache"))


def test_other_pixels_than_of_a_metre_are_refused():
    with pytest.raises(InputError, match=r"resolution_m: found 2.0, .*path_loss_model"):
        build_prompt(["path_loss_model"], MASK, TRANSMITTER, resolution_m=2.0)
