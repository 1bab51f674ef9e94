"""The picture that a run of simulation or generation leaves to be opened first."""

from __future__ import annotations

import copy
import csv
from collections.abc import Sequence
from pathlib import Path

import torch

from radiodiff.data.images import read_mask
from radiodiff.data.radiomapseer import RadioMapSeer
from radiodiff.evaluation.figures import comparison_figure, contact_sheet, save_figure
from radiodiff.evaluation.predictions import read_prediction
from radiodiff.simulate.tree import INDEX
from radiodiff.units import model_to_gray

CONTACT_SHEET, GALLERY = "contact_sheet.png", "gallery.png"
MAX_SHEET, MAX_GALLERY = 12, 4
"""Maps that a contact sheet and a gallery show."""
LABEL = "RadioDiff"


def write_contact_sheet(root: Path) -> Path:
    """Draw maps of as many layouts and simulations of a simulated tree as fit on a page.

    Args:
        root: a complete tree, see :mod:`radiodiff.simulate.tree`.

    Returns:
        The path of ``contact_sheet.png``.
    """
    with (root / INDEX).open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    first = {row["map"]: row for row in reversed(rows)}  # the first transmitter of each layout
    cells = [(row, name) for row in reversed(first.values()) for name in list(row)[5:]]
    cells = cells[:MAX_SHEET]
    masks = [read_mask(root / row["buildings"]) for row, _ in cells]
    maps = [
        read_prediction(root / row[name], mask.shape)
        for (row, name), mask in zip(cells, masks, strict=True)
    ]
    figure = contact_sheet(
        [torch.from_numpy(gray) for gray in maps],
        [f"{name} {row['map']}_{row['transmitter']}" for row, name in cells],
        [torch.from_numpy(mask) for mask in masks],
        [(float(row["row"]), float(row["column"])) for row, _ in cells],
    )
    save_figure(figure, root / CONTACT_SHEET)
    return root / CONTACT_SHEET


def write_gallery(directory: Path, dataset: RadioMapSeer, indices: Sequence[int]) -> Path:
    """Draw generated maps of a tree beside their truth, with their errors.

    Args:
        directory: run directory with the generated maps in ``maps/``.
        dataset: the tree.
        indices: of the generated maps; the first ones are shown.

    Returns:
        The path of ``gallery.png``.
    """
    # Prompts are not drawn, and would take longer than all the rest.
    shown = copy.copy(dataset)
    shown.prompt_features, shown.prompt_size = ("buildings",), dataset.shape
    items = [shown[index] for index in indices[:MAX_GALLERY]]
    predicted = [
        read_prediction(directory / "maps" / f"{item['name']}.png", dataset.shape) for item in items
    ]
    figure = comparison_figure(
        model_to_gray(torch.cat([item["gain"] for item in items])),
        {LABEL: torch.stack([torch.from_numpy(gray) for gray in predicted])},
        buildings=torch.cat([item["buildings"] for item in items]),
        transmitters=torch.stack([item["transmitter"] for item in items]),
        names=[f"map {item['name']}" for item in items],
        scale=dataset.scale,
    )
    save_figure(figure, directory / GALLERY)
    return directory / GALLERY
