"""Speed of RadioDiff-Inverse: a whole run with the small prior, and one step of the paper's."""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass

import torch
from diffusers import UNet2DModel
from torch import Tensor, nn

from radiodiff.benchmarks.timing import fastest, fastest_in_turns
from radiodiff.data.measurements import measure
from radiodiff.inverse.filtering import sample_posterior
from radiodiff.inverse.levels import choose_levels
from radiodiff.inverse.particles import Denoiser
from radiodiff.inverse.prior import PatchUNet, build_noise_schedule, make_denoiser
from radiodiff.inverse.sampler import Sampler
from radiodiff.inverse.samplers import Combined, FixedLevel, Published
from radiodiff.units import MAP_SIZE

PARTICLES, STEPS = 5, 100
TIMED_STEPS = 10
"""Steps that are run; the cost of a step is the same all along."""


@dataclass(frozen=True)
class RunTiming:
    """A whole reconstruction of one 256 x 256 map."""

    seconds: float
    """Of ``STEPS`` steps with ``PARTICLES`` particles, extrapolated from ``TIMED_STEPS``."""
    outside_network: float
    """Share of them that is not the network's."""

    @property
    def per_particle_step(self) -> float:
        """Seconds for one particle and step."""
        return self.seconds / (PARTICLES * STEPS)


def time_run(sampler: Sampler, dtype: torch.dtype) -> RunTiming:
    """Time a reconstruction with the small prior (untrained; its values do not change the cost)."""
    prior = PatchUNet(level_map=isinstance(sampler, FixedLevel)).eval()
    # The cast of torch itself: that of diffusers warns of layers to keep, of which there are none.
    torch.nn.Module.to(prior, dtype=dtype)
    prior.to(memory_format=torch.channels_last)
    schedule = build_noise_schedule()
    total = _seconds(make_denoiser(prior, schedule), sampler)
    sampler_alone = _seconds(lambda x_t, abar: x_t, sampler)
    # The level of the measurements is a step of its own.
    inserted = int(not isinstance(sampler, Published | Combined))
    seconds = total * (STEPS + inserted) / (TIMED_STEPS + inserted)
    return RunTiming(seconds, sampler_alone / total)


def _seconds(denoiser: Denoiser, sampler: Sampler) -> float:
    generator = torch.Generator().manual_seed(0)
    gain = torch.rand((1, 1, MAP_SIZE, MAP_SIZE), generator=generator) * 2.0 - 1.0
    measured = measure(gain, torch.rand(gain.shape, generator=generator) < 0.2, 0.05, generator)
    assert measured.noise_std is not None
    levels = choose_levels(build_noise_schedule().alphas_cumprod, TIMED_STEPS, sampler.spacing)
    arguments = (denoiser, measured.values, measured.mask, measured.noise_std, levels, PARTICLES)
    return fastest(lambda: sample_posterior(*arguments, generator, sampler).samples, repeats=1)[0]


def image_prior() -> UNet2DModel:
    """Return the paper's prior, untrained: the 256 x 256 ImageNet network of guided-diffusion."""
    return UNet2DModel(
        sample_size=MAP_SIZE,
        in_channels=3,
        out_channels=6,
        block_out_channels=(256, 256, 512, 512, 1024, 1024),
        down_block_types=("ResnetDownsampleBlock2D",) * 3 + ("AttnDownBlock2D",) * 3,
        up_block_types=("AttnUpBlock2D",) * 3 + ("ResnetUpsampleBlock2D",) * 3,
        downsample_type="resnet",
        upsample_type="resnet",
        resnet_time_scale_shift="scale_shift",
        attn_norm_num_groups=32,
        attention_head_dim=64,
    )


def time_image_prior() -> tuple[float, float]:
    """Return the seconds of one step of the paper's prior, in float32 and in bfloat16.

    Both are timed alternately, so both are in memory.
    """
    plain = image_prior().eval()
    fast = deepcopy(plain)
    torch.nn.Module.to(fast, dtype=torch.bfloat16)
    fast.to(memory_format=torch.channels_last)
    (plain_seconds, _), (fast_seconds, _) = fastest_in_turns([_step(plain), _step(fast)], repeats=3)
    return plain_seconds, fast_seconds


def _step(network: nn.Module) -> Callable[[], Tensor]:
    denoiser = make_denoiser(network, build_noise_schedule())
    x_t = torch.randn((1, 1, MAP_SIZE, MAP_SIZE), generator=torch.Generator().manual_seed(0))
    level = torch.full((1,), 0.5, dtype=torch.float64)
    return lambda: denoiser(x_t, level)
