"""The samples of a survey as measurements of one map: path gain in the model's range."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy.spatial import cKDTree

from radiodiff.data.measurements import Measurements, combine_points
from radiodiff.data.surveys.grid import Grid
from radiodiff.data.surveys.samples import SurveySamples, read_samples
from radiodiff.data.surveys.settings import SurveySettings
from radiodiff.errors import InputError
from radiodiff.units import (
    GAIN_MAX_DB,
    GAIN_MIN_DB,
    TRANSMIT_POWER_DBM,
    db_std_to_model,
    db_to_model,
)

MAX_EXCESS = 3.0
"""Standard deviations by which a sample may lie outside the range of maps; further ones are cut."""
DEFAULT_NOISE_DB = 2.5
"""Where no two samples are near enough to show their noise."""
NOISE_RANGE_DB = (0.5, 6.0)
"""The estimated standard deviation is kept within."""


@dataclass(frozen=True)
class Survey:
    """Samples as read, and as measurements of one map."""

    samples: SurveySamples
    pixels: np.ndarray
    """(N, 2) fractional row and column of every sample."""
    gain_db: np.ndarray
    """(N,) path gain: the value, less the transmit power of received power."""
    transmit_power_dbm: float | None
    """The power that path gain is relative to; None where the file holds path gain."""
    noise_std_db: np.ndarray
    """(N,) its standard deviation, given or estimated."""
    measurements: Measurements
    """The samples averaged per pixel, model range."""
    notes: tuple[str, ...]
    """What the user should know, sentences."""

    @property
    def grid(self) -> Grid:
        """The grid of the map."""
        return self.samples.grid


def read_survey(path: str | Path, settings: SurveySettings) -> Survey:
    """Read a survey.

    Raises:
        InputError: the file is no table of samples (see
            :func:`radiodiff.data.surveys.samples.read_samples`), values cannot be path gain,
            positions leave the grid or share one pixel.
    """
    return place_survey(read_samples(path, settings), settings)


def place_survey(samples: SurveySamples, settings: SurveySettings) -> Survey:
    """Make samples measurements of a map.

    Raises:
        InputError: values cannot be path gain, positions leave the grid, or repeat with other
            values where that is refused.
    """
    path, grid = samples.path, samples.grid
    notes = list(samples.notes)
    pixels = grid.to_pixels(samples.position[:, 0], samples.position[:, 1])
    if settings.duplicates == "refuse":
        _refuse_duplicates(path, samples)
    power = _transmit_power(samples, settings)
    gain = samples.values - (power or 0.0)
    if (gain > 0).any():
        raise InputError(
            f"{path}: the path gain reaches {gain.max():g} dB; a passive channel has at most 0. Is "
            "the unit dBm (survey.value received_dbm), the transmit power too low, or the value a "
            "path loss, whose sign must be changed?"
        )
    if samples.noise_std_db is not None:
        std = samples.noise_std_db
    else:
        std = np.full(len(samples), settings.noise_std_db or estimate_noise(samples))
    # The noise may carry a sample out of the range of maps; cutting it off there would bias it.
    low, high = GAIN_MIN_DB - MAX_EXCESS * std, GAIN_MAX_DB + MAX_EXCESS * std
    for count, said in (
        (int((gain < low).sum()), f"below {GAIN_MIN_DB:g}"),
        (int((gain > high).sum()), f"above {GAIN_MAX_DB:g}"),
    ):
        if count:
            notes.append(
                f"{count} of {len(samples)} samples have a path gain {said} dB, which the prior "
                "cannot show; they are moved to that bound"
            )
    try:
        measurements = combine_points(
            pixels, db_to_model(np.clip(gain, low, high)), db_std_to_model(std), grid.shape
        )
    except InputError as error:
        raise InputError(f"{path}: {error}") from None
    return Survey(samples, pixels, gain, power, std, measurements, tuple(notes))


def estimate_noise(samples: SurveySamples) -> float:
    """Return the standard deviation of samples in dB from pairs of nearest neighbours.

    Repeats at one position show the noise itself; neighbours show it with what the field changes
    between them, so that this is an upper estimate.
    """
    if len(samples) < 2:
        return DEFAULT_NOISE_DB
    neighbour = cKDTree(samples.xy).query(samples.xy, k=2)[1]
    # At a repeated position the nearest of two may be the sample itself, in either place.
    other = np.where(neighbour[:, 0] == np.arange(len(samples)), neighbour[:, 1], neighbour[:, 0])
    difference = np.abs(samples.values - samples.values[other])
    std = 1.4826 * float(np.median(difference)) / 2**0.5
    return float(np.clip(std, *NOISE_RANGE_DB))


def _transmit_power(samples: SurveySamples, settings: SurveySettings) -> float | None:
    """Return the transmit power; an unknown one is such that the samples fit the range of maps.

    It is RadioMapSeer's where that does, so that path gain is comparable between surveys.
    """
    if settings.value == "path_gain_db":
        return None
    if settings.transmit_power_dbm is not None:
        return settings.transmit_power_dbm
    low, high = float(samples.values.min()), float(samples.values.max())
    lowest, highest = high - GAIN_MAX_DB, low - GAIN_MIN_DB
    if lowest > highest:  # wider than the range: the strong ones matter more
        return lowest
    return float(np.clip(TRANSMIT_POWER_DBM, lowest, highest))


def _refuse_duplicates(path: Path, samples: SurveySamples) -> None:
    (x, y), values = samples.position.T, samples.values
    order = np.lexsort((y, x))
    same = (np.diff(x[order]) == 0) & (np.diff(y[order]) == 0) & (np.diff(values[order]) != 0)
    if same.any():
        first = order[int(np.argmax(same))]
        raise InputError(
            f"{path}: {int(same.sum())} samples repeat a position with another value, the first at "
            f"({x[first]:g}, {y[first]:g}); set survey.duplicates=average if they are repeats"
        )
