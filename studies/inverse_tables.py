"""Figures of docs/findings/inverse.md: `python studies/inverse_tables.py NAME ROOT`.

NAME is closed-forms, walls or baselines.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import torch

from radiodiff.cli import run_main
from radiodiff.data.radiomapseer import RadioMapSeer, Sample
from radiodiff.data.settings import MeasurementProtocol
from radiodiff.evaluation import metrics
from radiodiff.experiments.batches import make_batch
from radiodiff.inverse.filtering import sample_posterior
from radiodiff.inverse.interpolation import INTERPOLATORS
from radiodiff.inverse.levels import choose_levels
from radiodiff.inverse.prior import build_noise_schedule
from radiodiff.inverse.sampler import Sampler
from radiodiff.inverse.samplers import (
    Candidates,
    CommonNoise,
    IndependentNoise,
    Published,
)
from radiodiff.inverse.sensing import locate_transmitter, shadow_mask
from radiodiff.units import model_to_gray

COVARIANCE = torch.tensor([[1.0, 0.8], [0.8, 1.0]])
VALUE, SIGMA, RUNS = 1.2, 0.3, 400
WALLS = 60
COMMON = CommonNoise(stochasticity="ddpm", clip=False)
COMMON_LOG_SNR = CommonNoise(stochasticity="ddpm", spacing="log_snr", clip=False)
INDEPENDENT = IndependentNoise(clip=False)
CASES: list[tuple[str, Sampler, int, int]] = [
    ("published, ddpm", Published(stochasticity="ddpm", clip=False), 64, 1000),
    ("published, c = 0.95", Published(stochasticity=0.95, clip=False), 64, 1000),
    (
        "candidates, c = 0.95",
        Candidates(stochasticity=0.95, clip=False),
        64,
        1000,
    ),
    ("common noise", COMMON, 64, 1000),
    ("common noise, log_snr", COMMON_LOG_SNR, 64, 1000),
    ("common noise, log_snr", COMMON_LOG_SNR, 5, 1000),
    ("common noise", COMMON, 64, 100),
    ("common noise, log_snr", COMMON_LOG_SNR, 64, 100),
    ("independent noise, c = 1", INDEPENDENT, 64, 1000),
    ("independent noise, c = 1", INDEPENDENT, 64, 100),
    ("independent noise, c = 1", INDEPENDENT, 64, 10),
]


def main() -> None:
    """Print the table asked for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("table", choices=("closed-forms", "walls", "baselines"))
    parser.add_argument("root", nargs="?", type=Path, help="a RadioMapSeer tree, for baselines")
    arguments = parser.parse_args()
    if arguments.table == "closed-forms":
        closed_forms()
    elif arguments.table == "walls":
        walls()
    elif arguments.root is None:
        parser.error("baselines needs the root of a tree")
    else:
        baselines(arguments.root)


def closed_forms() -> None:
    """N(0, [[1, .8], [.8, 1]]), first coordinate observed as 1.2 with sigma 0.3."""
    variances, axes = torch.linalg.eigh(COVARIANCE.double())
    axes = axes.float()

    def denoise(x: torch.Tensor, abar: torch.Tensor) -> torch.Tensor:
        gain = (1.0 - abar[0]).sqrt() / (abar[0] * variances + 1.0 - abar[0])
        return (x @ axes * gain.float()) @ axes.T

    gain = COVARIANCE[:, 0] / (1.0 + SIGMA**2)
    posterior = COVARIANCE - gain[:, None] * COVARIANCE[0]
    print_moments("exact", 0, 0, gain * VALUE, posterior)
    y = torch.tensor([VALUE, 0.0]).repeat(RUNS, 1)
    observed = torch.tensor([True, False]).repeat(RUNS, 1)
    for name, sampler, particles, steps in CASES:
        result = sample_posterior(
            denoise,
            y,
            observed,
            torch.full_like(y, SIGMA),
            choose_levels(build_noise_schedule().alphas_cumprod, steps, sampler.spacing),
            particles,
            torch.Generator().manual_seed(0),
            sampler,
        )
        weights = (result.log_weights.exp() / RUNS).float()
        mean = (weights[..., None] * result.samples).sum(dim=(0, 1))
        offset = result.samples - mean
        covariance = torch.einsum("bm,bmi,bmj->ij", weights, offset, offset)
        print_moments(name, particles, steps, mean, covariance)


def print_moments(
    name: str, particles: int, steps: int, mean: torch.Tensor, covariance: torch.Tensor
) -> None:
    """Print one row of the closed-form table."""
    print(
        f"| {name} | {particles or '-'} | {steps or '-'} | ({mean[0]:.3f}, {mean[1]:.3f}) | "
        f"[[{covariance[0, 0]:.3f}, {covariance[0, 1]:.3f}], [{covariance[1, 0]:.3f}, "
        f"{covariance[1, 1]:.3f}]] |",
        flush=True,
    )


def walls() -> None:
    """What is left to guess of one straight wall: error of the exact posterior per metre of it.

    A wall of known length crosses a strip at an unknown place and angle; of a share of the pixels
    it is known, without noise, on which side they lie. The posterior over a fine grid of walls
    gives every other pixel its probability; its squared error is summed over the strip.
    """
    generator, depth = np.random.default_rng(0), 12
    offsets, slopes = np.meshgrid(np.linspace(-3, 3, 121), np.tan(np.linspace(-0.5, 0.5, 121)))
    for length in (12, 24, 36):
        along = np.arange(length) - (length - 1) / 2
        wall = offsets.reshape(-1, 1, 1) + slopes.reshape(-1, 1, 1) * along
        behind = (np.arange(-depth, depth + 1)[:, None] > wall).reshape(offsets.size, -1)
        for missing in (0.7, 0.8, 0.9):
            errors = []
            for _ in range(WALLS):
                place, angle = generator.uniform(-1, 1), generator.uniform(-0.35, 0.35)
                truth = np.arange(-depth, depth + 1)[:, None] > place + np.tan(angle) * along
                seen = generator.random(truth.size) >= missing
                wrong = (behind[:, seen] != truth.ravel()[seen]).sum(axis=1)
                probability = behind[wrong == wrong.min()].mean(axis=0)
                errors.append(((probability - truth.ravel())[~seen] ** 2).sum() / length)
            print(f"| {length} m | {missing:.0%} | {np.mean(errors):.3f} |", flush=True)


def baselines(root: Path) -> None:
    """Interpolation of every map of a tree, unaware pixel masks, one seed; first the true maps."""
    dataset = RadioMapSeer(root)
    items = [dataset[index] for index in range(len(dataset))]
    print_scores("- | - | true map", [score(item["gain"][0].numpy(), item) for item in items])
    for missing, sigma in ((0.7, 0.05), (0.8, 0.05), (0.9, 0.05), (0.8, 0.01), (0.8, 0.09)):
        protocol = MeasurementProtocol(missing_ratio=missing, noise_std=sigma)
        for name in ("nearest", "linear", "kriging"):
            scores = []
            for index, item in enumerate(items):
                measured = make_batch(dataset, [index], 0, protocol)[0].measurements
                assert measured is not None
                values, mask = measured.values[0, 0].numpy(), measured.mask[0, 0].numpy()
                scores.append(score(INTERPOLATORS[name](values, mask), item))
            print_scores(f"{100 * missing:.0f} % | {sigma} | {name}", scores)


def score(gain: np.ndarray, item: Sample) -> list[float]:
    """PSNR, SSIM, IoU with the dataset's building image and with the footprint, error in metres."""
    gray = model_to_gray(torch.from_numpy(gain)).clamp(0.0, 1.0)
    truth = model_to_gray(item["gain"][0])
    position = torch.from_numpy(locate_transmitter(gain).position)
    ious = metrics.building_ious(
        torch.from_numpy(shadow_mask(gain)), item["buildings_png"][0], item["buildings"][0]
    )
    return [
        float(metrics.psnr(gray, truth)),
        float(metrics.ssim(gray, truth)),
        *(float(value) for value in ious.values()),
        float(metrics.transmitter_error_m(position, item["transmitter"])),
    ]


def print_scores(label: str, scores: list[list[float]]) -> None:
    """Print one row of the table of baselines."""
    psnr, ssim, iou, iou_gain, metres = np.mean(scores, axis=0)
    print(
        f"| {label} | {psnr:.2f} | {ssim:.3f} | {iou:.3f} | {iou_gain:.3f} | {metres:.2f} |",
        flush=True,
    )


if __name__ == "__main__":
    run_main(main)
