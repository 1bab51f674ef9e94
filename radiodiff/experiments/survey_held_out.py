"""Held-out samples of a survey: which they are, and how well they are predicted."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd

from radiodiff.data.surveys.held_out import split_held_out
from radiodiff.data.surveys.samples import SurveySamples, read_samples
from radiodiff.data.surveys.settings import SurveySettings
from radiodiff.files import write_text
from radiodiff.inverse.field.validation import NORMAL_Q95


@dataclass(frozen=True)
class SamplePrediction:
    """Predicted samples, noise included; all (N,), in the units of the file."""

    mean: np.ndarray
    std: np.ndarray
    q05: np.ndarray
    q95: np.ndarray


def separate_held_out(
    samples: SurveySamples, held_out: Path | None, settings: SurveySettings, seed: int
) -> tuple[SurveySamples, SurveySamples | None]:
    """Separate the samples that the map is made from and those that score it.

    Args:
        samples: as read.
        held_out: a second table with samples that score the map, or None.
        settings: how tables are read; ``held_out`` there is a share of the first table.
        seed: of the choice of that share.

    Returns:
        Samples of the map, and held-out ones, if there are any.

    Raises:
        InputError: the table cannot be read, or the share leaves too few samples.
    """
    if held_out is not None:
        return samples, read_samples(held_out, settings, grid=samples.grid)
    if settings.held_out is None:
        return samples, None
    out = split_held_out(
        samples.xy, settings.held_out, settings.held_out_blocks_m, np.random.default_rng(seed)
    )
    return _take(samples, ~out), _take(samples, out)


def write_held_out(
    path: Path, samples: SurveySamples, predicted: SamplePrediction
) -> dict[str, float | int]:
    """Write ``held_out.csv`` and return its scores.

    Returns:
        samples; rmse_db, mae_db, crps_db (of a normal distribution with the given mean and
        standard deviation) and coverage90, the share of samples within q05 .. q95.
    """
    table = pd.DataFrame(
        {
            "x": samples.position[:, 0],
            "y": samples.position[:, 1],
            "value": samples.values,
            "predicted": np.round(predicted.mean, 3),
            "std": np.round(predicted.std, 3),
            "q05": np.round(predicted.q05, 3),
            "q95": np.round(predicted.q95, 3),
        }
    )
    write_text(path, table.to_csv(index=False))
    return score_samples(predicted, samples.values)


def score_samples(predicted: SamplePrediction, values: np.ndarray) -> dict[str, float | int]:
    """Score predicted samples; see :func:`write_held_out`."""
    error = predicted.mean - values
    inside = (predicted.q05 <= values) & (values <= predicted.q95)
    return {
        "samples": len(values),
        "rmse_db": float(np.sqrt(np.mean(error**2))),
        "mae_db": float(np.mean(np.abs(error))),
        "crps_db": float(normal_crps(predicted.mean, predicted.std, values).mean()),
        "coverage90": float(inside.mean()),
    }


def normal_crps(mean: np.ndarray, std: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Continuous ranked probability score of normal distributions (Gneiting and Raftery, 2007)."""
    from scipy.stats import norm

    z = (values - mean) / std
    return std * (z * (2 * norm.cdf(z) - 1) + 2 * norm.pdf(z) - np.pi**-0.5)


def predict_from_map(
    samples: SurveySamples, map_db: np.ndarray, std_db: np.ndarray, noise_db: float
) -> SamplePrediction:
    """Predict samples from the nearest pixels of a map in the units of the file.

    Args:
        samples: where.
        map_db: (H, W) in the units of the file.
        std_db: (H, W) standard deviation of the map, dB.
        noise_db: standard deviation of a sample, dB.
    """
    pixels = np.rint(samples.grid.to_pixels(*samples.position.T)).astype(np.int64)
    row, column = np.clip(pixels, 0, np.array(map_db.shape) - 1).T
    mean, std = map_db[row, column], np.hypot(std_db[row, column], noise_db)
    return SamplePrediction(mean, std, mean - NORMAL_Q95 * std, mean + NORMAL_Q95 * std)


def _take(samples: SurveySamples, chosen: np.ndarray) -> SurveySamples:
    std = samples.noise_std_db
    return replace(
        samples,
        position=samples.position[chosen],
        xy=samples.xy[chosen],
        values=samples.values[chosen],
        noise_std_db=None if std is None else std[chosen],
    )
