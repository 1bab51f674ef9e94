"""Which pixels of a map are observed.

Masks follow RadioDiff-Inverse, section V: the missing ratio is exact. "Unaware" counts the whole
map; "aware" observes every building pixel as well and counts outdoor pixels only.
"""

from __future__ import annotations

import numpy as np

from radiodiff.errors import InputError

BLOCK_SHAPE = (2, 3)
"""Rows and columns of the paper's sample blocks."""


def pixel_mask(
    shape: tuple[int, int],
    missing_ratio: float,
    generator: np.random.Generator,
    buildings: np.ndarray | None = None,
) -> np.ndarray:
    """Draw single observed pixels ("1 x 1").

    Args:
        shape: rows and columns.
        missing_ratio: share of pixels not observed, in [0, 1), exact to a pixel.
        generator: source of randomness.
        buildings: (H, W) bool. Given ("aware"), every building pixel is observed and the ratio
            counts outdoor pixels; None ("unaware") counts the whole map.

    Returns:
        (H, W) bool, true where observed.

    Raises:
        InputError: impossible ratio, or no pixel is left to observe.
    """
    candidates = _outdoors(shape, buildings)
    count = _observed_count(int(candidates.sum()), missing_ratio)
    mask = np.zeros(shape, dtype=bool)
    mask.flat[generator.choice(np.flatnonzero(candidates), size=count, replace=False)] = True
    return mask if buildings is None else mask | buildings


def block_mask(
    shape: tuple[int, int],
    missing_ratio: float,
    generator: np.random.Generator,
    buildings: np.ndarray,
    aware: bool,
) -> np.ndarray:
    """Draw non-overlapping 2 x 3 sample blocks off buildings.

    Blocks lie on a grid of random origin. The last block is cut short where the ratio asks for it.

    Args:
        shape: rows and columns.
        missing_ratio: share of pixels not observed, in [0, 1), exact to a pixel.
        generator: source of randomness.
        buildings: (H, W) bool; no block touches them.
        aware: observe building pixels as well, and count outdoor pixels only.

    Returns:
        (H, W) bool, true where observed.

    Raises:
        InputError: impossible ratio, or the blocks off buildings do not suffice for it.
    """
    outdoors = _outdoors(shape, buildings)
    count = _observed_count(int(outdoors.sum()) if aware else outdoors.size, missing_ratio)
    rows, columns = BLOCK_SHAPE
    top, left = generator.integers(rows), generator.integers(columns)
    high, wide = (shape[0] - top) // rows, (shape[1] - left) // columns
    pixels = np.arange(outdoors.size).reshape(shape)
    inner = pixels[top : top + high * rows, left : left + wide * columns]
    grid = inner.reshape(high, rows, wide, columns).swapaxes(1, 2).reshape(-1, rows * columns)
    free = grid[outdoors.flat[grid].all(axis=1)]
    if free.size < count:
        lowest = 1.0 - free.size / (outdoors.sum() if aware else outdoors.size)
        raise InputError(
            f"missing_ratio = {missing_ratio}: blocks of {rows} x {columns} off buildings leave at "
            f"least {lowest:.3f} missing on this map"
        )
    mask = np.zeros(shape, dtype=bool)
    mask.flat[generator.permutation(free).reshape(-1)[:count]] = True
    return mask | buildings if aware else mask


def _outdoors(shape: tuple[int, int], buildings: np.ndarray | None) -> np.ndarray:
    if buildings is None:
        return np.ones(shape, dtype=bool)
    if buildings.shape != shape:
        raise InputError(f"buildings have shape {buildings.shape}; needed is {shape}")
    return ~buildings.astype(bool)


def _observed_count(total: int, missing_ratio: float) -> int:
    if not 0.0 <= missing_ratio < 1.0:
        raise InputError(f"missing_ratio = {missing_ratio}: allowed are 0 <= ratio < 1")
    count = round(total * (1.0 - missing_ratio))
    if count == 0:
        raise InputError(f"missing_ratio = {missing_ratio} leaves no pixel of {total} observed")
    return count
