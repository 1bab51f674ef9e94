"""Maps larger than the prior's: overlapping tiles, blended at every step.

The particles are whole maps. In every step the noise is predicted tile by tile and averaged with
weights that fall towards the borders of a tile, so neighbouring tiles agree before the map is clean
and no seam is left to hide.
"""

from __future__ import annotations

import torch
from torch import Tensor

from radiodiff.errors import InputError
from radiodiff.inverse.particles import Denoiser
from radiodiff.tiles import blend_weights, tile_starts


def tile_denoiser(denoiser: Denoiser, tile: tuple[int, int], overlap: int) -> Denoiser:
    """Return a denoiser of maps of any size from one of maps of the size of a tile.

    Args:
        denoiser: takes (N, 1, *tile).
        tile: rows and columns.
        overlap: least overlap of neighbours, pixels.

    Raises:
        InputError: tiles would not overlap, or cover nothing new.
    """
    if not 1 <= overlap < min(tile):
        raise InputError(f"tile_overlap = {overlap}: allowed are 1 .. {min(tile) - 1} pixels")
    window = blend_weights(tile, overlap)

    def denoise(x_t: Tensor, abar: Tensor) -> Tensor:
        weight = window.to(x_t)
        total = torch.zeros_like(x_t[:1])
        eps = torch.zeros_like(x_t)
        for top in tile_starts(x_t.shape[-2], tile[0], overlap):
            for left in tile_starts(x_t.shape[-1], tile[1], overlap):
                part = (..., slice(top, top + tile[0]), slice(left, left + tile[1]))
                eps[part] += weight * denoiser(x_t[part], abar if abar.ndim == 1 else abar[part])
                total[part] += weight
        return eps / total

    return denoise
