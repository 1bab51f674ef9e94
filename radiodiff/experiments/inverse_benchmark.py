"""The benchmark of RadioDiff-Inverse: reconstruct maps of a RadioMapSeer tree and score them."""

from __future__ import annotations

import csv
import io
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from radiodiff.cli import open_run_directory, provenance
from radiodiff.data.radiomapseer import Sample, build_dataset
from radiodiff.data.scale import RADIOMAPSEER, Scale
from radiodiff.evaluation import metrics
from radiodiff.evaluation.predictions import score_maps
from radiodiff.evaluation.settings import MetricConfig
from radiodiff.experiments.batches import MapBatch, make_batch
from radiodiff.experiments.sampling import load_pipeline, reconstruct
from radiodiff.experiments.settings import InverseConfig
from radiodiff.files import write_json, write_npz, write_text
from radiodiff.inverse.interpolation import INTERPOLATORS
from radiodiff.inverse.pipeline import RadioDiffInversePipeline
from radiodiff.inverse.sensing import locate_transmitter, sensing_term, shadow_mask
from radiodiff.units import RESOLUTION_M, model_to_gray

NORMAL_90 = 1.6449
"""Half width of a normal distribution's 90 % interval in standard deviations."""
METHOD = "radiodiff-inverse"
CONVENTIONS = MetricConfig(rmse_unit="model")
"""Those of RadioDiff-Inverse, Tables I-III."""


def run_benchmark(config: InverseConfig) -> dict[str, Any]:
    """Reconstruct, score, and write ``metrics.csv``, ``summary.json`` and ``maps.npz``.

    Returns:
        What ``summary.json`` holds: mean and 95 % confidence half width per method and metric.

    Raises:
        InputError: prior, data or output directory cannot be used.
    """
    pipeline = load_pipeline(config.prior, config.device, config.dtype)
    dataset = build_dataset(config.data.model_copy(update={"prompt_features": ()}), config.part)
    directory = open_run_directory(config.output, config)
    count = min(len(dataset), config.max_maps or len(dataset))
    rows: list[dict[str, Any]] = []
    kept: dict[str, Any] = {}
    with tqdm(total=count * len(config.seeds), desc="maps") as bar:
        for seed in config.seeds:
            for first in range(0, count, config.batch_size):
                indices = range(first, min(first + config.batch_size, count))
                batch, items = make_batch(dataset, indices, seed, config.measurements)
                scored, maps = _reconstruct(pipeline, batch, items, seed, config, dataset.scale)
                rows += scored
                kept = kept or maps
                bar.update(len(items))
    _write_csv(directory / "metrics.csv", rows)
    write_npz(directory / "maps.npz", **kept)
    summary = {
        **summarise(rows),
        "buildings": dataset.building_sources(),
        "provenance": provenance(config, config.device),
    }
    write_json(directory / "summary.json", summary)
    return summary


def _reconstruct(
    pipeline: RadioDiffInversePipeline,
    batch: MapBatch,
    items: list[Sample],
    seed: int,
    config: InverseConfig,
    scale: Scale,
) -> tuple[list[dict[str, Any]], dict[str, np.ndarray]]:
    measurements = batch.measurements
    assert measurements is not None
    began = time.perf_counter()
    output = reconstruct(
        pipeline,
        batch,
        num_particles=config.num_particles,
        num_inference_steps=config.num_inference_steps,
        sampler=config.sampler,
        refinement=config.refinement,
        shadow_threshold=config.shadow_threshold,
        batch_limit=config.batch_limit,
    )
    seconds = (time.perf_counter() - began) / len(items)
    rows = []
    pixel_m = config.data.resolution_m
    for b, item in enumerate(items):
        mean, std = output.mean[b].float().cpu(), output.std[b].float().cpu()
        shadows, position = output.building_mask[b].cpu(), output.transmitter[b]
        row = _row(
            item, seed, METHOD, score(mean, shadows, position, item, scale, pixel_m), seconds
        )
        if config.num_particles > 1:
            half, unseen = NORMAL_90 * std, ~measurements.mask[b]
            covered = metrics.interval_coverage(mean - half, mean + half, item["gain"], unseen)
            row["coverage_90"] = float(covered)
        rows.append(row)
        values, mask = measurements.values[b, 0].numpy(), measurements.mask[b, 0].numpy()
        for name in config.baselines:
            began = time.perf_counter()
            gain = INTERPOLATORS[name](values, mask)
            seconds_baseline = time.perf_counter() - began
            scores = score(
                torch.from_numpy(gain).float()[None],
                torch.from_numpy(shadow_mask(gain, config.shadow_threshold))[None],
                torch.from_numpy(locate_transmitter(gain, config.shadow_threshold).position),
                item,
                scale,
                pixel_m,
            )
            rows.append(_row(item, seed, name, scores, seconds_baseline))
    maps = {
        "names": np.array([item["name"] for item in items]),
        "truth": torch.cat([item["gain"] for item in items]).numpy(),
        "observed": np.where(measurements.mask, measurements.values, np.nan)[:, 0],
        "mean": output.mean[:, 0].float().cpu().numpy(),
        "std": output.std[:, 0].float().cpu().numpy(),
        "scale_db": np.array([scale.min_db, scale.max_db]),
    }
    return rows, maps


def score(
    gain: Tensor,
    shadows: Tensor,
    transmitter: Tensor,
    item: Sample,
    scale: Scale = RADIOMAPSEER,
    resolution_m: float = RESOLUTION_M,
) -> dict[str, float]:
    """Score one reconstructed map.

    Args:
        gain: (1, H, W), model range.
        shadows: (1, H, W) bool, sensed buildings.
        transmitter: (2,) sensed row and column.
        item: the true map.
        scale: path gain of gray 0 and gray 1.
        resolution_m: side of a pixel in metres.

    Returns:
        PSNR (dB) and SSIM on [0, 1], RMSE in model range as in Table I and in dB, NMSE, IoU with
        the dataset's building image as in the papers and with the footprint, the sensing term of
        RadioDiff-Inverse, eq. (20), and the transmitter's error in metres.
    """
    gray = model_to_gray(gain).clamp(0.0, 1.0)
    truth, buildings = model_to_gray(item["gain"]), item["buildings"]
    scores = score_maps(gray, truth, CONVENTIONS)
    ious = metrics.building_ious(shadows, item["buildings_png"], buildings)
    return {
        "psnr": float(scores["psnr"]),
        "ssim": float(scores["ssim"]),
        "rmse_model": float(scores["rmse"]),
        "rmse_db": float(metrics.rmse(gray, truth, "db", range_db=scale.range_db)),
        "nmse": float(scores["nmse"]),
        **{name: float(value) for name, value in ious.items()},
        "sensing_term": sensing_term(buildings.numpy(), shadows.numpy()),
        "transmitter_m": float(
            metrics.transmitter_error_m(transmitter, item["transmitter"], resolution_m)
        ),
    }


def _row(
    item: Sample, seed: int, method: str, scores: dict[str, float], seconds: float
) -> dict[str, Any]:
    return {"map": item["name"], "seed": seed, "method": method, **scores, "seconds": seconds}


def summarise(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Average the rows of each method over maps and seeds.

    Returns:
        Per method and metric the mean and, over seeds as in the paper, the half width of its 95 %
        confidence interval (absent for a single seed).
    """
    summary: dict[str, Any] = {"maps": len({row["map"] for row in rows})}
    for method in dict.fromkeys(row["method"] for row in rows):
        own = [row for row in rows if row["method"] == method]
        seeds = sorted({row["seed"] for row in own})
        fields = [key for key in own[0] if key not in ("map", "seed", "method")]
        summary[method] = {}
        for field in fields:
            by_seed = [np.mean([r[field] for r in own if r["seed"] == seed]) for seed in seeds]
            entry = {"mean": float(np.mean(by_seed))}
            if len(seeds) > 1:
                entry["ci95"] = float(1.96 * np.std(by_seed, ddof=1) / len(seeds) ** 0.5)
            summary[method][field] = entry
    return summary


def format_summary(summary: dict[str, Any]) -> str:
    """Return the summary as a table for the terminal."""
    fields = [
        "psnr",
        "ssim",
        "rmse_model",
        "iou",
        "iou_gain",
        "transmitter_m",
        "coverage_90",
        "seconds",
    ]
    lines = [f"{'method':<20}" + "".join(f"{field:>15}" for field in fields)]
    for method, entries in summary.items():
        if method in ("maps", "buildings", "provenance"):
            continue
        cells = [f"{entries[f]['mean']:>15.4g}" if f in entries else f"{'-':>15}" for f in fields]
        lines.append(f"{method:<20}" + "".join(cells))
    return "\n".join(lines)


def _write_csv(path: Path, rows: list[dict[str, Any]]) -> None:
    fields = list(dict.fromkeys(key for row in rows for key in row))
    text = io.StringIO()
    writer = csv.DictWriter(text, fields, restval="")
    writer.writeheader()
    writer.writerows(rows)
    write_text(path, text.getvalue())
