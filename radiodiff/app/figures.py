"""Figures of the page, in which the pointer shows the value of a pixel."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
import plotly.graph_objects as go

from radiodiff.app.work import SurveyLayers

GAIN_LIMITS = (-147.0, -47.84)
HEIGHT, SURVEY_HEIGHT = 340, 520
COLOUR_QUANTILES = (0.005, 0.995)
MAX_DRAWN = 4000
"""Of more samples every second, third .. is drawn: browsers are slow with many."""
LAYERS = ("map", "standard deviation")
MARKS = ("samples", "outlines", "transmitter")


def panel(
    title: str,
    values: np.ndarray,
    colours: str,
    limits: tuple[float, float],
    transmitters: Sequence[tuple[int, int]] = (),
) -> go.Figure:
    """Draw one map with its colour scale; the pointer shows row, column and dB.

    Args:
        title: above the map.
        values: (H, W) in dB; NaN is left white.
        colours: one of plotly's scales.
        limits: of the colours, in dB.
        transmitters: rows and columns, marked by crosses.
    """
    figure = go.Figure(_heatmap(values, colours, limits))
    _mark(figure, transmitters)
    return _laid_out(figure, title, HEIGHT)


def survey_panel(
    layers: SurveyLayers, layer: Literal["map", "standard deviation"], marks: Sequence[str]
) -> go.Figure:
    """Draw one layer of a survey, or its samples alone where there is no map yet.

    Args:
        layers: what there is to draw.
        layer: the map or its standard deviation.
        marks: of ``MARKS``, what is drawn on it.
    """
    samples_alone = layers.mean is None
    values = layers.mean if layer == "map" else layers.std_db
    shown = layers.sample_values if layer == "map" or values is None else values
    low, high = (float(q) for q in np.nanquantile(shown, COLOUR_QUANTILES))
    limits = low, high
    figure, title = go.Figure(), layers.quantity
    if values is not None:
        if layer == "standard deviation":
            title = "standard deviation, dB"
        colours = "Viridis" if layer == "map" else "Magma"
        figure.add_trace(_heatmap(values, colours, limits, title.rpartition(" ")[2]))
        if "outlines" in marks and layers.buildings is not None and layers.buildings.any():
            figure.add_contour(
                z=layers.buildings.astype(np.uint8),
                contours={"start": 0.5, "end": 0.5, "coloring": "none"},
                line={"color": "white", "width": 1.5},
                showscale=False,
                hoverinfo="skip",
            )
    if samples_alone or "samples" in marks:
        drawn = slice(None, None, -(-len(layers.sample_values) // MAX_DRAWN))
        rows, columns = layers.sample_pixels[drawn].T
        values_drawn = layers.sample_values[drawn]
        figure.add_scatter(
            x=columns,
            y=rows,
            mode="markers",
            marker={
                "size": 5,
                "color": values_drawn if layer == "map" or samples_alone else "white",
                "colorscale": "Viridis",
                "cmin": limits[0],
                "cmax": limits[1],
                "line": {"width": 0.5, "color": "white"},
                "showscale": samples_alone,
                "colorbar": _colour_bar(layers.quantity.rpartition(" ")[2]),
            },
            text=values_drawn,
            hovertemplate="sample: %{text:.1f}<extra></extra>",
        )
    if "transmitter" in marks and layers.transmitter is not None:
        _mark(figure, [layers.transmitter])
    rows, columns = layers.shape
    figure.update_xaxes(range=(-0.5, columns - 0.5))
    return _laid_out(figure, title, SURVEY_HEIGHT)


def _heatmap(
    values: np.ndarray, colours: str, limits: tuple[float, float], unit: str = "dB"
) -> go.Heatmap:
    return go.Heatmap(
        z=values.astype(np.float32),
        colorscale=colours,
        zmin=limits[0],
        zmax=limits[1],
        colorbar=_colour_bar(unit),
        hoverongaps=False,
        hovertemplate=f"row %{{y}}, column %{{x}}: %{{z:.1f}} {unit}<extra></extra>",
    )


def _colour_bar(unit: str) -> dict[str, Any]:
    return {"thickness": 10, "xpad": 4, "title": {"text": unit}}


def _mark(figure: go.Figure, transmitters: Sequence[tuple[float, float]]) -> None:
    if transmitters:
        rows, columns = zip(*transmitters, strict=True)
        figure.add_scatter(
            x=columns,
            y=rows,
            mode="markers",
            marker={"symbol": "cross-thin", "size": 11, "line": {"width": 2, "color": "red"}},
            hoverinfo="skip",
        )


def _laid_out(figure: go.Figure, title: str, height: int) -> go.Figure:
    figure.update_xaxes(visible=False, constrain="domain")
    figure.update_yaxes(visible=False, autorange="reversed", scaleanchor="x", constrain="domain")
    figure.update_layout(
        title={"text": title, "x": 0.5, "y": 0.98, "font": {"size": 14}},
        height=height,
        margin={"l": 5, "r": 5, "t": 30, "b": 5},
        showlegend=False,
        paper_bgcolor="rgba(0,0,0,0)",
        plot_bgcolor="rgba(0,0,0,0)",
    )
    return figure
