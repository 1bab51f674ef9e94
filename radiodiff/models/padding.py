"""Maps of any size for networks that halve them: extended by their mirror image, then cropped.

A mirrored scene is a scene: lengths, sight and shadows beyond the edge fit the mirrored
transmitter, and noise keeps its statistics.
"""

from __future__ import annotations

import torch
from torch import Tensor


def round_up(size: int, multiple: int) -> int:
    """Return the least multiple of ``multiple`` that is not below ``size``."""
    return -(-size // multiple) * multiple


def pad_to_multiple(x: Tensor, multiple: int) -> Tensor:
    """Extend maps at the bottom and at the right, so that their sides are multiples.

    Args:
        x: (..., H, W), at least one pixel; returned as it is where its sides are multiples.
        multiple: of pixels.

    Returns:
        (..., H', W'), mirrored at the last row and column, which are not repeated. Where more
        pixels are missing than there are, the map is mirrored back and forth.
    """
    for axis in (-2, -1):
        size = x.shape[axis]
        wanted = round_up(size, multiple)
        if wanted != size:
            x = x.index_select(axis, _mirrored(size, wanted, x.device))
    return x


def crop(x: Tensor, size: tuple[int, int] | torch.Size) -> Tensor:
    """Return the first (H, W) rows and columns of maps (..., H', W')."""
    return x[..., : size[-2], : size[-1]]


def _mirrored(size: int, wanted: int, device: torch.device) -> Tensor:
    """Return the pixel that each of ``wanted`` positions shows."""
    if size == 1:
        return torch.zeros(wanted, dtype=torch.long, device=device)
    position = torch.arange(wanted, device=device) % (2 * size - 2)
    return torch.minimum(position, 2 * size - 2 - position)
