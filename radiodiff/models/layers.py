"""Building blocks of the denoiser: residual block, attentions, time features.

Shape letters: B batch, C channels, H x W map, N = H W tokens, K heads, D channels per head.
Every block maps (B, C, H, W) to (B, C', H, W), works on contiguous and channels-last tensors alike
and in float32, float64, bfloat16 or under autocast.
"""

from __future__ import annotations

import math
from functools import lru_cache

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

from radiodiff.errors import InputError
from radiodiff.models.convolution import WeightStandardisedConv2d

GROUPS = 8
"""Groups of every group normalisation inside a block, as released."""


def group_norm(channels: int) -> nn.GroupNorm:
    """Return the group normalisation of stems and filters: at most 8 groups of at least 4."""
    return nn.GroupNorm(min(channels // 4, GROUPS), channels)


def resize(x: Tensor, size: tuple[int, int], align_corners: bool) -> Tensor:
    """Resize (B, C, H, W) bilinearly to ``size``; a tensor of that size is returned as it is."""
    if x.shape[-2:] == size:
        return x
    return F.interpolate(x, size=size, mode="bilinear", align_corners=align_corners)


class ChannelNorm(nn.Module):
    """Layer normalisation over the channels of each pixel, with a gain and no bias."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(channels))

    def forward(self, x: Tensor) -> Tensor:
        """Normalise (B, C, H, W) over C; statistics are accumulated in float32 or better."""
        x = F.layer_norm(x.permute(0, 2, 3, 1), self.weight.shape, self.weight, eps=1e-5)
        return x.permute(0, 3, 1, 2)


class ResidualBlock(nn.Module):
    """Two weight-standardised convolutions with a residual path, modulated by the time.

    Args:
        in_channels: C.
        out_channels: C', a multiple of 8.
        time_channels: length of the time embedding; None builds a block without time.
    """

    def __init__(self, in_channels: int, out_channels: int, time_channels: int | None) -> None:
        super().__init__()
        self.conv1 = WeightStandardisedConv2d(in_channels, out_channels, 3, padding=1)
        self.norm1 = nn.GroupNorm(GROUPS, out_channels)
        self.conv2 = WeightStandardisedConv2d(out_channels, out_channels, 3, padding=1)
        self.norm2 = nn.GroupNorm(GROUPS, out_channels)
        self.modulation = (
            nn.Linear(time_channels, 2 * out_channels) if time_channels is not None else None
        )
        self.shortcut = (
            nn.Conv2d(in_channels, out_channels, 1)
            if in_channels != out_channels
            else nn.Identity()
        )

    def forward(self, x: Tensor, time: Tensor | None = None) -> Tensor:
        """Map (B, C, H, W) and the time embedding (B, time_channels) to (B, C', H, W)."""
        h = self.norm1(self.conv1(x))
        if self.modulation is not None and time is not None:
            scale, shift = self.modulation(F.silu(time))[:, :, None, None].chunk(2, dim=1)
            h = torch.addcmul(shift, h, scale + 1)
        h = self.norm2(self.conv2(F.silu(h)))
        return F.silu(h) + self.shortcut(x)


class LinearAttention(nn.Module):
    """Residual attention at cost O(N): softmax(q) (softmax(k)^T v) (Shen et al., 2021).

    Args:
        channels: C.
        heads: K.
        head_channels: D.
    """

    def __init__(self, channels: int, heads: int = 4, head_channels: int = 32) -> None:
        super().__init__()
        self.heads = heads
        self.norm = ChannelNorm(channels)
        self.qkv = nn.Conv2d(channels, 3 * heads * head_channels, 1, bias=False)
        self.out = nn.Conv2d(heads * head_channels, channels, 1)
        self.out_norm = ChannelNorm(channels)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, C, H, W) to itself plus its attention."""
        height, width = x.shape[-2:]
        q, k, v = rearrange(
            self.qkv(self.norm(x)), "b (three k d) h w -> three b k d (h w)", three=3, k=self.heads
        )
        q = q.softmax(dim=-2) * q.shape[-2] ** -0.5
        k = k.softmax(dim=-1)
        context = (v / (height * width)) @ k.transpose(-2, -1)  # (B, K, D_v, D_k)
        out = rearrange(context @ q, "b k d (h w) -> b (k d) h w", h=height)
        return x + self.out_norm(self.out(out))


class BottleneckAttention(nn.Module):
    """Residual softmax attention over all pixels, softmax(q k^T / sqrt(D)) v.

    Args:
        channels: C.
        heads: K.
        head_channels: D.
    """

    def __init__(self, channels: int, heads: int = 4, head_channels: int = 32) -> None:
        super().__init__()
        self.heads = heads
        self.norm = ChannelNorm(channels)
        self.qkv = nn.Conv2d(channels, 3 * heads * head_channels, 1, bias=False)
        self.out = nn.Conv2d(heads * head_channels, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, C, H, W) to itself plus its attention."""
        q, k, v = rearrange(
            self.qkv(self.norm(x)), "b (three k d) h w -> three b k (h w) d", three=3, k=self.heads
        )
        out = F.scaled_dot_product_attention(q, k, v)
        return x + self.out(rearrange(out, "b k (h w) d -> b (k d) h w", h=x.shape[-2]))


@lru_cache(maxsize=64)
@torch.inference_mode(False)
def sine_position_encoding(
    height: int, width: int, channels: int, device: torch.device | str = "cpu"
) -> Tensor:
    """Return the fixed sine position encoding, (1, channels, height, width) float32.

    Kept between calls, for it costs more kernels than the attention around it; do not write to it.

    The first half of the channels encodes the row 1..height, the second half the column 1..width,
    as alternating sines and cosines of wavelengths up to 10000 (Vaswani et al., 2017).

    Args:
        height: rows.
        width: columns.
        channels: a multiple of 4.
        device: where to build it.
    """
    half = channels // 2
    index = torch.arange(half, dtype=torch.float32, device=device)
    frequency = 10000.0 ** (-2 * (index // 2) / half)

    def encode(length: int) -> Tensor:
        position = torch.arange(1, length + 1, dtype=torch.float32, device=device)
        phase = position[:, None] * frequency
        return torch.stack((phase[:, 0::2].sin(), phase[:, 1::2].cos()), dim=-1).flatten(1)

    rows = encode(height).T[:, :, None].expand(half, height, width)
    columns = encode(width).T[:, None, :].expand(half, height, width)
    return torch.cat((rows, columns))[None]


class ConditionAttention(nn.Module):
    """Brings prompt features into a feature map by attention between two pooled maps.

    As released, the queries come from the prompt and the keys and values from the feature map,
    both averaged over windows, and the product is not divided by sqrt(D). The paper takes the
    queries from z_t, RadioDiff, eq. (17), the keys and values from the prompt, RadioDiff, eq. (18)
    and RadioDiff, eq. (19), and divides.

    Args:
        prompt_channels: channels of the prompt feature.
        channels: C of the feature map, a multiple of 8 and of ``heads``.
        window: side of the averaging window in pixels, for both maps.
        max_pooled: most rows and columns of the pooled maps, those of training: the windows grow
            with a larger map, so that the softmax weighs as many pixels and meets no position that
            it does not know. None sets no limit.
        heads: K.
        dropout: dropout probability in the two-layer network after the attention.
    """

    def __init__(
        self,
        prompt_channels: int,
        channels: int,
        window: int,
        max_pooled: tuple[int, int] | None = None,
        heads: int = 8,
        dropout: float = 0.1,
    ) -> None:
        super().__init__()
        self.window = window
        self.max_pooled = max_pooled
        self.heads = heads
        self.prompt_conv = nn.Conv2d(prompt_channels, channels, 1)
        self.prompt_norm = nn.BatchNorm2d(channels, eps=1e-3, momentum=0.03)
        self.feature_conv = nn.Conv2d(channels, channels, 1)
        self.feature_norm = nn.BatchNorm2d(channels, eps=1e-3, momentum=0.03)
        self.query = nn.Linear(channels, channels)
        self.key = nn.Linear(channels, channels)
        self.value = nn.Linear(channels, channels)
        self.mlp_in = nn.Conv2d(channels, 2 * channels, 1)
        self.mlp_out = nn.Conv2d(2 * channels, channels, 1)
        self.dropout = nn.Dropout(dropout)
        self.merge = nn.Conv2d(2 * channels, channels, 1)
        self.merge_norm = nn.GroupNorm(GROUPS, channels)
        self.out = nn.Conv2d(channels, channels, 1)
        self._initialise()

    def _initialise(self) -> None:
        for conv in (self.mlp_in, self.mlp_out, self.merge, self.out):
            nn.init.kaiming_normal_(conv.weight)
        for linear in (self.query, self.key, self.value):
            nn.init.xavier_normal_(linear.weight)
        for name, parameter in self.named_parameters():
            if name.endswith("bias") and not name.startswith(("prompt_", "feature_")):
                nn.init.zeros_(parameter)

    def forward(self, prompt: Tensor, x: Tensor) -> Tensor:
        """Map a prompt feature (B, C_p, H_p, W_p) and a map (B, C, H, W) to (B, C, H, W)."""
        prompt = self.prompt_norm(self.prompt_conv(prompt))
        x = self.feature_norm(self.feature_conv(x))
        size = (x.shape[-2], x.shape[-1])
        shortcut = self.merge_norm(x + self._merge(resize(prompt, size, align_corners=True), x))

        pooled_prompt = self._pool(prompt)
        pooled_x = self._pool(x)
        q = self._heads(self.query, self._tokens(pooled_prompt))
        tokens = self._tokens(pooled_x)
        k, v = self._heads(self.key, tokens), self._heads(self.value, tokens)
        attended = F.scaled_dot_product_attention(q, k, v, scale=1.0)
        pooled = pooled_prompt + rearrange(
            attended, "b k (h w) d -> b (k d) h w", h=pooled_prompt.shape[-2]
        )
        pooled = pooled + self._mlp(pooled)
        # The released code resizes first; a 1 x 1 convolution commutes with bilinear weights,
        # which sum to one, and is cheaper on the small map.
        return shortcut + resize(self.out(pooled), size, align_corners=True)

    def _mlp(self, x: Tensor) -> Tensor:
        return self.dropout(self.mlp_out(self.dropout(F.relu(self.mlp_in(x)))))

    def _merge(self, prompt: Tensor, x: Tensor) -> Tensor:
        """Apply the 1 x 1 convolution ``merge`` to [prompt, x] without building that tensor."""
        of_prompt, of_x = self.merge.weight.chunk(2, dim=1)
        return F.conv2d(prompt, of_prompt, self.merge.bias) + F.conv2d(x, of_x)

    def _pool(self, x: Tensor) -> Tensor:
        """Average over windows; the map is padded with zeros to a multiple of the window."""
        pooled = (-(-x.shape[-2] // self.window), -(-x.shape[-1] // self.window))
        limit = self.max_pooled or pooled
        if pooled[0] > limit[0] or pooled[1] > limit[1]:
            size = (min(pooled[0], limit[0]), min(pooled[1], limit[1]))
            return F.adaptive_avg_pool2d(x, size)
        if self.window == 1:
            return x
        bottom, right = (-x.shape[-2] % self.window, -x.shape[-1] % self.window)
        if bottom or right:
            x = F.pad(x, (0, right, 0, bottom))
        return F.avg_pool2d(x, self.window)

    def _tokens(self, x: Tensor) -> Tensor:
        channels, height, width = x.shape[1:]
        position = sine_position_encoding(height, width, channels, x.device)
        return rearrange(x + position.to(x.dtype), "b c h w -> b (h w) c")

    def _heads(self, linear: nn.Linear, tokens: Tensor) -> Tensor:
        return rearrange(linear(tokens), "b n (k d) -> b k n d", k=self.heads)


class GaussianFourierFeatures(nn.Module):
    """Random Fourier features of a scalar: sines and cosines of 2 pi w x, w ~ N(0, scale^2).

    The frequencies are fixed. They stay in float32 when the module is converted to half
    precision, where phases of hundreds of radians would be lost.

    Args:
        features: number of features, even.
        scale: standard deviation of the frequencies.
    """

    def __init__(self, features: int, scale: float) -> None:
        super().__init__()
        if features % 2:
            raise InputError(f"Gaussian Fourier features: need an even number, found {features}")
        self.frequency: Tensor
        self.register_buffer("frequency", scale * torch.randn(features // 2))

    def _apply(self, fn, recurse=True):  # type: ignore[no-untyped-def]
        frequency = self.frequency
        super()._apply(fn, recurse)
        if self.frequency.dtype in (torch.bfloat16, torch.float16):
            self.frequency = frequency.to(self.frequency.device)
        return self

    def forward(self, x: Tensor) -> Tensor:
        """Map (B,) to (B, features) in float32 or better."""
        phase = 2 * math.pi * x[:, None].to(self.frequency.dtype) * self.frequency
        return torch.cat((phase.sin(), phase.cos()), dim=-1)
