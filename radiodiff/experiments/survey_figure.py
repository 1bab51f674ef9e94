"""The picture of a survey's map: axes in metres or degrees, samples, and where little is known."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.image import AxesImage
from matplotlib.ticker import MaxNLocator

from radiodiff.data.surveys.grid import Grid
from radiodiff.evaluation.figures import GAIN_COLOURS, UNOBSERVED_COLOUR, save_figure

STD_COLOURS = "magma"
MIN_ALPHA = 0.25
"""Opacity of the map where no sample says anything."""
MIN_TRUST = 0.5
"""Pixels below count as filled in from the trend; a dashed line surrounds the others."""
COLOUR_QUANTILES = (0.005, 0.995)
MARKER_AREA = 4e3
"""Area of all markers of samples together, square points."""
MAX_ASPECT, PANEL_INCHES = 2.5, 5.0


def draw_survey_map(
    path: Path,
    grid: Grid,
    mean: np.ndarray,
    std: np.ndarray,
    trust: np.ndarray,
    *,
    position: np.ndarray,
    values: np.ndarray,
    quantity: str,
    transmitter: np.ndarray | None,
) -> None:
    """Draw the map with the samples on it, and its standard deviation.

    Args:
        path: PNG to write.
        grid: of the map.
        mean: (H, W) the map.
        std: (H, W) its standard deviation in dB.
        trust: (H, W) in [0, 1]; the map is faded where it is low.
        position: (N, 2) x and y of the samples, in the coordinates of the grid.
        values: (N,) their values, in the units of the map.
        quantity: name and unit of the map.
        transmitter: (2,) row and column, or None.
    """
    aspect = float(np.clip(grid.shape[0] / grid.shape[1], 1 / MAX_ASPECT, MAX_ASPECT))
    stacked = aspect < 1 / 1.5  # wide maps stand above each other
    panels = (2, 1) if stacked else (1, 2)
    width, height = (9.0, 9.0 * aspect) if stacked else (PANEL_INCHES, PANEL_INCHES * aspect)
    size = (panels[1] * (width + 1.2), panels[0] * (height + 0.9))
    figure = Figure(figsize=size, layout="constrained")
    FigureCanvasAgg(figure)
    left, right = np.ravel(figure.subplots(*panels))
    shown = np.concatenate([mean[trust >= MIN_TRUST], values])
    norm = Normalize(*np.quantile(shown[np.isfinite(shown)], COLOUR_QUANTILES))
    alpha = MIN_ALPHA + (1.0 - MIN_ALPHA) * np.clip(trust, 0.0, 1.0)
    image = _show(left, mean, grid, norm=norm, cmap=GAIN_COLOURS, alpha=alpha)
    left.scatter(
        *position.T,
        c=values,
        norm=norm,
        cmap=GAIN_COLOURS,
        s=np.clip(MARKER_AREA / len(values), 0.5, 24.0),
        edgecolors="white",
        linewidths=0.2,
    )
    if transmitter is not None:
        left.plot(*grid.to_survey(transmitter), "r+", markersize=12)
    far = (trust < MIN_TRUST).mean()
    faded = ",\nfaded where far from all of them" if far > 0 else ""
    left.set_title(f"{quantity}, {len(values)} samples{faded}", fontsize="medium")
    figure.colorbar(image, ax=left, label=quantity, shrink=0.8)
    spread = _show(right, std, grid, cmap=STD_COLOURS)
    if 0 < far < 1:
        x, y = _axes_of(grid)
        right.contour(x, y, trust, levels=[MIN_TRUST], colors="white", linestyles="dashed")
    right.set_title("standard deviation", fontsize="medium")
    figure.colorbar(spread, ax=right, label="dB", shrink=0.8)
    save_figure(figure, path)


def _show(
    panel: Axes,
    values: np.ndarray,
    grid: Grid,
    cmap: str,
    norm: Normalize | None = None,
    alpha: np.ndarray | None = None,
) -> AxesImage:
    x, y = _axes_of(grid)
    half_x, half_y = grid.pixel[0] / 2, grid.pixel[1] / 2
    extent = (x[0] - half_x, x[-1] + half_x, y[-1] + half_y, y[0] - half_y)
    panel.set_facecolor(UNOBSERVED_COLOUR)
    image = panel.imshow(
        values,
        extent=extent,
        aspect=abs(grid.pixel[0] / grid.pixel[1]),
        cmap=cmap,
        norm=norm,
        alpha=alpha,
    )
    for axis, label in zip((panel.xaxis, panel.yaxis), _labels(grid), strict=True):
        axis.set_major_locator(MaxNLocator(4))
        axis.set_label_text(label)
    panel.ticklabel_format(useOffset=False, style="plain")
    return image


def _axes_of(grid: Grid) -> tuple[np.ndarray, np.ndarray]:
    """Return x of the columns and y of the rows."""
    rows, columns = (np.arange(side) for side in grid.shape)
    return grid.origin[0] + grid.pixel[0] * columns, grid.origin[1] + grid.pixel[1] * rows


def _labels(grid: Grid) -> tuple[str, str]:
    if grid.coordinates == "degrees":
        return "longitude in degrees", "latitude in degrees"
    if grid.crs is not None:
        return f"easting in metres, {grid.crs}", f"northing in metres, {grid.crs}"
    return "x in metres", "y in metres"
