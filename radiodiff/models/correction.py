"""A path-loss model's map, corrected pixel by pixel by what a generator made of the same prompt."""

from __future__ import annotations

import math

import torch
from diffusers import ConfigMixin, ModelMixin
from diffusers.configuration_utils import register_to_config
from torch import Tensor, nn

from radiodiff.errors import InputError
from radiodiff.models.padding import crop, pad_to_multiple

STRIDE = 2
"""Pixels of a side that are folded into channels: the blocks then cost a quarter."""


class PathLossCorrection(ModelMixin, ConfigMixin):
    """Blends a path-loss model's map P with a generated map G, and adds what both miss.

    The output is P + g (G - P) + r. A small convolutional network predicts the gate g in (0, 1) and
    the residual r of every pixel from both maps and the prompt. It begins with one gate everywhere
    and no residual. Blocks look further and further (dilations 1, 2, 4, ...).

    Args:
        prompt_channels: C, channels of the prompt.
        width: channels within, a multiple of 8.
        blocks: residual blocks.
        initial_gate: g before training, in (0, 1).

    Raises:
        InputError: a gate outside (0, 1) or a width that is no multiple of 8.
    """

    @register_to_config
    def __init__(
        self, prompt_channels: int, width: int = 32, blocks: int = 3, initial_gate: float = 0.2
    ) -> None:
        super().__init__()
        if not 0.0 < initial_gate < 1.0:
            raise InputError(f"initial_gate: found {initial_gate}, expected a number in (0, 1)")
        if width < 8 or width % 8:
            raise InputError(f"width: found {width}, allowed are multiples of 8")
        inputs = (prompt_channels + 2) * STRIDE**2
        self.stem = nn.Conv2d(inputs, width, 3, padding=1)
        self.residual_blocks = nn.ModuleList(
            _Block(width, dilation=2**index) for index in range(blocks)
        )
        self.head = nn.Conv2d(width, 2 * STRIDE**2, 3, padding=1)
        nn.init.zeros_(self.head.weight)
        logit = math.log(initial_gate / (1.0 - initial_gate))
        bias = torch.tensor([logit, 0.0]).repeat_interleave(STRIDE**2)
        self.head.bias = nn.Parameter(bias)

    def forward(self, generated: Tensor, path_loss: Tensor, prompt: Tensor) -> Tensor:
        """Return corrected maps (N, 1, H, W) in model range, not clipped.

        Args:
            generated: (N, 1, H, W), model range.
            path_loss: (N, 1, H, W), model range.
            prompt: (N, C, H, W).

        Raises:
            InputError: shapes that do not fit each other.
        """
        expected = (len(generated), self.config.prompt_channels, *generated.shape[2:])
        if prompt.shape != expected or path_loss.shape != generated.shape:
            raise InputError(
                f"correction: prompt {tuple(prompt.shape)} and path-loss maps "
                f"{tuple(path_loss.shape)} do not fit maps {tuple(generated.shape)}"
            )
        difference = generated - path_loss
        images = torch.cat([prompt, path_loss, difference], dim=1)
        images = pad_to_multiple(images, STRIDE)
        x = self.stem(nn.functional.pixel_unshuffle(images.to(self.stem.weight.dtype), STRIDE))
        for block in self.residual_blocks:
            x = block(x)
        gate, residual = (
            crop(
                nn.functional.pixel_shuffle(self.head(nn.functional.silu(x)), STRIDE),
                difference.shape[-2:],
            )
            .to(difference.dtype)
            .chunk(2, dim=1)
        )
        return path_loss + gate.sigmoid() * difference + residual


class _Block(nn.Module):
    """A residual block of two convolutions without a norm, which would see the map as a whole."""

    def __init__(self, width: int, dilation: int) -> None:
        super().__init__()
        self.spread = nn.Conv2d(width, width, 3, padding=dilation, dilation=dilation)
        self.mix = nn.Conv2d(width, width, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Return (N, width, h, w) of (N, width, h, w)."""
        y = self.spread(nn.functional.silu(x))
        mixed: Tensor = self.mix(nn.functional.silu(y))
        return x + mixed
