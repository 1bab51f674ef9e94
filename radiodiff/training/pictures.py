"""Pictures that a training run leaves beside TensorBoard, drawn anew at validations."""

from __future__ import annotations

import json
import time
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.image import imsave
from torch import Tensor

from radiodiff.evaluation.figures import GAIN_COLOURS, save_figure
from radiodiff.files import replacing

LEARNING_CURVE = "learning_curve.png"
MIN_SECONDS = 60.0
"""Between two drawings; the last validation is always drawn."""
PREVIEWS = "previews"
"""Folder of the newest preview images."""
VALIDATION = "validation/"
"""How names of validation metrics begin."""
NOT_DRAWN = ("learning_rate", "gradient_norm", "best")
"""Ends of names of values that are no losses or scores."""


def are_due(directory: Path) -> bool:
    """Tell whether the last pictures are a minute old, so that short runs spend no time on them."""
    curve = directory / LEARNING_CURVE
    return not curve.is_file() or time.time() - curve.stat().st_mtime >= MIN_SECONDS


def write_pictures(directory: Path, previews: Mapping[str, Tensor]) -> None:
    """Write the learning curve of ``metrics.jsonl`` and the previews as PNG.

    Args:
        directory: run directory.
        previews: name -> (1 or 3, H, W) image in [0, 1]; one channel is drawn in colours.
    """
    for name, image in previews.items():
        pixels = image.permute(1, 2, 0).numpy()
        shown = pixels[..., 0] if pixels.shape[2] == 1 else pixels
        with replacing(directory / PREVIEWS / f"{name.replace('/', '_')}.png") as temporary:
            imsave(temporary, shown, vmin=0.0, vmax=1.0, cmap=GAIN_COLOURS, format="png")
    save_figure(learning_curve(directory / "metrics.jsonl"), directory / LEARNING_CURVE)


def learning_curve(path: Path) -> Figure:
    """Draw the losses and scores of ``metrics.jsonl``: training on the left, validation right.

    Args:
        path: lines of a step and its values; lines of events are passed over.

    Returns:
        A figure of its own. An axis is logarithmic if all its values are positive.
    """
    curves: dict[str, list[tuple[int, float]]] = defaultdict(list)
    for line in path.read_text(encoding="utf-8").splitlines():
        record = json.loads(line)
        for name, value in record.items():
            if isinstance(value, float) and not name.endswith(NOT_DRAWN):
                curves[name].append((record["step"] + 1, value))
    figure = Figure(figsize=(9.0, 3.6), layout="constrained")
    FigureCanvasAgg(figure)
    for axes, title in zip(figure.subplots(1, 2), ("training", "validation"), strict=True):
        own = {n: c for n, c in curves.items() if n.startswith(VALIDATION) == (title != "training")}
        for name, points in own.items():
            steps, values = zip(*points, strict=True)
            axes.plot(steps, values, marker=".", label=name.removeprefix(VALIDATION), linewidth=1)
        if own and min(value for points in own.values() for _, value in points) > 0:
            axes.set_yscale("log")
        axes.set_title(title, fontsize="medium")
        axes.set_xlabel("steps")
        axes.grid(alpha=0.3)
        if own:
            axes.legend(fontsize="x-small")
    return figure
