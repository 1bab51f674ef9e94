"""Maps larger than those of training, generated in overlapping windows.

A network that was trained on windows of large maps has their statistics, not those of the whole:
normalisations and attention look at all of what they are given.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from radiodiff.models.padding import crop, pad_to_multiple
from radiodiff.tiles import blend_weights, tile_starts

OVERLAP = 4
"""Neighbours overlap by the side of a window over this, or more. On six simulated maps of 512 x 512
a half gave the same error."""


def generate_in_windows(
    generate: Callable[[Tensor, Tensor], Tensor],
    prompt: Tensor,
    noise: Tensor,
    window: int,
    stride: int,
) -> Tensor:
    """Generate maps window by window.

    Args:
        generate: makes maps (N, 1, h, w) from prompts (M, C, h, w) and noise (N, c, ., .).
        prompt: (M, C, H, W) of the whole maps.
        noise: (N, c, H / stride, W / stride), rounded up, of the whole maps.
        window: side of a window in pixels, a multiple of ``stride``. A map that is no larger in
            one direction is one window there.
        stride: pixels of a map per latent pixel.

    Returns:
        (N, 1, H, W).
    """
    size = prompt.shape[-2:]
    prompt = pad_to_multiple(prompt, stride)
    sides = [min(window // stride, side) for side in noise.shape[-2:]]
    overlap = window // stride // OVERLAP
    tops, lefts = (
        tile_starts(length, side, overlap)
        for length, side in zip(noise.shape[-2:], sides, strict=True)
    )
    weight = blend_weights((sides[0] * stride, sides[1] * stride), overlap * stride)
    weight = weight.to(noise.device, torch.float32)
    maps = prompt.new_zeros((len(noise), 1, *prompt.shape[-2:]), device=noise.device)
    total = torch.zeros_like(maps[:1])
    for top in tops:
        for left in lefts:
            latent = (..., slice(top, top + sides[0]), slice(left, left + sides[1]))
            pixels = (
                ...,
                slice(top * stride, (top + sides[0]) * stride),
                slice(left * stride, (left + sides[1]) * stride),
            )
            maps[pixels] += weight * generate(prompt[pixels], noise[latent])
            total[pixels] += weight
    return crop(maps / total, size)
