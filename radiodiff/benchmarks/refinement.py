"""Speed of what is added to a reconstructed map: chains of outlines, and the path-loss model."""

from __future__ import annotations

import time
from typing import NamedTuple

import numpy as np
from scipy.ndimage import gaussian_filter

from radiodiff.inverse.propagation import model_gain
from radiodiff.inverse.walls import draw_walls
from radiodiff.simulate.dominant_path import Layout
from radiodiff.simulate.procedural import procedural_city
from radiodiff.units import MAP_SIZE, db_to_model

SIGMA = 0.05
"""Noise of the measurements, model range; 80 % of the pixels are missing."""
SMOOTHING_STD_PX = 0.8
"""Standard deviation, pixels, of the blur that stands for a network's reconstruction."""


class RefinementTiming(NamedTuple):
    """Seconds of processor time on one simulated map of 256 x 256, once all is compiled."""

    chain_s: float
    """One chain of outlines, one for every particle."""
    model_s: float
    """The path-loss model in one layout, of which a map takes three."""


def time_refinement(chains: int = 3, seed: int = 2026) -> RefinementTiming:
    """Time the refinement of a simulated map, whose reconstruction is its blurred truth."""
    generator = np.random.default_rng(seed)
    city = procedural_city(generator, MAP_SIZE)
    layout = Layout.from_polygons(city.buildings, city.size)
    free = layout.pixels[np.abs(layout.pixels - MAP_SIZE / 2).max(axis=1) < MAP_SIZE / 4]
    transmitter = free[generator.integers(len(free))]
    gain = db_to_model(layout.path_gain(tuple(transmitter.tolist())).astype(np.float64))
    observed = generator.random(gain.shape) < 0.2
    values = gain + SIGMA * generator.standard_normal(gain.shape)
    measured = (values, observed, np.full(gain.shape, SIGMA))
    mean = gaussian_filter(gain, SMOOTHING_STD_PX)
    draw_walls(mean, *measured, [0])  # compiles
    begin = time.process_time()
    masks = draw_walls(mean, *measured, range(chains)).masks
    drawn = time.process_time()
    for mask in masks:
        model_gain(mask, transmitter, *measured)
    end = time.process_time()
    return RefinementTiming((drawn - begin) / chains, (end - drawn) / len(masks))
