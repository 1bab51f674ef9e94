"""What is known of cities and of propagation, added to reconstructed maps once they are there.

Walls are drawn as outlines (:mod:`radiodiff.inverse.walls`), and the gain between them is held
against the path-loss model (:mod:`radiodiff.inverse.propagation`). Neither is in the paper.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numba
import numpy as np
import torch
from torch import Tensor

from radiodiff.data.measurements import BUILDING_VALUE, Measurements
from radiodiff.inverse.propagation import model_gain
from radiodiff.inverse.refinement_constants import constants
from radiodiff.inverse.sensing import locate_transmitter
from radiodiff.inverse.walls import can_draw_walls, draw_walls, expected_gain

MIN_SPREAD = 1e-8
"""Variance of samples that agree, model range: none is divided by less."""


@dataclass(frozen=True)
class Refined:
    """B reconstructed maps. Values are in model range."""

    mean: Tensor
    """(B, 1, H, W)."""
    std: Tensor
    """(B, 1, H, W)."""
    samples: Tensor
    """(B, M, 1, H, W)."""
    building_probability: Tensor
    """(B, 1, H, W); NaN in maps whose walls were not drawn."""


def refine(
    maps: Refined,
    measurements: Measurements,
    buildings: Tensor | None,
    weights: Tensor,
    generators: Sequence[torch.Generator],
    walls: bool,
    path_loss_model: bool,
) -> Refined:
    """Draw the walls of every map whose measurements tell of any, and apply the path-loss model
    between walls.

    Args:
        maps: as the filter left them.
        measurements: of the B maps, without the known buildings.
        buildings: (B, 1, H, W) bool where known: no walls are drawn then.
        weights: (B, M) of the samples.
        generators: one per map.
        walls: draw walls where ``buildings`` are not known.
        path_loss_model: apply the path-loss model where buildings are known or drawn.
    """
    if not (walls if buildings is None else path_loss_model):
        return maps
    mean, std, samples = maps.mean.clone(), maps.std.clone(), maps.samples.clone()
    probability = maps.building_probability.clone()
    assert measurements.noise_std is not None
    points = (measurements.values, measurements.mask, measurements.noise_std)
    for b, generator in enumerate(generators):
        values, observed, sigma = (
            part[b, 0].cpu().numpy().astype(dtype)
            for part, dtype in zip(points, (np.float64, bool, np.float64), strict=True)
        )
        before = mean[b, 0].double().cpu().numpy()
        own = samples[b, :, 0].double().cpu().numpy()
        if buildings is not None:
            masks = buildings[b].cpu().numpy()
            share, outdoor = masks[0].astype(np.float64), before
        elif walls and can_draw_walls(values, observed, sigma):
            seeds = torch.randint(2**32, (len(own),), generator=generator, device=generator.device)
            drawn = draw_walls(before, values, observed, sigma, seeds.tolist())
            masks, share, outdoor = drawn.masks, drawn.probability, drawn.outdoor_gain
            # A sample keeps its own gain where it is outdoors, and is given one where it is not.
            own = np.where(own > (outdoor + BUILDING_VALUE) / 2, own, outdoor)
            probability[b, 0] = torch.from_numpy(share).to(probability)
        else:
            continue
        of_samples = weights[b].cpu().numpy()
        if path_loss_model:
            outdoor, own = _apply_path_loss_model(
                outdoor, own, of_samples, share, masks, values, observed, sigma
            )
        spread = np.average((own - outdoor) ** 2, axis=0, weights=of_samples)
        variance = (1.0 - share) * (spread + share * (outdoor - BUILDING_VALUE) ** 2)
        mean[b, 0] = torch.from_numpy(expected_gain(share, outdoor)).to(mean)
        std[b, 0] = torch.from_numpy(np.sqrt(variance)).to(std)
        samples[b, :, 0] = torch.from_numpy(np.where(masks, BUILDING_VALUE, own)).to(samples)
    return Refined(mean, std, samples, probability)


def _apply_path_loss_model(
    outdoor: np.ndarray,
    samples: np.ndarray,
    weights: np.ndarray,
    share: np.ndarray,
    masks: np.ndarray,
    values: np.ndarray,
    observed: np.ndarray,
    sigma: np.ndarray,
) -> tuple[np.ndarray, np.ndarray]:
    """Blend the gain outdoors, (H, W), and that of the samples, (M, H, W), with the model's.

    The samples spread as they did, less where the model is taken, and by what the model misses.
    The path-loss model is computed in the first few of the masks, (1 or M, H, W), and
    averaged over them, inside of whose buildings it changes nothing. Every sample takes that of one
    of them.
    """
    own = constants().path_loss_model
    transmitter = locate_transmitter(expected_gain(share, outdoor)).position
    with ThreadPoolExecutor(numba.config.NUMBA_NUM_THREADS) as threads:
        predictions = list(
            threads.map(
                lambda mask: model_gain(mask, transmitter, values, observed, sigma),
                masks[: own.layouts],
            )
        )
    blended = [
        outdoor if path_loss_model is None else path_loss_model.blend(outdoor)
        for path_loss_model in predictions
    ]
    result = samples.copy()
    spread = np.average((samples - outdoor) ** 2, axis=0, weights=weights)
    for index, (path_loss_model, gain) in enumerate(zip(predictions, blended, strict=True)):
        if path_loss_model is None:
            continue
        least = own.min_variance_share
        weight = path_loss_model.error_weight
        missed = (1.0 - weight) ** 2 * path_loss_model.variance / np.maximum(spread, MIN_SPREAD)
        kept = np.sqrt(least + (1.0 - least) * weight + missed)
        result[index :: len(predictions)] = gain + kept * (
            samples[index :: len(predictions)] - outdoor
        )
    return np.mean(blended, axis=0), result
