"""Scores a folder of predicted maps, whoever made them, against a RadioMapSeer tree.

A prediction is named like the gain image it predicts: ``{map}_{transmitter}.png``, gray levels of 8
bits as in the dataset or of 16, or ``{map}_{transmitter}.npz`` with an (H, W) array ``gray`` in
[0, 1] or ``path_gain_db`` in dB.
"""

from __future__ import annotations

import csv
import io
import re
import zipfile
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from tqdm import tqdm

from radiodiff.checks import require_regular
from radiodiff.cli import check_run_directory, open_run_directory, provenance
from radiodiff.data.images import read_gray
from radiodiff.data.radiomapseer import build_dataset
from radiodiff.data.scale import RADIOMAPSEER, Scale
from radiodiff.data.thresholds import apply_threshold
from radiodiff.data.tree import some
from radiodiff.errors import InputError
from radiodiff.evaluation.metrics import (
    average,
    building_ious,
    mae,
    nmse,
    psnr,
    rmse,
    ssim,
    truth_power,
)
from radiodiff.evaluation.settings import Averaging, EvaluateConfig, MetricConfig
from radiodiff.evaluation.tables import COLUMNS, Column, markdown_table
from radiodiff.files import write_json, write_text
from radiodiff.plugins import import_here
from radiodiff.units import gray_to_model

Metric = Callable[[torch.Tensor, torch.Tensor, torch.Tensor], torch.Tensor]
"""Function of prediction, truth and the pixels that count, (N, H, W) each; returns (N,)."""

FindBuildings = Callable[[np.ndarray], np.ndarray]
"""Function of a map (H, W) in model range; returns (H, W) bool, the pixels taken for buildings."""

SUFFIXES = (".png", ".npz")
CORRUPT = (OSError, ValueError, EOFError, RuntimeError, MemoryError, NotImplementedError)
"""What NumPy raises on damaged, encrypted and odd archives, beside the errors of zipfile."""
_NAME = re.compile(r"(\d{1,9})_(\d{1,9})")


@dataclass(frozen=True)
class FolderScores:
    """Scores of a folder of predictions.

    Attributes:
        names: of the N scored maps.
        values: metric -> (N,) float64.
        missing: maps of the part without prediction.
        extra: files that predict no map of the part.
        power: (N,) mean square of the true maps.
        averaging: how NMSE, PSNR and RMSE are averaged.
        buildings: what the buildings of the true maps are made from -> number of maps.
    """

    names: list[str]
    values: dict[str, torch.Tensor]
    missing: list[str]
    extra: list[str]
    power: torch.Tensor
    averaging: Averaging
    buildings: dict[str, int]

    def means(self) -> dict[str, float]:
        """Return the mean over maps of every metric."""
        return {
            metric: average(metric, values, self.averaging, self.power)
            for metric, values in self.values.items()
        }

    def table(self, method: str) -> str:
        """Return the means as a Markdown table of one row."""
        own = {name: Column(name, 4, None) for name in self.values if name not in COLUMNS}
        return markdown_table({method: self.means()}, COLUMNS | own)


def evaluate_predictions(
    config: EvaluateConfig, find_buildings: FindBuildings | None = None
) -> FolderScores:
    """Score a folder of predictions and write per_map.csv, summary.json and table.md.

    Args:
        config: what is scored.
        find_buildings: see :func:`score_predictions`.

    Raises:
        InputError: a folder is missing, a prediction is missing, unreadable or of another size, or
            the output holds the scores of another configuration.
    """
    check_run_directory(config.output_directory, config)  # before the maps are scored
    scores = score_predictions(config, find_buildings)
    directory = open_run_directory(config.output_directory, config)
    write_text(directory / "per_map.csv", _per_map_csv(scores))
    write_text(directory / "table.md", scores.table(config.method))
    write_json(
        directory / "summary.json",
        {
            "method": config.method,
            "mean": scores.means(),
            "scored": len(scores.names),
            "missing": scores.missing,
            "extra": scores.extra,
            "buildings": scores.buildings,
            "made_by": provenance(config, "cpu"),
        },
    )
    return scores


def score_predictions(
    config: EvaluateConfig, find_buildings: FindBuildings | None = None
) -> FolderScores:
    """Score a folder of predictions against one part of a tree, with a progress bar.

    Args:
        config: what is scored.
        find_buildings: tells the buildings from a predicted map, which adds ``iou`` and
            ``iou_gain`` (:func:`radiodiff.evaluation.metrics.building_ious`) to the metrics; None
            leaves them out, as do maps with transmitters on roofs, where buildings have gain.

    Raises:
        InputError: as :func:`evaluate_predictions`.
    """
    more = {name: load_metric(name) for name in config.more_metrics}
    dataset = build_dataset(config.data, config.part)
    files = find_predictions(config.predictions)
    names = [dataset.name(index) for index in range(len(dataset))]
    missing = [name for name in names if name not in files]
    extra = sorted(files[name].name for name in files.keys() - set(names))
    if len(missing) == len(names):
        raise InputError(
            f"{config.predictions}: holds no prediction of the {len(names)} maps, {some(names)}; "
            f"name them {{map}}_{{transmitter}}.png or .npz (found {some(extra) or 'none'})"
        )
    if missing and config.missing == "error":
        raise InputError(
            f"{config.predictions}: {len(missing)} of {len(names)} predictions are missing, "
            f"{some(missing)}; add them, or set missing=skip to score the others"
        )
    scored = [index for index, name in enumerate(names) if name in files]
    rows, powers = [], []
    for index in tqdm(scored, desc="score", leave=False):
        truth = apply_threshold(dataset.gray(index), config.data.threshold)
        gray = read_prediction(files[names[index]], dataset.shape, dataset.scale)
        predicted = apply_threshold(gray, config.data.threshold)
        where = None
        if config.metrics.pixels == "outdoor":
            where = torch.from_numpy(~dataset.footprint(index).mask)
        maps = torch.from_numpy(predicted), torch.from_numpy(truth)
        row = score_maps(*maps, config.metrics, where, dataset.scale)
        if find_buildings is not None and not config.data.rooftop:
            found, footprint = find_buildings(gray_to_model(gray)), dataset.footprint(index)
            masks = (torch.from_numpy(mask) for mask in (found, footprint.png, footprint.mask))
            row |= building_ious(*masks)
        powers.append(truth_power(apply_threshold(maps[1], config.metrics.threshold), where))
        rows.append(row | {name: _apply(name, own, *maps, where) for name, own in more.items()})
    values = {metric: torch.cat([row[metric] for row in rows]) for metric in rows[0]}
    scored_names = [names[index] for index in scored]
    return FolderScores(
        scored_names,
        values,
        missing,
        extra,
        torch.cat(powers),
        config.metrics.averaging,
        dataset.building_sources(),
    )


def score_maps(
    prediction: torch.Tensor,
    truth: torch.Tensor,
    config: MetricConfig,
    where: torch.Tensor | None = None,
    scale: Scale = RADIOMAPSEER,
) -> dict[str, torch.Tensor]:
    """Compute the papers' four map metrics under one set of conventions.

    Args:
        prediction: (N, H, W) or (H, W) gray.
        truth: the same shape, gray.
        config: the conventions.
        where: the same shape, bool; the pixels that count in NMSE, RMSE and PSNR.
        scale: gain of gray 0 and 1, for RMSE in dB.

    Returns:
        nmse, rmse, ssim, psnr -> (N,) float64.

    Raises:
        InputError: as the metrics.
    """
    prediction = apply_threshold(prediction, config.threshold)
    truth = apply_threshold(truth, config.threshold)
    return {
        "nmse": nmse(prediction, truth, where),
        "rmse": rmse(prediction, truth, config.rmse_unit, where, scale.range_db),
        "ssim": ssim(prediction, truth, config.ssim_window),
        "psnr": psnr(prediction, truth, config.psnr_peak, where),
    }


def load_metric(name: str) -> Metric:
    """Return the metric ``mae``, or ``module:function`` of the user's own.

    Raises:
        InputError: there is no such metric.
    """
    if name == "mae":
        return mae
    module, _, function = name.partition(":")
    try:
        found = getattr(import_here(module), function)
    except (ImportError, AttributeError, ValueError, SyntaxError) as error:
        raise InputError(
            f"more_metrics: found {name!r}, expected mae or module:function ({error})"
        ) from None
    if not callable(found):
        raise InputError(f"more_metrics: {name!r} is no function")
    metric: Metric = found
    return metric


def _apply(
    name: str,
    metric: Metric,
    prediction: torch.Tensor,
    truth: torch.Tensor,
    where: torch.Tensor | None,
) -> torch.Tensor:
    """Return the value of a metric of one map, (1,) float64."""
    counted = torch.ones_like(truth, dtype=torch.bool) if where is None else where
    value = torch.as_tensor(metric(prediction[None], truth[None], counted[None])).double()
    if value.numel() != 1 or not value.isfinite().all():
        raise InputError(f"more_metrics: {name} returned {value.tolist()} for one map")
    return value.reshape(1)


def find_predictions(folder: str | Path) -> dict[str, Path]:
    """Return file name without suffix and leading zeros -> path of every PNG and NPZ of a folder.

    Raises:
        InputError: there is no such folder, or a map is predicted by a PNG and an NPZ.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise InputError(f"{folder}: no such folder of predictions")
    files: dict[str, Path] = {}
    for path in sorted(folder.iterdir()):
        if path.suffix not in SUFFIXES:
            continue
        match = _NAME.fullmatch(path.stem)
        name = f"{int(match[1])}_{int(match[2])}" if match else path.stem
        if name in files:
            raise InputError(f"{folder}: both {files[name].name} and {path.name} are there")
        files[name] = path
    return files


def read_prediction(path: Path, shape: tuple[int, int], scale: Scale = RADIOMAPSEER) -> np.ndarray:
    """Read a predicted map.

    Args:
        path: a PNG of 8-bit or 16-bit gray levels, or an NPZ with ``gray`` or ``path_gain_db``.
        shape: (H, W) it must have.
        scale: of ``path_gain_db``.

    Returns:
        (H, W) float32 gray, clipped to [0, 1] as an image would be.

    Raises:
        InputError: the file is unreadable, holds neither array, another shape, NaN or infinity.
    """
    if path.suffix == ".png":
        return read_gray(path, shape)
    require_regular(path)
    try:
        with np.load(path, allow_pickle=False) as arrays:
            held = list(arrays)
            if "gray" in held:
                gray = _real(path, arrays["gray"])
            elif "path_gain_db" in held:
                gray = scale.db_to_gray(_real(path, arrays["path_gain_db"]))
            else:
                gray = None
    except InputError:
        raise
    except (*CORRUPT, zipfile.BadZipFile, zlib.error):
        raise InputError(f"{path}: corrupt or not an NPZ of numbers") from None
    if gray is None:
        raise InputError(
            f"{path}: holds {some(held) or 'nothing'}, expected the array gray or path_gain_db"
        )
    if gray.shape != shape:
        raise InputError(f"{path}: shape {gray.shape}, expected {shape} like the true map")
    if not np.isfinite(gray).all():
        raise InputError(f"{path}: holds NaN or infinity")
    return np.clip(gray, 0.0, 1.0).astype(np.float32)


def _real(path: Path, array: np.ndarray) -> np.ndarray:
    """Return an array in float64; what is complex or no number would lose its meaning in it."""
    if array.dtype.kind not in "fiub":
        raise InputError(f"{path}: holds {array.dtype} values, expected real numbers")
    return np.asarray(array, dtype=np.float64)


def _per_map_csv(scores: FolderScores) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["name", *scores.values])
    for index, name in enumerate(scores.names):
        writer.writerow([name, *(float(values[index]) for values in scores.values.values())])
    return text.getvalue()
