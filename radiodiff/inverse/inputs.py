"""What a caller gives RadioDiff-Inverse, checked: measurements, buildings and generators."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from radiodiff.checks import require_data
from radiodiff.data.measurements import Measurements, check_noise_std
from radiodiff.data.own_measurements import MAX_EXCESS_STD
from radiodiff.errors import InputError


def with_noise(measurements: Measurements, noise_std: float | Tensor | None) -> Measurements:
    """Check measurements and return them in float32 with their noise.

    Args:
        measurements: of B maps, in model range.
        noise_std: sigma in model range, a number or (B, 1, H, W); None takes the measurements'.

    Raises:
        InputError: no :class:`Measurements`, an empty batch, no noise level, or values outside the
            model range.
    """
    if not isinstance(measurements, Measurements):
        raise InputError(
            f"measurements: found a {type(measurements).__name__}; make them with "
            "Measurements.from_points or Measurements.from_array"
        )
    for values in (measurements.values, measurements.mask):
        require_data(values, "measurements")
    if not len(measurements.values):
        raise InputError("measurements: an empty batch")
    measurements = _as_float32(measurements)
    if noise_std is not None:
        check_noise_std(noise_std)
        measurements = measurements.with_noise(noise_std)
    if measurements.noise_std is None:
        raise InputError("the measurements have no noise level; pass noise_std in model range")
    # What noise cannot have brought out of the range is in another unit.
    excess = (MAX_EXCESS_STD * measurements.noise_std).clamp(min=1.0)
    outside = measurements.mask & (measurements.values.abs() > 1.0 + excess)
    if outside.any():
        found = float(measurements.values[outside][0])
        raise InputError(
            f"a measured value is {found:g}, outside the model range [-1, 1]; "
            "Measurements.from_array takes other units"
        )
    return measurements


def _as_float32(measurements: Measurements) -> Measurements:
    sigma = measurements.noise_std
    return replace(
        measurements,
        values=measurements.values.float(),
        noise_std=None if sigma is None else sigma.float(),
    )


def as_buildings(buildings: Tensor, like: Tensor) -> Tensor:
    """Return a bool mask expanded to the shape (B, 1, H, W) of ``like``, on its device.

    Raises:
        InputError: no bool mask, or one of another size.
    """
    if buildings.dtype != torch.bool:
        raise InputError(f"buildings are {buildings.dtype}; needed is a bool mask")
    if buildings.shape[-2:] != like.shape[-2:] or buildings.ndim > 4:
        raise InputError(
            f"buildings have shape {tuple(buildings.shape)}; needed is {tuple(like.shape)}"
        )
    return buildings.to(like.device).expand_as(like)


def generator_per_map(
    generator: torch.Generator | Sequence[torch.Generator] | None,
    batch: int,
    device: torch.device,
) -> list[torch.Generator]:
    """Return a generator for each map: those given, or ones seeded from a single one in order.

    Args:
        generator: one per map, or a single one; None draws a seed.
        batch: B, number of maps.
        device: of the generators that are made.

    Raises:
        InputError: another number of generators than maps.
    """
    if isinstance(generator, Sequence):
        if len(generator) != batch:
            raise InputError(f"{len(generator)} generators for {batch} maps; pass one per map")
        return list(generator)
    if generator is None:
        generator = torch.Generator()
        generator.seed()
    seeds = torch.randint(2**62, (batch,), generator=generator, device=generator.device)
    return [torch.Generator(device).manual_seed(int(seed)) for seed in seeds]
