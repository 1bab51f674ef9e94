"""Weights of a denoiser for a prompt of other channels than it was trained with."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from radiodiff.errors import InputError

FIRST_LAYER = "pyramid.stem.1.weight"
"""The layer of the convolutional prompt encoder that sees the prompt, after space to depth."""
SAME_ON_STATIC_MAPS = {"vehicles": "buildings"}
"""Feature -> the one that it repeats on static maps."""


def trained_features(denoiser: Path) -> list[str] | None:
    """Return the prompt features of the pipeline that a denoiser's folder belongs to, or None."""
    index = denoiser.parent / "model_index.json"
    if not index.is_file():
        return None
    features: list[str] | None = json.loads(index.read_text(encoding="utf-8")).get(
        "prompt_features"
    )
    return features


def match_prompt_channels(
    weights: dict[str, Tensor], found: Sequence[str], wanted: Sequence[str]
) -> dict[str, Tensor]:
    """Rearrange the prompt encoder's first layer, so that the network's outputs stay as they were.

    A channel that the network has not seen begins with weights of zero. One that is dropped hands
    its weights to the one that it repeats on static maps.

    Args:
        weights: state dict of a denoiser with a convolutional prompt encoder.
        found: prompt features that it was trained with, in channel order.
        wanted: prompt features of the network that takes the weights.

    Raises:
        InputError: a dropped channel repeats none that is wanted, or the encoder is another one.
    """
    if list(found) == list(wanted):
        return weights
    first = weights.get(FIRST_LAYER)
    if first is None:
        raise InputError("other prompt features need a convolutional prompt encoder")
    kernels = dict(zip(found, first.chunk(len(found), dim=1), strict=True))
    matched = {name: torch.zeros_like(kernels[found[0]]) for name in wanted}
    for name, kernel in kernels.items():
        heir = name if name in matched else SAME_ON_STATIC_MAPS.get(name)
        if heir not in matched:
            raise InputError(f"the prompt feature {name!r} of the weights is missing here")
        matched[heir] = matched[heir] + kernel
    return weights | {FIRST_LAYER: torch.cat(list(matched.values()), dim=1)}
