"""Sparse, noisy power measurements on a map's grid: what they say, and how sure they are.

:class:`~radiodiff.data.settings.MeasurementProtocol` says how a map is measured, and
:func:`observe_map` measures it: every benchmark, table, training and demo goes through them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import chain
from typing import Literal

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor

from radiodiff.checks import require_data
from radiodiff.data.masks import block_mask, pixel_mask
from radiodiff.data.points import PointMeasurements
from radiodiff.data.prompts import MEASURED_FEATURE
from radiodiff.data.scale import RADIOMAPSEER, Scale
from radiodiff.data.settings import MeasurementProtocol
from radiodiff.errors import InputError
from radiodiff.units import MAP_SIZE, RESOLUTION_M, gray_to_model, model_to_gray

BUILDING_VALUE = -1.0
"""Path gain inside a building, model range: the truncation of RadioMapSeer."""


@dataclass(frozen=True)
class Measurements:
    """Noisy values of some pixels of B maps."""

    values: Tensor
    """(B, 1, H, W) float32, model range; 0 where nothing was observed."""
    mask: Tensor
    """(B, 1, H, W) bool, true where a value was observed."""
    noise_std: Tensor | None = None
    """(B, 1, H, W) float32 sigma of every value in model range; None leaves it to the caller."""
    points: tuple[PointMeasurements, ...] | None = None
    """The same of every map at the exact positions, where these are known."""

    def __post_init__(self) -> None:
        if self.values.ndim != 4 or self.values.shape[1] != 1:
            raise InputError(
                f"measured values have shape {tuple(self.values.shape)}; allowed is (B, 1, H, W)"
            )
        if self.mask.shape != self.values.shape or self.mask.dtype != torch.bool:
            raise InputError(
                f"the mask is {tuple(self.mask.shape)} {self.mask.dtype}; needed is "
                f"{tuple(self.values.shape)} torch.bool like the values"
            )
        require_data(self.values, "measured values")
        require_data(self.mask, "the mask")
        if self.values.numel() == 0 or not self.values.is_floating_point():
            raise InputError(
                f"measured values are {tuple(self.values.shape)} {self.values.dtype}; needed are "
                "floating-point numbers of at least one map"
            )
        counts = self.mask.flatten(1).sum(dim=1)
        if (counts == 0).any():
            raise InputError(f"map {int(counts.argmin())} of the batch has no observed pixel")
        if not torch.isfinite(self.values[self.mask]).all():
            raise InputError("a measured value is not finite (NaN or infinite); leave it out")
        if self.noise_std is not None:
            if self.noise_std.shape != self.values.shape:
                raise InputError(
                    f"noise_std has shape {tuple(self.noise_std.shape)}; needed is "
                    f"{tuple(self.values.shape)} like the values"
                )
            check_noise_std(self.noise_std[self.mask])
        if self.points is not None and len(self.points) != len(self.values):
            raise InputError(f"{len(self.points)} sets of measurements for {len(self.values)} maps")

    def with_noise(self, noise_std: float | Tensor) -> Measurements:
        """Return the same values with sigma set to a number or a (B, 1, H, W) tensor."""
        sigma = torch.as_tensor(noise_std, dtype=self.values.dtype, device=self.values.device)
        sigma = sigma.expand_as(self.values)
        points = self.points
        if points is not None:
            maps = sigma.double().cpu().numpy()
            points = tuple(
                replace(own, noise_std=maps[b, 0][tuple(own.pixels.T)])
                for b, own in enumerate(points)
            )
        return Measurements(self.values, self.mask, sigma, points)

    def with_buildings(self, buildings: Tensor) -> Measurements:
        """Return the measurements with buildings known: their pixels are the truncation, exactly.

        Args:
            buildings: (B, 1, H, W) bool.

        Raises:
            InputError: these measurements do not say their noise.
        """
        if self.noise_std is None:
            raise InputError("buildings are known without noise; the measurements must say theirs")
        return replace(
            self,
            values=torch.where(buildings, BUILDING_VALUE, self.values),
            mask=self.mask | buildings,
            noise_std=torch.where(buildings, 0.0, self.noise_std),
        )

    @classmethod
    def from_points(
        cls,
        xy: ArrayLike,
        power: ArrayLike,
        *,
        transmit_power_dbm: float | None = None,
        noise_std_db: ArrayLike = 2.5,
        resolution_m: float = RESOLUTION_M,
        shape: tuple[int, int] = (MAP_SIZE, MAP_SIZE),
        origin: tuple[float, float] | None = None,
        y_axis: Literal["north", "south"] = "north",
    ) -> Measurements:
        """Make measurements of one map from points.

        Args:
            xy: (N, 2) easting and northing in metres; y grows as ``y_axis`` says.
            power: (N,) received power in dBm; without ``transmit_power_dbm`` path gain in dB.
            transmit_power_dbm: path gain is received minus transmitted power.
            noise_std_db: standard deviation in dB, one or (N,); its default is 0.05 in model range.
            resolution_m: side of a pixel in metres; priors of RadioMapSeer's maps are for 1.
            shape: rows and columns of the map.
            origin: x and y of the centre of the first row's first pixel; None takes the points'
                corner.
            y_axis: where y grows to; ``south`` is an image's.

        Raises:
            InputError: points outside the map, or values that are no path gain of a map.
        """
        from radiodiff.data.own_measurements import from_points

        return from_points(
            xy,
            power,
            transmit_power_dbm=transmit_power_dbm,
            noise_std_db=noise_std_db,
            resolution_m=resolution_m,
            shape=shape,
            origin=origin,
            y_axis=y_axis,
        )

    @classmethod
    def from_array(
        cls,
        array: ArrayLike | Tensor,
        unit: Literal["db", "dbm", "gray", "model"],
        *,
        noise_std: float | None = None,
        transmit_power_dbm: float | None = None,
    ) -> Measurements:
        """Make measurements from an array that holds NaN where nothing was measured.

        Args:
            array: (H, W), (B, H, W) or (B, 1, H, W), of any float type.
            unit: path gain in ``db``, received power in ``dbm``, ``gray`` [0, 1] or ``model`` range
                [-1, 1].
            noise_std: standard deviation in the array's unit (dB for dBm); None leaves it to the
                pipeline.
            transmit_power_dbm: needed with ``dbm``.

        Raises:
            InputError: another shape or unit, nothing measured, or values outside the range.
        """
        from radiodiff.data.own_measurements import from_array

        return from_array(array, unit, noise_std=noise_std, transmit_power_dbm=transmit_power_dbm)

    def to(self, device: torch.device | str) -> Measurements:
        """Return a copy on ``device``."""
        noise_std = None if self.noise_std is None else self.noise_std.to(device)
        return Measurements(self.values.to(device), self.mask.to(device), noise_std, self.points)


def check_noise_std(noise_std: float | Tensor) -> None:
    """Refuse a measurement error that is negative or not finite.

    Raises:
        InputError: naming the value.
    """
    sigma = torch.as_tensor(noise_std)
    bad = ~(torch.isfinite(sigma) & (sigma >= 0))
    if bad.any():
        found = float(sigma[bad].flatten()[0])
        raise InputError(f"noise_std is {found:g}; allowed are finite numbers >= 0 in model range")


def measure(
    gain: Tensor,
    mask: Tensor,
    noise_std: float,
    generator: torch.Generator,
    quantise_db: float | None = None,
    scale: Scale = RADIOMAPSEER,
) -> Measurements:
    """Observe maps through a mask with Gaussian noise, y = A x + n: RadioDiff-Inverse, eq. (21).

    Args:
        gain: (B, 1, H, W) true maps, model range.
        mask: (B, 1, H, W) bool.
        noise_std: sigma in model range, >= 0.
        generator: source of the noise, on the device of ``gain``.
        quantise_db: round measurements to this step in dB, e.g. 1 as handsets do. The rounding
            error, uniform with standard deviation step / sqrt(12), is added to the stated noise.
        scale: path gain of gray 0 and gray 1.
    """
    check_noise_std(noise_std)
    noise = torch.randn(gain.shape, generator=generator, device=gain.device, dtype=gain.dtype)
    values = gain + noise_std * noise
    variance = noise_std**2
    if quantise_db is not None:
        rounded_db = quantise_db * torch.round(scale.model_to_db(values) / quantise_db)
        values = gray_to_model(scale.db_to_gray(rounded_db))
        variance += (2.0 / scale.range_db * quantise_db / 12**0.5) ** 2
    values = torch.where(mask, values, torch.zeros_like(values))
    return Measurements(values, mask, torch.full_like(values, variance**0.5))


def observe_map(
    gain: Tensor,
    buildings: Tensor,
    protocol: MeasurementProtocol,
    seed: int,
    scale: Scale = RADIOMAPSEER,
) -> tuple[Measurements, Tensor | None]:
    """Measure one map as a protocol says.

    Args:
        gain: (1, H, W) true map, model range, on the CPU.
        buildings: (1, H, W) bool.
        protocol: the protocol.
        seed: mask and noise follow from it alone.
        scale: path gain of gray 0 and gray 1.

    Returns:
        Measurements of a batch of one map, and the buildings (1, 1, H, W) bool where the protocol
        has them known, else None. Known buildings are among the measurements too, without noise.

    Raises:
        InputError: the protocol leaves no pixel observed, or the blocks off buildings do not
            suffice.
    """
    rng = np.random.default_rng(seed)
    layout = buildings[0].numpy()
    if protocol.kind == "pixel":
        known = layout if protocol.aware else None
        mask = pixel_mask(layout.shape, protocol.missing_ratio, rng, known)
    else:
        mask = block_mask(layout.shape, protocol.missing_ratio, rng, layout, protocol.aware)
    measured = measure(
        gain[None],
        torch.from_numpy(mask)[None, None],
        protocol.noise_std,
        torch.Generator().manual_seed(int(rng.integers(2**62))),
        protocol.quantise_db,
        scale,
    )
    if not protocol.aware:
        return measured, None
    return measured.with_buildings(buildings[None]), buildings[None]


def stack_measurements(maps: Sequence[Measurements]) -> Measurements:
    """Put measurements of several maps into one batch; what one of them lacks is left out."""
    noise = [one.noise_std for one in maps if one.noise_std is not None]
    points = [one.points for one in maps if one.points is not None]
    return Measurements(
        torch.cat([one.values for one in maps]),
        torch.cat([one.mask for one in maps]),
        torch.cat(noise) if len(noise) == len(maps) else None,
        tuple(chain.from_iterable(points)) if len(points) == len(maps) else None,
    )


def show_measurements(
    prompt: Tensor, features: Sequence[str], measurements: Measurements | None
) -> Tensor:
    """Return prompts whose channel ``measurements`` shows what was measured.

    Args:
        prompt: (N, C, H, W); a larger one than the maps shows them at its top left.
        features: the names of its channels.
        measurements: of the N maps, or of one map for all; None where the prompt has no such
            channel.

    Returns:
        (N, C, H, W): the measured gray in [0, 1], -1 where there is none; the prompts as they are
        where they have no such channel.

    Raises:
        InputError: the channel and the measurements are not both there, or sizes differ.
    """
    if MEASURED_FEATURE not in features:
        if measurements is not None:
            raise InputError(
                f"measurements: given, but the prompt has no channel {MEASURED_FEATURE!r}; its "
                f"channels are {', '.join(features)}"
            )
        return prompt
    if measurements is None:
        raise InputError("measurements: none given, this network was trained with them")
    count, _, height, width = measurements.values.shape
    if count not in (1, len(prompt)) or height > prompt.shape[-2] or width > prompt.shape[-1]:
        raise InputError(
            f"measurements: found {count} maps of {height} x {width}, expected {len(prompt)} of "
            f"{prompt.shape[-2]} x {prompt.shape[-1]}"
        )
    gray = model_to_gray(measurements.values[:, 0]).clamp(0.0, 1.0)
    shown = torch.where(measurements.mask[:, 0], gray, -1.0).to(prompt)
    prompt = prompt.clone()
    prompt[:, list(features).index(MEASURED_FEATURE), :height, :width] = shown
    return prompt


def combine_points(
    positions: np.ndarray,
    values: np.ndarray,
    noise_std: np.ndarray | float,
    shape: tuple[int, int],
) -> Measurements:
    """Put measurements on the grid; several in one pixel are averaged with inverse-variance
    weights.

    Args:
        positions: (N, 2) row and column, fractional; a pixel is the square around its centre.
        values: (N,) model range.
        noise_std: (N,) or one sigma, model range, > 0 so that a weight exists.
        shape: rows and columns of the grid.

    Returns:
        Measurements of one map, with a noise level per pixel.

    Raises:
        InputError: positions outside the grid, values or noise that are not usable.
    """
    values = np.asarray(values, dtype=np.float64)
    sigma = np.broadcast_to(np.asarray(noise_std, dtype=np.float64), values.shape)
    positions = np.asarray(positions, dtype=np.float64).reshape(-1, 2)
    points = PointMeasurements(positions, values, sigma, shape)
    index = np.ravel_multi_index(tuple(points.pixels.T), shape)
    size = shape[0] * shape[1]
    precision = np.bincount(index, weights=sigma**-2, minlength=size)
    weighted = np.bincount(index, weights=values * sigma**-2, minlength=size)
    seen = precision > 0
    safe = np.where(seen, precision, 1.0)
    fields = (np.where(seen, weighted, 0.0) / safe, seen, np.where(seen, safe**-0.5, 0.0))
    mean, mask, std = (torch.from_numpy(f.reshape(1, 1, *shape)) for f in fields)
    return Measurements(mean.float(), mask, std.float(), (points,))


def merge_measurements(first: Measurements, second: Measurements) -> Measurements:
    """Combine two sets of measurements of the same maps; pixels in both are averaged by precision.

    Raises:
        InputError: the shapes differ or a noise level is missing.
    """
    if first.values.shape != second.values.shape:
        raise InputError(
            f"the new measurements have shape {tuple(second.values.shape)}; needed is "
            f"{tuple(first.values.shape)} as before"
        )
    if first.noise_std is None or second.noise_std is None:
        raise InputError("measurements can be merged once both have a noise level")
    second = second.to(first.values.device)
    assert second.noise_std is not None
    tiny = torch.finfo(torch.float32).tiny ** 0.5
    sigmas = torch.stack([first.noise_std, second.noise_std]).double().clamp(min=tiny)
    masks = torch.stack([first.mask, second.mask])
    # Relative to the better of the two, so that a noise level of zero is no division by zero.
    best = torch.where(masks, sigmas, torch.inf).amin(dim=0)
    precision = torch.where(masks, (best / sigmas).square(), 0.0)
    total = precision.sum(dim=0)
    seen = first.mask | second.mask
    safe = torch.where(seen, total, 1.0)
    values = (precision * torch.stack([first.values, second.values])).sum(dim=0) / safe
    sigma = torch.where(seen, best / safe.sqrt(), 0.0)
    points = None
    if first.points is not None and second.points is not None:
        pairs = zip(first.points, second.points, strict=True)
        points = tuple(own.joined(other) for own, other in pairs)
    dtype = first.values.dtype
    return Measurements(values.to(dtype), seen, sigma.to(dtype), points)
