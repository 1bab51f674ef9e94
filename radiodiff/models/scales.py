"""The scales of the attention U-Net: of its encoder, and of its two decoders."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from radiodiff.models.fourier import AdaptiveFourierFilter
from radiodiff.models.layers import ConditionAttention, LinearAttention, ResidualBlock


class EncoderLevel(nn.Module):
    """One scale of the encoder: two residual blocks, the prompt between them, attention, down."""

    def __init__(
        self,
        channels: int,
        out_channels: int,
        time: int,
        window: int,
        max_pooled: tuple[int, int],
        last: bool,
    ) -> None:
        super().__init__()
        self.block1 = ResidualBlock(channels, channels, time)
        self.condition = ConditionAttention(channels, channels, window, max_pooled)
        self.block2 = ResidualBlock(channels, channels, time)
        self.attention = LinearAttention(channels)
        self.down = (
            nn.Conv2d(channels, out_channels, 3, padding=1)
            if last
            else nn.Conv2d(channels, out_channels, 4, stride=2, padding=1)
        )

    def forward(self, x: Tensor, time: Tensor, prompt: Tensor) -> tuple[Tensor, list[Tensor]]:
        """Return the map of the next scale and the two maps the decoders join."""
        x1 = self.block1(x, time)
        x2 = self.attention(self.block2(self.condition(prompt, x1), time))
        return self.down(x2), [x1, x2]


class DecoderLevel(nn.Module):
    """One scale of a decoder, the mirror image of :class:`EncoderLevel`."""

    def __init__(
        self,
        channels: int,
        out_channels: int,
        time: int,
        window: int,
        max_pooled: tuple[int, int],
        last: bool,
    ) -> None:
        super().__init__()
        self.block1 = ResidualBlock(channels + out_channels, channels, time)
        self.condition = ConditionAttention(out_channels, channels, window, max_pooled)
        self.block2 = ResidualBlock(channels + out_channels, channels, time)
        self.attention = LinearAttention(channels)
        self.upsample = nn.Identity() if last else nn.Upsample(scale_factor=2, mode="nearest")
        self.conv = nn.Conv2d(channels, out_channels, 3, padding=1)

    def forward(self, x: Tensor, time: Tensor, prompt: Tensor, skips: Sequence[Tensor]) -> Tensor:
        """Return the map of the scale above; ``skips`` are the two maps of the encoder scale."""
        x1, x2 = skips
        x = self.block1(torch.cat((x, x2), dim=1), time)
        x = self.condition(prompt, x)
        x = self.attention(self.block2(torch.cat((x, x1), dim=1), time))
        return self.conv(self.upsample(x))


class Decoder(nn.Module):
    """A decoder: Fourier filter on the bottleneck, scales from coarse to fine, output convolution.

    Args:
        widths: channels of the stem and of each scale.
        time: length of the time embedding.
        windows: averaging window of the condition attention of each scale.
        max_pooled: rows and columns that these windows make of the maps of training.
        out_channels: channels of the prediction.
        filter_size: map size on which the Fourier filter is stored; None leaves the filter out.
    """

    def __init__(
        self,
        widths: Sequence[int],
        time: int,
        windows: Sequence[int],
        max_pooled: Sequence[tuple[int, int]],
        out_channels: int,
        filter_size: tuple[int, int] | None,
    ) -> None:
        super().__init__()
        self.filter = (
            AdaptiveFourierFilter(widths[-1], filter_size) if filter_size else nn.Identity()
        )
        self.levels = nn.ModuleList(
            DecoderLevel(widths[i + 1], widths[i], time, windows[i], max_pooled[i], last=i == 0)
            for i in reversed(range(len(windows)))
        )
        self.block = ResidualBlock(2 * widths[0], widths[0], time)
        self.out = nn.Conv2d(widths[0], out_channels, 1)

    def forward(
        self,
        x: Tensor,
        time: Tensor,
        prompt: Sequence[Tensor],
        skips: Sequence[Sequence[Tensor]],
        stem: Tensor,
    ) -> Tensor:
        """Map the bottleneck, the prompt features and the skips, finest first, to the output."""
        x = self.filter(x)
        for level, feature, skip in zip(
            self.levels, reversed(prompt), reversed(skips), strict=True
        ):
            x = level(x, time, feature, skip)
        return self.out(self.block(torch.cat((x, stem), dim=1), time))
