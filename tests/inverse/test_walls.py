"""Walls drawn between measurements, on maps whose buildings and gain are known."""

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from radiodiff.inverse.refinement_constants import constants
from radiodiff.inverse.wall_chain import rasterise_rings
from radiodiff.inverse.walls import (
    building_evidence,
    can_draw_walls,
    draw_walls,
    expected_gain,
    outline_rings,
)
from radiodiff.simulate import dominant_path
from radiodiff.simulate.procedural import procedural_city
from radiodiff.units import db_to_model

SIGMA = 0.05


@pytest.fixture(scope="module")
def scene() -> dict[str, np.ndarray]:
    """A simulated map, measurements on 30 % of it, and a reconstruction that is blurred at
    walls."""
    city = procedural_city(np.random.default_rng(4), 128)
    outdoors = np.argwhere(~city.building_mask)
    position = outdoors[np.abs(outdoors - 64).sum(axis=1).argmin()]
    decibels = dominant_path.path_gain(city, (int(position[0]), int(position[1])))
    gain = db_to_model(decibels.astype(np.float64))
    rng = np.random.default_rng(0)
    observed = rng.random(gain.shape) < 0.3
    values = np.where(observed, gain + SIGMA * rng.normal(size=gain.shape), 0.0)
    return {
        "gain": gain,
        "buildings": city.building_mask,
        "observed": observed,
        "values": values,
        "mean": gaussian_filter(gain, 1.2),
        "sigma": np.full(gain.shape, SIGMA),
    }


def draw(scene: dict[str, np.ndarray], seeds=(0, 1)):
    return draw_walls(
        scene["mean"], scene["values"], scene["observed"], scene["sigma"], list(seeds)
    )


def test_walls_are_found_between_the_measurements(scene):
    walls = draw(scene)
    truth = scene["buildings"]

    def iou(mask: np.ndarray) -> float:
        return float((mask & truth).sum() / (mask | truth).sum())

    blurred = scene["mean"] < (scene["gain"].max() - 1.0) / 2
    assert iou(walls.probability > 0.5) > max(0.93, iou(blurred))
    mean = expected_gain(walls.probability, walls.outdoor_gain)
    error, before = (np.mean((found - scene["gain"]) ** 2) for found in (mean, scene["mean"]))
    assert error < 0.35 * before


def test_probabilities_are_frequencies(scene):
    walls = draw(scene, range(6))
    unseen = ~scene["observed"]
    for low, high in ((0.02, 0.3), (0.3, 0.7), (0.7, 0.98)):
        chosen = unseen & (walls.probability > low) & (walls.probability <= high)
        assert chosen.sum() > 20
        stated, found = walls.probability[chosen].mean(), scene["buildings"][chosen].mean()
        assert abs(stated - found) < 0.2


def test_the_gain_beside_a_wall_is_that_of_the_street(scene):
    walls = draw(scene)
    street = ~scene["buildings"] & (scene["gain"] > -0.8)
    blurred = np.abs(scene["mean"] - scene["gain"])[street].mean()
    assert np.abs(walls.outdoor_gain - scene["gain"])[street].mean() < 0.6 * blurred


def test_the_mean_mixes_both(scene):
    walls = draw(scene)
    inside, outside = walls.probability == 1.0, walls.probability == 0.0
    mean = expected_gain(walls.probability, walls.outdoor_gain)
    assert (mean[inside] == -1.0).all()
    np.testing.assert_array_equal(mean[outside], walls.outdoor_gain[outside])
    assert walls.masks.shape == (2, *scene["gain"].shape)


def test_the_seeds_decide(scene):
    np.testing.assert_array_equal(draw(scene).probability, draw(scene).probability)
    assert not np.array_equal(draw(scene).probability, draw(scene, (2, 3)).probability)


def test_evidence_of_a_measurement_is_the_ratio_of_its_likelihoods():
    shape = (1, 3)
    outdoor, values = np.full(shape, -0.2), np.array([[-1.0, -0.2, -0.6]])
    seen, sigma = np.ones(shape, dtype=bool), np.full(shape, SIGMA)
    found = building_evidence(np.full(shape, 0.5), outdoor, values, seen, sigma)[0]
    assert found[0] < -2.0
    assert found[1] == constants().walls.max_log_evidence
    assert (
        found[2] == constants().walls.max_log_evidence
    )  # unlike the street, but 8 sigma from a building
    # Noise as large as the step tells nothing; nor does a pixel without a measurement and opinion.
    blind = building_evidence(np.full(shape, 0.5), outdoor, values, seen, np.full(shape, 3.0))
    assert np.abs(blind).max() < 0.5
    nothing = building_evidence(np.full(shape, 0.5), outdoor, values, ~seen, sigma)
    np.testing.assert_array_equal(nothing, 0.0)
    leaning = building_evidence(np.full(shape, 0.9), outdoor, values, ~seen, sigma)
    assert (leaning < 0).all()


def test_surveys_that_stay_outdoors_have_no_walls():
    values, seen = np.full((20, 20), -0.4), np.ones((20, 20), dtype=bool)
    sigma = np.full((20, 20), SIGMA)
    assert not can_draw_walls(values, seen, sigma)
    values[:5] = -1.0
    assert can_draw_walls(values, seen, sigma)
    assert not can_draw_walls(values, ~(values == -1.0), sigma)


def test_a_map_without_buildings_has_no_walls():
    gain = np.full((32, 32), -0.3)
    walls = draw_walls(gain, gain, np.ones((32, 32), bool), np.full((32, 32), SIGMA), [0])
    assert not walls.probability.any()
    mean = expected_gain(walls.probability, walls.outdoor_gain)
    np.testing.assert_allclose(mean, gain, atol=1e-9)


def test_outlines_keep_to_the_mask(scene):
    rows, cols, sizes = outline_rings(scene["buildings"])
    mask = rasterise_rings(rows, cols, sizes, *scene["buildings"].shape)
    assert (mask != scene["buildings"]).mean() < 0.02
    assert (sizes >= 3).all()
