"""One step of the reverse diffusion and of the measurements beside it, as functions on tensors.

A step goes from level t to the cleaner level s; levels are ``alpha_bar`` in (0, 1].
"""

from __future__ import annotations

import torch
from torch import Tensor


def stochastic_share(stochasticity: str | float, abar_t: Tensor, abar_s: Tensor) -> Tensor:
    """Return c, the share of fresh noise in the step from level t to the cleaner level s.

    ``ddpm`` gives the variance of q(x_s | x_t, x_0), c (1 - abar_s) with
    c = (1 - abar_t / abar_s) / (1 - abar_t).
    """
    if stochasticity == "ddpm":
        return (1.0 - abar_t / abar_s) / (1.0 - abar_t)
    return torch.as_tensor(stochasticity, dtype=abar_t.dtype, device=abar_t.device)


def predict_clean(x_t: Tensor, eps: Tensor, abar_t: Tensor, clip: bool) -> Tensor:
    """Tweedie's estimate of the clean map, optionally limited to [-1, 1].

    Its score is RadioDiff-Inverse, eq. (11).
    """
    x_0 = (x_t - (1.0 - abar_t).sqrt() * eps) / abar_t.sqrt()
    return x_0.clamp(-1.0, 1.0) if clip else x_0


def prior_step(
    x_0: Tensor, eps: Tensor, abar_s: Tensor, c: Tensor | float
) -> tuple[Tensor, Tensor]:
    """Mean and variance of the prior's transition to level s: RadioDiff-Inverse, eq. (33).

    Args:
        x_0: estimate of the clean map, any shape.
        eps: predicted noise, same shape.
        abar_s: the level stepped to.
        c: share of fresh noise, see :func:`stochastic_share`.

    Returns:
        The mean, sqrt(abar_s) x_0 + sqrt((1 - c)(1 - abar_s)) eps, and the scalar variance
        c (1 - abar_s).
    """
    variance = c * (1.0 - abar_s)
    return abar_s.sqrt() * x_0 + (1.0 - abar_s - variance).clamp(min=0.0).sqrt() * eps, variance


def conditional_step(
    mean: Tensor, variance: Tensor, y: Tensor, likelihood_variance: Tensor
) -> tuple[Tensor, Tensor]:
    """Mean and variance of the transition given a noisy value of each pixel.

    RadioDiff-Inverse, eq. (34).

    Args:
        mean: prior mean, any shape.
        variance: prior variance, broadcastable.
        y: the value, broadcastable.
        likelihood_variance: its variance, broadcastable; infinite where nothing was observed.
    """
    total = variance + likelihood_variance
    # An infinite variance gives gain 0; a certain prior and a certain value would give 0 / 0.
    gain = torch.where(total > 0, variance / total.where(total > 0, torch.ones_like(total)), 0.0)
    return mean + gain * (y - mean), variance * (1.0 - gain)


def measurement_step(
    y_t: Tensor, y_0: Tensor, abar_t: Tensor, abar_s: Tensor, c: Tensor | float, noise: Tensor
) -> Tensor:
    """Step the measurement sequence from level t to the cleaner level s.

    RadioDiff-Inverse, eq. (29):
    y_s = sqrt(abar_s) y_0 + sqrt((1 - c)(1 - abar_s)/(1 - abar_t)) (y_t - sqrt(abar_t) y_0)
    + sqrt(c (1 - abar_s)) n. Levels relative to tau and y_0 = y_tau give the bridge that ends in
    y_tau.
    """
    keep = ((1.0 - c) * (1.0 - abar_s) / (1.0 - abar_t)).clamp(min=0.0).sqrt()
    fresh = (c * (1.0 - abar_s)).clamp(min=0.0).sqrt()
    return abar_s.sqrt() * y_0 + keep * (y_t - abar_t.sqrt() * y_0) + fresh * noise


def log_likelihood(y: Tensor, mean: Tensor, variance: Tensor, observed: Tensor) -> Tensor:
    """Sum of log N(y; mean, variance) over observed pixels, up to a constant.

    RadioDiff-Inverse, eq. (23).

    Args:
        y: (B, 1 or M, *dims).
        mean: (B, M, *dims).
        variance: the same for all particles, broadcastable, > 0.
        observed: (B, 1, *dims) bool.

    Returns:
        (B, M) float64.
    """
    residual = torch.where(observed, (y - mean).square() / (2.0 * variance), 0.0)
    return -residual.flatten(2).sum(dim=2, dtype=torch.float64)
