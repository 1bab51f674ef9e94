"""Prompt encoders: from a prompt (B, C, H, W) to a pyramid of features, one per U-Net scale.

``swin_t``, ``swin_s`` and ``swin_b`` are torchvision's Swin Transformers, ``swin_b`` being the
encoder of the paper; ``convolutional`` is a compact one for small machines.
"""

from __future__ import annotations

import itertools
from pathlib import Path

import torchvision
from torch import Tensor, nn

from radiodiff.errors import InputError
from radiodiff.models.layers import ResidualBlock, group_norm
from radiodiff.weights import read_checkpoint


class SwinPyramid(nn.Module):
    """Features of a torchvision Swin Transformer after each of its four stages.

    Args:
        name: ``swin_t``, ``swin_s`` or ``swin_b``.
        prompt_channels: C. Other than 3, a 1 x 1 convolution maps the prompt to 3 channels first.
    """

    stride = 4
    """Prompt pixels per pixel of the first feature; each further scale halves the map."""

    def __init__(self, name: str, prompt_channels: int = 3) -> None:
        super().__init__()
        self.name = name
        self.adapter = nn.Conv2d(prompt_channels, 3, 1) if prompt_channels != 3 else nn.Identity()
        self.backbone = getattr(torchvision.models, name)()
        # The classifier is not used. It stays, frozen, so that torchvision's weights load strictly.
        self.backbone.norm.requires_grad_(False)
        self.backbone.head.requires_grad_(False)
        stages = self.backbone.features[1::2]
        self.channels = tuple(stage[-1].norm2.normalized_shape[0] for stage in stages)

    def load_weights(self, weights: str) -> None:
        """Load ImageNet weights from a local file or by torchvision's name.

        Args:
            weights: path of a state dict of the torchvision model, or a name
                such as ``IMAGENET1K_V1``, which torchvision downloads.

        Raises:
            InputError: neither a file nor a name torchvision knows, or of another model.
        """
        if Path(weights).is_file():
            state_dict = read_checkpoint(weights)
        else:
            state_dict = self._download(weights)
        expected = self.backbone.state_dict()
        differing = [
            key
            for key in sorted(expected.keys() | state_dict.keys())
            if getattr(state_dict.get(key), "shape", None) != getattr(expected.get(key), "shape", 0)
        ]
        if differing:
            raise InputError(
                f"{weights}: not weights of torchvision {self.name}: {len(differing)} tensors are "
                f"missing, unknown or of another shape, the first is {differing[0]}"
            )
        self.backbone.load_state_dict(state_dict)

    def _download(self, weights: str) -> dict[str, Tensor]:
        known = torchvision.models.get_model_weights(self.name)
        entry = known.__members__.get(weights.removeprefix(f"{known.__name__}."))
        if entry is None:
            raise InputError(
                f"{weights}: neither a file nor torchvision weights of {self.name} "
                f"(allowed: {', '.join(known.__members__)})"
            )
        try:
            return entry.get_state_dict()
        except OSError as error:
            raise InputError(
                f"{weights}: cannot be downloaded ({error}); fetch {entry.url} on another machine "
                "and give the path of the file instead"
            ) from None

    def forward(self, prompt: Tensor) -> list[Tensor]:
        """Map (B, C, H, W) in [-1, 1] to four features of strides 4, 8, 16 and 32."""
        x = self.adapter(prompt)
        features = []
        for index, layer in enumerate(self.backbone.features):
            x = layer(x)
            if index % 2:  # 0 is the patch embedding, then stages and mergings alternate
                features.append(x.permute(0, 3, 1, 2))
        return features


class ConvolutionalPyramid(nn.Module):
    """A compact prompt encoder: space to depth, then one residual block per scale.

    Args:
        prompt_channels: C.
        channels: channels of the feature of each scale, multiples of 8.
        stride: prompt pixels per pixel of the first feature; each further scale halves the map.
    """

    def __init__(self, prompt_channels: int, channels: tuple[int, ...], stride: int) -> None:
        super().__init__()
        self.channels = channels
        self.stride = stride
        # Space to depth keeps every prompt pixel, also a transmitter that is a single one.
        self.stem = nn.Sequential(
            nn.PixelUnshuffle(stride),
            nn.Conv2d(prompt_channels * stride**2, channels[0], 3, padding=1),
            group_norm(channels[0]),
            nn.SiLU(),
        )
        self.blocks = nn.ModuleList(ResidualBlock(width, width, None) for width in channels)
        self.downsamplers = nn.ModuleList(
            nn.Conv2d(width, wider, 4, stride=2, padding=1)
            for width, wider in itertools.pairwise(channels)
        )

    def forward(self, prompt: Tensor) -> list[Tensor]:
        """Map (B, C, H, W) in [-1, 1] to one feature per scale."""
        features = [self.blocks[0](self.stem(prompt))]
        for downsample, block in zip(self.downsamplers, self.blocks[1:], strict=True):
            features.append(block(downsample(features[-1])))
        return features
