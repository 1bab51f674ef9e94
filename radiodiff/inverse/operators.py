"""Linear operators of measurements, and how they correct an estimate of the clean map.

An estimate with error N(0, r^2 I) and measurements y = A x_0 + n, n ~ N(0, R), combine to
x_0 + r^2 A^T (r^2 A A^T + R)^-1 (y - A x_0), the mean of a Gaussian posterior.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import scipy.sparse
import torch
from scipy.sparse.linalg import cg
from torch import Tensor

from radiodiff.data.points import PointMeasurements

SOLVER_TOLERANCE = 1e-6
"""Relative residual at which the conjugate gradients stop."""


@dataclass(frozen=True)
class PixelOperator:
    """Values of pixels: A picks them, A A^T = I, and the correction is one of each pixel alone."""

    y: Tensor
    """(B, *dims) measured values."""
    observed: Tensor
    """(B, *dims) bool."""
    noise_std: Tensor
    """(B, *dims) sigma of every value."""

    def correct(self, x_0: Tensor, variance: Tensor) -> Tensor:
        """Return the corrected estimate.

        Args:
            x_0: (B, M, *dims) estimate.
            variance: () r^2 > 0.
        """
        gain = (variance / (variance + self.noise_std.double().square())).to(x_0.dtype)
        gain = torch.where(self.observed, gain, 0.0)[:, None]
        return x_0 + gain * (self.y[:, None] - x_0)


@dataclass(frozen=True)
class PointOperator:
    """Measurements between the pixels of B maps."""

    points: Sequence[PointMeasurements]
    pixels: PixelOperator
    """What is known of the pixels themselves besides."""

    def correct(self, x_0: Tensor, variance: Tensor) -> Tensor:
        """Return the corrected estimate of (B, M, 1, H, W); see :class:`PixelOperator`."""
        maps = x_0.double().cpu().numpy()
        corrected = np.stack(
            [
                np.stack([correct_by_points(p[0], float(variance), own) for p in particles])
                for own, particles in zip(self.points, maps, strict=True)
            ]
        )
        return self.pixels.correct(torch.from_numpy(corrected[:, :, None]).to(x_0), variance)


def correct_by_points(x_0: np.ndarray, variance: float, points: PointMeasurements) -> np.ndarray:
    """Return the corrected estimate of one map.

    Args:
        x_0: (H, W) estimate.
        variance: r^2 > 0.
        points: what was measured.
    """
    system = variance * points.gram + scipy.sparse.diags_array(points.noise_std**2)
    residual = points.values - points.matrix @ x_0.ravel()
    solution, _ = cg(system, residual, rtol=SOLVER_TOLERANCE)
    return x_0 + variance * (points.matrix.T @ solution).reshape(x_0.shape)
