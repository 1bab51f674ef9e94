"""Which samples of a survey are kept back to score its map."""

from __future__ import annotations

import numpy as np

from radiodiff.errors import InputError

MIN_TRAINING = 3
"""Samples that are left for the map at least."""


def split_held_out(
    xy: np.ndarray, share: float, block_m: float | None, generator: np.random.Generator
) -> np.ndarray:
    """Choose samples to keep back.

    Samples at one and the same position stay together, so that none is predicted from its repeat.

    Args:
        xy: (N, 2) metres.
        share: of the samples, in (0, 1).
        block_m: side of the squares that are kept back whole; None keeps back single positions.
        generator: source of randomness.

    Returns:
        (N,) bool, true where kept back. Places are taken in random order until the share is
        reached; the one that would overshoot it by more than it falls short is not taken.

    Raises:
        InputError: nothing would be kept back, or too little be left.
    """
    units = np.floor((xy - xy.min(axis=0)) / block_m) if block_m is not None else xy
    _, label, count = np.unique(units, axis=0, return_inverse=True, return_counts=True)
    label = label.reshape(-1)
    order = generator.permutation(len(count))
    total = np.cumsum(count[order])
    taken = int(np.argmin(np.abs(total - share * len(xy)))) + 1
    held = np.isin(label, order[:taken])
    left = int((~held).sum())
    if left < MIN_TRAINING or taken == len(count):
        raise InputError(
            f"survey.held_out={share:g} leaves {left} of {len(xy)} samples for the map; keep back "
            "less, or smaller squares (survey.held_out_blocks_m)"
        )
    return held
