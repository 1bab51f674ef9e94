"""RadioDiff-Inverse against the samplers of deepinv, with the same prior, maps, masks and noise.

    python studies/deepinv_study.py [--maps 8] [--root DATA] [--only NAME] [--missing 0.8]

Without DATA the maps are simulated. deepinv's samplers take one noise level for a map, its
reconstructor keeps that of every pixel. Settings of deepinv's methods are its defaults but for the
number of steps and the noise. Two are tuned as well, on the first of eight simulated maps: this
prior knows little of pure noise, so they begin with interpolated samples and a moderate noise.
"""

from __future__ import annotations

import argparse
import math
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import deepinv
import numpy as np
import torch
from deepinv.sampling.noisy_datafidelity import PiGDMDataFidelity
from deepinv.sampling.sde_solver import DDIMSolver
from torch import Tensor

from radiodiff.cli import run_main
from radiodiff.data.radiomapseer import RadioMapSeer, build_dataset
from radiodiff.data.settings import DataConfig
from radiodiff.evaluation.metrics import psnr
from radiodiff.experiments.sampling import load_pipeline
from radiodiff.inverse.interpolation import linear
from radiodiff.inverse.pipeline import RadioDiffInversePipeline
from radiodiff.inverse.presets import MEAN_MAP
from radiodiff.inverse.reconstructor import RadioDiffReconstructor, as_denoiser
from radiodiff.inverse.settings import RefinementSettings
from radiodiff.simulate.dataset import simulate_dataset
from radiodiff.simulate.settings import SimulateConfig
from radiodiff.units import gray_to_model, model_to_gray

SEED = 71
"""Of simulated cities; the shipped priors are trained on cities of other seeds."""
NOISE_STD = 0.025
"""Of the measurements, gray: 0.05 in model range."""

Reconstruct = Callable[[Tensor, Any], Tensor]


def methods(pipeline: RadioDiffInversePipeline) -> dict[str, Reconstruct]:
    """Return name -> function of the measured gray (1, 1, H, W) and the physics to a map."""
    denoiser = as_denoiser(pipeline)
    preset, plain = dict(MEAN_MAP), RefinementSettings()
    one_step = preset | {"num_inference_steps": 1, "num_particles": 1, "refinement": plain}
    ours = {
        "RadioDiff-Inverse": preset,
        "network alone": preset | {"refinement": plain},
        "one step": one_step,
    }
    found: dict[str, Reconstruct] = {
        name: partial(RadioDiffReconstructor(pipeline, **options).forward, seed=0)
        for name, options in ours.items()
    }
    return found | {
        "PiGDM, 80 steps": deepinv.sampling.PosteriorDiffusion(
            PiGDMDataFidelity(),
            denoiser,
            deepinv.sampling.VariancePreservingDiffusion(alpha=0.0),
            DDIMSolver(timesteps=torch.linspace(1, 0, 81, dtype=torch.float64)),
        ),
        "DPS, 100 steps": deepinv.sampling.DPS(denoiser, num_steps=101),
        "PiGDM tuned, 20 steps": partial(tuned_pigdm, denoiser),
        "DPIR": deepinv.optim.DPIR(NOISE_STD, denoiser),
        "DPIR tuned, 20 steps": partial(tuned_dpir, denoiser),
        "DiffPIR, 100 steps": deepinv.sampling.DiffPIR(
            denoiser, deepinv.optim.L2(), sigma=NOISE_STD
        ),
        "DDRM, 100 steps": deepinv.sampling.DDRM(denoiser, sigmas=np.linspace(1.0, 0.0, 100)),
    }


def tuned_pigdm(denoiser: torch.nn.Module, y: Tensor, physics: Any) -> Tensor:
    """Return the map that PiGDM makes from interpolated samples, noise 2 to 0.1 in model range."""
    sigmas = torch.logspace(math.log10(2.0), -1.0, 20, dtype=torch.float64)
    # sigma^2 + 1 = exp(0.1 t + 9.95 t^2) in deepinv's variance-preserving process.
    times = (-0.1 + (0.01 + 39.8 * torch.log1p(sigmas**2)).sqrt()) / 19.9
    sampler = deepinv.sampling.PosteriorDiffusion(
        PiGDMDataFidelity(weight=4.0),
        denoiser,
        deepinv.sampling.VariancePreservingDiffusion(),
        DDIMSolver(timesteps=torch.cat([times, times.new_zeros(1)]), eta=1.0),
    )
    begin = gray_to_model(_interpolated(y, physics).double())
    noisy = begin + sigmas[0] * torch.randn_like(begin)
    found: Tensor = sampler(y, physics, x_init=noisy / (1.0 + sigmas[0] ** 2).sqrt())
    return found


def tuned_dpir(denoiser: torch.nn.Module, y: Tensor, physics: Any) -> Tensor:
    """Return the map that DPIR's splitting makes from interpolated samples, noise 0.25 to 0.05."""
    sigmas = torch.logspace(math.log10(0.25), math.log10(0.05), 20)
    begin = _interpolated(y, physics)
    splitting = deepinv.optim.optim_builder(
        "HQS",
        prior=deepinv.optim.prior.PnP(denoiser=denoiser),
        data_fidelity=deepinv.optim.L2(),
        max_iter=len(sigmas),
        params_algo={
            "stepsize": ((sigmas / NOISE_STD) ** 2).tolist(),
            "g_param": sigmas.tolist(),
        },
        custom_init=lambda y, physics: {"est": (begin, begin)},
    )
    found: Tensor = splitting(y, physics)
    return found


def _interpolated(y: Tensor, physics: Any) -> Tensor:
    """Return the map (1, 1, H, W) that linear interpolation makes of measured gray."""
    mask = physics.mask.expand_as(y)[0, 0].bool().numpy()
    return torch.as_tensor(linear(y[0, 0].numpy(), mask)).float()[None, None]


def measure(truth: Tensor, missing: float, seed: int) -> tuple[Tensor, Any]:
    """Return the measured gray of a map (1, 1, H, W) and the physics."""
    generator = torch.Generator().manual_seed(seed)
    mask = (torch.rand(truth.shape, generator=generator) >= missing).float()
    noise = NOISE_STD * torch.randn(truth.shape, generator=generator)
    physics = deepinv.physics.Inpainting(
        truth.shape[1:], mask=mask, noise_model=deepinv.physics.GaussianNoise(NOISE_STD)
    )
    return mask * (truth + noise), physics


def open_maps(root: Path | None, count: int, size: int, folder: Path) -> RadioMapSeer:
    """Open a tree, or simulate one map of each of ``count`` cities."""
    if root is None:
        root = simulate_dataset(
            SimulateConfig(
                output=folder / "maps",
                seed=SEED,
                layouts=count,
                size=size,
                transmitters=1,
                simulations=("DPM",),
            )
        )
    return build_dataset(DataConfig(root=root, split="all"), "test")


def study(pipeline: RadioDiffInversePipeline, dataset: RadioMapSeer, arguments: Any) -> None:
    """Print a row for each method."""
    count = min(arguments.maps, len(dataset))
    indices = np.linspace(0, len(dataset) - 1, count).round().astype(int).tolist()
    calls = 0

    def note(module: torch.nn.Module, inputs: tuple[Tensor, ...], output: object) -> None:
        nonlocal calls
        calls += len(inputs[0])

    pipeline.unet.register_forward_hook(note)
    print("| method | PSNR (dB) | network calls | seconds |\n|---|---:|---:|---:|", flush=True)
    for name, reconstruct in methods(pipeline).items():
        if arguments.only not in name:
            continue
        calls, began, scores = 0, time.perf_counter(), []
        for index in indices:
            truth = model_to_gray(dataset[index]["gain"])[None]
            y, physics = measure(truth, arguments.missing, index)
            torch.manual_seed(index)  # deepinv's samplers draw from the global generator
            with torch.no_grad():
                found = reconstruct(y, physics)
            scores.append(float(psnr(found.float().clamp(0.0, 1.0)[0], truth[0])))
        seconds = (time.perf_counter() - began) / count
        print(
            f"| {name} | {np.mean(scores):.2f} | {calls / count:.0f} | {seconds:.1f} |", flush=True
        )


def main() -> None:
    """Read the command line and run the study."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--root", type=Path, help="a RadioMapSeer tree instead of simulated maps")
    parser.add_argument("--prior", type=Path, default=Path("data/pretrained/prior-small"))
    parser.add_argument("--maps", type=int, default=8)
    parser.add_argument("--size", type=int, default=256, help="side of simulated maps")
    parser.add_argument("--missing", type=float, default=0.8)
    parser.add_argument("--only", default="", help="a part of the names of the methods")
    arguments = parser.parse_args()
    pipeline = load_pipeline(arguments.prior, "cpu", "float32")
    with tempfile.TemporaryDirectory() as folder:
        dataset = open_maps(arguments.root, arguments.maps, arguments.size, Path(folder))
        study(pipeline, dataset, arguments)


if __name__ == "__main__":
    run_main(main)
