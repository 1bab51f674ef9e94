"""Overlapping tiles of a map, blended with weights that fall towards their borders."""

from __future__ import annotations

import math

import torch
from torch import Tensor


def tile_starts(size: int, tile: int, overlap: int) -> list[int]:
    """Return the first row (or column) of evenly spread tiles that overlap by ``overlap`` or more.

    Args:
        size: side of the map, at least ``tile``.
        tile: side of a tile.
        overlap: 0 .. tile - 1.
    """
    count = 1 + math.ceil((size - tile) / (tile - overlap))
    if count == 1:
        return [0]
    return [round(k * (size - tile) / (count - 1)) for k in range(count)]


def blend_weights(tile: tuple[int, int], overlap: int) -> Tensor:
    """Return (H, W) float64 weights of a tile that rise over the overlap, stay 1 and fall again."""
    rows, columns = (_ramp(side, overlap) for side in tile)
    return rows[:, None] * columns


def _ramp(side: int, overlap: int) -> Tensor:
    distance = torch.arange(1, side + 1, dtype=torch.float64)
    return torch.minimum(distance, distance.flip(0)).clamp(max=overlap) / overlap
