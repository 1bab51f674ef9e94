"""A prior over radio maps: an unconditional DDPM network with its noise schedule.

Any diffusers DDPM directory serves (``unet`` and ``scheduler``), and the ImageNet network of the
paper through :func:`radiodiff.models.released.prior_from_guided_diffusion`. :class:`PatchUNet` is
the small network for a CPU.
"""

from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from diffusers import DDPMScheduler, UNet2DModel
from diffusers.configuration_utils import ConfigMixin, register_to_config
from diffusers.models.modeling_utils import ModelMixin
from diffusers.models.unets.unet_2d import UNet2DOutput
from torch import Tensor, nn

from radiodiff.errors import InputError
from radiodiff.inverse.particles import Denoiser
from radiodiff.inverse.quadtree import quadtree_estimate
from radiodiff.inverse.settings import Prediction
from radiodiff.models.padding import crop, pad_to_multiple, round_up
from radiodiff.models.released import prior_from_guided_diffusion, released_weights
from radiodiff.units import MAP_SIZE
from radiodiff.weights import read_checkpoint

LOG_SNR_SCALE = 10.0
"""Brings the logarithms of signal-to-noise ratios of the usual schedules to about [-1, 1]."""


class PatchUNet(ModelMixin, ConfigMixin):
    """A U-Net that works on pixels through an invertible rearrangement of patches.

    A map of 256 x 256 becomes 64 x 64 positions with the 16 pixels of a 4 x 4 patch as channels
    (pixel unshuffle), so no pixel is lost and every convolution costs a sixteenth.

    With ``level_map`` it takes a noise level for every pixel (after FFDNet, Zhang et al., 2018), so
    that pixels of one map may be diffused to different levels, and it predicts the velocity. It
    then starts from the best linear estimate (:mod:`radiodiff.inverse.quadtree`) and learns what
    that misses, in units of its standard deviation: edges.

    Args:
        sample_size: rows and columns of a map, one number if they are equal. Other sizes work as
            well; they are extended to multiples of patch_size * 2^(scales - 1).
        patch_size: side of a patch.
        block_out_channels: width of every scale.
        layers_per_block: residual blocks per scale.
        attention: self-attention at the coarsest scale, which sees the whole map.
        norm_num_groups: groups of the group normalisation; divides every width.
        level_map: take a noise level for every pixel.
        num_train_timesteps: levels of the schedule; read with ``level_map`` alone.
        in_channels: 1; diffusers' own pipelines read it from the configuration.

    Raises:
        InputError: sizes that do not fit together.
    """

    @register_to_config
    def __init__(
        self,
        sample_size: int | tuple[int, int] = MAP_SIZE,
        patch_size: int = 4,
        block_out_channels: tuple[int, ...] = (64, 128, 192),
        layers_per_block: int = 1,
        attention: bool = True,
        norm_num_groups: int = 16,
        level_map: bool = False,
        num_train_timesteps: int = 1000,
        in_channels: int = 1,
    ) -> None:
        super().__init__()
        if in_channels != 1:
            raise InputError(f"in_channels = {in_channels}: a map has one channel")
        multiple = patch_size * 2 ** (len(block_out_channels) - 1)
        sides = (sample_size, sample_size) if isinstance(sample_size, int) else sample_size
        unfit = [width for width in block_out_channels if width % norm_num_groups or width % 32]
        if unfit:
            raise InputError(
                f"block_out_channels: {unfit[0]} is not a multiple of 32 and of norm_num_groups = "
                f"{norm_num_groups}"
            )
        self.unet = UNet2DModel(
            sample_size=tuple(round_up(side, multiple) // patch_size for side in sides),
            in_channels=patch_size**2 * (3 if level_map else 1),
            out_channels=patch_size**2,
            layers_per_block=layers_per_block,
            block_out_channels=tuple(block_out_channels),
            down_block_types=("DownBlock2D",) * len(block_out_channels),
            up_block_types=("UpBlock2D",) * len(block_out_channels),
            downsample_type="resnet",
            upsample_type="resnet",
            resnet_time_scale_shift="scale_shift",
            add_attention=attention,
            attention_head_dim=32,
            norm_num_groups=norm_num_groups,
        )
        # No buffer: it keeps its precision when the network is cast.
        self._log_snr = build_noise_schedule(num_train_timesteps).alphas_cumprod.logit()
        if level_map:
            # An untrained network then returns the linear estimate.
            nn.init.zeros_(self.unet.conv_out.weight)
            nn.init.zeros_(self.unet.conv_out.bias)

    def forward(
        self, sample: Tensor, timestep: Tensor | float, return_dict: bool = True
    ) -> UNet2DOutput | tuple[Tensor]:
        """Predict the noise or, with ``level_map`` or where the schedule says so, the velocity.

        Args:
            sample: (B, 1, H, W) diffused maps x_t.
            timestep: a number or (B,), fractional ones allowed; with ``level_map`` also
                (B, 1, H, W), one for each pixel.
            return_dict: False returns a tuple of one, as in diffusers.

        Returns:
            the prediction as ``sample``, (B, 1, H, W).
        """
        t = torch.as_tensor(timestep, device=sample.device)
        multiple = self.config.patch_size * 2 ** (len(self.config.block_out_channels) - 1)
        t = t.expand(len(sample)) if t.ndim == 0 else t
        t = pad_to_multiple(t, multiple) if t.ndim > 1 else t
        predicted = self._predict(pad_to_multiple(sample, multiple), t)
        predicted = crop(predicted, sample.shape[-2:])
        return UNet2DOutput(sample=predicted) if return_dict else (predicted,)

    def _predict(self, x_t: Tensor, t: Tensor) -> Tensor:
        if not self.config.level_map:
            return self._on_patches(x_t, t)
        x_t = x_t.float()
        t = (t.view(-1, 1, 1, 1) if t.ndim == 1 else t).float().expand_as(x_t)
        log_snr = self._log_snr_at(t)
        signal, noise = torch.sigmoid(log_snr).sqrt(), torch.sigmoid(-log_snr).sqrt()
        estimate, variance = quadtree_estimate(x_t / signal, log_snr.exp())
        # What a pixel says beyond the estimate, in standard deviations, and faded out where it is
        # noise: a linear layer could not tell the two apart.
        random, unknown = noise.square(), signal.square() * variance
        surprise = (x_t - signal * estimate) * unknown.sqrt() / (random + unknown)
        inputs = torch.cat([estimate, surprise, log_snr / LOG_SNR_SCALE], dim=1)
        missed = self._on_patches(inputs, t.flatten(1).amax(dim=1)).float()
        return (signal * x_t - estimate - variance.sqrt() * missed) / noise

    def _on_patches(self, inputs: Tensor, t: Tensor) -> Tensor:
        patches = F.pixel_unshuffle(inputs, self.config.patch_size).to(self.dtype)
        return F.pixel_shuffle(self.unet(patches, t).sample, self.config.patch_size)

    def _log_snr_at(self, t: Tensor) -> Tensor:
        """Return the logarithm of abar / (1 - abar) at fractional timesteps."""
        table = self._log_snr.to(t)
        below = t.floor().clamp(0, len(table) - 1)
        above = (below + 1).clamp(max=len(table) - 1)
        low, high = table[below.long()], table[above.long()]
        return low + (t - below) * (high - low)


def build_noise_schedule(
    num_train_timesteps: int = 1000, prediction_type: Prediction = "epsilon"
) -> DDPMScheduler:
    """Build the paper's schedule: linear betas from 1e-4 to 0.02.

    Args:
        num_train_timesteps: number of levels.
        prediction_type: what the network gives, the noise (as in the paper) or the velocity
            sqrt(abar) eps - sqrt(1 - abar) x_0 (Salimans and Ho, 2022), from which the clean map
            is found at any level without dividing by a small number.
    """
    return DDPMScheduler(
        num_train_timesteps=num_train_timesteps,
        beta_start=1e-4,
        beta_end=0.02,
        beta_schedule="linear",
        prediction_type=prediction_type,
    )


def load_guided_diffusion(
    path: str | Path, attention_head_dim: int = 64
) -> tuple[UNet2DModel, DDPMScheduler]:
    """Read the paper's prior, an ImageNet network of guided-diffusion, with its schedule.

    Args:
        path: weights such as ``256x256_diffusion_uncond.pt``.
        attention_head_dim: channels per attention head, of which the weights tell nothing.

    Raises:
        InputError: the file cannot be read or holds another network.
    """
    weights = released_weights(read_checkpoint(path))
    unet = prior_from_guided_diffusion(weights, attention_head_dim)
    return unet, build_noise_schedule()


def make_denoiser(unet: nn.Module, scheduler: DDPMScheduler) -> Denoiser:
    """Turn a network and its schedule into the noise predictor the filter asks for.

    Levels between two timesteps become fractional timesteps, interpolated in log signal-to-noise.
    A network of three input channels (ImageNet) sees the map three times, and its three predictions
    are averaged; a learned variance (twice the channels) is left aside.

    Args:
        unet: network of (x_t, t); its config holds ``in_channels`` unless it is a
            :class:`PatchUNet`.
        scheduler: gives ``alphas_cumprod`` and ``prediction_type``.

    Raises:
        InputError: the network has neither one nor three input channels, or predicts something
            unknown; or, from the predictor, a level for every pixel is asked of a network that
            takes one for the map.
    """
    channels = getattr(unet.config, "in_channels", 1)
    if channels not in (1, 3):
        raise InputError(f"the prior has {channels} input channels; allowed are 1 and 3")
    prediction = scheduler.config.prediction_type
    if prediction not in ("epsilon", "v_prediction", "sample"):
        raise InputError(
            f"the prior's prediction_type is {prediction!r}; allowed are 'epsilon', 'v_prediction' "
            "and 'sample'"
        )
    alphas_cumprod = scheduler.alphas_cumprod.double().cpu().numpy()
    log_snr = np.log(alphas_cumprod) - np.log1p(-alphas_cumprod)

    def denoise(x_t: Tensor, abar: Tensor) -> Tensor:
        if abar.ndim > 1 and not getattr(unet.config, "level_map", False):
            raise InputError(
                "sampler.method is 'fixed_level', but this prior takes one noise level for the "
                "whole map; use 'independent_noise' or 'common_noise', or train a prior with "
                "model.level_map"
            )
        # A measurement may be cleaner than the cleanest level trained at.
        level = abar.double().cpu().numpy().clip(max=alphas_cumprod[0])
        wanted = np.log(level) - np.log1p(-level)
        # np.interp needs increasing abscissae; the signal-to-noise ratio falls with t.
        t = np.interp(-wanted, -log_snr, np.arange(len(log_snr), dtype=np.float64))
        timestep = torch.as_tensor(t, dtype=torch.float32, device=x_t.device)
        repeated = x_t.expand(-1, channels, -1, -1)
        if not isinstance(unet, PatchUNet):
            repeated = repeated.to(next(unet.parameters()).dtype)
        with nullcontext() if x_t.requires_grad else torch.inference_mode():
            out = unet(repeated, timestep)
        out = out if isinstance(out, Tensor) else out.sample
        out = out[:, :channels].to(x_t.dtype).mean(dim=1, keepdim=True)
        if abar.ndim == 1:
            abar = abar.view(-1, 1, 1, 1)
        signal, noise = abar.sqrt().to(x_t.dtype), (1.0 - abar).sqrt().to(x_t.dtype)
        if prediction == "v_prediction":
            return signal * out + noise * x_t
        if prediction == "sample":
            return (x_t - signal * out) / noise
        return out

    return denoise
