"""Makes the figure and the comparison of engines in docs/findings/simulator.md.

python studies/simulator_data.py maps outputs/small/simulated     # docs/images/simulated_maps.png
python studies/simulator_data.py engines                          # needs the extra raytrace
"""

import argparse
from pathlib import Path

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import ListedColormap
from matplotlib.figure import Figure
from scipy import ndimage

from radiodiff.cli import run_main
from radiodiff.data.radiomapseer import RadioMapSeer
from radiodiff.simulate import dominant_path, ray_tracing
from radiodiff.simulate.dataset import choose_transmitters
from radiodiff.simulate.procedural import procedural_city
from radiodiff.simulate.settings import Simulation
from radiodiff.units import GAIN_MAX_DB, GAIN_MIN_DB, NOISE_FLOOR_DB, model_to_db

IMAGES = Path(__file__).parents[1] / "docs" / "images"
NO_RAY = "no ray arrives"


def draw_maps(root: Path) -> None:
    """Draw six layouts: without vehicles above, with vehicles below."""
    figure = Figure(figsize=(12.0, 4.6), layout="constrained")
    FigureCanvasAgg(figure)
    panels = figure.subplots(2, 6)
    simulations: tuple[Simulation, ...] = ("DPM", "carsDPM")
    for row, simulation in enumerate(simulations):
        maps = RadioMapSeer(root, simulation=simulation, transmitters=[0])
        for column in range(6):
            sample = maps[column]
            panel = panels[row, column]
            gain = model_to_db(sample["gain"][0].numpy())
            gain = np.ma.masked_array(gain, sample["buildings"][0].numpy())
            panel.set_facecolor("white")
            panel.imshow(gain, vmin=GAIN_MIN_DB, vmax=GAIN_MAX_DB, interpolation="nearest")
            if row == 1:
                vehicles = sample["prompt"][2].numpy() > 0
                overlay = np.ma.masked_array(vehicles, ~vehicles)
                panel.imshow(overlay, cmap=ListedColormap(["black"]), interpolation="nearest")
            y, x = sample["transmitter"].tolist()
            panel.plot(x, y, "r^", markersize=5, markeredgecolor="white", markeredgewidth=0.5)
            panel.set(xticks=[], yticks=[], title=f"{simulation} {sample['name']}")
    figure.colorbar(panels[0, 0].images[0], ax=panels, label="path gain (dB)", shrink=0.8)
    IMAGES.mkdir(exist_ok=True)
    path = IMAGES / "simulated_maps.png"
    figure.savefig(path, dpi=110)
    print(f"wrote {path}, {path.stat().st_size / 1000:.0f} kB")


def compare_engines(cities: int, transmitters: int, samples: int) -> None:
    """Print where the dominant path model and ray tracing agree, over a few cities."""
    print("| city | depth | pixels | share | bias, dB | RMSE, dB | correlation |")
    print("|---|---|---|---|---|---|---|")
    for number in range(cities):
        city = procedural_city(np.random.default_rng([0, number]))
        places = choose_transmitters(city, transmitters, np.random.default_rng(number))
        for depth in (2, 4):
            pairs: dict[str, list[np.ndarray]] = {}
            for row, column in places.tolist():
                dominant = dominant_path.path_gain(city, (row, column))
                traced = ray_tracing.path_gain(
                    city, (row, column), max_depth=depth, samples=samples
                )
                direct = ray_tracing.path_gain(city, (row, column), max_depth=0, samples=samples)
                for name, region in _regions(city.building_mask, direct, dominant, traced).items():
                    pairs.setdefault(name, []).append(np.stack([dominant[region], traced[region]]))
            outdoors = transmitters * int((~city.building_mask).sum())
            for name, values in pairs.items():
                model, traced = np.concatenate(values, axis=1)
                error, share = traced - model, model.size / outdoors
                figures = "| | |"
                if name != NO_RAY:
                    correlation = np.corrcoef(model, traced)[0, 1]
                    rmse = np.sqrt(np.mean(error**2))
                    figures = f"{error.mean():+.1f} | {rmse:.1f} | {correlation:.2f} |"
                print(f"| {number} | {depth} | {name} | {share:.0%} | {figures}")


def _regions(
    buildings: np.ndarray, direct: np.ndarray, dominant: np.ndarray, traced: np.ndarray
) -> dict[str, np.ndarray]:
    """Return masks of pixels in sight, in light and in deep shadow, and where no ray arrives."""
    # A noisy far pixel may have caught no direct ray; its neighbours have.
    sight = ndimage.median_filter(direct > GAIN_MIN_DB, size=3) & ~buildings
    reached = ~buildings & ~sight & (traced > GAIN_MIN_DB)
    audible = dominant > NOISE_FLOOR_DB
    return {
        "line of sight": sight & (traced > GAIN_MIN_DB),
        "shadow, DPM above the noise floor": reached & audible,
        "shadow, DPM below the noise floor": reached & ~audible,
        NO_RAY: ~buildings & ~sight & (traced <= GAIN_MIN_DB),
    }


def main() -> None:
    """Draw the figure or print the comparison."""
    parser = argparse.ArgumentParser(description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    maps = commands.add_parser("maps", help="draw six maps of a simulated tree")
    maps.add_argument("root", type=Path)
    engines = commands.add_parser("engines", help="compare the two engines")
    engines.add_argument("--cities", type=int, default=3)
    engines.add_argument("--transmitters", type=int, default=2)
    engines.add_argument("--samples", type=int, default=1_000_000)
    arguments = parser.parse_args()
    if arguments.command == "maps":
        draw_maps(arguments.root)
    else:
        compare_engines(arguments.cities, arguments.transmitters, arguments.samples)


if __name__ == "__main__":
    run_main(main)
