"""LPIPS, a perceptual distance from deep features, version 0.1 on VGG16.

Zhang et al., "The unreasonable effectiveness of deep features as a perceptual metric", CVPR 2018.
"""

from __future__ import annotations

import pickle
from pathlib import Path

import torch
from torch import Tensor, nn
from torchvision.models import vgg16

from radiodiff.errors import InputError

VGG_FILE = "vgg16-397923af.pth"
"""torchvision's ImageNet weights: https://download.pytorch.org/models/vgg16-397923af.pth"""
HEADS_FILE = "lpips_vgg.pth"
"""LPIPS's own weights, lpips/weights/v0.1/vgg.pth in github.com/richzhang/PerceptualSimilarity
and in the wheel of the PyPI package ``lpips``."""

# Ends of the five VGG16 feature slices (relu1_2, relu2_2, relu3_3, relu4_3, relu5_3).
_SLICE_ENDS = (4, 9, 16, 23, 30)
_SLICE_CHANNELS = (64, 128, 256, 512, 512)


class LPIPS(nn.Module):
    """Perceptual distance between images in [-1, 1]; frozen, and always in evaluation mode.

    The module is built without weights; :func:`load_lpips` fills it.
    """

    shift: Tensor
    scale: Tensor

    def __init__(self) -> None:
        super().__init__()
        # Built without memory first: VGG16's classifier, not needed here, has 124 M parameters.
        with torch.device("meta"):
            features = vgg16(weights=None).features[: _SLICE_ENDS[-1]]
        self.features = features.to_empty(device="cpu")
        for layer in self.features:
            if isinstance(layer, nn.ReLU):
                layer.inplace = False
        self.heads = nn.ParameterList(torch.empty(channels) for channels in _SLICE_CHANNELS)
        # Mean and standard deviation of ImageNet colours, in [-1, 1].
        self.register_buffer("shift", torch.tensor([-0.030, -0.088, -0.188]).view(1, 3, 1, 1))
        self.register_buffer("scale", torch.tensor([0.458, 0.448, 0.450]).view(1, 3, 1, 1))
        self.requires_grad_(False)

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        """Return the distance of each pair, shape (N,).

        Args:
            x: images (N, 1 or 3, H, W) in [-1, 1], at least 16 pixels wide and high.
            y: the images to compare with, of the same shape.
        """
        distance = x.new_zeros(len(x))
        x, y = (x - self.shift) / self.scale, (y - self.shift) / self.scale
        start = 0
        for end, head in zip(_SLICE_ENDS, self.heads, strict=True):
            x, y = self.features[start:end](x), self.features[start:end](y)
            difference = (_unit_length(x) - _unit_length(y)).square()
            distance = distance + torch.einsum("c,nchw->nhw", head, difference).mean(dim=(1, 2))
            start = end
        return distance


def load_lpips(directory: str | Path) -> LPIPS:
    """Load LPIPS from the two weight files in ``directory``.

    Raises:
        InputError: a file is missing or holds something else; the message says where to get it.
    """
    directory = Path(directory)
    vgg = _load(directory / VGG_FILE, "https://download.pytorch.org/models/" + VGG_FILE)
    heads = _load(
        directory / HEADS_FILE,
        "lpips/weights/v0.1/vgg.pth of github.com/richzhang/PerceptualSimilarity",
    )
    model = LPIPS()
    try:
        model.features.load_state_dict(
            {
                key.removeprefix("features."): value
                for key, value in vgg.items()
                if key.startswith("features.")
            }
        )
        with torch.no_grad():
            for index, head in enumerate(model.heads):
                head.copy_(heads[f"lin{index}.model.1.weight"].flatten())
    except (KeyError, RuntimeError):
        raise InputError(
            f"{directory}: {VGG_FILE} or {HEADS_FILE} holds other weights than VGG16 and LPIPS v0.1"
        ) from None
    return model


def _load(path: Path, source: str) -> dict[str, Tensor]:
    if not path.is_file():
        raise InputError(
            f"{path}: LPIPS needs this file, get it from {source}; or set perceptual: none"
        )
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, EOFError, RuntimeError):
        raise InputError(f"{path}: not a PyTorch weight file, get it from {source}") from None


def _unit_length(x: Tensor) -> Tensor:
    return x / (x.square().sum(dim=1, keepdim=True).sqrt() + 1e-10)
