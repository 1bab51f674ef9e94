"""Figures: maps side by side (prompt, measurements, truth, results, errors), and curves."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure

from radiodiff.data.scale import RADIOMAPSEER, Scale
from radiodiff.errors import InputError
from radiodiff.files import replacing

if TYPE_CHECKING:  # a map of a city needs no network, and torch takes seconds to import
    import torch

PANEL_INCHES = 1.7
SHEET_COLUMNS = 4
ERROR_LIMIT_DB = 20.0
"""Errors beyond this have the last colour."""
GAIN_COLOURS = "viridis"
ERROR_COLOURS = "RdBu_r"
STD_COLOURS = "magma"
UNOBSERVED_COLOUR = "0.85"
VEHICLE_COLOURS = "Blues"
CURVE_COLOURS = ("C0", "C2", "C1", "C3", "C4", "C5", "C6", "C7", "C8", "C9")


def comparison_figure(
    truth: torch.Tensor,
    results: Mapping[str, torch.Tensor],
    *,
    buildings: torch.Tensor | None = None,
    vehicles: torch.Tensor | None = None,
    transmitters: torch.Tensor | None = None,
    inputs: Mapping[str, torch.Tensor] | None = None,
    names: Sequence[str] = (),
    scale: Scale = RADIOMAPSEER,
) -> Figure:
    """Draw one row per map: prompt, inputs, truth, results, and the error of every result.

    Args:
        truth: (N, H, W) gray.
        results: label -> (N, H, W) gray, reconstructions or generated samples.
        buildings: (N, H, W) bool, drawn as the prompt; None leaves the prompt out.
        vehicles: (N, H, W) bool, drawn over the buildings.
        transmitters: (N, 2) of (row, column), marked in prompt and truth.
        inputs: label -> (N, H, W) gray such as measurements; NaN is drawn as unobserved.
        names: a label for every row.
        scale: path gain of gray 0 and gray 1.

    Returns:
        a figure of its own, which pyplot knows nothing of. Gain is in dB over the whole scale,
        error is result minus truth in dB.

    Raises:
        InputError: a shape does not match the truth's.
    """
    inputs = {} if inputs is None else inputs
    for label, maps in {**inputs, **results}.items():
        _require(tuple(maps.shape) == tuple(truth.shape), label, maps, truth)
    if buildings is not None:
        _require(tuple(buildings.shape) == tuple(truth.shape), "buildings", buildings, truth)
    if vehicles is not None:
        _require(tuple(vehicles.shape) == tuple(truth.shape), "vehicles", vehicles, truth)
    if transmitters is not None:
        _require(tuple(transmitters.shape) == (len(truth), 2), "transmitters", transmitters, truth)

    titles = [
        *(["prompt"] if buildings is not None else []),
        *inputs,
        "truth",
        *results,
        *(f"error: {label}" for label in results),
    ]
    height, width = truth.shape[1:]
    figure = Figure(
        figsize=(
            PANEL_INCHES * len(titles) + 1.6,
            PANEL_INCHES * height / width * len(truth) + 0.6,
        ),
        layout="constrained",
    )
    FigureCanvasAgg(figure)
    axes = figure.subplots(len(truth), len(titles), squeeze=False)
    gain_norm = Normalize(scale.min_db, scale.max_db)
    error_norm = Normalize(-ERROR_LIMIT_DB, ERROR_LIMIT_DB)
    for row, panels in enumerate(axes):
        remaining = iter(panels)
        if buildings is not None:
            panel = next(remaining)
            panel.imshow(_array(buildings[row]), cmap="Greys", vmin=0, vmax=1.6)
            if vehicles is not None:
                shown = np.ma.masked_less(_array(vehicles[row]), 0.5)
                panel.imshow(shown, cmap=VEHICLE_COLOURS, vmin=0, vmax=1)
            _mark(panel, transmitters, row)
        for maps in inputs.values():
            _draw_gain(next(remaining), maps[row], gain_norm, scale)
        panel = next(remaining)
        _draw_gain(panel, truth[row], gain_norm, scale)
        _mark(panel, transmitters, row)
        for maps in results.values():
            _draw_gain(next(remaining), maps[row], gain_norm, scale)
        for maps in results.values():
            error_db = scale.range_db * (_array(maps[row]) - _array(truth[row]))
            next(remaining).imshow(error_db, cmap=ERROR_COLOURS, norm=error_norm)
        if names:
            panels[0].set_ylabel(names[row], fontsize="small")
    for panel, title in zip(axes[0], titles, strict=True):
        panel.set_title(title, fontsize="small")
    for panel in axes.flat:
        panel.set_xticks([])
        panel.set_yticks([])
    _colour_bar(figure, axes, gain_norm, GAIN_COLOURS, "path gain (dB)")
    if results:
        _colour_bar(figure, axes, error_norm, ERROR_COLOURS, "error (dB)")
    return figure


def reconstruction_figure(
    truth: torch.Tensor,
    samples: torch.Tensor,
    mean: torch.Tensor,
    std: torch.Tensor,
    names: Sequence[str] = (),
    scale: Scale = RADIOMAPSEER,
) -> Figure:
    """Draw one row per map: truth, samples, mean, standard deviation and error.

    Args:
        truth: (N, H, W) gray.
        samples: (N, H, W) gray, NaN where nothing was measured.
        mean: (N, H, W) gray, the reconstruction.
        std: (N, H, W) its standard deviation, gray.
        names: a label for every row.
        scale: path gain of gray 0 and gray 1.

    Returns:
        a figure of its own, which pyplot knows nothing of; gain, deviation and error in dB.

    Raises:
        InputError: a shape does not match the truth's.
    """
    for label, maps in (("samples", samples), ("mean", mean), ("std", std)):
        _require(tuple(maps.shape) == tuple(truth.shape), label, maps, truth)
    height, width = truth.shape[1:]
    size = (PANEL_INCHES * 5 + 3.2, PANEL_INCHES * height / width * len(truth) + 0.6)
    figure = Figure(figsize=size, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(len(truth), 5, squeeze=False)
    gain_norm = Normalize(scale.min_db, scale.max_db)
    std_norm = Normalize(0.0, ERROR_LIMIT_DB / 2)
    error_norm = Normalize(-ERROR_LIMIT_DB, ERROR_LIMIT_DB)
    for row, panels in enumerate(axes):
        for panel, maps in zip(panels[:3], (truth, samples, mean), strict=True):
            _draw_gain(panel, maps[row], gain_norm, scale)
        panels[3].imshow(scale.range_db * _array(std[row]), cmap=STD_COLOURS, norm=std_norm)
        error_db = scale.range_db * (_array(mean[row]) - _array(truth[row]))
        panels[4].imshow(error_db, cmap=ERROR_COLOURS, norm=error_norm)
        if names:
            panels[0].set_ylabel(names[row], fontsize="small")
    titles = ("truth", "samples", "mean", "standard deviation", "error: mean minus truth")
    for panel, title in zip(axes[0], titles, strict=True):
        panel.set_title(title, fontsize="small")
    for panel in axes.flat:
        panel.set_xticks([])
        panel.set_yticks([])
    _colour_bar(figure, axes, gain_norm, GAIN_COLOURS, "path gain (dB)")
    _colour_bar(figure, axes, std_norm, STD_COLOURS, "standard deviation (dB)")
    _colour_bar(figure, axes, error_norm, ERROR_COLOURS, "error (dB)")
    return figure


def contact_sheet(
    maps: Sequence[torch.Tensor],
    names: Sequence[str],
    buildings: Sequence[torch.Tensor],
    transmitters: Sequence[tuple[float, float]],
    scale: Scale = RADIOMAPSEER,
) -> Figure:
    """Draw maps without a truth, up to four in a row, with outlines of buildings and transmitter.

    Args:
        maps: N maps (H, W) gray, N >= 1.
        names: above each map.
        buildings: N masks (H, W).
        transmitters: row and column in each map.
        scale: path gain of gray 0 and gray 1.

    Returns:
        a figure of its own, which pyplot knows nothing of. Gain is in dB over the whole scale.
    """
    columns = min(len(maps), SHEET_COLUMNS)
    rows = math.ceil(len(maps) / columns)
    figure = Figure(
        figsize=(1.6 * PANEL_INCHES * columns + 1.2, 1.7 * PANEL_INCHES * rows + 0.2),
        layout="constrained",
    )
    FigureCanvasAgg(figure)
    axes = figure.subplots(rows, columns, squeeze=False)
    norm = Normalize(scale.min_db, scale.max_db)
    for panel in axes.flat:
        panel.set_axis_off()
    for panel, gray, name, mask, (row, column) in zip(
        axes.flat, maps, names, buildings, transmitters, strict=False
    ):
        _draw_gain(panel, gray, norm, scale)
        if mask.any():
            panel.contour(_array(mask), levels=[0.5], colors="white", linewidths=0.6)
        panel.plot(column, row, "rx", markersize=6)
        panel.set_title(name, fontsize="small")
    _colour_bar(figure, axes, norm, GAIN_COLOURS, "path gain (dB)")
    return figure


@dataclass(frozen=True)
class Curve:
    """One line of a plot.

    Attributes:
        method: gives the colour.
        scenario: named in the legend.
        x: positions.
        mean: values there.
        half_width: of the band; NaN draws none.
        dashed: line style.
    """

    method: str
    scenario: str
    x: Sequence[float]
    mean: Sequence[float]
    half_width: Sequence[float]
    dashed: bool


def curve_figure(curves: Sequence[Curve], x_label: str, y_label: str, title: str) -> Figure:
    """Draw metrics over a setting, one colour for each method, with bands.

    Args:
        curves: at least one.
        x_label: with its unit.
        y_label: with its unit.
        title: above the plot.
    """
    if not curves:
        raise InputError("figure: there is no curve")
    figure = Figure(figsize=(7.2, 4.2), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots()
    methods = list(dict.fromkeys(curve.method for curve in curves))
    for curve in curves:
        colour = CURVE_COLOURS[methods.index(curve.method) % len(CURVE_COLOURS)]
        x, mean, half = (np.asarray(v, float) for v in (curve.x, curve.mean, curve.half_width))
        style = "--" if curve.dashed else "-"
        label = f"{curve.method} ({curve.scenario})"
        axes.plot(x, mean, style, color=colour, marker="o", markersize=4, label=label)
        axes.fill_between(x, mean - half, mean + half, color=colour, alpha=0.2, linewidth=0)
    axes.set_xticks(sorted({x for curve in curves for x in curve.x}))
    axes.set_xlabel(x_label)
    axes.set_ylabel(y_label)
    figure.suptitle(title, fontsize="medium")
    axes.grid(alpha=0.3)
    figure.legend(loc="outside right center", fontsize="small")
    return figure


def save_figure(figure: Figure, path: str | Path, dpi: int = 120) -> None:
    """Write a figure as PNG through a temporary file, so that no half file remains."""
    with replacing(path) as temporary:
        figure.savefig(temporary, dpi=dpi, format="png")


def _draw_gain(panel: Axes, gray: torch.Tensor, norm: Normalize, scale: Scale) -> None:
    panel.set_facecolor(UNOBSERVED_COLOUR)
    gain_db = scale.gray_to_db(_array(gray))
    panel.imshow(np.ma.masked_invalid(gain_db), cmap=GAIN_COLOURS, norm=norm)


def _mark(panel: Axes, transmitters: torch.Tensor | None, row: int) -> None:
    if transmitters is not None:
        y, x = _array(transmitters[row])
        panel.plot(x, y, marker="x", color="red", markersize=5)


def _colour_bar(
    figure: Figure, axes: np.ndarray, norm: Normalize, colours: str, label: str
) -> None:
    mappable = ScalarMappable(norm=norm, cmap=colours)
    bar = figure.colorbar(mappable, ax=axes, label=label, fraction=0.03, pad=0.01)
    bar.ax.tick_params(labelsize="small")


def _array(tensor: torch.Tensor) -> np.ndarray:
    return tensor.detach().cpu().double().numpy()


def _require(holds: bool, label: str, found: torch.Tensor, truth: torch.Tensor) -> None:
    if not holds:
        raise InputError(
            f"figure: {label} has shape {tuple(found.shape)}, which does not match the truth's "
            f"{tuple(truth.shape)}"
        )
