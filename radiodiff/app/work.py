"""What the page computes, apart from how it looks: a city's map, a survey's map, an experiment."""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch

from radiodiff.config import load_config
from radiodiff.data.images import read_mask
from radiodiff.data.masks import pixel_mask
from radiodiff.data.measurements import Measurements, measure
from radiodiff.data.survey import read_survey
from radiodiff.diffusion.pipeline import RadioDiffPipeline
from radiodiff.errors import InputError
from radiodiff.evaluation.metrics import psnr
from radiodiff.experiments import city_files
from radiodiff.experiments.sampling import load_pipeline
from radiodiff.experiments.survey import reconstruct_survey
from radiodiff.experiments.survey_settings import SurveyConfig
from radiodiff.inverse.interpolation import linear
from radiodiff.inverse.particles import Progress
from radiodiff.inverse.pipeline import RadioDiffInversePipeline
from radiodiff.simulate import dominant_path
from radiodiff.simulate.dataset import choose_transmitters
from radiodiff.simulate.procedural import procedural_city
from radiodiff.units import MAP_SIZE, db_to_model, model_to_db, model_to_gray

ENGINE = "dominant path model"
NETWORK = "RadioDiff"
METHODS = (ENGINE, NETWORK)
MAX_PIXELS = 512 * 512
"""Of an uploaded city."""
MAX_TRANSMITTERS = 8
HALF_OPAQUE = 127
STEPS = 5
SEED = 7


def simulated_city(seed: int) -> np.ndarray:
    """Return the (256, 256) bool building mask of a simulated city."""
    return procedural_city(np.random.default_rng(seed)).building_mask


def read_city(path: Path) -> np.ndarray:
    """Return the (H, W) bool building mask of an uploaded PNG or GeoJSON.

    Raises:
        InputError: it is neither, or too large.
    """
    return city_files.read_city(
        path, MAX_PIXELS, "`radiodiff predict` takes whole cities"
    ).building_mask


def drawn_city(layers: Sequence[np.ndarray]) -> np.ndarray:
    """Return the (H, W) bool building mask of a drawing.

    Args:
        layers: (H, W, 4) uint8 RGBA each; what is more opaque than not is a building.

    Raises:
        InputError: nothing is drawn.
    """
    masks = [layer[..., 3] > HALF_OPAQUE for layer in layers]
    if not any(mask.any() for mask in masks):
        raise InputError("nothing is drawn; draw a building first")
    return np.logical_or.reduce(masks)


def read_vehicles(path: Path, buildings: np.ndarray) -> np.ndarray:
    """Return the (H, W) bool vehicle mask of an uploaded PNG, False inside buildings.

    Raises:
        InputError: it is no PNG of two levels, or its size is not that of the buildings.
    """
    vehicles = read_mask(path)
    if vehicles.shape != buildings.shape:
        found, expected = (" x ".join(map(str, m.shape)) for m in (vehicles, buildings))
        raise InputError(f"{path}: {found} pixels (rows x columns), the city has {expected}")
    return vehicles & ~buildings


def add_transmitter(
    buildings: np.ndarray, before: Sequence[tuple[int, int]], place: tuple[int, int]
) -> list[tuple[int, int]]:
    """Return the transmitters with one more.

    Raises:
        InputError: the place is inside a building, or there are ``MAX_TRANSMITTERS`` already.
    """
    row, column = place
    if buildings[row, column]:
        raise InputError(f"row {row}, column {column} is inside a building; click outdoors")
    if len(before) == MAX_TRANSMITTERS:
        raise InputError(f"at most {MAX_TRANSMITTERS} transmitters are shown at once")
    return [*before, place]


def city_gain(
    buildings: np.ndarray,
    transmitters: Sequence[tuple[int, int]],
    method: str,
    vehicles: np.ndarray | None = None,
) -> np.ndarray:
    """Return the (H, W) path gain in dB by one of ``METHODS``, to the strongest transmitter.

    Args:
        buildings: (H, W) bool.
        transmitters: rows and columns, at least one.
        method: of ``METHODS``.
        vehicles: (H, W) bool, or None; ``NETWORK`` was trained without and is not given them.

    Raises:
        InputError: a transmitter is in a building, or the method cannot take the map.
    """
    gains = [_gain(buildings, place, method, vehicles) for place in transmitters]
    return np.asarray(np.maximum.reduce(gains))


def _gain(
    buildings: np.ndarray, place: tuple[int, int], method: str, vehicles: np.ndarray | None
) -> np.ndarray:
    if method == ENGINE:
        return dominant_path.path_gain(buildings, place, vehicles)
    generator = torch.Generator().manual_seed(SEED)
    output = _radiodiff()(buildings, place, num_inference_steps=STEPS, generator=generator)
    return np.asarray(output.path_gain_db[0].cpu().numpy())


def default_transmitter(buildings: np.ndarray) -> tuple[int, int]:
    """Return the outdoor pixel nearest to the middle of a map.

    Raises:
        InputError: nothing is outdoors.
    """
    outdoor = np.argwhere(~buildings)
    if not len(outdoor):
        raise InputError("the city has no pixel outdoors")
    middle = np.array(buildings.shape) / 2
    row, column = outdoor[np.hypot(*(outdoor - middle).T).argmin()]
    return int(row), int(column)


def survey_keys(x: str, y: str, value: str, values_are: str, power_dbm: float | None) -> list[str]:
    """Return what a visitor says of a table, as keys of the configuration.

    Args:
        x: column of x or the longitude; empty is found out.
        y: column of y or the latitude; empty is found out.
        value: column of the value; empty is found out.
        values_are: ``received_dbm`` or ``path_gain_db``.
        power_dbm: transmit power, or None.
    """
    columns = {"x": x, "y": y, "value": value}
    keys = [f"survey.columns.{key}={json.dumps(name)}" for key, name in columns.items() if name]
    keys.append(f"survey.value={values_are}")
    if power_dbm is not None:
        keys.append(f"survey.transmit_power_dbm={power_dbm}")
    return keys


@dataclass(frozen=True)
class SurveyLayers:
    """What the page draws of a survey, on the grid of its map."""

    sample_pixels: np.ndarray
    """(N, 2) fractional row and column."""
    sample_values: np.ndarray
    """(N,) in the units of the table."""
    shape: tuple[int, int]
    """Rows and columns."""
    quantity: str
    """Name and unit of the values."""
    mean: np.ndarray | None = None
    """(H, W) in the units of the table; None before the map is made."""
    std_db: np.ndarray | None = None
    """(H, W) standard deviation of the map."""
    buildings: np.ndarray | None = None
    """(H, W) bool."""
    transmitter: tuple[float, float] | None = None
    """Fractional row and column, where the samples show one."""


def map_survey(
    table: Path, keys: Sequence[str], progress: Progress | None = None
) -> tuple[dict[str, Any], Path, SurveyLayers]:
    """Reconstruct the map behind an uploaded table.

    Args:
        table: CSV, JSON, Excel or Parquet.
        keys: of :func:`survey_keys`.
        progress: called with the steps done and to do; None calls nothing.

    Returns:
        The report; the folder of the files, whose parent the caller removes; and what is drawn.

    Raises:
        InputError: the table cannot be used.
    """
    folder = Path(tempfile.mkdtemp(prefix="radiodiff-survey-"))
    output = f"output={folder / 'map'}"
    config = load_config("small/survey", SurveyConfig, [*keys, output])
    try:
        report = reconstruct_survey(table, config, progress=progress or (lambda done, total: None))
        with np.load(folder / "map" / "map.npz") as arrays:
            layers = _made_layers(report, arrays)
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise
    return report, folder / "map", layers


def _made_layers(report: dict[str, Any], arrays: Mapping[str, np.ndarray]) -> SurveyLayers:
    """Return what is drawn of a map, from its report and the arrays of map.npz."""
    power, place = report["transmit_power_dbm"], report["transmitter"]
    mean = arrays["gain_db"] + (power or 0.0)
    samples = _sample_layers(arrays["sample_pixels"], arrays["sample_gain_db"], power, mean.shape)
    return replace(
        samples,
        mean=mean,
        std_db=arrays["std_db"],
        buildings=arrays["building_mask"],
        transmitter=None if place is None else tuple(place["row_column"]),
    )


def _sample_layers(
    pixels: np.ndarray, gain_db: np.ndarray, power_dbm: float | None, shape: tuple[int, int]
) -> SurveyLayers:
    """Return what can be drawn of samples before their map is made."""
    quantity = "path gain, dB" if power_dbm is None else "received power, dBm"
    return SurveyLayers(pixels, gain_db + (power_dbm or 0.0), shape, quantity)


def recognised(table: Path, keys: Sequence[str] = ()) -> tuple[str, SurveyLayers]:
    """Say which columns of a table are taken, and how many samples it holds, as Markdown.

    Args:
        table: CSV, JSON, Excel or Parquet.
        keys: of :func:`survey_keys`.

    Returns:
        The text, and the samples to draw.

    Raises:
        InputError: the table cannot be read.
    """
    survey = read_survey(table, load_config("small/survey", SurveyConfig, list(keys)).survey)
    rows, columns = survey.grid.shape
    taken = ", ".join(f"{key} is `{name}`" for key, name in survey.samples.columns.items())
    size = f"a map of {rows} x {columns} pixels of {survey.grid.resolution_m:g} m"
    lines = [f"{survey.samples.rows} rows; {taken}", size, *survey.notes]
    layers = _sample_layers(
        survey.pixels, survey.gain_db, survey.transmit_power_dbm, survey.grid.shape
    )
    return "\n".join(f"- {line}" for line in lines), layers


def sense(
    missing_ratio: float,
    noise_std: float,
    city_seed: int,
    particles: int = 5,
    progress: Progress | None = None,
) -> dict[str, np.ndarray | float]:
    """Measure a simulated map at random pixels and reconstruct it.

    Args:
        missing_ratio: share of pixels that are not measured.
        noise_std: sigma in model range.
        city_seed: of the city.
        particles: samples of the posterior.
        progress: called with the steps done and to do; None calls nothing.

    Returns:
        ``truth``, ``samples`` (NaN where unmeasured), ``mean``, ``linear`` as (H, W) dB, ``std`` in
        dB, and the PSNR of ``mean`` and ``linear`` as ``mean_psnr`` and ``linear_psnr``.
    """
    city = procedural_city(np.random.default_rng(city_seed))
    (place,) = choose_transmitters(city, 1, np.random.default_rng(city_seed))
    gain_db = dominant_path.path_gain(city, (int(place[0]), int(place[1])))
    truth = torch.from_numpy(db_to_model(gain_db)).float()[None, None]
    rng = np.random.default_rng(city_seed)
    mask = torch.from_numpy(pixel_mask((MAP_SIZE, MAP_SIZE), missing_ratio, rng))[None, None]
    generator = torch.Generator().manual_seed(city_seed)
    samples = measure(truth, mask, noise_std, generator)
    found = _inverse()(
        samples,
        num_particles=particles,
        num_inference_steps=4,
        generator=generator,
        progress=progress,
    )
    interpolated = _linear(samples)
    result: dict[str, np.ndarray | float] = {
        "truth": gain_db,
        "samples": np.where(mask[0, 0], model_to_db(samples.values)[0, 0], np.nan),
        "mean": found.path_gain_db[0, 0].float().cpu().numpy(),
        "std": found.std_db[0, 0].float().cpu().numpy(),
        "linear": model_to_db(interpolated).numpy(),
    }
    for name, model in (("mean", found.mean[0, 0].float().cpu()), ("linear", interpolated)):
        gray = model_to_gray(model).clamp(0.0, 1.0)
        result[f"{name}_psnr"] = float(psnr(gray, model_to_gray(truth[0, 0])))
    return result


def _linear(samples: Measurements) -> torch.Tensor:
    return torch.as_tensor(linear(samples.values[0, 0].numpy(), samples.mask[0, 0].numpy())).float()


@cache
def _radiodiff() -> RadioDiffPipeline:
    pipeline = RadioDiffPipeline.from_pretrained("radiodiff-small")
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


@cache
def _inverse() -> RadioDiffInversePipeline:
    return load_pipeline(Path("prior-small"), "cpu", "float32")
