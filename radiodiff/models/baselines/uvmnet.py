"""UVM-Net: a U-shaped vision Mamba (Zheng & Wu, arXiv:2402.04139), predicting radio maps.

A U-Net in whose every scale a Bi-SSM block sees the whole map at once. Sizes are those of the
authors' code (github.com/zzr-idam/UVM-Net); ``docs/explanation/baselines.md`` lists what differs.

Dimensions: B batch, C channels, P positions of the grid.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from diffusers import ConfigMixin, ModelMixin
from diffusers.configuration_utils import register_to_config
from torch import Tensor, nn
from torch.nn import functional

from radiodiff.errors import InputError
from radiodiff.models.baselines.selective_scan import SelectiveStateSpace
from radiodiff.models.padding import crop, pad_to_multiple


class BiSSM(nn.Module):
    """Scans a feature map along its positions, and then along its channels.

    The second scan takes a whole channel, ``grid``^2 positions, as one element of the sequence; its
    projections hold most parameters of the network (105 million each at a grid of 64).

    Args:
        channels: C of the features.
        grid: rows and columns of the features.
        states: states of every scan.
        hidden: channels between the two first convolutions.
    """

    def __init__(self, channels: int, grid: int, states: int, hidden: int) -> None:
        super().__init__()
        self.local = nn.Sequential(
            nn.Conv2d(channels, hidden, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(hidden, channels, 3, padding=1),
        )
        self.norm = nn.LayerNorm(channels)
        self.along_positions = SelectiveStateSpace(channels, states)
        self.attention = SelectiveStateSpace(channels, states)
        self.along_channels = SelectiveStateSpace(grid**2, states)
        self.smooth = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, C, grid, grid) to the same shape."""
        x = x + self.local(x)
        sequence = self.norm(x.flatten(2).transpose(1, 2))  # (B, P, C)
        y = self.along_positions(sequence).transpose(1, 2)  # (B, C, P)
        y = self.along_channels(y)
        weight = self.attention(sequence).softmax(dim=-1).transpose(1, 2)
        return self.smooth((weight * y).reshape(x.shape))


class MambaConvolution(nn.Module):
    """A Bi-SSM block on a fixed grid, added to its input, and two convolutions at full size."""

    def __init__(
        self, inputs: int, middle: int, outputs: int, grid: int, states: int, hidden: int
    ) -> None:
        super().__init__()
        self.grid = grid
        self.global_block = BiSSM(inputs, grid, states, hidden)
        self.convolutions = nn.Sequential(
            nn.Conv2d(inputs, middle, 3, padding=1, bias=False),
            nn.BatchNorm2d(middle),
            nn.ReLU(inplace=True),
            nn.Conv2d(middle, outputs, 3, padding=1, bias=False),
            nn.BatchNorm2d(outputs),
            nn.ReLU(inplace=True),
        )

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, inputs, H, W) to (B, outputs, H, W)."""
        seen = self.global_block(_resize(x, (self.grid, self.grid)))
        return self.convolutions(x + _resize(seen, x.shape[-2:]))


class UVMNet(ModelMixin, ConfigMixin):
    """Predicts gray maps from prompt channels.

    Args:
        in_channels: channels of the input.
        widths: channels of the scales, from fine to coarse; the last two are equal. Every scale
            but the first halves the map.
        grid: rows and columns on which the Bi-SSM blocks work, whatever the size of the map.
        states: states of every scan.
        hidden: channels between the first two convolutions of a Bi-SSM block.

    Raises:
        InputError: widths that do not fit the skip connections.
    """

    @register_to_config
    def __init__(
        self,
        in_channels: int = 3,
        widths: Sequence[int] = (64, 128, 256, 512, 512),
        grid: int = 64,
        states: int = 16,
        hidden: int = 16,
    ) -> None:
        super().__init__()
        if len(widths) < 2 or widths[-1] != widths[-2]:
            raise InputError(f"widths: the last two must be equal, found {tuple(widths)}")
        shared = (grid, states, hidden)
        inputs = [in_channels, *widths[:-1]]
        self.encoder = nn.ModuleList(
            MambaConvolution(source, width, width, *shared)
            for source, width in zip(inputs, widths, strict=True)
        )
        # A decoder scale reads the scale below and the encoder scale of its size, and returns as
        # many channels as the next encoder scale above has.
        sizes = list(reversed(widths[:-1]))
        outputs = [*sizes[1:], widths[0]]
        self.decoder = nn.ModuleList(
            MambaConvolution(2 * size, size, output, *shared)
            for size, output in zip(sizes, outputs, strict=True)
        )
        self.out = nn.Conv2d(widths[0], 1, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Predict gray maps.

        Args:
            x: input channels (B, in_channels, H, W); sides that are no multiples of
                2^(scales - 1) are extended to such ones.

        Returns:
            (B, 1, H, W), not clipped.

        Raises:
            InputError: another number of channels.
        """
        channels, stride = self.config.in_channels, 2 ** (len(self.encoder) - 1)
        if x.ndim != 4 or x.shape[1] != channels:
            raise InputError(f"input: expected (B, {channels}, H, W), found {tuple(x.shape)}")
        size = x.shape[-2:]
        h, skips = pad_to_multiple(x, stride), []
        for level, block in enumerate(self.encoder):
            h = block(functional.max_pool2d(h, 2) if level else h)
            skips.append(h)
        skips.pop()
        for block in self.decoder:
            skip = skips.pop()
            h = block(torch.cat((skip, _resize(h, skip.shape[-2:])), dim=1))
        return crop(self.out(h), size)


def _resize(x: Tensor, size: Sequence[int]) -> Tensor:
    return functional.interpolate(x, size=tuple(size), mode="bilinear", align_corners=True)
