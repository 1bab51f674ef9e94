"""Masks as callers give them, checked."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from radiodiff.errors import InputError


def as_mask(mask: ArrayLike, name: str = "buildings") -> np.ndarray:
    """Return a (H, W) bool copy of a mask of bools or of the numbers 0 and 1.

    Args:
        mask: an array, or a tensor in main memory.
        name: what the mask is, for messages.

    Raises:
        InputError: the array has not two dimensions, or holds other values.
    """
    array = np.asarray(mask)
    if array.ndim != 2 or 0 in array.shape:
        raise InputError(f"{name}: shape {array.shape}, expected a mask of (rows, columns)")
    if array.dtype != bool:
        other = array[(array != 0) & (array != 1)]
        if other.size:
            raise InputError(
                f"{name}: not a binary mask, it holds {other[0]}; only 0 and 1 are allowed"
            )
    return array.astype(bool)
