"""Horizontal patterns of antennas: gain in dB by the angle from where the antenna points."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np

from radiodiff.errors import InputError

GAIN_3GPP_DBI = 8.0
BEAM_WIDTH_3GPP_DEGREE = 65.0
FRONT_TO_BACK_3GPP_DB = 30.0


def antenna_gain(name: str, off_degree: np.ndarray) -> np.ndarray:
    """Return the gain of an antenna in dB.

    Args:
        name: ``isotropic`` (0 dB), ``3gpp``, or a CSV file of azimuth in degrees and gain in dB,
            between whose rows it is interpolated around the circle.
        off_degree: any shape, azimuth minus the antenna's own, any multiple of a turn.

    Raises:
        InputError: there is no such pattern, or the file holds no pattern.
    """
    off = (np.asarray(off_degree, dtype=np.float64) + 180.0) % 360.0 - 180.0
    if name == "isotropic":
        return np.zeros(off.shape)
    if name == "3gpp":
        # 3GPP TR 38.901, Table 7.3-1, horizontal cut; the 30 dB and 8 dBi are the table's.
        loss = 12.0 * (off / BEAM_WIDTH_3GPP_DEGREE) ** 2
        return GAIN_3GPP_DBI - np.minimum(loss, FRONT_TO_BACK_3GPP_DB)
    azimuth, gain = _read_pattern(Path(name))
    return np.interp(off % 360.0, azimuth, gain, period=360.0)


def _read_pattern(path: Path) -> tuple[np.ndarray, np.ndarray]:
    if not path.is_file():
        raise InputError(f"antenna {str(path)!r}: expected isotropic, 3gpp or a CSV file")
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            lines = [row for row in csv.reader(file) if row and not row[0].startswith("#")]
        rows = np.array([[float(value) for value in row[:2]] for row in lines[_header(lines) :]])
    except (ValueError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: expected rows of azimuth, dB ({error})") from None
    if rows.ndim != 2 or rows.shape[1] != 2 or len(rows) < 2 or not np.isfinite(rows).all():
        raise InputError(f"{path}: expected at least two rows of azimuth, dB, all finite")
    azimuth = rows[:, 0] % 360.0
    if len(np.unique(azimuth)) < len(azimuth):
        raise InputError(f"{path}: an azimuth is given twice (0 and 360 are one)")
    return azimuth, rows[:, 1]


def _header(lines: list[list[str]]) -> int:
    """Return 1 if the first line names the columns."""
    try:
        float(lines[0][0])
    except (ValueError, IndexError):
        return 1
    return 0
