"""Speed of RadioDiff at the paper's size: sampling and training, plain against fast.

The plain path computes in float32 on contiguous tensors and encodes the prompt at every step. The
fast one computes in bfloat16 on channels-last tensors and encodes it once. Both run alternately
within one process, so that a machine that slows down slows both, and their ratio is quoted.
"""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass

import torch
from diffusers import AutoencoderKL
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from radiodiff.benchmarks.timing import fastest, fastest_in_turns
from radiodiff.diffusion.decoupled import DecoupledScheduler, sample
from radiodiff.diffusion.process import diffuse
from radiodiff.models.denoiser import DecoupledUNet
from radiodiff.models.vae import build_vae
from radiodiff.units import MAP_SIZE, model_to_gray

STEPS = 5
LATENT = (3, MAP_SIZE // 4, MAP_SIZE // 4)
PEAK_SIZE = 3072
"""Side of the matrices whose product measures the machine."""


@dataclass(frozen=True)
class Timing:
    """One measured way of doing one thing.

    Attributes:
        seconds: the fastest run; anything slower was disturbed from outside.
        flops: floating-point operations of one run, as counted in the plain path.
        peak_flops: what a large matrix product reaches in the same precision, per second.
    """

    seconds: float
    flops: float
    peak_flops: float

    @property
    def share_of_peak(self) -> float:
        """Share of the machine's matrix-product rate."""
        return self.flops / self.seconds / self.peak_flops


@dataclass(frozen=True)
class Comparison:
    """Plain against fast.

    Attributes:
        plain: float32, contiguous, prompt encoded at every step.
        fast: bfloat16, channels last, prompt encoded once.
        rmse: root mean square difference of the two maps in gray; None for training.
    """

    plain: Timing
    fast: Timing
    rmse: float | None

    @property
    def speedup(self) -> float:
        """How many times faster the fast path is."""
        return self.plain.seconds / self.fast.seconds


def compare_sampling(denoiser: DecoupledUNet, vae: AutoencoderKL, repeats: int) -> Comparison:
    """Generate one 256 x 256 map in 5 steps, decoding included.

    Args:
        denoiser: in float32, contiguous; left as it was found.
        vae: likewise.
        repeats: runs of each path after one that is not counted.
    """
    generator = torch.Generator().manual_seed(0)
    prompt = torch.rand(1, 3, MAP_SIZE, MAP_SIZE, generator=generator).round() * 2 - 1
    noise = torch.randn(1, *LATENT, generator=generator)
    scheduler = DecoupledScheduler()

    @torch.inference_mode()
    def generate(denoiser: DecoupledUNet, vae: AutoencoderKL, encode_once: bool) -> Tensor:
        scheduler.set_timesteps(STEPS)
        condition = denoiser.encode_prompt(prompt) if encode_once else prompt
        z_0 = sample(
            lambda z_t, t: denoiser(z_t, t, condition),
            scheduler,
            noise,
            torch.Generator().manual_seed(1),
        )
        decoded = vae.decode((z_0 / vae.config.scaling_factor).to(vae.dtype)).sample
        return model_to_gray(decoded.float()).clamp(0.0, 1.0)

    denoiser.eval()
    vae.eval()
    flops = count_flops(lambda: generate(denoiser, vae, False))
    half_denoiser, half_vae = (
        deepcopy(network).to(torch.bfloat16).to(memory_format=torch.channels_last)
        for network in (denoiser, vae)
    )
    (plain, reference), (fast, result) = fastest_in_turns(
        [lambda: generate(denoiser, vae, False), lambda: generate(half_denoiser, half_vae, True)],
        repeats,
    )
    return Comparison(
        Timing(plain, flops, peak_flops(torch.float32)),
        Timing(fast, flops, peak_flops(torch.bfloat16)),
        (result - reference).square().mean().sqrt().item(),
    )


def compare_training(denoiser: DecoupledUNet, batch: int, repeats: int) -> Comparison:
    """Do one training step of the diffusion (forward, backward, AdamW) on latents.

    Args:
        denoiser: in float32; its weights change.
        batch: latents in a step.
        repeats: steps of each path after one that is not counted.
    """
    generator = torch.Generator().manual_seed(0)
    prompt = torch.rand(batch, 3, MAP_SIZE, MAP_SIZE, generator=generator) * 2 - 1
    z_0, eps = torch.randn(2, batch, *LATENT, generator=generator)
    t = torch.rand(batch, generator=generator) * 0.9 + 0.1
    scheduler = DecoupledScheduler()
    z_t = diffuse(z_0, (-z_0,), eps, t)

    def step_of(network: DecoupledUNet, mixed: bool) -> Callable[[], None]:
        layout = torch.channels_last if mixed else torch.contiguous_format
        network.train().to(memory_format=layout)
        parameters = [p for p in network.parameters() if p.requires_grad]
        # Its moments take the layout of the parameters, so each network has its own.
        optimizer = torch.optim.AdamW(parameters, lr=1e-8, fused=True)

        def step() -> None:
            optimizer.zero_grad(set_to_none=True)
            with torch.autocast("cpu", torch.bfloat16, enabled=mixed):
                latent, condition = (x.to(memory_format=layout) for x in (z_t, prompt))
                prediction = network(latent, t, condition)
            scheduler.loss([head.float() for head in prediction], (-z_0, eps), t).backward()
            optimizer.step()

        return step

    steps = [step_of(deepcopy(denoiser), True), step_of(denoiser, False)]
    flops = count_flops(steps[1])
    (fast, _), (plain, _) = fastest_in_turns(steps, repeats)
    return Comparison(
        Timing(plain, flops, peak_flops(torch.float32)),
        Timing(fast, flops, peak_flops(torch.bfloat16)),
        None,
    )


def paper_networks() -> tuple[DecoupledUNet, AutoencoderKL]:
    """Build both networks at the paper's size with random weights."""
    return DecoupledUNet(), build_vae()


def peak_flops(dtype: torch.dtype) -> float:
    """Return the operations per second of a large matrix product."""
    a = torch.ones(PEAK_SIZE, PEAK_SIZE, dtype=dtype)
    seconds, _ = fastest(lambda: a @ a, repeats=4)
    return 2.0 * PEAK_SIZE**3 / seconds


def count_flops(run: Callable[[], object]) -> float:
    """Return the floating-point operations of a call."""
    with FlopCounterMode(display=False) as counter:
        run()
    return float(counter.get_total_flops())
