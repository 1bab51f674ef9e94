"""Scores of interpolators on surveys with held-out samples.

usage: python studies/survey_study.py FOLDER [--seeds 3] [--only NAME ...]

FOLDER holds one folder per survey with ``{random,blocks}_{train,heldout}.csv`` of columns x, y (in
metres) and value. Prints a Markdown table: RMSE, mean absolute error, CRPS (dB), coverage of the
90 % intervals and seconds, of every method on every survey and split, and the geometric mean of the
RMSE over that of ordinary kriging.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pandas as pd
from scipy.interpolate import LinearNDInterpolator, NearestNDInterpolator
from scipy.spatial import QhullError, cKDTree

from radiodiff.experiments.survey_held_out import NORMAL_Q95, SamplePrediction, score_samples
from radiodiff.inverse.field.model import Field, fit_field
from radiodiff.inverse.field.validation import predict_all

SINGLE = {"kriging": "kriging", "two scales": "constant", "trend with kriged residuals": "trend"}
"""Name in the table -> candidate of the field."""


def interpolate(xy: np.ndarray, values: np.ndarray, queries: np.ndarray) -> dict[str, np.ndarray]:
    """Predict by the nearest sample, linearly, and by inverse squared distance of 12 samples."""
    places, index = np.unique(xy, axis=0, return_inverse=True)
    index = index.reshape(-1)
    mean = np.bincount(index, values) / np.bincount(index)
    nearest = NearestNDInterpolator(places, mean)(queries)
    try:
        linear = LinearNDInterpolator(places, mean)(queries)
        linear = np.where(np.isnan(linear), nearest, linear)
    except QhullError:
        linear = nearest
    distance, near = cKDTree(xy).query(queries, k=min(12, len(xy)))
    weight = 1.0 / np.maximum(distance, 0.5) ** 2
    idw = (weight * values[near]).sum(axis=1) / weight.sum(axis=1)
    return {"nearest": nearest, "linear": linear, "inverse distance": idw}


def predict_methods(
    xy: np.ndarray, values: np.ndarray, queries: np.ndarray, seed: int
) -> Iterator[tuple[str, SamplePrediction, float]]:
    """Yield name, prediction and seconds of every method."""
    began = time.perf_counter()
    for name, mean in interpolate(xy, values, queries).items():
        unknown = np.full(len(mean), np.nan)
        seconds = time.perf_counter() - began
        yield name, SamplePrediction(mean, unknown, unknown, unknown), seconds
    began = time.perf_counter()
    field = fit_field(xy, values, seed=seed)
    found = field.predict(queries)
    seconds = time.perf_counter() - began
    yield from _single(field, queries)
    yield "ours", SamplePrediction(found.mean, found.std, found.q05, found.q95), seconds


def _single(field: Field, queries: np.ndarray) -> Iterator[tuple[str, SamplePrediction, float]]:
    for name, candidate in SINGLE.items():
        for each in field.candidates:
            if each.name != candidate:
                continue
            began = time.perf_counter()
            samples = field.samples
            mean, variance = predict_all([each], samples, samples.positions, samples.rows, queries)
            m, s = mean[:, 0], np.sqrt(variance[:, 0])
            predicted = SamplePrediction(m, s, m - NORMAL_Q95 * s, m + NORMAL_Q95 * s)
            yield name, predicted, time.perf_counter() - began


def study(folder: Path, seeds: int, only: list[str], say: Callable[[str], None]) -> None:
    """Score every method on every survey and print the table line by line."""
    say("| survey | split | seed | method | RMSE | MAE | CRPS | coverage of 90 % | seconds |")
    say("|---|---|---|---|---|---|---|---|---|")
    ratios: dict[str, list[float]] = {}
    for survey in sorted(p for p in folder.iterdir() if p.is_dir()):
        if only and survey.name not in only:
            continue
        for split in ("random", "blocks"):
            if not (survey / f"{split}_train.csv").is_file():
                continue
            train, held = (pd.read_csv(survey / f"{split}_{n}.csv") for n in ("train", "heldout"))
            for seed in range(seeds):
                scores = {}
                arrays = (train[["x", "y"]].to_numpy(float), train["value"].to_numpy(float))
                queries, truth = held[["x", "y"]].to_numpy(float), held["value"].to_numpy(float)
                for name, predicted, seconds in predict_methods(*arrays, queries, seed):
                    scores[name] = score_samples(predicted, truth)
                    row = scores[name]
                    say(
                        f"| {survey.name} | {split} | {seed} | {name} | {row['rmse_db']:.2f} | "
                        f"{row['mae_db']:.2f} | {row['crps_db']:.2f} | {row['coverage90']:.2f} | "
                        f"{seconds:.1f} |"
                    )
                for name, row in scores.items():
                    ratio = row["rmse_db"] / scores["kriging"]["rmse_db"]
                    ratios.setdefault(name, []).append(ratio)
    say("\n| method | RMSE over kriging's, geometric mean | worst |\n|---|---|---|")
    for name, found in ratios.items():
        say(f"| {name} | {np.exp(np.mean(np.log(found))):.3f} | {max(found):.3f} |")


def main() -> None:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path)
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--only", nargs="*", default=[])
    arguments = parser.parse_args()
    study(arguments.folder, arguments.seeds, arguments.only, lambda line: print(line, flush=True))


if __name__ == "__main__":
    main()
