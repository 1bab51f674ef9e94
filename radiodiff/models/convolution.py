"""The convolution of the residual blocks: filters of mean 0 and variance 1."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

SMALL_MAP = 16 * 16
"""Pixels of the largest map whose training is faster by :func:`convolve_as_product`."""


class WeightStandardisedConv2d(nn.Conv2d):
    """Convolution whose filters are brought to mean 0 and variance 1 (Qiao et al., 2019)."""

    def standardised_weight(self) -> Tensor:
        """Return the filters the convolution applies; eps is 1e-5, statistics are float32."""
        # layer_norm is this standardisation, fused. Within a filter the order does not matter, so
        # weights in channels-last format are read in the order of memory.
        if self.weight.is_contiguous():
            return F.layer_norm(self.weight, self.weight.shape[1:], eps=1e-5)
        weight = self.weight.permute(0, 2, 3, 1)
        return F.layer_norm(weight, weight.shape[1:], eps=1e-5).permute(0, 3, 1, 2)

    def forward(self, x: Tensor) -> Tensor:
        """Convolve (B, C, H, W)."""
        weight = self.standardised_weight()
        if self._is_faster_as_product(x):
            return convolve_as_product(x, weight, self.bias)
        return self._conv_forward(x, weight, self.bias)

    def _is_faster_as_product(self, x: Tensor) -> bool:
        """Whether this is a training step in bfloat16 on a CPU, on a small channels-last map.

        oneDNN's convolution is slow at the gradient of many filters over few pixels, above all with
        several threads.
        """
        return (
            x.device.type == "cpu"
            and (x.dtype == torch.bfloat16 or torch.is_autocast_enabled("cpu"))
            and torch.is_grad_enabled()
            and not self.weight.is_contiguous()
            and self.kernel_size == (3, 3)
            and self.stride == self.padding == (1, 1)
            and x.shape[-2] * x.shape[-1] <= SMALL_MAP
        )


def convolve_as_product(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """Convolve with 3 x 3 filters, the border padded with zeros, by one matrix product.

    Args:
        x: (B, C, H, W).
        weight: (C', C, 3, 3), in channels-last format for speed.
        bias: (C',) or None.

    Returns:
        (B, C', H, W) in channels-last format.
    """
    height, width = x.shape[-2:]
    padded = F.pad(x.permute(0, 2, 3, 1), (0, 0, 1, 1, 1, 1))
    neighbours = [
        padded[:, row : row + height, column : column + width]
        for row in range(3)
        for column in range(3)
    ]
    filters = weight.permute(0, 2, 3, 1).flatten(1)
    return F.linear(torch.cat(neighbours, dim=-1), filters, bias).permute(0, 3, 1, 2)
