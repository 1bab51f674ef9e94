"""The denoiser of RadioDiff: one encoder, two decoders, conditioned on a prompt.

Shape letters: B batch, c latent channels, h x w latent map, C prompt channels, H x W prompt.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import ClassVar, Literal, get_args

from diffusers import ConfigMixin, ModelMixin
from diffusers.configuration_utils import register_to_config
from torch import Tensor, nn

from radiodiff.errors import InputError
from radiodiff.models.condition import ConvolutionalPyramid, SwinPyramid
from radiodiff.models.layers import (
    BottleneckAttention,
    GaussianFourierFeatures,
    ResidualBlock,
    group_norm,
    resize,
)
from radiodiff.models.padding import crop, pad_to_multiple, round_up
from radiodiff.models.scales import Decoder, EncoderLevel
from radiodiff.models.settings import Preconditioning, PromptEncoder

Attenuation = Literal["constant", "linear"]


class DecoupledUNet(ModelMixin, ConfigMixin):
    """Predicts the attenuation C and the noise eps of z_t = z_0 + C t + sqrt(t) eps from a prompt.

    RadioDiff, eq. (21) and Fig. 3. The defaults are the size of the paper, 224.9 M parameters.

    Args:
        latent_channels: c.
        dim: width of the first scale; the time embedding has 4 ``dim`` channels.
        dim_mults: width of every scale in units of ``dim``; all widths are multiples of 8.
        prompt_channels: C, the number of prompt features.
        prompt_encoder: ``swin_b`` (paper), ``swin_t``, ``swin_s`` or ``convolutional``.
        prompt_width: first-scale channels of the convolutional encoder, which doubles them twice;
            None takes ``dim``.
        prompt_stride: prompt pixels per latent pixel, for the convolutional encoder.
        patch_size: side of the square of latent pixels that the U-Net works on as one; 2 costs a
            quarter of 1, which is the paper's.
        window_sizes: side of the averaging windows of the condition attention, one per scale.
        filter_size: bottleneck map (rows, columns) of the maps of training. The Fourier filters are
            stored on it, and the condition attention of larger maps averages over larger windows.
        aft: whether the decoders filter the bottleneck; False is the ablation of the paper.
        attenuation: ``constant`` f_t = C; ``linear`` f_t = a t + b, with one more output head.
        fourier_scale: standard deviation of the frequencies of the time features.
        preconditioning: how outputs become predictions, see :meth:`forward`. ``unit_variance``
            leaves the network something of one size to learn at every t, and needs constant
            attenuation.

    Raises:
        InputError: sizes that do not fit each other.
    """

    _keep_in_fp32_modules: ClassVar[list[str]] = ["time_features"]

    @register_to_config
    def __init__(
        self,
        latent_channels: int = 3,
        dim: int = 128,
        dim_mults: Sequence[int] = (1, 2, 4, 4),
        prompt_channels: int = 3,
        prompt_encoder: PromptEncoder = "swin_b",
        prompt_width: int | None = None,
        prompt_stride: int = 4,
        patch_size: int = 1,
        window_sizes: Sequence[int] = (8, 4, 2, 1),
        filter_size: Sequence[int] = (8, 8),
        aft: bool = True,
        attenuation: Attenuation = "constant",
        fourier_scale: float = 16.0,
        preconditioning: Preconditioning = "released",
    ) -> None:
        super().__init__()
        for name, found, allowed in (
            ("prompt_encoder", prompt_encoder, get_args(PromptEncoder)),
            ("attenuation", attenuation, get_args(Attenuation)),
            ("preconditioning", preconditioning, get_args(Preconditioning)),
        ):
            if found not in allowed:
                raise InputError(f"{name}: found {found!r}, allowed are {', '.join(allowed)}")
        if preconditioning == "unit_variance" and attenuation == "linear":
            raise InputError("preconditioning: unit_variance needs constant attenuation")
        if len(window_sizes) != len(dim_mults):
            raise InputError(
                f"window_sizes: found {len(window_sizes)} windows for {len(dim_mults)} scales"
            )
        if dim % 8:
            raise InputError(f"dim: found {dim}, allowed are multiples of 8")
        widths = [dim, *(dim * mult for mult in dim_mults)]
        time = 4 * dim

        patch_channels = latent_channels * patch_size**2
        self.pyramid = _build_prompt_encoder(
            prompt_encoder,
            prompt_channels,
            prompt_width or dim,
            prompt_stride * patch_size,
            len(dim_mults),
        )
        encoder_widths = self.pyramid.channels
        if len(encoder_widths) != len(dim_mults):
            raise InputError(
                f"dim_mults: found {len(dim_mults)} scales, {prompt_encoder} has "
                f"{len(encoder_widths)}"
            )
        self.prompt_projections = nn.ModuleList(
            nn.Conv2d(encoder_width, width, 1)
            for encoder_width, width in zip(encoder_widths, widths[:-1], strict=True)
        )
        self.stem = nn.Conv2d(patch_channels + encoder_widths[0], dim, 7, padding=3)
        self.stem_norm = group_norm(dim)

        self.time_features = GaussianFourierFeatures(dim, fourier_scale)
        self.time_mlp = nn.Sequential(nn.Linear(dim, time), nn.GELU(), nn.Linear(time, time))

        coarsest = len(dim_mults) - 1
        max_pooled = [
            (-(-filter_size[0] * scale // window), -(-filter_size[1] * scale // window))
            for i, window in enumerate(window_sizes)
            for scale in [2 ** (coarsest - i)]
        ]
        self.encoder = nn.ModuleList(
            EncoderLevel(widths[i], widths[i + 1], time, window, max_pooled[i], last=i == coarsest)
            for i, window in enumerate(window_sizes)
        )
        self.middle_block1 = ResidualBlock(widths[-1], widths[-1], time)
        self.middle_attention = BottleneckAttention(widths[-1])
        self.middle_block2 = ResidualBlock(widths[-1], widths[-1], time)

        size = (filter_size[0], filter_size[1]) if aft else None
        heads = 2 if attenuation == "linear" else 1
        self.decoder_attenuation, self.decoder_noise = (
            Decoder(widths, time, window_sizes, max_pooled, outputs * patch_channels, size)
            for outputs in (heads, 1)
        )

    @property
    def latent_stride(self) -> int:
        """Latent maps are extended to multiples of this: patches, halved by every scale but one."""
        return self.config.patch_size * 2 ** (len(self.encoder) - 1)

    def encode_prompt(
        self, prompt: Tensor, latent_size: tuple[int, int] | None = None
    ) -> list[Tensor]:
        """Compute everything that depends on the prompt but not on t, once for all steps.

        Args:
            prompt: (B, C, H, W) in [-1, 1].
            latent_size: (h, w) of the latent map; None takes the size for which the first
                feature needs no resizing.

        Returns:
            The projected features, one (B, width, .., ..) per scale from fine to coarse, and last
            the prompt's part of the first convolution, (B, dim, h / patch_size, w / patch_size).
            Sides that do not divide are extended, those of the prompt and of the latent map alike.

        Raises:
            InputError: the prompt has another number of channels.
        """
        channels = self.config.prompt_channels
        stride = self.pyramid.stride * 2 ** (len(self.encoder) - 1)
        if latent_size is not None:
            # The extended prompt has to show as much as the extended latent map.
            stride = math.lcm(stride, self.config.prompt_stride * self.latent_stride)
        if prompt.ndim != 4 or prompt.shape[1] != channels:
            raise InputError(f"prompt: expected (B, {channels}, H, W), found {tuple(prompt.shape)}")
        features = self.pyramid(pad_to_multiple(prompt, stride).to(self.stem.weight.dtype))
        first = features[0]
        if latent_size is not None:
            first = resize(first, self._patches(latent_size), align_corners=False)
        of_prompt = self.stem.weight[:, self._patch_channels :]
        projected = [
            project(feature)
            for project, feature in zip(self.prompt_projections, features, strict=True)
        ]
        return [*projected, nn.functional.conv2d(first, of_prompt, self.stem.bias, padding=3)]

    def forward(
        self, z_t: Tensor, t: Tensor, prompt: Tensor | Sequence[Tensor]
    ) -> tuple[Tensor, ...]:
        """Predict (C, eps), or (a, b, eps) with linear attenuation.

        Args:
            z_t: noisy latents (B, c, h, w) of any size.
            t: times (B,) in (0, 1].
            prompt: the prompt (B, C, H, W) or what :meth:`encode_prompt` returned for it.

        Returns:
            Tensors of the shape and dtype of ``z_t``, preconditioned as released:
            C = (1 - t) z_t + t / sqrt(t^2 + 1) F_C,
            eps = sqrt(t) z_t + sqrt(1 - t) / sqrt(t^2 + 1) F_eps.
            For a linear f_t, b is preconditioned like C, and a, which is independent of the data,
            has no share of z_t: a = t / sqrt(t^2 + 1) F_a.
            With ``unit_variance``, for data and noise of variance 1 and v = (1 - t)^2 + t, that of
            z_t, they are the best linear estimates and what these miss in units of its standard
            deviation (as in Karras et al., 2022, Sec. 5):
            C = -(1 - t) / v z_t + sqrt(t / v) F_C,
            eps = sqrt(t) / v z_t + (1 - t) / sqrt(v) F_eps.

        Raises:
            InputError: shapes that do not fit.
        """
        self._check(z_t, t)
        latent_size = (z_t.shape[-2], z_t.shape[-1])
        if isinstance(prompt, Tensor):
            prompt = self.encode_prompt(prompt, latent_size)
        *features, prompt_stem = prompt
        patch = self.config.patch_size
        if prompt_stem.shape[-2:] != self._patches(latent_size):
            encoded = tuple(patch * side for side in prompt_stem.shape[-2:])
            raise InputError(f"prompt: encoded for latents of {encoded}, z_t has {latent_size}")

        extended = pad_to_multiple(z_t, self.latent_stride)
        x = nn.functional.pixel_unshuffle(extended.to(self.stem.weight.dtype), patch)
        of_latent = self.stem.weight[:, : self._patch_channels]
        x = self.stem_norm(prompt_stem + nn.functional.conv2d(x, of_latent, padding=3))
        stem = x
        time = self.time_mlp(self.time_features(t.log() / 4).to(self.stem.weight.dtype))

        skips = []
        for level, feature in zip(self.encoder, features, strict=True):
            x, skip = level(x, time, feature)
            skips.append(skip)
        x = self.middle_block1(x, time)
        x = self.middle_attention(x)
        x = self.middle_block2(x, time)
        attenuation, noise = (
            crop(
                nn.functional.pixel_shuffle(decoder(x, time, features, skips, stem), patch),
                latent_size,
            )
            for decoder in (self.decoder_attenuation, self.decoder_noise)
        )
        precondition = {"released": _released, "unit_variance": _unit_variance}
        return precondition[self.config.preconditioning](z_t, t, attenuation, noise)

    def _patches(self, latent_size: tuple[int, int]) -> tuple[int, int]:
        """Return the size of the map that the first convolution returns."""
        height, width = (round_up(side, self.latent_stride) for side in latent_size)
        return height // self.config.patch_size, width // self.config.patch_size

    @property
    def _patch_channels(self) -> int:
        return self.config.latent_channels * self.config.patch_size**2

    def _check(self, z_t: Tensor, t: Tensor) -> None:
        channels = self.config.latent_channels
        if z_t.ndim != 4 or z_t.shape[1] != channels:
            raise InputError(f"z_t: expected (B, {channels}, h, w), found {tuple(z_t.shape)}")
        if t.shape != z_t.shape[:1]:
            raise InputError(f"t: expected ({z_t.shape[0]},), found {tuple(t.shape)}")


def _build_prompt_encoder(
    name: PromptEncoder, prompt_channels: int, width: int, stride: int, levels: int
) -> SwinPyramid | ConvolutionalPyramid:
    if name == "convolutional":
        channels = tuple(width * min(2**level, 4) for level in range(levels))
        return ConvolutionalPyramid(prompt_channels, channels, stride)
    return SwinPyramid(name, prompt_channels)


def _released(z_t: Tensor, t: Tensor, attenuation: Tensor, noise: Tensor) -> tuple[Tensor, ...]:
    """Turn the outputs F of the two decoders into predictions, in the dtype of z_t."""
    t = t[:, None, None, None].to(z_t.dtype)
    scale = (t**2 + 1).rsqrt()
    eps = t.sqrt() * z_t + (1 - t).sqrt() * scale * noise.to(z_t.dtype)
    attenuation = t * scale * attenuation.to(z_t.dtype)
    *slope, constant = attenuation.split(z_t.shape[1], dim=1)
    return *slope, (1 - t) * z_t + constant, eps


def _unit_variance(
    z_t: Tensor, t: Tensor, attenuation: Tensor, noise: Tensor
) -> tuple[Tensor, ...]:
    """Do as :func:`_released`, with best linear estimates."""
    t = t[:, None, None, None].to(z_t.dtype)
    variance = (1 - t) ** 2 + t
    constant = (t - 1) / variance * z_t + (t / variance).sqrt() * attenuation.to(z_t.dtype)
    eps = t.sqrt() / variance * z_t + (1 - t) * variance.rsqrt() * noise.to(z_t.dtype)
    return constant, eps
