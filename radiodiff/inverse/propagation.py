"""Gain outdoors by the path-loss model, where the measurements bear it out.

Once the buildings are known or drawn, the dominant path model (:mod:`radiodiff.simulate`) says what
the gain between them should be, without noise: exactly so in line of sight, roughly so behind
several corners or over roofs. :func:`model_gain` computes it from the measurements and a map of
buildings, and says how much of a reconstruction to keep instead, pixel by pixel. It is no part of
the paper.

Maps are (H, W) in model range with pixels of 1 m, buildings at ``BUILDING_VALUE``.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.ndimage import gaussian_filter

from radiodiff.inverse.refinement_constants import constants
from radiodiff.simulate.dominant_path import Layout
from radiodiff.units import db_to_model

_MIN_PRECISION = 1e-12


@dataclass(frozen=True)
class ModelGain:
    """What the path-loss model says about a map of buildings."""

    gain: np.ndarray
    """(H, W) float64, model range; meaningless inside of buildings."""
    error_weight: np.ndarray
    """(H, W) float64 in [0, 1], share that a reconstruction keeps; 1 inside of buildings."""
    variance: np.ndarray
    """(H, W) float64, of what the path-loss model still misses."""

    def blend(self, reconstruction: np.ndarray) -> np.ndarray:
        """Return the gain outdoors of the path-loss model and of a reconstruction, (H, W)."""
        return self.gain + self.error_weight * (reconstruction - self.gain)


def model_gain(
    buildings: np.ndarray,
    transmitter: np.ndarray,
    values: np.ndarray,
    observed: np.ndarray,
    noise_std: np.ndarray,
) -> ModelGain | None:
    """Predict the gain outdoors, and hold it against the measurements there.

    Pixels whose paths share their last diffraction share what the path-loss model misses up to
    there: it is estimated from the measurements among them, with a Gaussian prior of standard
    deviation ``diffraction_std``. What remains of the mean squared residual around a pixel beyond
    the noise, against the square of the network's error, is model error; a measurement makes the
    reconstruction's error at most its own sigma there.

    Args:
        buildings: (H, W) bool.
        transmitter: (2,) row and column; it is looked for nearby.
        values: (H, W) measurements, model range; anything where there is none.
        observed: (H, W) bool.
        noise_std: (H, W) sigma of the measurements, model range.

    Returns:
        None where no outdoor pixel is that near to the transmitter.
    """
    own = constants().path_loss_model
    layout = Layout.from_mask(buildings)
    used = observed & ~buildings
    position = _place(layout, transmitter, values, used, noise_std)
    if position is None:
        return None
    decibels, diffraction = layout.gain_and_diffractions(position)
    gain = db_to_model(decibels.astype(np.float64))
    values = np.where(used, values, 0.0)
    sigma = np.maximum(noise_std, np.finfo(np.float32).eps)
    # 1. What the path-loss model misses up to every last diffraction; nothing in line of sight.
    diffraction = np.where(diffraction < 0, 0, diffraction + 1)
    residual = np.clip(values - gain, -own.max_residual, own.max_residual)
    total, weighed = (
        np.bincount(diffraction[used], weights, minlength=diffraction.max() + 1)
        for weights in ((residual / sigma**2)[used], (sigma**-2)[used])
    )
    missed = total / (weighed + own.diffraction_std**-2)
    missed[0] = 0.0
    gain = np.clip(gain + missed[diffraction], -1.0, 1.0)
    # 2. What it misses from pixel to pixel, beyond the noise.
    network = (own.network_std + own.network_std_share * sigma) ** 2
    precision = np.where(used, 1.0 / (sigma**2 + network), 0.0)
    weight = np.maximum(_around(precision), _MIN_PRECISION)
    excess = _around(precision * (np.minimum((values - gain) ** 2, 1.0) - sigma**2)) / weight
    excess = np.maximum(excess, 0.0)
    network = _around(precision * network) / weight
    network = np.where(used, network * sigma**2 / (network + sigma**2), network)
    error_weight = excess / np.maximum(excess + network, _MIN_PRECISION)
    error_weight[weight == _MIN_PRECISION] = 1.0
    return ModelGain(gain, np.where(buildings, 1.0, error_weight), excess)


def _place(
    layout: Layout,
    near: np.ndarray,
    values: np.ndarray,
    used: np.ndarray,
    noise_std: np.ndarray,
) -> tuple[int, int] | None:
    """Return the outdoor pixel whose line-of-sight loss fits the measurements in sight best."""
    own = constants().path_loss_model
    reach = own.transmitter_reach_px
    steps = np.arange(-reach, reach + 1)
    offsets = np.stack(np.meshgrid(steps, steps, indexing="ij"), axis=-1).reshape(-1, 2)
    around = np.rint(near).astype(np.int64) + offsets
    shape = np.array(layout.building_mask.shape)
    around = around[((around >= 0) & (around < shape)).all(axis=1)]
    candidates = around[~layout.building_mask[tuple(around.T)]]
    if len(candidates) == 0:
        return None
    first = candidates[np.abs(candidates - near).sum(axis=1).argmin()]
    seen = layout.pixels[layout.line_of_sight((int(first[0]), int(first[1])))]
    seen = seen[used[tuple(seen.T)]]
    seen = seen[np.hypot(*(seen - first).T) > own.min_distance_px + reach]
    distance = np.hypot(*(candidates[:, None] - seen).transpose(2, 0, 1))
    path_loss_model = db_to_model(-layout.path_loss_model.line_of_sight_loss(distance))
    at = tuple(seen.T)
    deviation = (values[at] - path_loss_model) / np.maximum(noise_std[at], 1e-3)
    best = candidates[np.minimum(deviation**2, own.max_deviations**2).sum(axis=1).argmin()]
    return int(best[0]), int(best[1])


def _around(values: np.ndarray) -> np.ndarray:
    window = constants().path_loss_model.error_window_px
    return gaussian_filter(values, window, mode="constant", truncate=3.0)
