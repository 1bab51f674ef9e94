"""Scheduler of the decoupled diffusion: training targets, losses and samplers.

The mathematics are plain functions in :mod:`radiodiff.diffusion.process` and
:mod:`radiodiff.diffusion.losses`; nothing here knows what the data are.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import get_args

import torch
from diffusers import ConfigMixin, SchedulerMixin
from diffusers.configuration_utils import register_to_config
from diffusers.utils import BaseOutput
from diffusers.utils.torch_utils import randn_tensor
from torch import Tensor

from radiodiff.diffusion.losses import paper_loss, released_loss
from radiodiff.diffusion.process import (
    MIN_TIME,
    attenuation_coefficients,
    bridge_step,
    diffuse,
    estimate_data,
    flow_step,
    time_grid,
)
from radiodiff.diffusion.settings import Attenuation, Loss, Mode, Sampler
from radiodiff.errors import InputError

Generators = torch.Generator | list[torch.Generator] | None

_MODE_SAMPLER: dict[str, Sampler] = {
    "released": "released",
    "mean": "bridge_mean",
    "sample": "second_order",
}
_MODE_GRID_POWER = {"released": 1.0, "mean": 1.0, "sample": 2.0}


@dataclass
class DecoupledSchedulerOutput(BaseOutput):
    """What one reverse step returns.

    Attributes:
        prev_sample: the state at the next, smaller time, (N, ...).
        pred_original_sample: the estimate of z_0 made on the way, (N, ...).
    """

    prev_sample: Tensor
    pred_original_sample: Tensor


class DecoupledScheduler(SchedulerMixin, ConfigMixin):
    """Forward process, training targets and samplers of the decoupled diffusion.

    The constructor's arguments are the fields of :class:`DecoupledSettings`.

    Raises:
        InputError: an argument has a value that does not exist.
    """

    order = 1
    init_noise_sigma = 1.0

    @register_to_config
    def __init__(
        self,
        attenuation: Attenuation = "constant",
        loss: Loss = "released",
        mode: Mode = "released",
        sampler: Sampler | None = None,
        grid_power: float | None = None,
        time_shift: float = 1.0,
        split_last_step: bool = False,
    ) -> None:
        _check_choice("attenuation", attenuation, get_args(Attenuation))
        _check_choice("loss", loss, get_args(Loss))
        _check_choice("mode", mode, get_args(Mode))
        self.sampler = _MODE_SAMPLER[mode] if sampler is None else sampler
        _check_choice("sampler", self.sampler, get_args(Sampler))
        self.grid_power = _MODE_GRID_POWER[mode] if grid_power is None else grid_power
        if not self.grid_power > 0:
            raise InputError(f"grid_power: found {grid_power}, it must be positive")
        if not time_shift > 0:
            raise InputError(f"time_shift: found {time_shift}, it must be positive")
        self.set_timesteps(5)

    # Training ------------------------------------------------------------------------------------

    def sample_training_times(
        self, n: int, generator: torch.Generator | None = None, device: torch.device | None = None
    ) -> Tensor:
        """Draw n times from (1e-4, 1], float32, shape (n,): uniform ones, moved by ``time_shift``.

        They are drawn on the generator's own device, so that one seed gives one result anywhere.
        """
        source = device if generator is None else generator.device
        # rand lies in [0, 1), so its complement lies in (0, 1].
        t = 1.0 - (1.0 - MIN_TIME) * torch.rand(n, generator=generator, device=source).to(device)
        shift = self.config.time_shift
        return (shift * t / (1.0 + (shift - 1.0) * t)).clamp(MIN_TIME, 1.0)

    def add_noise(
        self, z_0: Tensor, noise: Tensor, t: Tensor, coefficients: Sequence[Tensor] | None = None
    ) -> Tensor:
        """Return z_t: RadioDiff, eq. (13).

        Args:
            z_0: data, (N, ...).
            noise: eps, like ``z_0``.
            t: times in [0, 1], shape (N,).
            coefficients: (C,) or (a, b) of ``attenuation_coefficients``; constant needs none.

        Raises:
            InputError: linear attenuation without its coefficients.
        """
        if coefficients is None:
            if self.config.attenuation == "linear":
                raise InputError("linear attenuation: pass the coefficients (a, b) to add_noise")
            coefficients = attenuation_coefficients(z_0)
        return diffuse(z_0, coefficients, noise, t)

    def loss(self, prediction: Sequence[Tensor], target: Sequence[Tensor], t: Tensor) -> Tensor:
        """Return the training loss of a batch, a scalar; see :mod:`radiodiff.diffusion.losses`."""
        self._check_heads(prediction)
        if self.config.loss == "paper":
            return paper_loss(prediction, target).mean()
        return released_loss(prediction, target, t).mean()

    # Sampling ------------------------------------------------------------------------------------

    def set_timesteps(
        self,
        num_inference_steps: int | None = None,
        device: torch.device | str | None = None,
        timesteps: Sequence[float] | None = None,
    ) -> None:
        """Choose the times at which the network is evaluated; ``self.timesteps`` holds them.

        Args:
            num_inference_steps: number of steps, at least 1.
            device: where ``self.timesteps`` lives.
            timesteps: the times themselves instead, decreasing, in (0, 1].

        Raises:
            InputError: no step, or times that do not decrease within (0, 1].
        """
        if (num_inference_steps is None) == (timesteps is None):
            raise InputError("set_timesteps: give either num_inference_steps or timesteps")
        if timesteps is not None:
            times = [float(t) for t in timesteps]
            bounds = [1.0 + MIN_TIME, *times, 0.0]
            if not times or any(a <= b for a, b in pairwise(bounds)):
                raise InputError(f"timesteps: found {times}, they must decrease within (0, 1]")
            self._times = [*times, 0.0]
        elif num_inference_steps is not None:
            if num_inference_steps < 1:
                raise InputError(f"num_inference_steps: found {num_inference_steps}, at least 1")
            self._times = time_grid(
                num_inference_steps, self.grid_power, self.config.split_last_step
            )
        self.timesteps = torch.tensor(self._times[:-1], dtype=torch.float32, device=device)
        self.num_inference_steps = len(self._times) - 1
        self._step_index = 0
        self._previous: tuple[float, tuple[Tensor, ...]] | None = None

    def step(
        self,
        model_output: Sequence[Tensor],
        timestep: Tensor | float,
        sample: Tensor,
        generator: Generators = None,
        return_dict: bool = True,
    ) -> DecoupledSchedulerOutput | tuple[Tensor, Tensor]:
        """Move the state from one time of the grid to the next, in float32.

        Args:
            model_output: (C, eps) or (a, b, eps) of the network at ``timestep``.
            timestep: the next entry of ``self.timesteps``.
            sample: z_t, (N, ...).
            generator: for the noise of the released sampler; a list gives one to each sample.
            return_dict: False returns the plain tuple.

        Raises:
            InputError: wrong number of heads, or ``timestep`` out of turn.
        """
        self._check_heads(model_output)
        t, t_next = self._next_times(float(timestep))
        z_t = sample.float()
        *coefficients, eps = (head.float() for head in model_output)

        # 1. Estimate the data, then make the coefficients agree with it: RadioDiff, eq. (14).
        z_0 = estimate_data(z_t, coefficients, eps, t)
        slope = coefficients[0] if len(coefficients) == 2 else None
        coefficients = list(attenuation_coefficients(z_0, slope))

        # 2. Move from t to t_next.
        if self.sampler in ("released", "bridge_mean"):
            noise = torch.zeros_like(z_t)
            if self.sampler == "released" and t_next > 0:
                noise = randn_tensor(z_t.shape, generator, z_t.device, z_t.dtype)
            z_next = bridge_step(z_t, coefficients, eps, t, t_next, noise)
        else:
            estimate = (z_0,) if slope is None else (z_0, slope)
            z_next = flow_step(z_t, estimate, self._rate(t, estimate), t, t_next)
        self._step_index += 1
        if not return_dict:
            return z_next, z_0
        return DecoupledSchedulerOutput(prev_sample=z_next, pred_original_sample=z_0)

    def _rate(self, t: float, estimate: tuple[Tensor, ...]) -> tuple[Tensor, ...] | None:
        """Return the estimate's change per unit of t since the last step (Adams-Bashforth)."""
        if self.sampler == "probability_flow":
            return None
        previous, self._previous = self._previous, (t, estimate)
        if previous is None:
            return None
        t_before, before = previous
        return tuple((now - b) / (t - t_before) for now, b in zip(estimate, before, strict=True))

    def _next_times(self, timestep: float) -> tuple[float, float]:
        if self._step_index >= self.num_inference_steps:
            raise InputError("step: all steps are done, call set_timesteps before sampling again")
        t, t_next = self._times[self._step_index : self._step_index + 2]
        if not math.isclose(t, timestep, rel_tol=1e-5):
            raise InputError(f"step: timestep {timestep:g} found, {t:g} is next on the grid")
        return t, t_next

    def _check_heads(self, prediction: Sequence[Tensor]) -> None:
        heads = {"constant": "(C, eps)", "linear": "(a, b, eps)"}[self.config.attenuation]
        if len(prediction) != heads.count(",") + 1:
            raise InputError(
                f"{self.config.attenuation} attenuation needs the prediction {heads}, "
                f"found {len(prediction)} tensors"
            )


def sample(
    predict: Callable[[Tensor, Tensor], Sequence[Tensor]],
    scheduler: DecoupledScheduler,
    noise: Tensor,
    generator: Generators = None,
) -> Tensor:
    """Run the reverse process from z_1 = ``noise`` over the grid last set; returns z_0.

    Args:
        predict: the network, (z_t, t of shape (N,)) -> (C, eps) or (a, b, eps).
        scheduler: a scheduler whose ``set_timesteps`` was called.
        noise: standard normal, (N, ...), float32.
        generator: see :meth:`DecoupledScheduler.step`.
    """
    z_t = noise
    for t in scheduler.timesteps:
        prediction = predict(z_t, t.to(z_t.device).expand(len(z_t)))
        z_t = scheduler.step(prediction, t, z_t, generator, return_dict=False)[0]
    return z_t


def _check_choice(name: str, found: str, allowed: Sequence[str]) -> None:
    if found not in allowed:
        raise InputError(f"{name}: found {found!r}, allowed: {', '.join(allowed)}")
