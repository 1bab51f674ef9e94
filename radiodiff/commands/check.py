"""Say what this installation has, and try its parts on something small."""

from __future__ import annotations

import argparse
import importlib.util
import os
import platform
from importlib.metadata import version

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
    """Print versions, devices, extras and shipped files; run the engine and both methods."""
    argparse.ArgumentParser(description=__doc__).parse_args()
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
