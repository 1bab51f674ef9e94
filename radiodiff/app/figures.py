"""Figures of the page, in which the pointer shows the value of a pixel."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import plotly.graph_objects as go

GAIN_LIMITS = (-147.0, -47.84)
HEIGHT = 340


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
    figure = go.Figure(
        go.Heatmap(
            z=values.astype(np.float32),
            colorscale=colours,
            zmin=limits[0],
            zmax=limits[1],
            colorbar={"thickness": 10, "xpad": 4, "title": {"text": "dB"}},
            hoverongaps=False,
            hovertemplate="row %{y}, column %{x}: %{z:.1f} dB<extra></extra>",
        )
    )
    if transmitters:
        rows, columns = zip(*transmitters, strict=True)
        figure.add_scatter(
            x=columns,
            y=rows,
            mode="markers",
            marker={"symbol": "cross-thin", "size": 11, "line": {"width": 2, "color": "red"}},
            hoverinfo="skip",
        )
    figure.update_xaxes(visible=False, constrain="domain")
    figure.update_yaxes(visible=False, autorange="reversed", scaleanchor="x", constrain="domain")
    figure.update_layout(
        title={"text": title, "x": 0.5, "y": 0.98, "font": {"size": 14}},
        height=HEIGHT,
        margin={"l": 5, "r": 5, "t": 30, "b": 5},
        showlegend=False,
        paper_bgcolor="rgba(0,0,0,0)",
        plot_bgcolor="rgba(0,0,0,0)",
    )
    return figure
