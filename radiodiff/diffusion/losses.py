"""Training losses of the decoupled diffusion, one value per sample: as printed and as released.

``prediction`` and ``target`` are tuples ``(C, eps)`` or, for linear attenuation, ``(a, b, eps)``:
the coefficients of f_t first, the noise last, all of shape (N, ...).
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


def paper_loss(prediction: Sequence[Tensor], target: Sequence[Tensor]) -> Tensor:
    """RadioDiff, eq. (20): ||eps - eps_hat||^2 + ||f - f_hat||^2, each norm a mean over elements.

    Returns:
        Loss of each sample, shape (N,).
    """
    return _sum_over_heads([_mean_square(p, y) for p, y in zip(prediction, target, strict=True)])


def released_loss(prediction: Sequence[Tensor], target: Sequence[Tensor], t: Tensor) -> Tensor:
    """Loss of the released code: L1 beside L2, and weights that grow where each head matters.

    1/2 [2 exp(1 - t) (L2 + L1 of C) + exp(sqrt t) (L2 + L1 of eps)], means over elements. With
    linear attenuation, which the release does not train, a and b both take the weight of C.

    Args:
        prediction: (C, eps) or (a, b, eps) of the network.
        target: the true ones.
        t: times in (0, 1], shape (N,).

    Returns:
        Loss of each sample, shape (N,).
    """
    coefficient_weight = 2.0 * torch.exp(1.0 - t)
    noise_weight = torch.exp(torch.sqrt(t))
    errors = [
        _mean_square(p, y) + _mean_absolute(p, y) for p, y in zip(prediction, target, strict=True)
    ]
    *coefficient_errors, noise_error = errors
    return 0.5 * (
        coefficient_weight * _sum_over_heads(coefficient_errors) + noise_weight * noise_error
    )


def _sum_over_heads(losses: Sequence[Tensor]) -> Tensor:
    return torch.stack(list(losses)).sum(dim=0)


def _mean_square(prediction: Tensor, target: Tensor) -> Tensor:
    return (prediction - target).square().flatten(1).mean(dim=1)


def _mean_absolute(prediction: Tensor, target: Tensor) -> Tensor:
    return (prediction - target).abs().flatten(1).mean(dim=1)
