"""A trained prior at work: its loading, and the call that reconstructs a batch."""

from __future__ import annotations

from pathlib import Path

import torch

from radiodiff.errors import InputError
from radiodiff.experiments.batches import MapBatch
from radiodiff.experiments.precision import prepare_networks
from radiodiff.experiments.settings import NetworkPrecision
from radiodiff.inverse.output import InverseOutput
from radiodiff.inverse.pipeline import RadioDiffInversePipeline
from radiodiff.inverse.prior import load_guided_diffusion
from radiodiff.inverse.sampler import Sampler
from radiodiff.inverse.settings import RefinementSettings
from radiodiff.weight_sources import find_weights


def load_pipeline(prior: Path, device: str, dtype: NetworkPrecision) -> RadioDiffInversePipeline:
    """Load a prior for inference.

    Args:
        prior: directory of a diffusers DDPM pipeline, a file of guided-diffusion weights, or a name
            of either (:func:`radiodiff.weight_sources.find_weights`).
        device: a torch device.
        dtype: precision of the network, see :func:`radiodiff.experiments.precision.resolve_dtype`.

    Raises:
        InputError: there is no prior at this path, or the device is absent.
    """
    prior = find_weights(prior)
    if not prior.is_file() and not (prior / "model_index.json").is_file():
        raise InputError(
            f"{prior}: no prior there (model_index.json is missing); train one with "
            "scripts/train_prior.py or name a diffusers DDPM directory"
        )
    try:
        if prior.is_file():
            pipeline = RadioDiffInversePipeline(*load_guided_diffusion(prior))
        else:
            pipeline = RadioDiffInversePipeline.from_pretrained(str(prior), local_files_only=True)
        prepare_networks(pipeline, device, dtype)
    except InputError:
        raise
    except (OSError, ValueError, TypeError, RuntimeError, KeyError, AttributeError) as error:
        message = str(error).splitlines()[0]
        raise InputError(f"{prior}: the prior cannot be loaded on {device}: {message}") from None
    return pipeline


def reconstruct(
    pipeline: RadioDiffInversePipeline,
    batch: MapBatch,
    *,
    num_particles: int,
    num_inference_steps: int,
    sampler: Sampler | None = None,
    refinement: RefinementSettings | None = None,
    shadow_threshold: float | None = None,
    batch_limit: int | None = None,
) -> InverseOutput:
    """Reconstruct the maps of a batch from their measurements and the buildings, where known.

    Args:
        pipeline: the prior.
        batch: the measured maps; every map's samples follow from its own seed.
        num_particles: samples of each map.
        num_inference_steps: network calls per particle.
        sampler: as in :class:`radiodiff.experiments.settings.SamplerSettings`, like the rest.
        refinement: walls and path-loss model.
        shadow_threshold: tau of the building mask.
        batch_limit: most particles in one network call.

    Raises:
        InputError: there are no measurements, or they cannot be used with this prior.
    """
    if batch.measurements is None:
        raise InputError("a reconstruction needs measurements, and none are made here")
    return pipeline(
        batch.measurements,
        buildings=batch.buildings,
        num_particles=num_particles,
        num_inference_steps=num_inference_steps,
        generator=[torch.Generator(pipeline.device).manual_seed(seed) for seed in batch.seeds],
        sampler=sampler,
        refinement=refinement,
        shadow_threshold=shadow_threshold,
        batch_limit=batch_limit,
    )
