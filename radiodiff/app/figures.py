"""Figures of the page, in which the pointer shows the value of a pixel."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import plotly.graph_objects as go
from plotly.subplots import make_subplots

Panel = tuple[str, np.ndarray, str, tuple[float, float]]
"""Title, (H, W) values in dB, colours, and the limits of the colours."""

GAIN_LIMITS = (-147.0, -47.84)
PANEL_PIXELS = 330


def panels(
    shown: Sequence[Panel], transmitter: tuple[int, int] | None = None, columns: int = 3
) -> go.Figure:
    """Draw maps side by side, each with its own hover in dB.

    Args:
        shown: the maps, all of one shape.
        transmitter: row and column, marked in all of them.
        columns: maps in a row.
    """
    columns = min(columns, len(shown))
    rows = math.ceil(len(shown) / columns)
    figure = make_subplots(
        rows,
        columns,
        subplot_titles=[title for title, *_ in shown],
        horizontal_spacing=0.02,
        vertical_spacing=0.08,
    )
    for number, (_, values, colours, (low, high)) in enumerate(shown):
        row, column = number // columns + 1, number % columns + 1
        figure.add_trace(
            go.Heatmap(
                z=np.round(values.astype(np.float64), 1),
                colorscale=colours,
                zmin=low,
                zmax=high,
                showscale=False,
                hovertemplate="row %{y}, column %{x}: %{z} dB<extra></extra>",
            ),
            row,
            column,
        )
        if transmitter is not None:
            cross = {"symbol": "cross-thin", "size": 11, "line": {"width": 2, "color": "red"}}
            figure.add_trace(
                go.Scatter(
                    x=[transmitter[1]],
                    y=[transmitter[0]],
                    mode="markers",
                    marker=cross,
                    hoverinfo="skip",
                ),
                row,
                column,
            )
    figure.update_xaxes(visible=False, constrain="domain")
    figure.update_yaxes(visible=False, autorange="reversed", scaleanchor="x", constrain="domain")
    figure.update_layout(
        height=rows * PANEL_PIXELS + 40,
        margin={"l": 5, "r": 5, "t": 30, "b": 5},
        showlegend=False,
        paper_bgcolor="rgba(0,0,0,0)",
        plot_bgcolor="rgba(0,0,0,0)",
    )
    return figure
