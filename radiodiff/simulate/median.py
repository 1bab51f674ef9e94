"""The median filter that ends the maps of the dominant path model."""

from __future__ import annotations

import numba
import numpy as np


@numba.njit(cache=True, nogil=True, error_model="numpy")
def median_filter(gain: np.ndarray, outdoor: np.ndarray) -> np.ndarray:
    """Return the 3 x 3 median over outdoor pixels only, the greater middle value of even counts."""
    height, width = gain.shape
    result = gain.copy()
    window = np.empty(9)
    for row in range(height):
        for col in range(width):
            if not outdoor[row, col]:
                continue
            count = 0
            for r in range(max(row - 1, 0), min(row + 2, height)):
                for c in range(max(col - 1, 0), min(col + 2, width)):
                    if outdoor[r, c]:
                        value = gain[r, c]
                        k = count
                        while k > 0 and window[k - 1] > value:
                            window[k] = window[k - 1]
                            k -= 1
                        window[k] = value
                        count += 1
            result[row, col] = window[count // 2]
    return result
