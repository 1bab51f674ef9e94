"""Walls and path-loss model on a batch of maps: which maps change, whose samples count how much."""

import numpy as np
import pytest
import torch

from radiodiff.data.measurements import measure
from radiodiff.inverse import refinement
from radiodiff.inverse.propagation import ModelGain
from radiodiff.inverse.refinement import Refined, refine
from radiodiff.inverse.refinement_constants import constants
from radiodiff.simulate.dominant_path import path_gain
from radiodiff.units import db_to_model

SIDE = 32


@pytest.fixture(scope="module")
def batch():
    """Two maps, the first with a building; three samples of each; weights that are not alike."""
    generator = torch.Generator().manual_seed(5)
    buildings = torch.zeros(2, 1, SIDE, SIDE, dtype=torch.bool)
    buildings[0, 0, 9:20, 14:24] = True
    gain = torch.stack(
        [
            torch.from_numpy(db_to_model(path_gain(one[0].numpy(), (24, 8))))[None]
            for one in buildings
        ]
    )
    measured = measure(gain, torch.rand(gain.shape, generator=generator) < 0.5, 0.05, generator)
    error = 0.02 * torch.randn((2, 3, 1, SIDE, SIDE), generator=generator)
    samples = torch.where(buildings[:, None], -1.0, gain[:, None] + error)
    weights = torch.tensor([[0.7, 0.2, 0.1], [0.1, 0.1, 0.8]], dtype=torch.float64)
    share = weights.float()[..., None, None, None]
    mean = (share * samples).sum(dim=1)
    std = (share * (samples - mean[:, None]).square()).sum(dim=1).sqrt()
    maps = Refined(mean, std, samples, torch.full_like(mean, torch.nan))
    return maps, measured, buildings, weights


def run(batch, known: bool, walls=True, path_loss_model=True) -> Refined:
    maps, measured, buildings, weights = batch
    generators = [torch.Generator().manual_seed(b) for b in range(2)]
    return refine(
        maps, measured, buildings if known else None, weights, generators, walls, path_loss_model
    )


@pytest.mark.parametrize(
    ("known", "walls", "path_loss_model"), [(True, True, False), (False, False, True)]
)
def test_nothing_changes_that_nobody_asked_for(batch, known, walls, path_loss_model):
    assert run(batch, known, walls, path_loss_model) is batch[0]


def test_the_given_maps_stay_as_they_are(batch):
    before = [part.clone() for part in (batch[0].mean, batch[0].std, batch[0].samples)]
    run(batch, known=False)
    for old, new in zip(before, (batch[0].mean, batch[0].std, batch[0].samples), strict=True):
        torch.testing.assert_close(old, new, rtol=0, atol=0)


def test_only_maps_with_measurements_from_inside_get_walls(batch):
    found = run(batch, known=False)
    assert not found.building_probability[0].isnan().any()
    assert found.building_probability[1].isnan().all()
    torch.testing.assert_close(found.mean[1], batch[0].mean[1], rtol=0, atol=0)
    assert (found.building_probability[0][batch[2][0]] > 0.9).float().mean() > 0.9


def test_moments_are_those_of_the_weighted_samples(batch):
    _, _, buildings, weights = batch
    found = run(batch, known=True)
    share = weights.float()[..., None, None, None]
    mean = (share * found.samples).sum(dim=1)
    std = (share * (found.samples - mean[:, None]).square()).sum(dim=1).sqrt()
    torch.testing.assert_close(found.mean, mean, rtol=0, atol=1e-5)
    torch.testing.assert_close(found.std, std, rtol=0, atol=1e-5)
    assert (found.mean[buildings] == -1.0).all()
    assert (found.std[buildings] == 0.0).all()
    assert found.building_probability.isnan().all()


def test_samples_spread_by_what_the_path_loss_model_misses(batch, monkeypatch):
    missed, share = 0.05, constants().path_loss_model.min_variance_share

    def taken_everywhere(mask, *_):
        return ModelGain(np.zeros(mask.shape), np.zeros(mask.shape), np.full(mask.shape, missed**2))

    monkeypatch.setattr(refinement, "model_gain", taken_everywhere)
    found, outdoors = run(batch, known=True), ~batch[2]
    expected = (share * batch[0].std ** 2 + missed**2).sqrt()
    torch.testing.assert_close(found.std[outdoors], expected[outdoors], rtol=1e-4, atol=1e-5)


def test_a_map_without_a_street_has_no_path_loss_model(batch):
    maps, measured, _, weights = batch
    everywhere = torch.ones_like(measured.mask)
    generators = [torch.Generator().manual_seed(b) for b in range(2)]
    found = refine(
        maps, measured, everywhere, weights, generators, walls=False, path_loss_model=True
    )
    assert (found.mean == -1.0).all()
    assert (found.std == 0.0).all()
