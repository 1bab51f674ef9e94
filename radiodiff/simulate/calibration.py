"""Fit the constants of the dominant path model to real maps and cross-validate them by layout.

1. Line of sight: least squares of loss against log10(d) over the pixels in line of sight.
2. Interactions: least squares over pixels with one diffraction at a corner, for every breakpoint.
3. Roofs: the best of the present constants and one step up and down in each of them.

Constants are rounded to what 28 maps can tell, so that folds agree where the data do.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial
from itertools import product
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

from radiodiff.data.images import read_levels
from radiodiff.data.layouts import Layouts
from radiodiff.errors import InputError
from radiodiff.simulate.dominant_path import Layout
from radiodiff.simulate.path_loss_model import Constants, CrossValidation, PathLossModel, constants
from radiodiff.units import db_to_gray, gray_to_db, level_to_gray

_OUTLIER_DB = 1.0
_STEPS = {"roof_height_m": 0.5, "roof_crossing_db": 0.5, "roof_part_m": 6.0}


class RealMap(NamedTuple):
    """One map of a RadioMapSeer tree: its name, gray (H, W), and the transmitter."""

    name: str
    gray: np.ndarray
    transmitter: tuple[int, int]

    @property
    def layout(self) -> str:
        """Name of the layout."""
        return self.name.split("_")[0]


class MapError(NamedTuple):
    """Errors of one predicted map in gray: whole-map NMSE, outdoor and line-of-sight RMSE."""

    nmse: float
    rmse: float
    line_of_sight_rmse: float


class Statistics(NamedTuple):
    """What steps 1 and 2 need of one map, as rows of (loss in dB, length in m, degrees)."""

    line_of_sight: np.ndarray
    single_diffraction: np.ndarray


def read_maps(root: Path) -> tuple[list[RealMap], dict[str, np.ndarray]]:
    """Read gain/DPM of a RadioMapSeer tree; return the maps and the footprint per layout.

    The footprint follows from the polygons if there are any, else from the building image
    (:mod:`radiodiff.data.layouts`); that image itself is half a pixel off the gain.

    Raises:
        InputError: the tree holds no such maps.
    """
    maps, masks = [], {}
    layouts = Layouts(root, "complete", 1, "auto")
    for path in sorted((root / "gain" / "DPM").glob("*.png")):
        levels = read_levels(path)
        gray = level_to_gray(levels)
        antenna = np.asarray(Image.open(root / "png" / "antennas" / path.name))
        row, col = np.unravel_index(int(antenna.argmax()), antenna.shape)
        real = RealMap(path.stem, gray, (int(row), int(col)))
        if real.layout not in masks:
            shape = (levels.shape[0], levels.shape[1])
            found = layouts.footprint(int(real.layout), shape, [partial(read_levels, path)])
            masks[real.layout] = found.mask
        maps.append(real)
    if not maps:
        raise InputError(f"{root}: no maps in gain/DPM; expected a RadioMapSeer tree")
    return maps, masks


def correct_transmitter(real: RealMap, layout: Layout) -> RealMap:
    """Move a transmitter by at most one pixel to where the line of sight fits the map best.

    Antenna images that were derived from the brightest pixel are off by one beside walls.
    """
    gain = gray_to_db(real.gray)[tuple(layout.pixels.T)]
    best: float = np.inf
    position = real.transmitter
    for step in product((0, -1, 1), repeat=2):
        row, col = real.transmitter[0] + step[0], real.transmitter[1] + step[1]
        height, width = real.gray.shape
        if not (0 <= row < height and 0 <= col < width) or layout.building_mask[row, col]:
            continue
        seen = layout.line_of_sight((row, col))
        distance = np.hypot(*(layout.pixels - (row, col)).T)
        error = np.abs(gain + constants().path_loss_model.line_of_sight_loss(distance))
        mean = float(np.minimum(error, 3.0)[seen].mean())
        if mean < best - 1e-3:
            best, position = mean, (row, col)
    return real._replace(transmitter=position)


def measure(layout: Layout, real: RealMap) -> Statistics:
    """Return what steps 1 and 2 need of one map."""
    row, col = real.transmitter
    loss = -gray_to_db(real.gray)[tuple(layout.pixels.T)]
    distance = np.hypot(*(layout.pixels - (row, col)).T)
    seen = layout.line_of_sight(real.transmitter) & (distance > 3.0)
    direct = np.column_stack((loss[seen], distance[seen], 0.0 * loss[seen]))
    pixel, length, angle = layout.single_diffractions(real.transmitter)
    return Statistics(direct, np.column_stack((loss[pixel], length, angle)))


def fit_path_loss_model(statistics: Iterable[Statistics], start: PathLossModel) -> PathLossModel:
    """Return ``start`` with its line-of-sight and interaction constants fitted anew."""
    statistics = list(statistics)
    direct = np.concatenate([s.line_of_sight for s in statistics])
    loss, decades = direct[:, 0], np.log10(direct[:, 1])
    (intercept, slope), _ = _robust_fit(np.column_stack((np.ones_like(decades), decades)), loss)
    intercept, slope = round(intercept, 2), round(slope, 1)

    turned = np.concatenate([s.single_diffraction for s in statistics])
    loss, decades, angle = turned[:, 0] - intercept, np.log10(turned[:, 1]), turned[:, 2]
    fits = {}
    for limit in np.arange(50.0, 95.0, 5.0):
        design = np.column_stack((decades, np.ones_like(decades), np.minimum(angle, limit)))
        solution, error = _robust_fit(design, loss)
        fits[error] = (limit, *solution)
    limit, olos, offset, per_degree = fits[min(fits)]
    return start.model_copy(
        update={
            "line_of_sight_db_at_1m": intercept,
            "line_of_sight_db_per_decade": slope,
            "obstructed_db_per_decade": round(olos, 1),
            "interaction_offset_db": round(offset, 1),
            "interaction_db_per_degree": round(per_degree, 3),
            "interaction_breakpoint_degree": float(limit),
        }
    )


def _robust_fit(design: np.ndarray, target: np.ndarray) -> tuple[list[float], float]:
    """Return a least-squares solution without outliers, and the mean clipped absolute error."""
    keep = np.ones(len(target), dtype=bool)
    for _ in range(8):
        solution = np.linalg.lstsq(design[keep], target[keep], rcond=None)[0]
        error = np.abs(design @ solution - target)
        keep = error < max(_OUTLIER_DB, 2.0 * float(np.median(error)))
    return [float(x) for x in solution], float(np.minimum(error, _OUTLIER_DB).mean())


def roof_neighbours(model: PathLossModel) -> list[PathLossModel]:
    """Return ``model`` and those one step away from it in one roof constant."""
    models = [model]
    for field, step in _STEPS.items():
        for sign in (-1, 1):
            models.append(model.model_copy(update={field: getattr(model, field) + sign * step}))
    return models


def map_error(layout: Layout, real: RealMap) -> MapError:
    """Return the errors of the predicted map, in gray."""
    predicted = np.clip(db_to_gray(layout.path_gain(real.transmitter)), 0.0, 1.0)
    error = predicted - real.gray
    outdoor = tuple(layout.pixels.T)
    seen = layout.line_of_sight(real.transmitter)
    return MapError(
        float(np.sum(error**2) / np.sum(real.gray**2)),
        float(np.sqrt(np.mean(error[outdoor] ** 2))),
        float(np.sqrt(np.mean(error[outdoor][seen] ** 2))),
    )


def calibrate(
    root: Path, folds: int, report: Callable[[str], None]
) -> tuple[Constants, dict[str, MapError]]:
    """Fit on all maps, cross-validate by layout, and report progress line by line.

    Returns:
        The constants with their cross-validated errors, and the errors of every map in the fold
        that leaves its layout out.

    Raises:
        InputError: the tree holds no maps, or fewer layouts than folds.
    """
    start = constants().path_loss_model
    maps, masks = read_maps(root)
    names = sorted(masks)
    if not 2 <= folds <= len(names):
        raise InputError(f"folds: found {folds}, {root} has {len(names)} layouts; 2 to that many")
    fold_of = {name: index % folds for index, name in enumerate(names)}

    statistics = {}
    layouts = {name: Layout.from_mask(masks[name], start) for name in names}
    maps = [correct_transmitter(real, layouts[real.layout]) for real in maps]
    for real in maps:
        statistics[real.name] = measure(layouts[real.layout], real)
    report(f"{len(maps)} maps of {len(names)} layouts measured")

    def training(fold: int | None) -> list[RealMap]:
        return [real for real in maps if fold_of[real.layout] != fold]

    starts = {
        fold: fit_path_loss_model([statistics[real.name] for real in training(fold)], start)
        for fold in (None, *range(folds))
    }
    errors: dict[PathLossModel, dict[str, MapError]] = {}
    candidates = {model for base in starts.values() for model in roof_neighbours(base)}
    for model in sorted(candidates, key=lambda model: model.roof_part_m):
        layouts = {name: layout.with_path_loss_model(model) for name, layout in layouts.items()}
        errors[model] = {real.name: map_error(layouts[real.layout], real) for real in maps}
        mean = np.mean([error.nmse for error in errors[model].values()])
        report(f"nmse {mean:.5f}  {model.model_dump()}")

    def best(fold: int | None) -> PathLossModel:
        return min(
            roof_neighbours(starts[fold]),
            key=lambda model: np.mean([errors[model][real.name].nmse for real in training(fold)]),
        )

    held_out = {real.name: errors[best(fold_of[real.layout])][real.name] for real in maps}
    means = np.mean(list(held_out.values()), axis=0)
    validation = CrossValidation(
        maps=len(maps),
        layouts=len(names),
        folds=folds,
        nmse=round(float(means[0]), 5),
        rmse=round(float(means[1]), 5),
        line_of_sight_rmse=round(float(means[2]), 5),
    )
    return Constants(path_loss_model=best(None), cross_validation=validation), held_out
