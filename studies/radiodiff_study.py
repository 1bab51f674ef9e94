"""Where the error of a RadioDiff pipeline comes from, on maps of a tree.

python studies/radiodiff_study.py latents MODEL ROOT   # the autoencoder alone
python studies/radiodiff_study.py heads MODEL ROOT     # both outputs of the network at single times
python studies/radiodiff_study.py grids MODEL ROOT     # five steps on other time grids
"""

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import get_args

import torch
from torch import Tensor

from radiodiff.data.radiomapseer import build_dataset
from radiodiff.data.settings import DataConfig, SplitName
from radiodiff.data.splits import Part
from radiodiff.diffusion.decoupled import DecoupledScheduler
from radiodiff.diffusion.pipeline import RadioDiffPipeline
from radiodiff.diffusion.process import attenuation_coefficients, diffuse
from radiodiff.evaluation import metrics
from radiodiff.training.latents import encode
from radiodiff.units import model_to_gray

TIMES = (1.0, 0.8, 0.6, 0.4, 0.2, 0.1, 0.03)
POWERS = (1.0, 0.5, 0.3, 0.1)


def report(label: str, gray: Tensor, truth: Tensor) -> None:
    """Print NMSE, SSIM and PSNR, means over maps (N, H, W)."""
    scores = [
        sum(float(metric(found, true)) for found, true in zip(gray, truth, strict=True)) / len(gray)
        for metric in (metrics.nmse, metrics.ssim, metrics.psnr)
    ]
    print(
        f"{label}: NMSE {scores[0]:.4f}, SSIM {scores[1]:.3f}, PSNR {scores[2]:.2f} dB", flush=True
    )


def latents(pipeline: RadioDiffPipeline, gain: Tensor, prompt: Tensor, inside: Tensor) -> None:
    """Decode the latents of the maps themselves."""
    decoded = [
        pipeline.vae.decode(encode(pipeline.vae, one[None])).sample.clamp(-1.0, 1.0)[0, 0]
        for one in gain
    ]
    gray, truth = model_to_gray(torch.stack(decoded)), model_to_gray(gain[:, 0])
    report("decoded latents", gray, truth)
    report("interiors at the floor", gray.masked_fill(inside, 0.0), truth)


def heads(pipeline: RadioDiffPipeline, gain: Tensor, prompt: Tensor, inside: Tensor) -> None:
    """Diffuse the latents with noise of their own and compare both outputs with the truth."""
    z_0 = torch.cat([encode(pipeline.vae, one[None]) for one in gain])
    z_0 *= pipeline.vae.config.scaling_factor
    eps = torch.randn(z_0.shape, generator=torch.Generator().manual_seed(0))
    coefficients = attenuation_coefficients(z_0)
    for time in TIMES:
        t = torch.full((len(z_0),), time)
        found = pipeline.denoiser(diffuse(z_0, coefficients, eps, t), t, prompt)
        errors = [
            float((head - true).square().mean())
            for head, true in zip(found, (*coefficients, eps), strict=True)
        ]
        linear = time / ((1.0 - time) ** 2 + time)
        print(
            f"t = {time:g}: C {errors[0]:.4f} (linear {linear:.3f}), eps {errors[1]:.4f}",
            flush=True,
        )


def grids(pipeline: RadioDiffPipeline, gain: Tensor, prompt: Tensor, inside: Tensor) -> None:
    """Generate with the mean sampler in one step, and in five with several grid powers."""
    truth = model_to_gray(gain[:, 0])
    for steps, power in ((1, 1.0), *((5, power) for power in POWERS)):
        pipeline.scheduler = DecoupledScheduler(mode="mean", grid_power=power)
        generator = [torch.Generator().manual_seed(number) for number in range(len(gain))]
        gray = pipeline.generate(prompt, steps, generator=generator).gray
        report(f"{steps} steps, power {power:g}", gray, truth)


STUDIES: dict[str, Callable[[RadioDiffPipeline, Tensor, Tensor, Tensor], None]] = {
    "latents": latents,
    "heads": heads,
    "grids": grids,
}


@torch.inference_mode()
def main() -> None:
    """Run one of the studies."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("study", choices=STUDIES)
    parser.add_argument("model", type=Path)
    parser.add_argument("root", type=Path)
    parser.add_argument("--split", choices=get_args(SplitName), default="all")
    parser.add_argument("--part", choices=get_args(Part), default="test")
    parser.add_argument("--maps", type=int, default=28)
    arguments = parser.parse_args()
    pipeline = RadioDiffPipeline.from_pretrained(arguments.model)
    pipeline.set_progress_bar_config(disable=True)
    data = DataConfig(
        root=arguments.root,
        split=arguments.split,
        prompt_features=tuple(pipeline.config.prompt_features),
    )
    maps = build_dataset(data, arguments.part)
    count = min(arguments.maps, len(maps))
    items = [maps[number * len(maps) // count] for number in range(count)]
    STUDIES[arguments.study](
        pipeline,
        torch.stack([item["gain"] for item in items]),
        torch.stack([item["prompt"] for item in items]),
        torch.cat([item["buildings"] for item in items]),
    )


if __name__ == "__main__":
    main()
