"""Check a tree of maps, or without one this installation.

With ROOT, the folder that holds gain/ and png/, everything that is wrong with the tree is said at
once and four of its maps are drawn. Without it versions, devices and shipped files are listed, and
the engine and both methods run on something small.
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import platform
import sys
from importlib.metadata import version
from pathlib import Path

import radiodiff
from radiodiff.errors import InputError
from radiodiff.shipped import PRETRAINED, config_names

EXTRAS = {
    "geo": ("rasterio", "pyproj", "simplekml"),
    "tables": ("openpyxl", "pyarrow"),
    "app": ("gradio", "plotly"),
    "raytrace": ("sionna",),
}
"""Extra of this package -> what it imports."""


def main() -> None:
    """Check a tree or the installation; status 1 says that something is wrong with the tree."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("root", type=Path, nargs="?", metavar="ROOT", help="a tree of maps")
    parser.add_argument(
        "--figure", type=Path, default=Path("check_dataset.png"), metavar="FILE.png"
    )
    arguments = parser.parse_args()
    if arguments.root is None:
        check_installation()
    else:
        check_dataset(arguments.root, arguments.figure)


def check_dataset(root: Path, figure: Path) -> None:
    """Print what is wrong with a tree and draw four of its maps; exit with 1 if anything is."""
    from radiodiff.data.check_tree import check_tree
    from radiodiff.experiments.check_dataset import draw_maps

    report = check_tree(root)
    print(report.text())
    if count := draw_maps(root, report, figure):
        print(f"drew {count} maps in {figure}; outlines must fit the gain, and the cross")
        print("must be where the gain is largest")
    if report.problems:
        sys.exit(1)


def check_installation() -> None:
    """Print versions, devices, extras and shipped files; run the engine and both methods.

    Raises:
        InputError: weights are missing, or a map is not finite.
    """
    import torch
    from diffusers.utils.logging import disable_progress_bar

    disable_progress_bar()
    print(f"radiodiff {radiodiff.__version__}, Python {platform.python_version()}, ", end="")
    print(f"torch {version('torch')}, {platform.platform()}, {os.cpu_count()} cores")
    gpus = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
    print(f"GPUs: {', '.join(gpus) or 'none'}")
    for extra, modules in EXTRAS.items():
        missing = [name for name in modules if importlib.util.find_spec(name) is None]
        state = f"lacks {', '.join(missing)}: pip install 'radiodiff[{extra}]'" if missing else "ok"
        print(f"extra {extra}: {state}")
    weights = sorted(path.name for path in PRETRAINED.iterdir()) if PRETRAINED.is_dir() else []
    print(f"{len(config_names())} configurations, weights: {', '.join(weights) or 'none'}")
    check_methods()
    print("the simulator, RadioDiff and RadioDiff-Inverse work")


def check_methods() -> None:
    """Simulate a map, predict it and reconstruct it, each on one small scene.

    Raises:
        InputError: weights are missing, or a map is not finite.
    """
    import numpy as np
    import torch

    from radiodiff.data.measurements import Measurements
    from radiodiff.diffusion.pipeline import RadioDiffPipeline
    from radiodiff.inverse.pipeline import RadioDiffInversePipeline
    from radiodiff.simulate import dominant_path
    from radiodiff.units import db_to_model

    buildings = np.zeros((256, 256), bool)
    buildings[90:150, 60:110] = True
    gain_db = dominant_path.path_gain(buildings, (200, 180))
    pipeline = RadioDiffPipeline.from_pretrained("radiodiff-small")
    pipeline.set_progress_bar_config(disable=True)
    predicted = pipeline(buildings, (200, 180), num_inference_steps=1)
    truth = torch.from_numpy(db_to_model(gain_db)).float()[None, None]
    seen = torch.rand(truth.shape, generator=torch.Generator().manual_seed(0)) < 0.2
    inverse = RadioDiffInversePipeline.from_pretrained("prior-small")
    inverse.set_progress_bar_config(disable=True)
    samples = Measurements(values=truth, mask=seen).with_noise(0.05)
    found = inverse(samples, num_particles=1, num_inference_steps=2)
    for name, values in (("RadioDiff", predicted.model), ("RadioDiff-Inverse", found.mean)):
        if not torch.isfinite(values).all():
            raise InputError(f"{name}: the map is not finite on this machine")
