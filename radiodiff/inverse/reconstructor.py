"""RadioDiff-Inverse and its prior for deepinv: a ``Reconstructor`` and a ``Denoiser``.

deepinv (Tachella et al., 2023) keeps maps in gray [0, 1], and its noise levels in gray too: half of
those in model range. Its own samplers take one noise level for a map; the reconstructor keeps the
level of every pixel, which :class:`radiodiff.inverse.samplers.FixedLevel` needs.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
from torch import Tensor

from radiodiff.data.measurements import Measurements
from radiodiff.errors import InputError
from radiodiff.inverse.pipeline import RadioDiffInversePipeline
from radiodiff.units import gray_to_model, model_to_gray

try:
    from deepinv.models import Reconstructor, ScoreModelWrapper
    from deepinv.physics import GaussianNoise, Inpainting, Physics
except ImportError:
    raise InputError("deepinv is not installed (pip install 'radiodiff[deepinv]')") from None


class RadioDiffReconstructor(Reconstructor):
    """Reconstructs maps from masked noisy pixels as every reconstructor of deepinv does.

    Args:
        pipeline: the prior.
        options: of :meth:`RadioDiffInversePipeline.__call__`, such as ``num_inference_steps``,
            ``num_particles``, ``sampler`` and ``refinement``; what is not given is the preset's.
    """

    def __init__(self, pipeline: RadioDiffInversePipeline, **options: Any) -> None:
        super().__init__(pipeline.device)
        self.unet = pipeline.unet  # so that .to() moves it
        self._pipeline = pipeline
        self._options = options

    def forward(self, y: Tensor, physics: Physics, seed: int | None = None) -> Tensor:
        """Return the mean maps behind some measurements.

        Args:
            y: (B, 1, H, W) measured gray, anything where the mask is 0.
            physics: ``Inpainting`` with ``GaussianNoise``, sigma in gray, of the map or of every
                pixel.
            seed: of the samples; None draws one.

        Returns:
            (B, 1, H, W) gray.

        Raises:
            InputError: the physics is another, or the measurements cannot be used with the prior.
        """
        measurements = as_measurements(y, physics)
        generator = None
        if seed is not None:
            generator = torch.Generator(self._pipeline.device).manual_seed(seed)
        output = self._pipeline(measurements, generator=generator, **self._options)
        return model_to_gray(output.mean).to(y)


def as_measurements(y: Tensor, physics: Physics) -> Measurements:
    """Convert measured gray (B, 1, H, W) and its physics to measurements in model range.

    Raises:
        InputError: the physics is not an ``Inpainting`` of single pixels with ``GaussianNoise``.
    """
    noise = physics.noise_model
    if not isinstance(physics, Inpainting) or not isinstance(noise, GaussianNoise):
        raise InputError(
            f"physics: found {type(physics).__name__} with {type(noise).__name__}; allowed is "
            "Inpainting with GaussianNoise"
        )
    if y.ndim != 4 or y.shape[1] != 1:
        raise InputError(f"y has shape {tuple(y.shape)}; allowed is (B, 1, H, W)")
    mask = physics.mask.to(y.device).expand_as(y)
    if not ((mask == 0) | (mask == 1)).all():
        raise InputError("physics.mask holds values between 0 and 1; allowed are 0 and 1")
    sigma = torch.as_tensor(noise.sigma, dtype=torch.float32, device=y.device)
    sigma = sigma.reshape(-1, 1, 1, 1) if sigma.ndim <= 1 else sigma
    values = torch.where(mask == 1, gray_to_model(y.float()), 0.0)
    return Measurements(values, mask == 1, (2.0 * sigma).expand_as(values))


def as_denoiser(pipeline: RadioDiffInversePipeline) -> ScoreModelWrapper:
    """Return the prior as a denoiser that deepinv's own samplers take, on gray in [0, 1]."""
    schedule = pipeline.scheduler
    return ScoreModelWrapper(
        partial(pipeline.unet.eval(), return_dict=False),
        prediction_type=schedule.config.prediction_type,
        scale_t=schedule.alphas_cumprod.sqrt(),
        variance_preserving=True,
        takes_integer_time=True,
        n_timesteps=len(schedule.alphas_cumprod),
    )
