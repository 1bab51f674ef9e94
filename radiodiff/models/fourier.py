"""The adaptive FFT filter of the bottleneck: RadioDiff, eq. (22)."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from radiodiff.models.layers import group_norm


def fourier_filter(z: Tensor, transfer: Tensor) -> Tensor:
    """Multiply the spectrum of a map by a transfer function: F^-1(w . F(z)).

    RadioDiff, eq. (22) without the residual; the spectrum is RadioDiff, eq. (23). Computed in
    float32 or better.

    Args:
        z: real maps, (..., C, H, W).
        transfer: complex w on the half spectrum of ``torch.fft.rfft2``, (C, H, W // 2 + 1).

    Returns:
        The filtered maps, in the dtype of ``z``.
    """
    spectrum = torch.fft.rfft2(z.to(torch.promote_types(z.dtype, torch.float32)), norm="ortho")
    filtered = torch.fft.irfft2(spectrum * transfer, s=z.shape[-2:], norm="ortho")
    return filtered.to(z.dtype)


def resample_transfer(transfer: Tensor, size: tuple[int, int], new_size: tuple[int, int]) -> Tensor:
    """Resize a transfer function in the frequency domain to maps of another size.

    The H x W samples of w determine a convolution kernel of that support, and so its response at
    every frequency in cycles per pixel. The result samples this response at the frequencies of the
    new size (trigonometric interpolation), so that the filter does to a larger or smaller map what
    it does to the one it was learned on: a gain stays that gain, a shift by n pixels that shift.

    Args:
        transfer: complex, (C, H, W // 2 + 1), the half spectrum of ``torch.fft.rfft2``.
        size: (H, W).
        new_size: (H', W').

    Returns:
        Complex (C, H', W' // 2 + 1).
    """
    if size == new_size:
        return transfer
    kernel = torch.fft.irfft2(transfer, s=size)
    rows = _fourier_matrix(size[0], new_size[0], transfer)
    columns = _fourier_matrix(size[1], new_size[1], transfer)[: new_size[1] // 2 + 1]
    return rows @ kernel.to(transfer.dtype) @ columns.T


def _fourier_matrix(length: int, new_length: int, like: Tensor) -> Tensor:
    """Return (new_length, length): samples 0, 1, .., -1 of a kernel to its spectrum at k / L'."""
    real = like.real.dtype
    offset = torch.fft.fftfreq(length, 1 / length, dtype=real, device=like.device)
    frequency = torch.arange(new_length, dtype=real, device=like.device) / new_length
    phase = -2 * math.pi * frequency[:, None] * offset
    matrix = torch.complex(phase.cos(), phase.sin())
    if length % 2 == 0:  # the outermost sample belongs half to either side
        matrix[:, length // 2] = phase[:, length // 2].cos().to(matrix.dtype)
    return matrix


class AdaptiveFourierFilter(nn.Module):
    """The adaptive FFT filter of a decoder: z + F^-1(w . F(y)): RadioDiff, eq. (22).

    In the paper y = z; in the released network, and here, y is z after a group normalisation and
    a 3 x 3 convolution.

    Args:
        channels: C, a multiple of 8 (or of 4 up to 28).
        size: (H, W) of the map on which w is stored. On a map of another size w is resized in the
            frequency domain (:func:`resample_transfer`).
    """

    def __init__(self, channels: int, size: tuple[int, int]) -> None:
        super().__init__()
        self.size = (size[0], size[1])
        self.norm = group_norm(channels)
        self.conv = nn.Conv2d(channels, channels, 3, padding=1)
        self.weight = nn.Parameter(0.02 * torch.randn(channels, size[0], size[1] // 2 + 1, 2))
        """Real and imaginary part of w on the half spectrum, (C, H, W // 2 + 1, 2)."""

    def transfer(self, size: tuple[int, int]) -> Tensor:
        """Return w for maps of ``size``, complex (C, H, W // 2 + 1)."""
        weight = self.weight.to(torch.promote_types(self.weight.dtype, torch.float32))
        # A model in channels-last format has this four-dimensional parameter permuted as well.
        return resample_transfer(torch.view_as_complex(weight.contiguous()), self.size, size)

    def forward(self, z: Tensor) -> Tensor:
        """Map (B, C, H, W) to the same shape."""
        y = self.conv(self.norm(z))
        return z + fourier_filter(y, self.transfer((z.shape[-2], z.shape[-1])))


@torch.no_grad()
def resized_filters(source: nn.Module, target: nn.Module) -> dict[str, Tensor]:
    """Return the Fourier filters of one network, resized to the maps of another, by their names."""
    sizes = {
        name: module.size
        for name, module in target.named_modules()
        if isinstance(module, AdaptiveFourierFilter)
    }
    return {
        f"{name}.weight": torch.view_as_real(module.transfer(sizes[name])).contiguous()
        for name, module in source.named_modules()
        if isinstance(module, AdaptiveFourierFilter) and name in sizes
    }
