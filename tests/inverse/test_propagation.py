"""The path-loss model in reconstructed maps, on scenes that keep it and that break it."""

import numpy as np
import pytest

from radiodiff.inverse.propagation import model_gain
from radiodiff.simulate.dominant_path import Layout
from radiodiff.simulate.procedural import procedural_city
from radiodiff.units import db_to_model

SIGMA = 0.05
SIDE = 128


class Scene:
    """A simulated map with measurements on 30 % of it, and a reconstruction with an error of its
    own."""

    def __init__(self) -> None:
        city = procedural_city(np.random.default_rng(4), SIDE)
        self.buildings = city.building_mask
        outdoors = np.argwhere(~self.buildings)
        middle = outdoors[np.abs(outdoors - SIDE // 2).sum(axis=1).argmin()]
        self.transmitter = (int(middle[0]), int(middle[1]))
        self.layout = Layout.from_mask(self.buildings)
        decibels, self.diffractions = self.layout.gain_and_diffractions(self.transmitter)
        self.gain = db_to_model(decibels.astype(np.float64))
        rng = np.random.default_rng(0)
        self.observed = rng.random(self.gain.shape) < 0.3
        self.noise = SIGMA * rng.normal(size=self.gain.shape)
        self.network = 0.02 * rng.normal(size=self.gain.shape)
        self.sigma = np.full(self.gain.shape, SIGMA)

    def path_loss_model(self, truth: np.ndarray, off=(1.4, -1.3), **changes):
        # Where there is no measurement, the values mean nothing.
        values = np.where(self.observed, truth + self.noise, np.nan)
        given = {"values": values, "observed": self.observed, "noise_std": self.sigma} | changes
        return model_gain(self.buildings, np.add(self.transmitter, off), **given)

    def rms(self, found: np.ndarray, truth: np.ndarray, where: np.ndarray | None = None) -> float:
        where = ~self.buildings if where is None else where
        return float(np.sqrt(np.mean((found - truth)[where] ** 2)))


@pytest.fixture(scope="module")
def scene() -> Scene:
    return Scene()


def test_the_path_loss_model_replaces_the_noise_where_the_map_keeps_it(scene):
    path_loss_model = scene.path_loss_model(scene.gain)
    seen = scene.diffractions == -1
    # In sight nothing is fitted but the transmitter's pixel, which was said to be another.
    np.testing.assert_allclose(path_loss_model.gain[seen], scene.gain[seen], atol=1e-6)
    assert path_loss_model.error_weight[~scene.buildings].mean() < 0.35
    assert (path_loss_model.error_weight[scene.buildings] == 1.0).all()
    found = path_loss_model.blend(scene.gain + scene.network)
    assert scene.rms(found, scene.gain) < 0.5 * scene.rms(scene.gain + scene.network, scene.gain)


def test_what_the_path_loss_model_misses_behind_a_corner_is_found_from_the_measurements(scene):
    numbers, sizes = np.unique(scene.diffractions[scene.diffractions >= 0], return_counts=True)
    behind = scene.diffractions == numbers[sizes.argmax()]
    truth = scene.gain + 0.06 * behind
    path_loss_model = scene.path_loss_model(truth)
    assert scene.rms(scene.gain, truth, behind) > 0.05
    assert scene.rms(path_loss_model.gain, truth, behind) < 0.01
    assert path_loss_model.error_weight[behind].mean() < 0.35


def test_the_reconstruction_stays_where_the_measurements_contradict_the_path_loss_model(scene):
    rows, cols = np.argwhere((scene.diffractions == -1) & (scene.gain < scene.gain.max() - 0.3)).T
    row, col = rows[len(rows) // 2], cols[len(cols) // 2]
    distance = np.hypot(*(np.indices(scene.gain.shape) - np.array([row, col])[:, None, None]))
    blocked = ~scene.buildings & (distance < 10)
    truth = scene.gain - 0.3 * blocked
    path_loss_model = scene.path_loss_model(truth)
    inside = ~scene.buildings & (distance < 7)
    assert path_loss_model.error_weight[inside].min() > 0.95
    reconstruction = truth + scene.network
    assert scene.rms(path_loss_model.blend(reconstruction), truth, inside) < 0.025
    assert path_loss_model.error_weight[~scene.buildings & (distance > 25)].mean() < 0.35


def test_the_variance_is_that_of_what_the_path_loss_model_misses(scene):
    missed = 0.06
    signs = np.random.default_rng(3).choice([-1.0, 1.0], scene.gain.shape)
    path_loss_model = scene.path_loss_model(scene.gain + missed * signs)
    outdoors = ~scene.buildings
    assert path_loss_model.variance[outdoors].mean() == pytest.approx(missed**2, rel=0.2)
    assert scene.path_loss_model(scene.gain).variance[outdoors].mean() < 0.2 * missed**2


def test_exact_measurements_stay_as_they_are(scene):
    truth = scene.gain + 0.02 * np.sin(np.indices(scene.gain.shape)[0] / 3.0)
    values = np.where(scene.observed, truth, np.nan)
    path_loss_model = scene.path_loss_model(truth, values=values, noise_std=np.zeros_like(truth))
    known = scene.observed & ~scene.buildings
    np.testing.assert_allclose(path_loss_model.blend(truth)[known], truth[known], atol=1e-4)


def test_without_measurements_nothing_is_changed(scene):
    path_loss_model = scene.path_loss_model(scene.gain, observed=np.zeros_like(scene.observed))
    assert (path_loss_model.error_weight == 1.0).all()


def test_a_transmitter_deep_in_a_building_says_nothing():
    mask = np.zeros((40, 40), dtype=bool)
    mask[10:30, 10:30] = True
    values, sigma = np.full(mask.shape, -0.3), np.full(mask.shape, SIGMA)
    assert model_gain(mask, np.array([20.0, 20.0]), values, ~mask, sigma) is None
    assert model_gain(mask, np.array([8.6, 20.2]), values, ~mask, sigma) is not None
    assert model_gain(mask, np.array([90.0, 20.0]), values, ~mask, sigma) is None
