"""The decoupled diffusion process: data fade to zero while noise grows (RadioDiff, Sec. IV-B).

Symbols are the paper's: z_0 data, z_t the state at time t in [0, 1], eps standard normal noise, f_t
the attenuation with F(t) = integral of f from 0 to t. Two forms of f_t are known:

=========  ===========  ==================  ==========================================
name       f_t          F(t)                coefficients, from z_0 + F(1) = 0
=========  ===========  ==================  ==========================================
constant   C            C t                 (C,) = (-z_0,)
linear     a t + b      a t^2 / 2 + b t     (a, b) = (a, -z_0 - a / 2), a ~ N(0, I)
=========  ===========  ==================  ==========================================

so z_t = z_0 + F(t) + sqrt(t) eps and z_1 = eps whatever the data. The network predicts the
coefficients and eps. ``docs/explanation/decoupled_diffusion.md`` derives the marginals and every
sampler.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

MIN_TIME = 1e-4
"""Networks are trained for t in (MIN_TIME, 1]; no time grid goes below."""


def attenuation_integral(coefficients: Sequence[Tensor], t: Tensor | float) -> Tensor:
    """Return F(t), the integral of f from 0 to t: C t, or a t^2 / 2 + b t.

    Args:
        coefficients: (C,) or (a, b), each (N, ...).
        t: time in [0, 1], a number or shape (N,).
    """
    t = _expand(t, coefficients[0])
    if len(coefficients) == 1:
        return coefficients[0] * t
    a, b = coefficients
    return a * (t * t / 2) + b * t


def attenuation_coefficients(z_0: Tensor, slope: Tensor | None = None) -> tuple[Tensor, ...]:
    """Solve z_0 + F(1) = 0, RadioDiff, eq. (14).

    The result is (C,) = (-z_0,), or (a, b) = (slope, -z_0 - slope / 2).
    """
    return (-z_0,) if slope is None else (slope, -z_0 - slope / 2)


def diffuse(z_0: Tensor, coefficients: Sequence[Tensor], eps: Tensor, t: Tensor | float) -> Tensor:
    """Return z_t = z_0 + F(t) + sqrt(t) eps: RadioDiff, eq. (13), with mean and variance of
    RadioDiff, eq. (15).
    """
    return z_0 + attenuation_integral(coefficients, t) + _expand(t, z_0) ** 0.5 * eps


def estimate_data(
    z_t: Tensor, coefficients: Sequence[Tensor], eps: Tensor, t: Tensor | float
) -> Tensor:
    """Return the estimate of z_0 in a prediction, z_t - F(t) - sqrt(t) eps.

    This is RadioDiff, eq. (13) solved for z_0.
    """
    return z_t - attenuation_integral(coefficients, t) - _expand(t, z_t) ** 0.5 * eps


def bridge_step(
    z_t: Tensor,
    coefficients: Sequence[Tensor],
    eps: Tensor,
    t: float,
    t_next: float,
    noise: Tensor,
) -> Tensor:
    """One reverse step, the Brownian bridge between z_t and the predicted data.

    RadioDiff, eq. (16):
    z_{t-s} = z_t + F(t-s) - F(t) - s / sqrt(t) eps + sqrt(s (t-s) / t) noise, with s = t - t_next.
    """
    s = t - t_next
    drift = attenuation_integral(coefficients, t_next) - attenuation_integral(coefficients, t)
    return z_t + drift - s / math.sqrt(t) * eps + math.sqrt(s * t_next / t) * noise


def flow_step(
    z_t: Tensor,
    estimate: Sequence[Tensor],
    rate: Sequence[Tensor] | None,
    t: float,
    t_next: float,
) -> Tensor:
    """Integrate the probability-flow equation from t to t_next, exactly but for its estimate.

    The flow moves along z = alpha z_0 + beta a + sqrt(t) eps with alpha = 1 - t and beta =
    (t^2 - t) / 2, so d(z / sqrt t) = z_0 d(alpha / sqrt t) + a d(beta / sqrt t). Held constant, the
    estimates give a first-order step, and one linear in t (``rate``) gives a second-order step.

    Args:
        z_t: state, (N, ...).
        estimate: (z_0,) or (z_0, a) predicted at t.
        rate: their derivatives with respect to t, or None where unknown.
        t: time of z_t, in (0, 1].
        t_next: time to reach, in [0, t).
    """
    u, u_next = math.sqrt(t), math.sqrt(t_next)
    # Per estimate: (weight at t, weight at t_next, u_next times its integral over u from t).
    # That integral appears when the linear part is integrated by parts.
    root, root3, root5 = (u_next**k - u**k for k in (1, 3, 5))
    pieces = (
        (1 - t, 1 - t_next, u_next * (2 * root - 2 / 3 * root3)),
        ((t * t - t) / 2, (t_next**2 - t_next) / 2, u_next * (root5 / 5 - root3 / 3)),
    )
    z_next = (u_next / u) * z_t
    for index, value in enumerate(estimate):
        weight, weight_next, integral = pieces[index]
        z_next = z_next + (weight_next - weight * u_next / u) * value
        if rate is not None:
            z_next = z_next + ((t_next - t) * weight_next - integral) * rate[index]
    return z_next


def time_grid(num_steps: int, power: float = 1.0, split_last_step: bool = False) -> list[float]:
    """Return the times from 1 down to 0 that a sampler visits: t_i = (1 - i / n)^power.

    The last time before 0 is raised to ``MIN_TIME`` where the formula falls below it, and the grid
    keeps its shape. ``split_last_step`` inserts ``MIN_TIME`` before 0, one more evaluation.
    """
    last = max(num_steps**-power, MIN_TIME)
    roots = torch.linspace(1.0, last ** (1 / power), num_steps, dtype=torch.float64)
    times = (roots**power).tolist()
    if split_last_step and times[-1] > MIN_TIME:
        times.append(MIN_TIME)
    return [*times, 0.0]


def _expand(t: Tensor | float, like: Tensor) -> Tensor:
    """Shape times (N,) or a number so that they broadcast over ``like`` (N, ...)."""
    t = torch.as_tensor(t, dtype=like.dtype, device=like.device)
    return t.reshape(-1, *[1] * (like.ndim - 1)) if t.ndim else t
