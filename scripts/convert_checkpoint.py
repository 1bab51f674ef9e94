"""Convert weights of a public implementation into a directory for ``from_pretrained``."""

from __future__ import annotations

import argparse
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from diffusers import DDPMPipeline
from torch import Tensor

from radiodiff.cli import run_main
from radiodiff.data.prompts import PAPER_PROMPT, PROMPT_FEATURES
from radiodiff.diffusion.decoupled import DecoupledScheduler
from radiodiff.diffusion.pipeline import RadioDiffPipeline
from radiodiff.errors import InputError
from radiodiff.inverse.prior import build_noise_schedule
from radiodiff.models.baselines.pipeline import BaselinePipeline
from radiodiff.models.released import (
    prior_from_guided_diffusion,
    radiounet_from_authors,
    released_weights,
    unet_from_radiodiff,
    vae_from_radiodiff,
)
from radiodiff.weights import read_checkpoint

Weights = dict[str, Tensor]


def main() -> None:
    """Read, convert and write; an existing directory is never written into."""
    arguments = _parse_arguments()
    output = Path(arguments.output)
    if output.exists():
        raise InputError(f"{output}: exists already; choose another output directory")
    checkpoint = read_checkpoint(arguments.checkpoint)
    weights = released_weights(checkpoint, ema=not arguments.raw)
    converted = _CONVERTERS[arguments.format](weights, arguments)
    partial = output.with_name(output.name + ".partial")
    shutil.rmtree(partial, ignore_errors=True)
    try:
        converted.save_pretrained(partial)
        partial.replace(output)
    except OSError as error:
        raise InputError(f"{output}: cannot be written ({error.strerror})") from None
    print(f"{output}: {type(converted).__name__}")


def _parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("checkpoint", help="released weights (.pt, .pth, .ckpt or .safetensors)")
    parser.add_argument("output", help="directory to create")
    parser.add_argument("--format", required=True, choices=sorted(_CONVERTERS))
    parser.add_argument(
        "--raw",
        action="store_true",
        help="take the weights of the last step where the checkpoint also holds averaged ones",
    )
    parser.add_argument(
        "--attention-head-dim",
        type=int,
        default=64,
        help="guided-diffusion: channels per attention head (default: 64)",
    )
    parser.add_argument(
        "--prompt-features",
        nargs="+",
        choices=sorted(PROMPT_FEATURES),
        help="radiounet: what its input channels are (default: buildings, transmitter, vehicles, "
        "as many as there are)",
    )
    parser.add_argument(
        "--measurements",
        action="store_true",
        help="radiounet: the last input channel holds measured values",
    )
    return parser.parse_args()


def _convert_ldm(weights: Weights, arguments: argparse.Namespace) -> Any:
    denoiser = unet_from_radiodiff(weights)
    if not any(key.startswith("first_stage_model.") for key in weights):
        return denoiser
    scheduler = DecoupledScheduler(attenuation=denoiser.config.attenuation)
    return RadioDiffPipeline(vae_from_radiodiff(weights), denoiser, scheduler)


def _convert_prior(weights: Weights, arguments: argparse.Namespace) -> Any:
    unet = prior_from_guided_diffusion(weights, arguments.attention_head_dim)
    return DDPMPipeline(unet, build_noise_schedule())


def _convert_radiounet(weights: Weights, arguments: argparse.Namespace) -> Any:
    network = radiounet_from_authors(weights)
    features = arguments.prompt_features
    if features is None:
        features = PAPER_PROMPT[: network.config.in_channels - arguments.measurements]
    return BaselinePipeline(network, features, arguments.measurements)


_CONVERTERS: dict[str, Callable[[Weights, argparse.Namespace], Any]] = {
    "radiodiff-vae": lambda weights, _: vae_from_radiodiff(weights),
    "radiodiff-ldm": _convert_ldm,
    "guided-diffusion": _convert_prior,
    "radiounet": _convert_radiounet,
}

if __name__ == "__main__":
    run_main(main)
