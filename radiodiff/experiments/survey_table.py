"""A table of methods that predict held-out samples of measured surveys (``scripts/reproduce.py``).

A method is a function

    def my_method(xy, values, queries, seed) -> np.ndarray | SamplePrediction: ...

of (N, 2) positions in metres east and north of some origin, (N,) values in dB or dBm, (Q, 2)
positions to predict and a seed.
Those of this package are in :data:`METHODS`; a custom one is named as ``package.module:name`` in
the configuration, or put under a name by :func:`register` in one of its ``imports``.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from pydantic import Field
from scipy.interpolate import LinearNDInterpolator, NearestNDInterpolator
from scipy.spatial import QhullError, cKDTree

from radiodiff.cli import open_run_directory
from radiodiff.config import Settings
from radiodiff.data.surveys.samples import read_samples
from radiodiff.data.surveys.settings import SurveySettings
from radiodiff.errors import InputError
from radiodiff.evaluation.intervals import Estimate
from radiodiff.evaluation.tables import Column
from radiodiff.experiments.reproduce.rendering import ComparisonTable, csv_text, latex, markdown
from radiodiff.experiments.survey_held_out import SamplePrediction, score_samples
from radiodiff.files import write_text
from radiodiff.inverse.field.candidates import (
    Candidate,
    Constant,
    Samples,
    kriging_candidate,
    predict_candidate,
    weigh_samples,
)
from radiodiff.inverse.field.covariance import fit_covariance
from radiodiff.inverse.field.model import fit_field
from radiodiff.inverse.field.samples import merge_positions, merge_rows
from radiodiff.inverse.field.trend import fit_trend
from radiodiff.inverse.field.validation import NORMAL_Q95
from radiodiff.plugins import import_here, import_modules

Predict = Callable[[np.ndarray, np.ndarray, np.ndarray, int], np.ndarray | SamplePrediction]
"""Samples' positions (N, 2) in metres and values (N,), positions (Q, 2), seed -> (Q,) values, or
with their intervals."""

REFERENCE = "kriging"
"""Method whose error the others' is divided by."""
IDW_NEIGHBOURS = 12
COLUMNS = {
    "rmse_db": Column("RMSE (dB)", 2, False),
    "mae_db": Column("MAE (dB)", 2, False),
    "crps_db": Column("CRPS (dB)", 2, False),
    "coverage90": Column("coverage of 90 %", 2, None),
    "ratio": Column(f"RMSE over {REFERENCE}'s", 3, False),
    "seconds": Column("time (s)", 2, False),
}
SUFFIXES = "_train.csv", "_heldout.csv"


class SurveyTableConfig(Settings):
    """Methods compared at held-out samples of surveys."""

    output: Path
    """Run directory: report.md, tables/surveys.md, .tex and .csv."""
    survey_root: Path
    """Folder of pairs ``{survey}_{split}_train.csv`` and ``_heldout.csv``, or of one folder per
    survey with ``{split}_train.csv`` and ``_heldout.csv``."""
    survey: SurveySettings = SurveySettings()
    """How the tables are read."""
    seeds: tuple[int, ...] = Field(min_length=1)
    """Scores are means over them."""
    imports: tuple[str, ...] = ()
    """Modules imported first, which may call radiodiff.experiments.survey_table.register."""
    methods: dict[str, str] = Field(min_length=1)
    """Row of the table -> a name in METHODS, or package.module:name of a function or class."""


@dataclass(frozen=True)
class SurveySplit:
    """Two tables of one survey."""

    name: str
    """Such as "suburb, blocks"."""
    train: Path
    held_out: Path


def find_splits(root: Path) -> list[SurveySplit]:
    """Find the surveys in a folder.

    Raises:
        InputError: there is none, or one lacks its held-out samples.
    """
    train, held_out = SUFFIXES
    found = []
    for path in sorted([*root.glob(f"*{train}"), *root.glob(f"*/*{train}")]):
        prefix = path.name.removesuffix(train)
        survey, _, split = prefix.rpartition("_")
        if path.parent != root:
            survey, split = path.parent.name, prefix
        partner = path.with_name(prefix + held_out)
        if not partner.is_file():
            raise InputError(f"{partner}: not found, and {path.name} is there")
        found.append(SurveySplit(f"{survey}, {split}" if survey else split, path, partner))
    if not found:
        raise InputError(f"{root}: no survey in it, expected files like NAME_random{train}")
    return found


def write_survey_table(config: SurveyTableConfig) -> Path:
    """Score all methods on all surveys and write the table.

    Returns:
        The path of ``report.md``.

    Raises:
        InputError: a survey or a method cannot be used.
    """
    import_modules(config.imports)
    methods = {name: load_method(source) for name, source in config.methods.items()}
    splits = find_splits(config.survey_root)
    directory = open_run_directory(config.output, config)
    blocks: dict[str, dict[str, dict[str, Estimate]]] = {}
    for split in splits:
        print(f"{split.name} ({len(blocks) + 1} of {len(splits)})", flush=True)
        blocks[split.name] = score_split(split, methods, config)
    if len(splits) > 1:
        blocks["all: geometric mean of the ratio, means of coverage and time"] = _over_all(blocks)
    table = ComparisonTable(
        name="surveys",
        title="Held-out samples of measured surveys",
        blocks=blocks,
        printed={},
        columns=COLUMNS,
        notes=(
            f"Means over {len(config.seeds)} seeds. CRPS is that of a normal distribution; time is "
            "of estimation and prediction together.",
        ),
        data="surveys",
    )
    path = directory / "tables" / table.name
    path.parent.mkdir(exist_ok=True)
    write_text(path.with_suffix(".md"), markdown(table))
    write_text(path.with_suffix(".tex"), latex(table, f"surveys of {config.survey_root}"))
    write_text(path.with_suffix(".csv"), csv_text(table))
    write_text(directory / "report.md", markdown(table))
    return directory / "report.md"


def score_split(
    split: SurveySplit, methods: dict[str, Predict], config: SurveyTableConfig
) -> dict[str, dict[str, Estimate]]:
    """Return method -> metric -> mean over seeds of one survey and split."""
    samples = read_samples(split.train, config.survey)
    held_out = read_samples(split.held_out, config.survey, grid=samples.grid)
    block: dict[str, dict[str, Estimate]] = {}
    for name, predict in methods.items():
        rows = []
        for seed in config.seeds:
            began = time.perf_counter()
            found = predict(samples.xy, samples.values, held_out.xy, seed)
            seconds = time.perf_counter() - began
            predicted = _checked(name, found, len(held_out.values))
            rows.append({**score_samples(predicted, held_out.values), "seconds": seconds})
        block[name] = _means(rows, has_spread=bool(np.isfinite(predicted.std).all()))
    if REFERENCE in block:
        reference = block[REFERENCE]["rmse_db"].mean
        for row in block.values():
            row["ratio"] = Estimate(row["rmse_db"].mean / reference, None, len(config.seeds))
    return block


def _means(rows: list[dict[str, float]], *, has_spread: bool) -> dict[str, Estimate]:
    kept = [n for n in COLUMNS if n in rows[0] and (has_spread or n[:4] not in ("crps", "cove"))]
    return {n: Estimate(float(np.mean([row[n] for row in rows])), None, len(rows)) for n in kept}


def _over_all(blocks: dict[str, dict[str, dict[str, Estimate]]]) -> dict[str, dict[str, Estimate]]:
    every = list(blocks.values())
    result: dict[str, dict[str, Estimate]] = {name: {} for name in every[0]}
    for name, row in result.items():
        for metric in ("coverage90", "ratio", "seconds"):
            values = [block[name][metric].mean for block in every if metric in block[name]]
            if values:
                mean = np.exp(np.mean(np.log(values))) if metric == "ratio" else np.mean(values)
                row[metric] = Estimate(float(mean), None, len(values))
    return result


def _checked(name: str, found: np.ndarray | SamplePrediction, count: int) -> SamplePrediction:
    if not isinstance(found, SamplePrediction):
        mean = np.asarray(found, dtype=np.float64)
        unknown = np.full(mean.shape, np.nan)
        found = SamplePrediction(mean, unknown, unknown, unknown)
    if found.mean.shape != (count,) or not np.isfinite(found.mean).all():
        raise InputError(
            f"method {name!r} returned {found.mean.shape} values, expected ({count},) finite ones"
        )
    return found


def load_method(source: str) -> Predict:
    """Return the method that a configuration names; a class is instantiated without arguments.

    Raises:
        InputError: it is neither a name in METHODS nor something that can be imported and called.
    """
    if source in METHODS:
        return METHODS[source]
    module, colon, name = source.partition(":")
    if not colon:
        raise InputError(
            f"method {source!r}: none of {', '.join(METHODS)}; a custom one is named "
            "package.module:name"
        )
    try:
        found = getattr(import_here(module), name)
    except (ImportError, AttributeError, ValueError, SyntaxError) as error:
        raise InputError(f"method {source!r}: cannot be imported ({error})") from None
    predict: Predict = found() if isinstance(found, type) else found
    if not callable(predict):
        raise InputError(f"method {source!r}: cannot be called")
    return predict


def register(name: str, predict: Predict) -> None:
    """Make a method available by name.

    Raises:
        InputError: the name is taken.
    """
    if name in METHODS:
        raise InputError(f"method {name!r}: the name is taken; choose another")
    METHODS[name] = predict


def _places(xy: np.ndarray, values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    runs = merge_positions(xy, values)
    return runs.xy, runs.mean


def nearest(xy: np.ndarray, values: np.ndarray, queries: np.ndarray, seed: int) -> np.ndarray:
    """Predict the value of the nearest sample."""
    return np.asarray(NearestNDInterpolator(*_places(xy, values))(queries))


def linear(xy: np.ndarray, values: np.ndarray, queries: np.ndarray, seed: int) -> np.ndarray:
    """Interpolate linearly in Delaunay triangles; outside of them take the nearest sample."""
    near = nearest(xy, values, queries, seed)
    try:
        found = LinearNDInterpolator(*_places(xy, values))(queries)
    except QhullError:  # all on one line
        return near
    return np.where(np.isnan(found), near, found)


def inverse_distance(
    xy: np.ndarray, values: np.ndarray, queries: np.ndarray, seed: int
) -> np.ndarray:
    """Weigh the nearest samples by the inverse square of their distance (Shepard, 1968)."""
    places, mean = _places(xy, values)
    k = min(IDW_NEIGHBOURS, len(places))
    distance, near = (a.reshape(-1, k) for a in cKDTree(places).query(queries, k=k))
    weight = 1.0 / np.maximum(distance, 1e-3) ** 2
    return np.asarray((weight * mean[near]).sum(axis=1) / weight.sum(axis=1))


def kriging(xy: np.ndarray, values: np.ndarray, queries: np.ndarray, seed: int) -> SamplePrediction:
    """Ordinary kriging with an exponential variogram and a nugget."""
    samples = weigh_samples(merge_positions(xy, values), merge_rows(xy, values))
    return _single(kriging_candidate(samples.positions), samples, queries)


def trend_kriging(
    xy: np.ndarray, values: np.ndarray, queries: np.ndarray, seed: int
) -> SamplePrediction:
    """Log-distance trend around a transmitter that is sought, with kriged residuals."""
    samples = weigh_samples(merge_positions(xy, values), merge_rows(xy, values))
    runs, rng = samples.positions, np.random.default_rng(seed)
    factor = samples.noise_factor(runs)
    level = Constant(float(np.average(runs.mean, weights=runs.count)))
    covariance, _ = fit_covariance(runs, runs.mean - level(runs.xy), factor, rng)
    trend = fit_trend(runs, covariance, factor, rng)
    covariance, _ = fit_covariance(runs, runs.mean - trend(runs.xy), factor, rng)
    return _single(Candidate("trend", trend, covariance), samples, queries)


def _single(candidate: Candidate, samples: Samples, queries: np.ndarray) -> SamplePrediction:
    runs = samples.positions
    mean, variance = predict_candidate(candidate, runs, samples.noise_factor(runs), queries)
    std = np.sqrt(variance + candidate.covariance.nugget)
    return SamplePrediction(mean, std, mean - NORMAL_Q95 * std, mean + NORMAL_Q95 * std)


def field(xy: np.ndarray, values: np.ndarray, queries: np.ndarray, seed: int) -> SamplePrediction:
    """The averaged field of ``method: field``."""
    found = fit_field(xy, values, seed=seed).predict(queries)
    return SamplePrediction(found.mean, found.std, found.q05, found.q95)


METHODS: dict[str, Predict] = {
    "nearest": nearest,
    "linear": linear,
    "inverse_distance": inverse_distance,
    "kriging": kriging,
    "trend_kriging": trend_kriging,
    "field": field,
}
"""Name -> method; :func:`register` adds to it."""
