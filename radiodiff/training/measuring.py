"""Measurements of the maps that networks train on, drawn anew for every sample."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from radiodiff.data.measurements import (
    Measurements,
    observe_map,
    show_measurements,
    stack_measurements,
)
from radiodiff.data.settings import MeasurementProtocol
from radiodiff.training.settings import MeasurementRanges
from radiodiff.training.stream import Item

MEASURED_FIELDS = ("gain", "buildings")
"""What of a map is needed to measure it."""


def draw_measurements(
    gain: Tensor, buildings: Tensor, settings: MeasurementRanges, generator: torch.Generator
) -> Measurements:
    """Measure one map by a protocol that is drawn too.

    Args:
        gain: (1, H, W), model range.
        buildings: (1, H, W) bool.
        settings: ranges that ratio and noise are drawn from.
        generator: source of ratio, noise level, mask and noise.

    Raises:
        InputError: a ratio that the blocks off buildings do not suffice for.
    """
    ratio, noise_std = (
        low + (high - low) * float(torch.rand((), generator=generator))
        for low, high in (settings.missing_ratio, settings.noise_std)
    )
    protocol = MeasurementProtocol(
        kind=settings.kind, aware=settings.aware, missing_ratio=ratio, noise_std=noise_std
    )
    seed = int(torch.randint(2**62, (), generator=generator))
    return observe_map(gain, buildings, protocol, seed)[0]


def draw_prompt(
    item: Item,
    features: Sequence[str],
    settings: MeasurementRanges | None,
    generator: torch.Generator,
) -> Item:
    """Return the prompt of a sample with its measurements drawn, or nothing if it takes none.

    Args:
        item: holds ``prompt`` (C, H, W) and :data:`MEASURED_FIELDS`.
        features: channels of the prompt.
        settings: ranges that ratio and noise are drawn from; None where the prompt takes none.
        generator: see :func:`draw_measurements`.
    """
    if settings is None:
        return {}
    drawn = draw_measurements(item["gain"], item["buildings"], settings, generator)
    return {"prompt": show_measurements(item["prompt"][None], features, drawn)[0]}


def measure_validation(batch: Item, settings: MeasurementRanges) -> Measurements:
    """Measure the maps of a batch of :func:`radiodiff.training.scoring.batches`, each always the
    same.
    """
    drawn = [
        draw_measurements(
            gain.cpu(), buildings.cpu(), settings, torch.Generator().manual_seed(index)
        )
        for gain, buildings, index in zip(
            batch["gain"], batch["buildings"], batch["index"], strict=True
        )
    ]
    return stack_measurements(drawn).to(batch["gain"].device)
