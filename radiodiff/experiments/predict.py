"""Maps of a city from its footprints: received power, best server and coverage, as files."""

from __future__ import annotations

import math
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import ListedColormap
from matplotlib.figure import Figure
from shapely import Point, affinity
from tqdm import tqdm

from radiodiff.cli import check_run_directory, open_run_directory, provenance
from radiodiff.data.surveys.grid import Grid
from radiodiff.errors import InputError
from radiodiff.evaluation.figures import CURVE_COLOURS, GAIN_COLOURS, save_figure
from radiodiff.executors import run_all
from radiodiff.experiments.city_files import read_city
from radiodiff.experiments.predict_settings import PredictCitiesConfig, PredictConfig
from radiodiff.experiments.rasters import write_cog, write_overlays
from radiodiff.files import write_json
from radiodiff.simulate import geojson
from radiodiff.simulate.antennas import antenna_gain
from radiodiff.simulate.city import City
from radiodiff.simulate.dominant_path import Layout
from radiodiff.units import CARRIER_FREQUENCY_HZ

MAX_PIXELS = 16_000_000
SUMMARY = "summary.json"
MAX_PANELS = 12
"""Transmitters that the picture shows; the files hold all."""
SHOWN_RANGE_DB = 80.0
"""Range of the colours below the strongest per cent of the pixels."""


@dataclass(frozen=True)
class CityMaps:
    """What transmitters give a city, on one grid in degrees.

    Attributes:
        grid: of the pixels, row 0 in the north.
        building_mask: (H, W) bool.
        pixels: (N, 2) row and column of the transmitters.
        received_dbm: (N, H, W) float32, NaN in buildings.
    """

    grid: Grid
    building_mask: np.ndarray
    pixels: np.ndarray
    received_dbm: np.ndarray

    @property
    def best_dbm(self) -> np.ndarray:
        """(H, W) power of the best server, NaN in buildings."""
        return np.asarray(self.received_dbm.max(axis=0))

    @property
    def best_server(self) -> np.ndarray:
        """(H, W) number of the best server from 1 on, NaN in buildings."""
        strongest = np.nan_to_num(self.received_dbm, nan=-np.inf).argmax(axis=0)
        return np.where(self.building_mask, np.nan, strongest + 1.0)

    def covered(self, power_dbm: float) -> np.ndarray:
        """(H, W) 1 where the best server is received with ``power_dbm`` or more, else 0, or NaN."""
        return np.where(self.building_mask, np.nan, self.best_dbm >= power_dbm)


def predict_city(config: PredictConfig) -> CityMaps:
    """Compute the received power of every transmitter of a city.

    Raises:
        InputError: the city cannot be read or is too large for the pixels, a transmitter is outside
            of it or in a building, or there is no such antenna.
    """
    antenna_gain(config.antenna, np.zeros(1))  # read before anything takes long
    step = config.resolution_m
    hint = "take larger pixels (resolution_m) or smaller bounds"
    file = read_city(config.city, MAX_PIXELS, hint, config.bounds, step)
    city, project = file.buildings, file.projection
    if project is None or not isinstance(city, City):
        raise InputError(f"{config.city}: a PNG has no longitudes and latitudes; give a GeoJSON")
    bounds, shape = project.bounds, project.shape(step)
    # A pixel's centre is its integer coordinate; metres of a city begin at the corner (0, -1).
    buildings = [
        affinity.affine_transform(polygon, [1 / step, 0, 0, 1 / step, -0.5, 1 / step - 0.5])
        for polygon in city.buildings
    ]
    layout = Layout.from_polygons(
        buildings, shape, None, step, config.reach_m, threads=config.threads
    )
    pixels = np.array([_pixel(config, project, layout, place) for place in config.transmitters])
    azimuths = np.broadcast_to(config.azimuths_degree, len(pixels))
    scaled_db = 20.0 * math.log10(config.frequency_ghz * 1e9 / CARRIER_FREQUENCY_HZ)

    def received(number: int) -> np.ndarray:
        place = (int(pixels[number, 0]), int(pixels[number, 1]))
        gain, bearing = layout.gain_and_bearing(place)
        pattern = antenna_gain(config.antenna, bearing - azimuths[number])
        power = config.transmit_power_dbm - scaled_db + gain + pattern
        return np.where(layout.building_mask, np.nan, power).astype(np.float32)

    with ThreadPoolExecutor(config.threads) as pool:
        maps = np.stack(list(pool.map(received, range(len(pixels)))))
    x_scale, y_scale = project.metres_per_degree
    dx, dy = step / x_scale, step / y_scale
    origin = (bounds[0] + dx / 2, bounds[3] - dy / 2)
    grid = Grid(origin, (dx, -dy), shape, step, "degrees")
    return CityMaps(grid, layout.building_mask, pixels, maps)


def run_predict(config: PredictConfig) -> str:
    """Predict, write the files and return what is to be read on the screen.

    Raises:
        InputError: as :func:`predict_city`, or the output cannot be written.
    """
    check_run_directory(config.output, config)
    began = time.monotonic()
    maps = predict_city(config)
    seconds = time.monotonic() - began
    output = open_run_directory(config.output, config)
    covered = maps.covered(config.coverage_dbm)
    names = [f"transmitter {number}" for number in range(1, len(maps.pixels) + 1)]
    powers = dict(zip(names, maps.received_dbm, strict=True))
    bands = {f"{name}, received power in dBm": power for name, power in powers.items()}
    bands |= {
        "best server, received power in dBm": maps.best_dbm,
        "best server, number of the transmitter": maps.best_server,
        f"covered with {config.coverage_dbm:g} dBm or more": covered,
    }
    notes = []
    if not write_cog(output / "maps.tif", maps.grid, bands):
        notes.append("maps.tif is left out: it needs rasterio (pip install 'radiodiff[geo]')")
    top = float(np.nanquantile(maps.best_dbm, 0.99))
    limits = (top - SHOWN_RANGE_DB, top)
    places = [(name, *place) for name, place in zip(names, config.transmitters, strict=True)]
    overlays = {f"best server, {limits[0]:.0f} to {top:.0f} dBm": maps.best_dbm, **powers}
    if not write_overlays(output / "maps.kmz", maps.grid, overlays, places, limits):
        notes.append("maps.kmz is left out: it needs simplekml (pip install 'radiodiff[geo]')")
    save_figure(draw_maps(maps, limits, config.coverage_dbm), output / "maps.png")
    outdoors = ~maps.building_mask
    share = float(covered[outdoors].mean())
    served = [float((maps.best_server[outdoors] == n + 1).mean()) for n in range(len(names))]
    fitted_ghz = CARRIER_FREQUENCY_HZ / 1e9
    model = f"dominant path model, fitted to RadioMapSeer at {fitted_ghz:g} GHz, antennas at 1.5 m"
    if config.frequency_ghz != fitted_ghz:
        model += f", scaled to {config.frequency_ghz:g} GHz"
    write_json(
        output / SUMMARY,
        {
            "model": model,
            "shape": list(maps.grid.shape),
            "covered_share_outdoors": share,
            "best_server_share_outdoors": served,
            "seconds": round(seconds, 1),
            "made_by": provenance(config, "cpu"),
        },
    )
    rows, columns = maps.grid.shape
    lines = [
        f"{len(names)} transmitters on {rows} x {columns} pixels of {config.resolution_m:g} m in "
        f"{seconds:.0f} s",
        f"covered with {config.coverage_dbm:g} dBm or more: {100 * share:.1f} % of the outdoors",
        f"model: {model}",
        *(f"note: {note}" for note in notes),
        f"wrote {output}",
    ]
    return "\n".join(lines)


def run_predict_cities(config: PredictCitiesConfig) -> str:
    """Predict every city that is not there yet; return what is to be read on the screen.

    A city is there when its ``summary.json`` is, which is written last.

    Raises:
        InputError: as :func:`run_predict` for the first city that cannot be mapped; the cities that
            were done stay.
    """
    runs = [
        PredictConfig(output=config.output / name, **city.model_dump())
        for name, city in config.cities.items()
    ]
    for run in runs:
        check_run_directory(run.output, run)
    missing = [run for run in runs if not (run.output / SUMMARY).is_file()]
    with tqdm(total=len(runs), initial=len(runs) - len(missing), unit="city") as progress:
        for _ in run_all(run_predict, missing, config.executor, config.workers):
            progress.update()
    return f"{len(missing)} of {len(runs)} cities were missing\nwrote {config.output}"


def draw_maps(maps: CityMaps, limits: tuple[float, float], coverage_dbm: float) -> Figure:
    """Draw the best server's power, who it is, what is covered, and every transmitter's map.

    Args:
        maps: of a city.
        limits: dBm of the first and the last colour.
        coverage_dbm: least power of a covered pixel.
    """
    panels = [
        ("best server, dBm", maps.best_dbm, GAIN_COLOURS, limits),
        ("best server", maps.best_server, ListedColormap(CURVE_COLOURS), (0.5, 10.5)),
        (f"{coverage_dbm:g} dBm or more", maps.covered(coverage_dbm), "Greens", (0.0, 1.6)),
    ]
    several = maps.received_dbm[: MAX_PANELS if len(maps.received_dbm) > 1 else 0]
    for number, power in enumerate(several, start=1):
        panels.append((f"transmitter {number}, dBm", power, GAIN_COLOURS, limits))
    rows = math.ceil(len(panels) / 3)
    aspect = maps.grid.shape[0] / maps.grid.shape[1]
    figure = Figure(figsize=(13.0, 4.2 * rows * max(0.4, min(aspect, 2.0))), layout="constrained")
    FigureCanvasAgg(figure)
    axes = np.ravel(figure.subplots(rows, 3, squeeze=False))
    for axis, (title, values, colours, (low, high)) in zip(axes, panels, strict=False):
        axis.set_facecolor("0.85")
        shown = (values - 1) % 10 + 1 if title == "best server" else values
        image = axis.imshow(shown, cmap=colours, vmin=low, vmax=high, interpolation="nearest")
        axis.plot(*maps.pixels.T[::-1], "r+", markersize=9)
        axis.set_title(title, fontsize="medium")
        if title.endswith("dBm"):
            figure.colorbar(image, ax=axis, shrink=0.8)
    for axis in axes:
        axis.set_axis_off()
    return figure


def _pixel(
    config: PredictConfig,
    project: geojson.Projection,
    layout: Layout,
    place: tuple[float, float],
) -> tuple[int, int]:
    """Return the pixel of a transmitter, outdoors."""
    where = f"transmitter {place[0]:g},{place[1]:g}"
    west, south, east, north = project.bounds
    if not (west <= place[0] <= east and south <= place[1] <= north):
        raise InputError(
            f"{where}: outside of the area, longitudes {west:.5f} to {east:.5f} and latitudes "
            f"{south:.5f} to {north:.5f} (longitude comes first)"
        )
    point = project(Point(place))
    rows, columns = layout.building_mask.shape
    row = min(int((point.y + 1.0) / config.resolution_m), rows - 1)
    column = min(int(point.x / config.resolution_m), columns - 1)
    if layout.building_mask[row, column]:
        if not len(layout.pixels):
            raise InputError(f"{where}: inside a building, and nothing is outdoors")
        free = layout.pixels[np.hypot(*(layout.pixels - (row, column)).T).argmin()]
        x_scale, y_scale = project.metres_per_degree
        longitude = west + (free[1] + 0.5) * config.resolution_m / x_scale
        latitude = north - (free[0] + 0.5) * config.resolution_m / y_scale
        raise InputError(
            f"{where}: inside a building; the nearest place outdoors is "
            f"{longitude:.6f},{latitude:.6f}"
        )
    return row, column
