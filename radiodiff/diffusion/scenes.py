"""Scenes as callers give them, one or several, checked and stacked into prompts."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor

from radiodiff.checks import require_data
from radiodiff.data.prompts import build_prompt
from radiodiff.errors import InputError

Array = np.ndarray | Tensor
Points = Sequence[int] | Sequence[Sequence[int]] | Array
"""One (row, column) or several, (N, 2)."""


def stack_scenes(
    features: Sequence[str],
    buildings: Array,
    transmitter: Points,
    vehicles: Array | None,
    resolution_m: float,
    prompt_size: Callable[[tuple[int, int]], tuple[int, int]] | None = None,
) -> tuple[np.ndarray, Tensor]:
    """Check N scenes and stack their prompts; a single part serves all of them.

    Args:
        features: prompt features, in channel order.
        buildings: (H, W) or (N, H, W) mask, bool or 0 and 1.
        transmitter: (row, column) or (N, 2), outdoors.
        vehicles: (H, W) or (N, H, W) mask; None for static maps.
        resolution_m: side of a pixel in metres.
        prompt_size: (H, W) of the masks to the least (H, W) of the prompts, see
            :meth:`radiodiff.data.prompts.Scene.extended`; None takes the masks'.

    Returns:
        Building masks (N, H, W) bool and prompts (N, C, H', W') in [-1, 1].

    Raises:
        InputError: a mask that is not binary, a transmitter outside or in a building, batches
            of different lengths.
    """
    masks = _as_batch(buildings, "buildings")
    points = as_points(transmitter, "transmitter")
    cars = None if vehicles is None else _as_batch(vehicles, "vehicles")
    height, width = masks.shape[1:]
    lengths = {"buildings": len(masks), "transmitter": len(points)}
    if cars is not None:
        lengths["vehicles"] = len(cars)
    n = max(lengths.values())
    for name, length in lengths.items():
        if length not in (1, n):
            raise InputError(f"{name}: found a batch of {length}, expected 1 or {n}")
    prompts = [
        build_prompt(
            features,
            masks[i % len(masks)],
            points[i % len(points)],
            None if cars is None else cars[i % len(cars)],
            resolution_m,
            None if prompt_size is None else prompt_size((height, width)),
        )
        for i in range(n)
    ]
    return np.broadcast_to(masks, (n, height, width)) > 0, torch.stack(prompts)


def as_points(points: Points, name: str) -> np.ndarray:
    """Return one point or several as (N, 2) rows and columns.

    Raises:
        InputError: another shape; the message starts with ``name``.
    """
    try:
        array = _as_numpy(points)
    except ValueError:
        raise InputError(f"{name}: expected (row, column) or (N, 2), found {points}") from None
    if array.ndim not in (1, 2) or array.shape[-1] != 2 or array.size == 0:
        raise InputError(f"{name}: shape {array.shape}, expected (row, column) or (N, 2)")
    return array.reshape(-1, 2)


def _as_batch(mask: Array, name: str) -> np.ndarray:
    array = _as_numpy(mask)
    if array.ndim not in (2, 3) or array.size == 0:
        raise InputError(f"{name}: shape {array.shape}, expected (H, W) or (N, H, W)")
    return array if array.ndim == 3 else array[None]


def _as_numpy(array: Array | Sequence) -> np.ndarray:
    if isinstance(array, Tensor):
        require_data(array, "mask or position")
        return array.detach().cpu().numpy()
    return np.asarray(array)
