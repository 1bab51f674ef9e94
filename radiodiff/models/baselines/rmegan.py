"""RME-GAN: a conditional GAN for radio maps (Zhang, Wijesinghe & Ding, IEEE IoT-J 10(20), 2023).

The generator is the first U-Net of RadioUNet. Its training has two phases: the first adds the
direction in which power falls in free propagation to the objective, the second structure and the
samples. Names and weights of the losses are those of the authors' code
(github.com/achinthaw/RME-GAN); ``docs/explanation/baselines.md`` says what was left out and why.

Maps are gray (B, 1, H, W). The losses work on gray levels, 256 times gray, as the authors' do, so
that their weights apply.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from diffusers import ConfigMixin, ModelMixin
from diffusers.configuration_utils import register_to_config
from torch import Tensor, nn
from torch.nn import functional

from radiodiff.errors import InputError
from radiodiff.models.baselines.radiounet import UNet
from radiodiff.models.baselines.settings import GeneratorWeights

LEVELS = 256.0
"""Levels per unit of gray in the authors' loader."""
FLAT = 1e-3
"""Change of gray between neighbours below which a map is flat and has no direction."""
SSIM_SIGMAS = (0.5, 1.0, 2.0, 4.0, 8.0)
SSIM_C1, SSIM_C2 = 0.01**2, 0.03**2

# Derivative filters in four directions: the Sobel operators and their diagonals.
_DIRECTIONS = torch.tensor(
    [
        [[1.0, 0.0, -1.0], [2.0, 0.0, -2.0], [1.0, 0.0, -1.0]],
        [[1.0, 2.0, 1.0], [0.0, 0.0, 0.0], [-1.0, -2.0, -1.0]],
        [[-2.0, -1.0, 0.0], [-1.0, 0.0, 1.0], [0.0, 1.0, 2.0]],
        [[0.0, 1.0, 2.0], [-1.0, 0.0, 1.0], [-2.0, -1.0, 0.0]],
    ]
)[:, None]


class RMEGANGenerator(ModelMixin, ConfigMixin):
    """The generator: one U-Net of RadioUNet, without a noise input.

    Args:
        in_channels: channels of the input.
        widths: channels of its nine encoder scales.
        head_width: channels before the last layer.

    Raises:
        InputError: not nine widths.
    """

    @register_to_config
    def __init__(
        self,
        in_channels: int = 3,
        widths: Sequence[int] = (6, 40, 50, 60, 100, 100, 150, 300, 500),
        head_width: int = 20,
    ) -> None:
        super().__init__()
        self.unet = UNet(in_channels, widths, head_width)

    def forward(self, x: Tensor) -> Tensor:
        """Predict gray maps.

        Args:
            x: input channels (B, in_channels, H, W) of any size.

        Returns:
            (B, 1, H, W), at least 0.

        Raises:
            InputError: another number of channels.
        """
        channels = self.config.in_channels
        if x.ndim != 4 or x.shape[1] != channels:
            raise InputError(f"input: expected (B, {channels}, H, W), found {tuple(x.shape)}")
        return self.unet(x)


class Discriminator(nn.Module):
    """Tells true from generated maps of a scene: a DCGAN of four halvings, one logit per patch.

    Args:
        in_channels: channels of the generator's input, which it sees beside the map.
        width: channels of the first layer; they double with every halving.
    """

    def __init__(self, in_channels: int, width: int = 64) -> None:
        super().__init__()
        layers: list[nn.Module] = [
            nn.Conv2d(1 + in_channels, width, 4, 2, 1, bias=False),
            nn.LeakyReLU(0.2),
        ]
        for _ in range(3):
            layers += [
                nn.Conv2d(width, 2 * width, 4, 2, 1, bias=False),
                nn.BatchNorm2d(2 * width),
                nn.LeakyReLU(0.2),
            ]
            width *= 2
        layers.append(nn.Conv2d(width, 1, 4, bias=False))
        self.layers = nn.Sequential(*layers)

    def forward(self, gray: Tensor, x: Tensor) -> Tensor:
        """Judge maps (B, 1, H, W) of the scenes x (B, in_channels, H, W): (B, 1, h, w) logits."""
        return self.layers(torch.cat((gray, x), dim=1))


def adversarial_loss(logits: Tensor, real: bool) -> Tensor:
    """Return the binary cross entropy of logits that should say ``real``."""
    return functional.binary_cross_entropy_with_logits(logits, torch.full_like(logits, float(real)))


def generator_loss(
    gray: Tensor,
    truth: Tensor,
    logits: Tensor,
    weights: GeneratorWeights,
    samples: tuple[Tensor, Tensor] | None,
) -> tuple[Tensor, dict[str, Tensor]]:
    """Return the generator's loss and those of its parts that have a weight, unweighted.

    Args:
        gray: generated maps.
        truth: true maps.
        logits: the discriminator's verdict on the generated ones.
        weights: of the phase.
        samples: measured gray values and the bool mask of where, (B, 1, H, W) each; or None.
    """
    with torch.autocast(gray.device.type, enabled=False):
        gray, truth, logits = gray.float(), truth.float(), logits.float()
        error = LEVELS * (gray - truth)
        terms: dict[str, Callable[[], Tensor]] = {
            "adversarial": lambda: adversarial_loss(logits, real=True),
            "squared": lambda: error.square().mean(),
            "absolute": lambda: error.abs().mean(),
            "structure": lambda: 1.0 - ms_ssim(gray, truth).mean(),
            "direction": lambda: direction_loss(gray, free_propagation(truth)),
            "variation": lambda: LEVELS * total_variation(gray).mean(),
        }
        if samples is not None:
            values, mask = samples
            terms["samples"] = lambda: LEVELS * (gray - values)[mask].abs().mean()
        used = {name: getattr(weights, name) for name in terms if getattr(weights, name) > 0}
        parts = {name: terms[name]() for name in used}
        loss = torch.stack([used[name] * part for name, part in parts.items()]).sum()
    return loss, {name: part.detach() for name, part in parts.items()}


def free_propagation(truth: Tensor) -> Tensor:
    """Return the shape of log-distance path loss, -log10 of the pixels to the transmitter.

    The authors fit slope and offset to the samples; the direction in which it falls depends on
    neither. The transmitter is where the true map is brightest.

    Args:
        truth: (B, 1, H, W) true maps.

    Returns:
        (B, 1, H, W).
    """
    height, width = truth.shape[-2:]
    brightest = (truth == truth.amax(dim=(-2, -1), keepdim=True)).to(truth.dtype)
    count = brightest.sum(dim=(-2, -1), keepdim=True)
    rows = torch.arange(height, device=truth.device, dtype=truth.dtype)[:, None]
    columns = torch.arange(width, device=truth.device, dtype=truth.dtype)[None]
    row, column = (
        (brightest * axis).sum(dim=(-2, -1), keepdim=True) / count for axis in (rows, columns)
    )
    return -torch.hypot(rows - row, columns - column).clamp(min=1.0).log10()


def direction_loss(gray: Tensor, template: Tensor) -> Tensor:
    """Return 1 - the mean cosine between the gradients of maps and of a template.

    Where a map is flat the cosine fades to 0. Pixels at the edge have no gradient and do not count.
    """
    filters = _DIRECTIONS.to(gray)
    of_map, of_template = (functional.conv2d(x, filters) for x in (gray, template))
    length = (of_map.square().sum(dim=1) + FLAT**2).sqrt()
    along = (of_map * functional.normalize(of_template, dim=1)).sum(dim=1)
    return 1.0 - (along / length).mean()


def total_variation(gray: Tensor) -> Tensor:
    """Return the absolute differences of neighbours summed over each map, (B,)."""
    down, across = (gray.diff(dim=axis).abs().flatten(1).sum(dim=1) for axis in (-2, -1))
    return down + across


def ms_ssim(gray: Tensor, truth: Tensor) -> Tensor:
    """Return the multi-scale structural similarity around every pixel (Zhao et al., 2017, eq. (7)).

    Scales are Gaussian windows of growing width instead of smaller images; the luminance is taken
    at the widest one.

    Args:
        gray: (B, 1, H, W).
        truth: the same shape.

    Returns:
        (B, H, W), at most 1.
    """
    x, y = gray, truth
    moments = torch.stack((x, y, x * x, y * y, x * y))
    blurred = _gaussians(moments.flatten(0, 1)).unflatten(0, (5, -1))  # (5, B, scales, H, W)
    mu_x, mu_y, xx, yy, xy = blurred
    contrast = (2 * (xy - mu_x * mu_y) + SSIM_C2) / (xx - mu_x**2 + yy - mu_y**2 + SSIM_C2)
    luminance = (2 * mu_x * mu_y + SSIM_C1) / (mu_x**2 + mu_y**2 + SSIM_C1)
    return luminance[:, -1] * contrast.prod(dim=1)


def _gaussians(images: Tensor) -> Tensor:
    """Blur images (B, 1, H, W) with every window: (B, scales, H, W), zeros beyond the edge."""
    sigmas = torch.tensor(SSIM_SIGMAS, device=images.device)[:, None]
    reach = int(2 * SSIM_SIGMAS[-1])
    offsets = torch.arange(-reach, reach + 1, device=images.device)
    window = torch.softmax(-(offsets**2) / (2 * sigmas**2), dim=1).to(images)
    window = window[:, None]  # (scales, 1, taps)
    across = functional.conv2d(images, window[:, :, None], padding=(0, reach))
    down = window[:, :, :, None]
    return functional.conv2d(across, down, padding=(reach, 0), groups=len(SSIM_SIGMAS))
