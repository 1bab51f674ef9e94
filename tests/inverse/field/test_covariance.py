import numpy as np
import pytest

from radiodiff.inverse.field.covariance import Covariance, choose_subset, fit_covariance
from radiodiff.inverse.field.samples import merge_positions, merge_rows
from radiodiff.inverse.field.trend import fit_trend


def draw(covariance, xy, track, rng):
    points = covariance.embed(xy, track)
    apart = np.linalg.norm(points[:, None] - points[None], axis=-1)
    matrix = (covariance.component_variances * np.exp(-apart)).sum(-1)
    factor = np.linalg.cholesky(matrix + 1e-9 * np.eye(len(xy)))
    return factor @ rng.normal(size=len(xy)) + covariance.nugget**0.5 * rng.normal(size=len(xy))


def test_likelihood_finds_noise_and_variance():
    rng = np.random.default_rng(0)
    true = Covariance((40.0,), (36.0,), 4.0)
    xy = rng.uniform(0, 400, (350, 2))
    runs = merge_positions(xy, -80 + draw(true, xy, np.zeros(350), rng))
    found, _ = fit_covariance(runs, runs.mean + 80, np.ones(350), rng, scales=1)
    assert found.nugget == pytest.approx(4, rel=0.6)
    assert found.variances[0] == pytest.approx(36, rel=0.5)
    assert found.lengths[0] == pytest.approx(40, rel=0.6)


def test_repeats_tell_the_noise():
    rng = np.random.default_rng(1)
    xy = np.repeat(rng.uniform(0, 400, (30, 2)), 20, axis=0)
    level = np.repeat(rng.normal(0, 8, 30), 20)
    runs = merge_positions(xy, level + rng.normal(0, 1.5, 600))
    found, _ = fit_covariance(runs, runs.mean, np.ones(30), rng)
    assert found.nugget**0.5 == pytest.approx(1.5, rel=0.1)


@pytest.mark.parametrize(("drift", "low", "high"), [(25.0, 8, 80), (0.0, 0, 4)])
def test_a_drift_is_found_only_where_there_is_one(drift, low, high):
    rng = np.random.default_rng(2)
    x = np.tile(np.arange(0.0, 240.0, 2.0), 3)
    xy = np.c_[x, np.repeat([0.0, 1.0, 2.0], 120)]
    runs = merge_rows(xy, np.zeros(360))
    true = Covariance((60.0,), (20.0,), 2.0, drift=(drift, 15.0, 1e3) if drift else None)
    values = draw(true, xy, runs.track, rng)
    runs = merge_rows(xy, values)
    found, _ = fit_covariance(runs, values, np.ones(360), rng, track=True)
    assert low <= found.drift[0] <= high


def test_the_subset_holds_near_pairs():
    rng = np.random.default_rng(4)
    xy = rng.uniform(0, 1000, (5000, 2))
    runs = merge_positions(xy, np.zeros(5000))
    chosen = choose_subset(runs, 300, rng, track=False)
    assert len(chosen) <= 300
    apart = np.linalg.norm(runs.xy[chosen][:, None] - runs.xy[chosen][None], axis=-1)
    np.fill_diagonal(apart, np.inf)
    assert np.median(apart.min(axis=1)) < 2 * runs.spacing


def test_a_transmitter_and_its_exponent_are_found():
    rng = np.random.default_rng(5)
    xy = rng.uniform(0, 300, (250, 2))
    distance = np.linalg.norm(xy - [80.0, 210.0], axis=1)
    runs = merge_positions(xy, 13.0 - 35 * np.log10(distance) + rng.normal(0, 1, 250))
    found = fit_trend(runs, Covariance((30.0,), (1.0,), 1.0), np.ones(250), rng)
    assert found.transmitter == pytest.approx((80, 210), abs=10)
    assert found.exponent == pytest.approx(3.5, abs=0.4)
    assert found.evidence > 20


def test_without_a_trend_there_is_no_evidence_for_one():
    rng = np.random.default_rng(6)
    xy = rng.uniform(0, 300, (250, 2))
    runs = merge_positions(xy, rng.normal(-80, 2, 250))
    found = fit_trend(runs, Covariance((30.0,), (0.1,), 4.0), np.ones(250), rng)
    assert found.evidence < 1
