"""Path gain in its four units, and the constants of RadioMapSeer.

======  ==================  =====================================================
unit    range               meaning
======  ==================  =====================================================
level   0 .. 255 (uint8)    what a RadioMapSeer PNG stores
gray    [0, 1]              level / 255; metrics are computed here
model   [-1, 1]             2 gray - 1; what networks see, and the range of noise levels
dB      [-147, -47.84]      path gain; gray 0 is the truncation, gray 1 is 1 m free space
======  ==================  =====================================================

Every function works elementwise on floats, NumPy arrays and torch tensors and keeps their type.
Source: RadioMapSeer (Yapar et al., "The first pathloss radio map prediction challenge", 2023).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

import numpy as np

if TYPE_CHECKING:
    import torch

Array = TypeVar("Array", float, np.ndarray, "torch.Tensor")

GAIN_MIN_DB = -147.0
"""Path gain of gray level 0: anything weaker is truncated to it."""
GAIN_MAX_DB = -47.84
"""Path gain of gray level 255: free space at 1 m and 5.9 GHz."""
GAIN_RANGE_DB = GAIN_MAX_DB - GAIN_MIN_DB
NOISE_FLOOR_DB = -127.0
NOISE_FLOOR_GRAY = 0.2
"""Gray level of the noise floor, called "thr2" in the literature."""
CARRIER_FREQUENCY_HZ = 5.9e9
TRANSMIT_POWER_DBM = 23.0
ANTENNA_HEIGHT_M = 1.5
BUILDING_HEIGHT_M = 25.0
VEHICLE_HEIGHT_M = 1.5
MAP_SIZE = 256
RESOLUTION_M = 1.0


def gray_to_db(gray: Array) -> Array:
    """Convert gray in [0, 1] to path gain in dB: -147 + 99.16 gray."""
    return GAIN_MIN_DB + GAIN_RANGE_DB * gray


def db_to_gray(gain_db: Array) -> Array:
    """Convert path gain in dB to gray. Values outside the range give gray outside [0, 1]."""
    return (gain_db - GAIN_MIN_DB) / GAIN_RANGE_DB


def gray_to_model(gray: Array) -> Array:
    """Convert gray in [0, 1] to model range [-1, 1]."""
    return 2.0 * gray - 1.0


def model_to_gray(model: Array) -> Array:
    """Convert model range [-1, 1] to gray in [0, 1], without clipping."""
    return (model + 1.0) / 2.0


def model_to_db(model: Array) -> Array:
    """Convert model range [-1, 1] to path gain in dB."""
    return gray_to_db(model_to_gray(model))


def db_to_model(gain_db: Array) -> Array:
    """Convert path gain in dB to model range."""
    return gray_to_model(db_to_gray(gain_db))


def db_std_to_model(std_db: Array) -> Array:
    """Convert a standard deviation in dB to model range (1 dB is about 0.0202)."""
    return std_db * (2.0 / GAIN_RANGE_DB)


def model_std_to_db(std_model: Array) -> Array:
    """Convert a standard deviation in model range to dB (0.05 is about 2.48 dB)."""
    return std_model * (GAIN_RANGE_DB / 2.0)


def gray_to_level(gray: np.ndarray) -> np.ndarray:
    """Quantise gray to uint8 gray levels 0..255: clipped, then rounded to the nearest."""
    return np.rint(np.clip(gray, 0.0, 1.0) * 255.0).astype(np.uint8)


def level_to_gray(level: np.ndarray) -> np.ndarray:
    """Convert uint8 gray levels to float32 gray in [0, 1]."""
    return level.astype(np.float32) / np.float32(255.0)


def db_to_level(gain_db: np.ndarray) -> np.ndarray:
    """Quantise path gain in dB to the uint8 gray levels of a RadioMapSeer image."""
    return gray_to_level(db_to_gray(np.asarray(gain_db, dtype=np.float64)))
