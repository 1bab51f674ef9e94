"""RadioUNet: two convolutional U-Nets in a row (Levie et al., IEEE TWC 2021)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from diffusers import ConfigMixin, ModelMixin
from diffusers.configuration_utils import register_to_config
from torch import Tensor, nn

from radiodiff.errors import InputError
from radiodiff.models.padding import crop, pad_to_multiple

STRIDE = 64
"""Maps are extended to multiples of this: six poolings."""

# Kernel and pooling of the nine encoder scales, from fine to coarse.
_ENCODER = ((3, 1), (5, 2), (5, 2), (5, 1), (5, 2), (3, 1), (5, 2), (5, 2), (5, 2))
# Kernel and upsampling of the eight decoder scales, from coarse to fine.
_DECODER = ((4, 2), (4, 2), (4, 2), (3, 1), (6, 2), (5, 1), (6, 2), (6, 2))


class UNet(nn.Module):
    """One of the two U-Nets: convolutions with ReLU, pooling, transposed convolutions.

    Args:
        in_channels: channels of the input, which the last two layers see again.
        widths: channels of the nine encoder scales.
        head_width: channels before the last layer.

    Raises:
        InputError: not nine widths.
    """

    def __init__(self, in_channels: int, widths: Sequence[int], head_width: int) -> None:
        super().__init__()
        if len(widths) != len(_ENCODER):
            raise InputError(f"widths: expected {len(_ENCODER)} widths, found {len(widths)}")
        inputs = [in_channels, *widths[:-1]]
        self.encoder = nn.ModuleList(
            nn.Sequential(
                nn.Conv2d(source, width, kernel, padding=kernel // 2),
                nn.ReLU(inplace=True),
                nn.MaxPool2d(pool),
            )
            for source, width, (kernel, pool) in zip(inputs, widths, _ENCODER, strict=True)
        )
        # Every scale below the first reads its predecessor and the encoder scale of that size.
        outputs = [*reversed(widths[1:-1]), head_width]
        sources = [widths[-1], *(2 * width for width in outputs[:-1])]
        self.decoder = nn.ModuleList(
            nn.Sequential(_up(source, width, kernel, scale), nn.ReLU(inplace=True))
            for source, width, (kernel, scale) in zip(sources, outputs, _DECODER, strict=True)
        )
        joined = head_width + widths[0] + in_channels
        self.head = nn.Conv2d(joined, head_width, 5, padding=2)
        self.out = nn.Conv2d(head_width + in_channels, 1, 5, padding=2)
        # About the mean of a map. From a bias near 0 the last ReLU starts closed on most pixels of
        # some draws, and a closed pixel has no gradient.
        self.out.bias = nn.Parameter(torch.full((1,), 0.25))

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, in_channels, H, W) of any size to (B, 1, H, W), at least 0."""
        size = x.shape[-2:]
        x = pad_to_multiple(x, STRIDE)
        skips = []
        h = x
        for level in self.encoder:
            h = level(h)
            skips.append(h)
        h = self.decoder[0](skips.pop())
        for level in self.decoder[1:]:
            h = level(torch.cat((h, skips.pop()), dim=1))
        h = self.head(torch.cat((h, skips.pop(), x), dim=1)).relu()
        return crop(self.out(torch.cat((h, x), dim=1)).relu(), size)


def _up(in_channels: int, out_channels: int, kernel: int, scale: int) -> nn.Module:
    if scale == 1:
        return nn.Conv2d(in_channels, out_channels, kernel, padding=kernel // 2)
    padding = (kernel - scale) // 2
    return nn.ConvTranspose2d(in_channels, out_channels, kernel, stride=scale, padding=padding)


class RadioUNet(ModelMixin, ConfigMixin):
    """RadioUNet_C: a first U-Net, and a second that refines its map.

    The authors train the first U-Net alone and then the second on its frozen output; so no
    gradient passes from the second output into the first U-Net. Defaults: the authors' network
    with buildings, transmitter and vehicles as input.

    Args:
        in_channels: channels of the input.
        first_widths: channels of the nine encoder scales of the first U-Net.
        second_widths: the same of the second.
        head_widths: channels before the last layer of either.

    Raises:
        InputError: not nine widths.
    """

    @register_to_config
    def __init__(
        self,
        in_channels: int = 3,
        first_widths: Sequence[int] = (6, 40, 50, 60, 100, 100, 150, 300, 500),
        second_widths: Sequence[int] = (20, 30, 40, 50, 60, 70, 90, 110, 150),
        head_widths: Sequence[int] = (20, 20),
    ) -> None:
        super().__init__()
        self.first = UNet(in_channels, first_widths, head_widths[0])
        self.second = UNet(in_channels + 1, second_widths, head_widths[1])

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Predict gray maps.

        Args:
            x: input channels (B, in_channels, H, W); sides that are no multiples of 64 are
                extended to such ones. The authors' weights expect 0 and 1 for masks.

        Returns:
            The outputs of the first and of the second U-Net, (B, 1, H, W), at least 0.

        Raises:
            InputError: another number of channels.
        """
        channels = self.config.in_channels
        if x.ndim != 4 or x.shape[1] != channels:
            raise InputError(f"input: expected (B, {channels}, H, W), found {tuple(x.shape)}")
        first = self.first(x)
        return first, self.second(torch.cat((first.detach(), x), dim=1))
