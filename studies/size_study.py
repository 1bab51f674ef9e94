"""RMSE of a RadioDiff network by the size of the map, on simulated cities.

    python studies/size_study.py data/pretrained/radiodiff-small

prints one line per size: maps, and RMSE in dB over outdoor pixels.
"""

import argparse

import numpy as np
import torch
from shapely.geometry import box

from radiodiff.cli import run_main
from radiodiff.diffusion.pipeline import RadioDiffPipeline
from radiodiff.simulate.city import City
from radiodiff.simulate.dataset import choose_transmitters
from radiodiff.simulate.dominant_path import Layout
from radiodiff.simulate.procedural import procedural_city

SIZES = ((128, 128), (192, 192), (256, 256), (384, 512), (512, 512))


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", help="folder of a RadioDiff pipeline")
    parser.add_argument("--layouts", type=int, default=6, help="cities of each size")
    parser.add_argument("--steps", type=int, default=1, help="sampling steps")
    arguments = parser.parse_args()
    pipeline = RadioDiffPipeline.from_pretrained(arguments.model)
    pipeline.set_progress_bar_config(disable=True)
    print("| size | maps | RMSE, dB |")
    print("|---|---|---|")
    for size in SIZES:
        errors = [error(pipeline, size, seed, arguments.steps) for seed in range(arguments.layouts)]
        print(f"| {size[0]} x {size[1]} | {len(errors)} | {np.mean(errors):.2f} |", flush=True)


def error(pipeline: RadioDiffPipeline, size: tuple[int, int], seed: int, steps: int) -> float:
    """Return the RMSE in dB over the outdoor pixels of one simulated map."""
    rng = np.random.default_rng([seed, *size])
    city = procedural_city(rng, max(size))
    frame = box(0, -1, size[1], size[0] - 1)
    buildings = tuple(building & frame for building in city.buildings)
    city = City(size, tuple(building for building in buildings if not building.is_empty))
    (transmitter,) = choose_transmitters(city, 1, rng).tolist()
    truth = Layout.from_polygons(city.buildings, size).path_gain(tuple(transmitter))
    generated = pipeline(
        city.building_mask,
        transmitter,
        num_inference_steps=steps,
        generator=torch.Generator().manual_seed(seed),
    )
    difference = generated.path_gain_db[0].numpy() - truth
    return float(np.sqrt(np.mean(difference[~city.building_mask] ** 2)))


if __name__ == "__main__":
    run_main(main)
