"""The map of a survey by a statistical field alone: no prior, no path gain, any spacing."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from tqdm import tqdm

from radiodiff.data.surveys.samples import SurveySamples
from radiodiff.experiments.survey_held_out import SamplePrediction
from radiodiff.inverse.field.model import CrossValidation, Field, FieldPrediction, fit_field

MIN_EVIDENCE = 3.0
"""Logarithm of the Bayes factor against a constant from which a transmitter is reported."""
MIN_FLOOR_SAMPLES, MIN_FLOOR_SHARE = 10, 0.03
"""Samples of the smallest value from which they count as a receiver's floor."""
BAND = 65_536
"""Pixels predicted between two reports of progress."""


@dataclass(frozen=True)
class FieldMap:
    """Predictions of a field at the pixels of a survey's grid, in the units of the file."""

    field: Field
    mean: np.ndarray
    """(H, W)."""
    std: np.ndarray
    """(H, W) of the map, without the noise of a sample, dB."""
    q05: np.ndarray
    """(H, W) of a sample there."""
    q95: np.ndarray
    """(H, W) of a sample there."""
    transmitter: np.ndarray | None
    """(2,) fractional row and column, None where the samples do not show one."""


def map_field(
    samples: SurveySamples, seed: int, progress: Callable[[int, int], None] | None = None
) -> FieldMap:
    """Fit a field to samples and predict it at all pixels of their grid.

    Args:
        samples: on their grid.
        seed: of the fit.
        progress: called with the steps done and to do; None draws a bar on the terminal.
    """
    if progress is not None:
        return _map_field(samples, seed, progress)
    with tqdm(desc="field", bar_format="{desc} {percentage:3.0f}% |{bar}| {remaining} left") as bar:

        def show(done: int, total: int) -> None:
            bar.total = total
            bar.update(done - bar.n)

        return _map_field(samples, seed, show)


def _map_field(samples: SurveySamples, seed: int, progress: Callable[[int, int], None]) -> FieldMap:
    grid = samples.grid
    pixels = grid.pixel_metres().reshape(-1, 2)
    bands = np.array_split(pixels, max(1, len(pixels) // BAND))
    fits = 1

    def fitted(done: int, total: int) -> None:
        nonlocal fits
        fits = total
        progress(done, fits + len(bands))

    field = fit_field(samples.xy, samples.values, seed=seed, progress=fitted)
    parts = []
    for number, band in enumerate(bands, start=1):
        parts.append(field.predict(band))
        progress(fits + number, fits + len(bands))
    mean, std, q05, q95 = (
        np.concatenate([getattr(part, name) for part in parts]).reshape(grid.shape)
        for name in ("mean", "map_std", "q05", "q95")
    )
    transmitter = None
    if field.trend is not None and field.trend.evidence > MIN_EVIDENCE:
        # xy are metres east and north of the centre of pixel (0, 0).
        transmitter = grid.from_metres(np.array(field.trend.transmitter))
    return FieldMap(
        field,
        mean,
        std,
        q05,
        q95,
        transmitter,
    )


def floor_note(values: np.ndarray) -> list[str]:
    """Say so if many samples share the smallest value, which may be the receiver's floor."""
    lowest = float(values.min())
    count = int((values == lowest).sum())
    if lowest == values.max() or count < max(MIN_FLOOR_SAMPLES, MIN_FLOOR_SHARE * len(values)):
        return []
    return [
        f"{count} of {len(values)} samples have the smallest value, {lowest:g}: if that is the "
        "receiver's floor, the power there may be lower than the map shows"
    ]


def predict_samples(field: Field, samples: SurveySamples) -> SamplePrediction:
    """Predict samples at their own positions."""
    found: FieldPrediction = field.predict(samples.xy)
    return SamplePrediction(found.mean, found.std, found.q05, found.q95)


def validation_report(found: CrossValidation | None) -> dict[str, Any] | None:
    """Return the scores of cross-validation as ``report.json`` holds them."""
    if found is None:
        return None
    report: dict[str, Any] = {"samples": found.samples, "kriging_as_good": found.kriging_as_good}
    for index, name in enumerate(("random", "squares")):
        report[name] = {
            "rmse_db": found.rmse_db[index],
            "kriging_rmse_db": found.kriging_rmse_db[index],
            "coverage90": found.coverage90[index],
            "kriging_coverage90": found.kriging_coverage90[index],
            "weights": {key: pair[index] for key, pair in found.weights.items()},
        }
    return report


def validation_line(found: CrossValidation) -> str:
    """Return the scores of cross-validation as a sentence for the terminal."""
    rmse, kriging = found.rmse_db, found.kriging_rmse_db
    verdict = "; kriging is as good here" if found.kriging_as_good else ""
    return (
        f"left-out samples: RMSE {rmse[0]:.1f} dB at random and {rmse[1]:.1f} dB in squares "
        f"(kriging {kriging[0]:.1f} and {kriging[1]:.1f}), 90 % intervals hold "
        f"{100 * found.coverage90[0]:.0f} % and {100 * found.coverage90[1]:.0f} %{verdict}"
    )
