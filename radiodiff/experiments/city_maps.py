"""Radio maps of a city that nobody has measured or simulated: buildings in, maps in dB out."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from tqdm import tqdm

from radiodiff.cli import open_run_directory, provenance
from radiodiff.data.images import write_gray
from radiodiff.data.prompts import check_transmitter
from radiodiff.data.scale import Scale
from radiodiff.data.surveys.grid import Grid
from radiodiff.diffusion.pipeline import RadioDiffPipeline
from radiodiff.evaluation.figures import contact_sheet, save_figure
from radiodiff.experiments.city_files import read_city
from radiodiff.experiments.pictures import GALLERY, MAX_SHEET
from radiodiff.experiments.precision import prepare_networks
from radiodiff.experiments.rasters import write_cog
from radiodiff.experiments.settings import GenerateConfig
from radiodiff.files import write_json, write_npz
from radiodiff.processes import join_processes
from radiodiff.simulate import geojson
from radiodiff.training.stream import mix_seed

MAX_PIXELS = 2048 * 2048
"""More do not fit into the memory of most machines."""


def generate_city_maps(config: GenerateConfig) -> Path:
    """Generate the maps of a city; return the folder of the maps.

    ``maps/{transmitter}.npz`` holds ``path_gain_db`` and ``gray`` (H, W) float32, ``buildings`` and
    ``transmitter``; beside it are a PNG of 16 bits and, for a city in degrees and with rasterio
    installed, a GeoTIFF of the path gain in dB. ``gallery.png`` shows the first maps.

    Raises:
        InputError: the buildings cannot be read or are too large, a transmitter is off the map or
            in a building, or the model is missing.
    """
    city = config.city
    assert city is not None
    file = read_city(city.buildings, MAX_PIXELS, "cut a part out (city.bounds)", city.bounds)
    buildings, projection = file.building_mask, file.projection
    for position in city.transmitters:
        check_transmitter(position, buildings, "city.transmitters")
    state = join_processes()
    pipeline = RadioDiffPipeline.from_pretrained(config.model)
    prepare_networks(pipeline, state.device, config.dtype)
    directory = open_run_directory(config.output, config, ("batch_size",))
    write_json(directory / "made_by.json", provenance(config, state.device))
    maps = directory / "maps"
    shown: list[torch.Tensor] = []
    bar = tqdm(total=len(city.transmitters), desc="generate", unit="map")
    for start in range(0, len(city.transmitters), config.batch_size):
        positions = city.transmitters[start : start + config.batch_size]
        numbers = range(start, start + len(positions))
        output = pipeline(
            buildings,
            positions,
            num_inference_steps=config.num_inference_steps,
            generator=[torch.Generator().manual_seed(mix_seed(config.seed, n)) for n in numbers],
            mode=config.mode,
            zero_buildings=config.zero_buildings,
            resolution_m=city.resolution_m,
        )
        for number, position, gray, gain_db in zip(
            numbers, positions, output.gray.cpu(), output.path_gain_db.cpu(), strict=True
        ):
            write_npz(
                maps / f"{number}.npz",
                path_gain_db=gain_db.numpy(),
                gray=gray.numpy(),
                buildings=buildings,
                transmitter=np.array(position),
            )
            write_gray(maps / f"{number}.png", gray.numpy())
            if projection is not None:
                grid = grid_of(projection.bounds, buildings.shape, city.resolution_m)
                write_cog(maps / f"{number}.tif", grid, {"path_gain_db": gain_db.numpy()})
            shown.append(gray)
            bar.update()
    bar.close()
    lowest, highest = pipeline.config.gain_scale_db
    figure = contact_sheet(
        shown[:MAX_SHEET],
        [f"transmitter {number}" for number in range(len(shown))],
        [torch.from_numpy(buildings)] * len(shown),
        city.transmitters,
        Scale(min_db=lowest, max_db=highest),
    )
    save_figure(figure, directory / GALLERY)
    return maps


def grid_of(bounds: geojson.Bounds, shape: tuple[int, int], resolution_m: float) -> Grid:
    """Return the grid of (H, W) pixels that fill an area in degrees, row 0 in the north."""
    west, south, east, north = bounds
    dx, dy = (east - west) / shape[1], (north - south) / shape[0]
    return Grid((west + dx / 2, north - dy / 2), (dx, -dy), shape, resolution_m, "degrees")
