"""Measurements made from points in metres, or from an array in any unit of path gain."""

from __future__ import annotations

from typing import Literal, get_args

import numpy as np
import torch
from numpy.typing import ArrayLike

from radiodiff.checks import require_data
from radiodiff.data.measurements import Measurements, check_noise_std, combine_points
from radiodiff.errors import InputError
from radiodiff.units import (
    GAIN_MAX_DB,
    GAIN_MIN_DB,
    MAP_SIZE,
    RESOLUTION_M,
    db_std_to_model,
    db_to_model,
    gray_to_model,
)

Unit = Literal["db", "dbm", "gray", "model"]

NOISE_STD_DB = 2.5
"""Noise of a measurement where nothing is said: sigma 0.05 in model range, the papers' middle."""
MAX_POSITION_M = 1e9
"""No position on Earth and no power exceeds it, in any unit."""
MAX_EXCESS_STD, MIN_EXCESS = 6.0, 0.1
"""A value may lie outside the model range by the larger: standard deviations, or model range."""


def from_points(
    xy: ArrayLike,
    power: ArrayLike,
    *,
    transmit_power_dbm: float | None = None,
    noise_std_db: ArrayLike = NOISE_STD_DB,
    resolution_m: float = RESOLUTION_M,
    shape: tuple[int, int] = (MAP_SIZE, MAP_SIZE),
    origin: tuple[float, float] | None = None,
    y_axis: Literal["north", "south"] = "north",
) -> Measurements:
    """Make measurements of one map from points; see ``Measurements.from_points``."""
    positions = _numbers(xy, "xy")
    values = _numbers(power, "power")
    if positions.ndim != 2 or positions.shape[1] != 2 or len(positions) != len(values.ravel()):
        raise InputError(
            f"xy has shape {positions.shape} and power {values.shape}; needed are (N, 2) and (N,)"
        )
    if not len(values):
        raise InputError("there are no measurements; at least 1 is needed")
    if not np.isfinite(positions).all() or not np.isfinite(values).all():
        raise InputError("a measurement has a value or position that is not finite; leave it out")
    if np.abs(positions).max() > MAX_POSITION_M or np.abs(values).max() > MAX_POSITION_M:
        raise InputError(f"a measurement has a value or position beyond {MAX_POSITION_M:g}")
    if origin is not None and not np.isfinite(origin).all():
        raise InputError(f"origin: found {origin}, expected two finite numbers")
    if not 0 < resolution_m < np.inf:
        raise InputError(f"resolution_m: found {resolution_m}, allowed are metres above 0")
    if y_axis not in ("north", "south"):
        raise InputError(f"y_axis: found {y_axis!r}, allowed are 'north' and 'south'")
    x, y = positions.T
    if origin is None:
        origin = (x.min(), y.max() if y_axis == "north" else y.min())
    down = origin[1] - y if y_axis == "north" else y - origin[1]
    pixels = np.stack([down, x - origin[0]], axis=1) / resolution_m
    sigma = db_std_to_model(np.broadcast_to(_numbers(noise_std_db, "noise_std_db"), values.shape))
    gain = values if transmit_power_dbm is None else values - transmit_power_dbm
    model = db_to_model(gain)
    unit: Unit = "db" if transmit_power_dbm is None else "dbm"
    _check_range(model, sigma, values, unit, transmit_power_dbm)
    return combine_points(pixels, model, sigma, shape)


def from_array(
    array: ArrayLike | torch.Tensor,
    unit: Unit,
    *,
    noise_std: float | None = None,
    transmit_power_dbm: float | None = None,
) -> Measurements:
    """Make measurements of B maps from an array; see ``Measurements.from_array``."""
    if unit not in get_args(Unit):
        raise InputError(f"unit: found {unit!r}, allowed are {', '.join(get_args(Unit))}")
    if (unit == "dbm") != (transmit_power_dbm is not None):
        raise InputError(
            f"transmit_power_dbm: found {transmit_power_dbm}, unit {unit}; it goes with dbm"
        )
    numbers = _numbers(array, "array")
    if numbers.ndim not in (2, 3, 4) or 0 in numbers.shape:
        raise InputError(f"array has shape {numbers.shape}; allowed are (H, W), (B, H, W)")
    if numbers.ndim == 4 and numbers.shape[1] != 1:
        raise InputError(f"array has shape {numbers.shape}; with four axes it is (B, 1, H, W)")
    values = numbers.reshape(-1, 1, *numbers.shape[-2:])
    if np.isinf(values).any():
        raise InputError("array: a value is infinite; NaN marks a pixel without measurement")
    seen = ~np.isnan(values)
    if not seen.any():
        raise InputError("array: every value is NaN, so nothing was measured")
    if unit == "gray":
        model = gray_to_model(values)
    elif unit == "model":
        model = values
    else:
        model = db_to_model(values - (transmit_power_dbm or 0.0))
    in_db = unit in ("db", "dbm")
    sigma = noise_std
    if sigma is not None:
        check_noise_std(sigma)
        sigma = db_std_to_model(sigma) if in_db else 2.0 * sigma if unit == "gray" else sigma
    spread = np.full(int(seen.sum()), 0.0 if sigma is None else sigma)
    _check_range(model[seen], spread, values[seen], unit, transmit_power_dbm)
    measured = Measurements(
        torch.from_numpy(np.where(seen, model, 0.0)).float(), torch.from_numpy(seen)
    )
    return measured if sigma is None else measured.with_noise(sigma)


def _numbers(values: ArrayLike | torch.Tensor, name: str) -> np.ndarray:
    if isinstance(values, torch.Tensor):
        require_data(values, name)
        values = values.detach().double().cpu().numpy()
    try:
        return np.asarray(values, dtype=np.float64)
    except (TypeError, ValueError, OverflowError):
        raise InputError(f"{name}: these are no numbers") from None


def _check_range(
    model: np.ndarray,
    sigma: np.ndarray,
    given: np.ndarray,
    unit: Unit,
    transmit_power_dbm: float | None,
) -> None:
    """Refuse values that noise cannot have brought out of the model range."""
    outside = np.abs(model) > 1.0 + np.maximum(MIN_EXCESS, MAX_EXCESS_STD * sigma)
    if not outside.any():
        return
    found = given[outside][0]
    power = transmit_power_dbm or 0.0
    low, high = {
        "db": (GAIN_MIN_DB, GAIN_MAX_DB),
        "dbm": (GAIN_MIN_DB + power, GAIN_MAX_DB + power),
        "gray": (0.0, 1.0),
        "model": (-1.0, 1.0),
    }[unit]
    hint = "; received power needs transmit_power_dbm" if unit == "db" else ""
    raise InputError(
        f"{int(outside.sum())} of {len(model)} values lie outside the range of maps, the first is "
        f"{found:g}; allowed are {low:g} .. {high:g} ({unit}) and some noise{hint}"
    )
