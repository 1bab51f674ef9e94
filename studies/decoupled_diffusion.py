"""Prints the variance table of docs/explanation/decoupled_diffusion.md in seconds.

Exact predictors, data N(0, s^2).
"""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor

from radiodiff.diffusion.decoupled import DecoupledScheduler, sample
from radiodiff.diffusion.process import bridge_step, time_grid

STEPS = (1, 2, 5, 10, 20, 50, 200)


def predict(z: Tensor, t: Tensor, variance: float) -> tuple[Tensor, Tensor]:
    """Return E[C | z_t] and E[eps | z_t] of data N(0, variance)."""
    total = (1 - t) ** 2 * variance + t
    return -(1 - t) * variance / total * z, t.sqrt() / total * z


def bridge_ratio(variance: float, steps: int, noise: bool) -> float:
    """Push the variance through RadioDiff, eq. (16): linear in the state and in its noise."""
    zero, one = torch.zeros(1, dtype=torch.float64), torch.ones(1, dtype=torch.float64)
    result = 1.0
    for t, t_next in pairwise(time_grid(steps)):
        c, eps = predict(one, torch.tensor([t], dtype=torch.float64), variance)
        of_state = bridge_step(one, (c,), eps, t, t_next, zero).item()
        of_noise = bridge_step(zero, (zero,), zero, t, t_next, one).item()
        result = of_state**2 * result + noise * of_noise**2
    return result / variance


def flow_ratio(variance: float, steps: int, scheduler: DecoupledScheduler) -> float:
    """Without noise the sampler multiplies its start by a number; the ratio is its square."""
    scheduler.set_timesteps(steps)
    z_0 = sample(lambda z, t: predict(z, t, variance), scheduler, torch.ones(1))
    return z_0.item() ** 2 / variance


def main() -> None:
    """Print one row per sampler and variance."""
    flow = DecoupledScheduler(sampler="probability_flow", grid_power=2.0)
    second_order = DecoupledScheduler(mode="sample")
    print("| sampler | s² | " + " | ".join(map(str, STEPS)) + " |")
    print("|---" * (len(STEPS) + 2) + "|")
    for variance in (0.1, 1.0, 4.0):
        rows = {
            "`bridge_mean`, p = 1 (mode mean)": [bridge_ratio(variance, n, False) for n in STEPS],
            "`released`, p = 1 (mode released)": [bridge_ratio(variance, n, True) for n in STEPS],
            "`probability_flow`, p = 2": [flow_ratio(variance, n, flow) for n in STEPS],
            "`second_order`, p = 2 (mode sample)": [
                flow_ratio(variance, n, second_order) for n in STEPS
            ],
        }
        for name, ratios in rows.items():
            print(f"| {name} | {variance:g} | " + " | ".join(f"{r:.3f}" for r in ratios) + " |")


if __name__ == "__main__":
    main()
