"""Tables of mean metric values, one row per method, in Markdown with the best in bold."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch

from radiodiff.errors import InputError

Rows = Mapping[str, Mapping[str, float]]
"""Method -> metric name -> mean value. A method may lack a metric."""


@dataclass(frozen=True)
class Column:
    """How a metric is printed.

    Attributes:
        label: heading, with its unit.
        digits: after the decimal point.
        higher_is_better: which value is in bold; None for a metric that has no best.
    """

    label: str
    digits: int
    higher_is_better: bool | None


COLUMNS: dict[str, Column] = {
    "nmse": Column("NMSE", 4, False),
    "rmse": Column("RMSE", 4, False),
    "mae": Column("MAE", 4, False),
    "ssim": Column("SSIM", 4, True),
    "psnr": Column("PSNR (dB)", 2, True),
    "iou": Column("IoU (PNG)", 4, True),
    "iou_gain": Column("IoU (gain)", 4, True),
    "transmitter_error_m": Column("transmitter error (m)", 2, False),
    "coverage": Column("coverage", 3, None),
    "seconds": Column("time per map (s)", 3, False),
    "seconds_min": Column("time per map, from (s)", 2, None),
    "seconds_max": Column("to (s)", 2, None),
    "prompt_seconds": Column("prompt (s)", 3, False),
    "memory_mb": Column("peak memory (MB)", 0, False),
}
"""Metric name -> column. A metric that is not here needs a column of its own."""

MISSING = "–"


def mean_values(per_map: Mapping[str, torch.Tensor]) -> dict[str, float]:
    """Return the mean over maps of each metric; the values are (N,)."""
    return {name: float(values.double().mean()) for name, values in per_map.items()}


def markdown_table(
    rows: Rows, columns: Mapping[str, Column] = COLUMNS, row_header: str = "method"
) -> str:
    """Format a Markdown table; arrows in the header point to better values.

    Args:
        rows: the values; metrics appear in the order of first appearance.
        columns: how each metric is printed.
        row_header: heading of the first column.

    Returns:
        the table, ending in a newline. With two or more methods the best of each metric is in bold,
        all of them where they print the same.

    Raises:
        InputError: there is no row, or a metric without a column.
    """
    metrics = _metrics(rows, columns)
    header = [row_header, *(_heading(columns[name]) for name in metrics)]
    lines = [header, ["---", *("---:" for _ in metrics)]]
    best = {name: _best(rows, name, columns[name]) for name in metrics}
    for method, values in rows.items():
        cells = [_cell(values.get(name), columns[name]) for name in metrics]
        lines.append(
            [
                method.replace("|", "\\|"),
                *(
                    f"**{cell}**" if cell == best[name] else cell
                    for name, cell in zip(metrics, cells, strict=True)
                ),
            ]
        )
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def _metrics(rows: Rows, columns: Mapping[str, Column]) -> Sequence[str]:
    if not rows:
        raise InputError("table: there is no row")
    metrics = list(dict.fromkeys(name for values in rows.values() for name in values))
    unknown = [name for name in metrics if name not in columns]
    if unknown:
        raise InputError(f"table: no column for {unknown[0]!r}, known: {', '.join(columns)}")
    return metrics


def _heading(column: Column) -> str:
    if column.higher_is_better is None:
        return column.label
    return f"{column.label} {'↑' if column.higher_is_better else '↓'}"


def _cell(value: float | None, column: Column) -> str:
    return MISSING if value is None or math.isnan(value) else f"{value:.{column.digits}f}"


def _best(rows: Rows, name: str, column: Column) -> str | None:
    values = [
        values[name] for values in rows.values() if not math.isnan(values.get(name, math.nan))
    ]
    if column.higher_is_better is None or len(rows) < 2 or not values:
        return None
    return _cell(max(values) if column.higher_is_better else min(values), column)
