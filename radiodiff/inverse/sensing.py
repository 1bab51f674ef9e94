"""What a reconstructed map tells about the place: building outlines and the transmitter.

RadioDiff-Inverse, section III-A: a threshold tau is estimated from the noise floor, and cells below
it are radio shadows, mostly buildings.
"""

from __future__ import annotations

import numpy as np
from scipy.ndimage import gaussian_filter

from radiodiff.units import gray_to_model

DEFAULT_SHADOW_THRESHOLD = gray_to_model(0.05)
"""tau in model range (-142 dB) for maps of RadioMapSeer, where buildings are at the truncation."""


def shadow_mask(gain: np.ndarray, threshold: float = DEFAULT_SHADOW_THRESHOLD) -> np.ndarray:
    """Return the cells in shadow, I(p <= tau) of eq. (20).

    Args:
        gain: (..., H, W) map, model range.
        threshold: tau, model range.
    """
    return gain <= threshold


def locate_transmitter(gain: np.ndarray, smoothing: float = 1.5) -> np.ndarray:
    """Return the position of the strongest spot of a map.

    Args:
        gain: (H, W) map, model range.
        smoothing: standard deviation of the Gaussian window in pixels.

    Returns:
        (2,) float64 row and column.
    """
    smooth = gaussian_filter(gain.astype(np.float64), smoothing)
    return np.array(np.unravel_index(np.argmax(smooth), smooth.shape), dtype=np.float64)
