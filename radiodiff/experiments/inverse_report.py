"""What the benchmark of RadioDiff-Inverse leaves to look at; simulated maps if none are given."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch

from radiodiff.data.scale import Scale
from radiodiff.evaluation.figures import reconstruction_figure, save_figure
from radiodiff.experiments.settings import InverseConfig
from radiodiff.files import write_text
from radiodiff.simulate.dataset import simulate_dataset
from radiodiff.simulate.settings import SimulateConfig
from radiodiff.units import model_to_gray

SIMULATED_MAPS = 2
SIMULATED_PARTICLES = 6
"""Half of what the shipped configuration has for a dataset: the run ends in under a minute."""
CITY_SEED = 2026
"""Of the simulated city. The shipped priors are trained on cities of other seeds."""
PRINTED = ("psnr", "ssim", "rmse_model", "rmse_db", "iou", "transmitter_m", "coverage_90")


def on_simulated_maps(config: InverseConfig) -> InverseConfig:
    """Simulate the maps of one city and return the benchmark of them, with one seed and at most
    ``SIMULATED_PARTICLES`` particles.

    The run directory is another one, so that it never stands in the way of the dataset's own.
    """
    output = config.output.with_name(config.output.name + "_simulated")
    root = simulate_dataset(
        SimulateConfig(
            output=output / "maps",
            seed=CITY_SEED,
            layouts=1,
            size=256,
            transmitters=SIMULATED_MAPS,
            simulations=("DPM",),
        )
    )
    data = config.data.model_copy(update={"root": root, "split": "all"})
    changes = {
        "output": output,
        "data": data,
        "seeds": config.seeds[:1],
        "batch_size": SIMULATED_MAPS,
        "num_particles": min(config.num_particles, SIMULATED_PARTICLES),
    }
    return config.model_copy(update=changes)


def write_report(directory: Path, summary: dict[str, Any]) -> None:
    """Write ``table.md`` and ``maps.png`` beside the files of a benchmark.

    Args:
        directory: run directory with ``maps.npz``, whose maps are drawn.
        summary: what :func:`radiodiff.experiments.inverse_benchmark.run_benchmark` returned.
    """
    methods = {
        name: entries
        for name, entries in summary.items()
        if name not in ("maps", "buildings", "provenance")
    }
    lines = ["| method | " + " | ".join(PRINTED) + " |", "|---|" + "---:|" * len(PRINTED)]
    for name, entries in methods.items():
        cells = [f"{entries[key]['mean']:.4g}" if key in entries else "-" for key in PRINTED]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    write_text(directory / "table.md", "\n".join(lines) + "\n")
    with np.load(directory / "maps.npz") as arrays:
        truth, samples, mean, std = (
            torch.from_numpy(arrays[name]).float() for name in ("truth", "observed", "mean", "std")
        )
        names = [str(name) for name in arrays["names"]]
        min_db, max_db = arrays["scale_db"].tolist()
    figure = reconstruction_figure(
        model_to_gray(truth),
        model_to_gray(samples),
        model_to_gray(mean),
        std / 2,
        names,
        Scale(min_db=min_db, max_db=max_db),
    )
    save_figure(figure, directory / "maps.png")
