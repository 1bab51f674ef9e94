"""Values of the nearest pixel, where a pixel has none of its own."""

from __future__ import annotations

import numpy as np
from scipy.ndimage import distance_transform_edt


def fill_from_nearest(values: np.ndarray, known: np.ndarray) -> np.ndarray:
    """Give every pixel of a map the value of the nearest known one.

    Args:
        values: (H, W), any unit.
        known: (H, W) bool.

    Returns:
        (H, W); the values as they are where no pixel is known.
    """
    if not known.any():
        return values
    nearest = distance_transform_edt(~known, return_distances=False, return_indices=True)
    return values[tuple(nearest)]
