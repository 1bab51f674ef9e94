"""Path gain between any two points of a city, by moving the transmitter."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from diffusers.utils import BaseOutput
from torch import Tensor

from radiodiff.diffusion.pipeline import RadioDiffPipeline
from radiodiff.diffusion.scenes import Array, Points, as_points
from radiodiff.diffusion.settings import Mode


@dataclass
class PairwiseOutput(BaseOutput):
    """Path gain between A points and B points, each matrix (A, B) float32 in dB.

    Attributes:
        path_gain_db: mean of both directions, which is reciprocal as the channel is.
        forward_db: transmitter at the point of A.
        backward_db: transmitter at the point of B.
        reciprocity_rmse_db: root mean square of forward minus backward over pairs of two points;
            NaN where there is none.
    """

    path_gain_db: Tensor
    forward_db: Tensor
    backward_db: Tensor
    reciprocity_rmse_db: float


def path_gain_between(
    pipeline: RadioDiffPipeline,
    points_a: Points,
    points_b: Points,
    buildings: Array,
    vehicles: Array | None = None,
    num_inference_steps: int = 5,
    generator: torch.Generator | None = None,
    mode: Mode | None = None,
    batch_size: int = 8,
) -> PairwiseOutput:
    """Predict the path gain between any two points, by moving the transmitter (Sec. V-F).

    Every distinct point transmits once, so both directions of all pairs cost A + B maps. The
    network does not know that the channel is reciprocal; how far it is from that is reported.

    Args:
        pipeline: makes the maps.
        points_a: (row, column) or (A, 2), outdoors.
        points_b: (row, column) or (B, 2), outdoors.
        buildings: (H, W) mask of the city.
        vehicles: (H, W) mask; None for a static map.
        num_inference_steps: evaluations of the denoiser per map.
        generator: source of all noise.
        mode: see :class:`RadioDiffPipeline`.
        batch_size: maps generated at a time.

    Raises:
        InputError: see :class:`RadioDiffPipeline`.
    """
    a, b = as_points(points_a, "points_a"), as_points(points_b, "points_b")
    points, index = np.unique(np.concatenate([a, b]), axis=0, return_inverse=True)
    rows, columns = points.T
    of_a, of_b = index[: len(a)], index[len(a) :]
    gains = []
    for start in range(0, len(points), batch_size):
        maps = pipeline(
            buildings,
            points[start : start + batch_size],
            vehicles,
            num_inference_steps,
            generator=generator,
            mode=mode,
        ).path_gain_db
        gains.append(maps[:, rows, columns])
    gain = torch.cat(gains)
    forward, backward = gain[of_a][:, of_b], gain[of_b][:, of_a].T
    two_points = torch.from_numpy(of_a[:, None] != of_b[None, :]).to(gain.device)
    difference = (forward - backward)[two_points]
    return PairwiseOutput(
        path_gain_db=(forward + backward) / 2,
        forward_db=forward,
        backward_db=backward,
        reciprocity_rmse_db=difference.square().mean().sqrt().item(),
    )
