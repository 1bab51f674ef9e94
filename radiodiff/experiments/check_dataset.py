"""The picture that goes with the check of a tree."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from radiodiff.data.check_tree import TreeReport
from radiodiff.data.gain_files import levels_to_gray, read_gain
from radiodiff.data.images import read_antenna_png, read_mask
from radiodiff.data.tree import NumberedFiles, gain_files
from radiodiff.evaluation.figures import GAIN_COLOURS, save_figure

MAPS = 4


def draw_maps(root: Path, report: TreeReport, path: Path) -> int:
    """Draw up to four of the maps that could be read, with outlines of buildings and transmitter.

    Args:
        root: the tree.
        report: what :func:`radiodiff.data.check_tree.check_tree` found.
        path: of the picture, a PNG.

    Returns:
        How many maps were drawn; without any there is no picture.
    """
    chosen = np.unique(np.linspace(0, len(report.maps) - 1, MAPS).round().astype(int))
    shown = [report.maps[index] for index in chosen] if report.maps else []
    if not shown:
        return 0
    figure = Figure(figsize=(3.2 * len(shown), 3.4), layout="constrained")
    FigureCanvasAgg(figure)
    panels = figure.subplots(1, len(shown), squeeze=False)[0]
    buildings = NumberedFiles(root / "png" / "buildings_complete", ".png")
    antennas = NumberedFiles(root / "png" / "antennas", ".png")
    scale = report.scale
    for panel, (simulation, map_id, transmitter) in zip(panels, shown, strict=True):
        file = gain_files(root / "gain" / simulation)[map_id, transmitter]
        gain_db = scale.gray_to_db(levels_to_gray(read_gain(file, None, scale)))
        drawn = panel.imshow(gain_db, cmap=GAIN_COLOURS, vmin=scale.min_db, vmax=scale.max_db)
        panel.contour(read_mask(buildings(map_id)), levels=[0.5], colors="white", linewidths=0.6)
        row, column = read_antenna_png(antennas(map_id, transmitter), gain_db.shape)
        panel.plot(column, row, "rx", markersize=7)
        panel.set_title(f"{simulation} {map_id}_{transmitter}", fontsize="small")
        panel.set_axis_off()
    figure.colorbar(drawn, ax=list(panels), label="path gain (dB)", shrink=0.8)
    save_figure(figure, path)
    return len(shown)
