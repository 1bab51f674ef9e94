"""The papers' figures, drawn from what was computed here."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import torch
from matplotlib.figure import Figure

from radiodiff.data.prompts import FACTS
from radiodiff.data.radiomapseer import build_dataset
from radiodiff.evaluation.figures import Curve, comparison_figure, curve_figure
from radiodiff.evaluation.intervals import Estimate
from radiodiff.experiments.batches import make_batch
from radiodiff.experiments.reproduce.cells import map_count, read_map, scenario_data
from radiodiff.experiments.reproduce.header import warning
from radiodiff.experiments.reproduce.settings import (
    CurvesFigure,
    MapsFigure,
    ReproduceConfig,
    Scenario,
)
from radiodiff.experiments.reproduce.tables import ScoresOf, column, estimates
from radiodiff.units import model_to_gray

FolderOf = Callable[[str, Scenario, int], Path | None]
"""Method, scenario, seed -> folder of predicted maps; None where it does not run."""

_AXES = {
    "missing_ratio": "share of pixels without a measurement",
    "noise_std": "noise of a measurement (standard deviation, range [−1, 1])",
}


def maps_figure(figure: MapsFigure, config: ReproduceConfig, folder_of: FolderOf) -> Figure:
    """Draw maps of the first seed, spread over the part so that cities do not repeat."""
    scenario, seed = figure.scenario, config.seeds[0]
    data = scenario_data(config, scenario)
    shown = data.model_copy(update={"prompt_features": ("vehicles",)})
    dataset = build_dataset(shown, config.part)
    count = map_count(dataset, config)
    number = min(figure.maps, count)
    indices = [k * count // number for k in range(number)]
    batch, items = make_batch(dataset, indices, seed, scenario.measurements, FACTS)
    inputs = {}
    if batch.measurements is not None and scenario.measurements is not None:
        values, mask = batch.measurements.values[:, 0], batch.measurements.mask[:, 0]
        seen = 100 * (1 - scenario.measurements.missing_ratio)
        gray = model_to_gray(values).clamp(0, 1).where(mask, torch.nan)
        inputs[f"{seen:.0f} % noisy samples"] = gray
    results = {}
    for method in config.rows(figure):
        folder = folder_of(method, scenario, seed)
        if folder is not None:
            maps = [read_map(folder, name, dataset.shape) for name in batch.names]
            results[method] = torch.stack(maps)
    drawn = comparison_figure(
        model_to_gray(torch.cat([item["gain"] for item in items])),
        results,
        buildings=torch.cat([item["buildings"] for item in items]),
        vehicles=batch.prompt[:, 0] > 0 if scenario.simulation.startswith("cars") else None,
        transmitters=torch.stack([item["transmitter"] for item in items]),
        inputs=inputs,
        names=[f"map {name}" for name in batch.names],
        scale=dataset.scale,
    )
    drawn.suptitle(_title(figure.title, config), fontsize="medium")
    return drawn


def curves_figure(figure: CurvesFigure, config: ReproduceConfig, scores_of: ScoresOf) -> Figure:
    """Draw a metric over the axis, with the confidence interval as band."""
    curves = []
    for method in config.rows(figure):
        for label, scenario in figure.scenarios.items():
            found = [
                estimates(
                    config,
                    scores_of,
                    method,
                    figure.at(scenario, value),
                    (figure.metric,),
                    figure,
                ).get(figure.metric)
                for value in figure.values
            ]
            points = [(value, one) for value, one in zip(figure.values, found, strict=True) if one]
            if points and scenario.measurements is not None:
                curves.append(
                    Curve(
                        method,
                        label,
                        [value for value, _ in points],
                        [one.mean for _, one in points],
                        [_band(one) for _, one in points],
                        dashed=not scenario.measurements.aware,
                    )
                )
    metric = column(figure.metric, figure.conventions)
    return curve_figure(curves, _AXES[figure.axis], metric.label, _title(figure.title, config))


def _band(one: Estimate) -> float:
    return math.nan if one.half_width is None else one.half_width


def _title(title: str, config: ReproduceConfig) -> str:
    return title if warning(config) is None else f"{title} (SIMULATED MAPS)"
