"""The chain of outlines against what is known of its states."""

from itertools import product

import numpy as np
import pytest
import shapely

from radiodiff.data.polygons import rasterise
from radiodiff.inverse.refinement_constants import constants
from radiodiff.inverse.wall_chain import (
    MAX_VERTICES,
    rasterise_rings,
    run_chain,
)

SHAPE = (48, 48)
COSTS = constants().chain.as_costs()
STRONG = 8.0


def pack(*rings: list[tuple[int, int]]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    vertices = np.zeros((2, len(rings), MAX_VERTICES), dtype=np.int64)
    for index, ring in enumerate(rings):
        vertices[:, index, : len(ring)] = np.array(ring).T
    return vertices[0], vertices[1], np.array([len(ring) for ring in rings])


def polygon(rows: np.ndarray, cols: np.ndarray, size: int) -> shapely.Polygon:
    return shapely.Polygon(np.stack([cols[:size], rows[:size]], axis=1))


def box_mask(top: int, bottom: int, left: int, right: int) -> np.ndarray:
    return rasterise([shapely.box(left, top, right, bottom)], SHAPE)


def run(rings, evidence, sweeps=600, burn_in=200, seed=0):
    mask = rasterise_rings(*rings, *SHAPE)
    rng = np.random.default_rng(seed)
    share = run_chain(*rings, mask, evidence, COSTS, sweeps, burn_in, 2, rng)
    return share, mask


def test_rings_are_rasterised_by_the_rule_of_the_dataset():
    rng = np.random.default_rng(0)
    for _ in range(50):
        ring = [tuple(vertex) for vertex in rng.integers(-4, 52, size=(3, 2))]
        rows, cols, sizes = pack(ring)
        expected = rasterise([polygon(rows[0], cols[0], 3)], SHAPE)
        np.testing.assert_array_equal(rasterise_rings(rows, cols, sizes, *SHAPE), expected)


def test_a_ring_in_another_is_a_courtyard():
    outer, inner = [(5, 5), (5, 30), (30, 30), (30, 5)], [(12, 12), (12, 20), (20, 20), (20, 12)]
    found = rasterise_rings(*pack(outer, inner), *SHAPE)
    np.testing.assert_array_equal(found, box_mask(5, 30, 5, 30) & ~box_mask(12, 20, 12, 20))


def test_mask_and_rings_stay_together():
    rng = np.random.default_rng(1)
    evidence = rng.normal(size=SHAPE)
    rings = pack([(5, 5), (5, 20), (20, 20), (20, 5)], [(30, 25), (30, 40), (42, 40)])
    _, mask = run(rings, evidence, sweeps=300, burn_in=0)
    np.testing.assert_array_equal(mask, rasterise_rings(*rings, *SHAPE))


def test_pixels_that_say_all_are_followed():
    truth = box_mask(10, 34, 8, 40) & ~box_mask(10, 22, 24, 40)  # an L
    evidence = np.where(truth, -STRONG, STRONG)
    rings = pack([(12, 10), (12, 38), (33, 38), (33, 10)])
    share, _ = run(rings, evidence, sweeps=3000, burn_in=1500)
    assert np.abs(share - truth).mean() < 2e-3
    assert rings[2][0] <= 8  # six corners, and hardly one more


def test_a_building_that_nothing_asks_for_is_dropped_while_burning_in():
    evidence = np.full(SHAPE, 0.5)
    rings = pack([(10, 10), (10, 20), (20, 20), (20, 10)])
    share, mask = run(rings, evidence)
    assert not mask.any()
    assert not share.any()


@pytest.mark.parametrize("axis", [0, 1])
def test_a_wall_in_a_gap_without_measurements_is_anywhere_in_it(axis: int):
    evidence = np.where(box_mask(8, 40, 6, 23), -STRONG, STRONG)
    evidence[:, 20:27] = 0.0
    evidence[:8], evidence[41:] = STRONG, STRONG
    ring = [(8, 6), (8, 23), (40, 23), (40, 6)]
    if axis == 0:  # the gap lies below the building instead of to its right
        evidence = evidence.T.copy()
        ring = [vertex[::-1] for vertex in ring]
    shares = [run(pack(ring), evidence, 12_000, 500, seed)[0] for seed in range(6)]
    share = np.mean(shares, axis=0)
    share = (share if axis == 1 else share.T)[12:37, 20:27].mean(axis=0)
    assert (np.diff(share) < 0).all()
    # Evidence and costs do not tell the gap from its mirror image.
    np.testing.assert_allclose(share + share[::-1], 1.0, atol=0.15)


def test_frequencies_are_those_of_the_costs():
    """A triangle held in place by pixels but for one corner: all its places are enumerated."""
    rng = np.random.default_rng(3)
    fixed = [(6, 6), (6, 30)]
    evidence = rng.normal(scale=0.6, size=SHAPE)
    places = list(product(range(20, 25), range(14, 19)))
    inner = rasterise([shapely.Polygon([(6, 6), (30, 6), (16, 22)])], SHAPE)
    evidence[:20] = np.where(inner[:20], -STRONG, STRONG)
    evidence[26:] = STRONG
    share, _ = run(pack([*fixed, (22, 16)]), evidence, 20_000, 1000)
    logs, masks = [], []
    for place in places:
        ring = pack([*fixed, place])
        masks.append(rasterise_rings(*ring, *SHAPE))
        logs.append(-(evidence * masks[-1]).sum())
    weights = np.exp(np.array(logs) - max(logs))
    weights /= weights.sum()
    expected = np.tensordot(weights, np.stack(masks), axes=1)
    rows = slice(20, 25)
    # Other corners move a little as well, and corners may come and go.
    assert np.abs(share[rows] - expected[rows]).mean() < 0.04


@pytest.mark.parametrize("seed", [0, 1])
def test_the_generator_decides(seed: int):
    evidence = np.random.default_rng(5).normal(size=SHAPE)
    square = [(10, 10), (10, 30), (30, 30), (30, 10)]
    first, second = (run(pack(square), evidence, 100, 0, seed)[0] for _ in range(2))
    np.testing.assert_array_equal(first, second)
    assert not np.array_equal(first, run(pack(square), evidence, 100, 0, seed + 7)[0])
