"""Tune RadioDiff's decoder to the latents that the denoiser makes.

Stage one teaches the decoder true latents. The denoiser's are smoother wherever the map is
uncertain, and the decoder of such a mean is not the mean of the maps. Here it learns to decode
them, by the squared error of the map (Garcia et al., 2024, "Fine-Tuning Image-Conditional Diffusion
Models is Easier than You Think", tune the denoiser itself in this way). Encoder and denoiser stay
as they are.

With ``correction`` the decoder's map corrects the prompt's path-loss model, see
:mod:`radiodiff.models.correction`; both are then trained together.
"""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor, nn

from radiodiff.data.radiomapseer import RadioMapSeer
from radiodiff.diffusion.decoupled import sample
from radiodiff.diffusion.pipeline import RadioDiffPipeline
from radiodiff.errors import InputError
from radiodiff.models.correction import PathLossCorrection
from radiodiff.models.padding import crop
from radiodiff.models.settings import CorrectionSettings
from radiodiff.training.latents import latent_shape
from radiodiff.training.measuring import MEASURED_FIELDS, draw_prompt
from radiodiff.training.scoring import GeneratedMaps
from radiodiff.training.settings import DecoderExperiment
from radiodiff.training.stream import Item
from radiodiff.training.trainer import Phase


class SampledDecoding(nn.Module):
    """Objective of the decoder: the map, from a latent that the denoiser samples.

    Args:
        pipeline: its decoder is trained, and its correction where it has one; its denoiser makes
            the latents.
        steps: steps of the sampler.
    """

    def __init__(self, pipeline: RadioDiffPipeline, steps: int) -> None:
        super().__init__()
        vae = pipeline.vae
        self.decoder = nn.Sequential(vae.post_quant_conv, vae.decoder)
        self.correction = pipeline.correction
        self._path_loss_channel = pipeline.path_loss_channel
        self._scale = vae.config.scaling_factor
        self._steps = steps
        features = list(pipeline.config.prompt_features)
        self._buildings = features.index("buildings") if pipeline.config.zero_buildings else None
        self._frozen = (pipeline.denoiser, pipeline.scheduler)

    def forward(self, batch: Item, step: int) -> tuple[Tensor, dict[str, Tensor]]:
        """Return the mean squared error in model range of a batch with ``gain`` (N, 1, H, W),
        ``prompt`` (N, C, H, W) and ``noise`` (N, c, h, w), the latent at t = 1. Buildings are left
        out where the pipeline sets them to zero.
        """
        prompt = batch["prompt"]
        maps = crop(self.decoder(self._latents(batch)).float(), prompt.shape[-2:])
        if self.correction is not None:
            maps = self.correction(maps, self._path_loss_channel(prompt), prompt).float()
        error = (maps - batch["gain"]).square()
        if self._buildings is not None:
            error = error.masked_fill(prompt[:, self._buildings, None] > 0, 0.0)
        return error.mean(), {}

    @torch.no_grad()
    def _latents(self, batch: Item) -> Tensor:
        denoiser, scheduler = self._frozen
        noise = batch["noise"]
        scheduler.set_timesteps(self._steps, noise.device)
        features = denoiser.encode_prompt(batch["prompt"], noise.shape[-2:])
        return sample(lambda z_t, t: denoiser(z_t, t, features), scheduler, noise) / self._scale


class DecoderTask:
    """The tuning of a decoder, see :mod:`radiodiff.training.decoder`."""

    fields: tuple[str, ...] = ("gain", "prompt")

    def __init__(self, config: DecoderExperiment, validation: RadioMapSeer) -> None:
        self._pipeline = RadioDiffPipeline.from_pretrained(config.pipeline)
        features = list(self._pipeline.config.prompt_features)
        if list(config.data.prompt_features) != features:
            raise InputError(
                f"data.prompt_features: found {', '.join(config.data.prompt_features)}; "
                f"{config.pipeline} was trained with {', '.join(features)}"
            )
        if config.correction is not None:
            self._pipeline = _with_correction(self._pipeline, config.correction)
        pipeline = self._pipeline
        vae, denoiser = pipeline.vae, pipeline.denoiser
        self._latent_shape = latent_shape(vae, config.train.size_of(validation.shape))
        self._features, self._ranges = features, config.measurements
        if config.measurements is not None:
            self.fields = (*self.fields, *MEASURED_FIELDS)
        generated = GeneratedMaps(pipeline, validation, config.sampling_steps, config.measurements)
        self.validate, self.preview = generated.scores, generated.preview
        trained = [vae] if pipeline.correction is None else [vae, pipeline.correction]
        self.averaged = nn.ModuleList(trained)
        self.frozen: list[nn.Module] = [denoiser, vae]
        # A statistic or a dropout of training would make other latents than those of inference.
        denoiser.requires_grad_(False).eval()
        objective = SampledDecoding(pipeline, config.sampling_steps)
        self.phases = [Phase("decoder", objective, config.optimizer)]

    def draw(self, item: Item, generator: torch.Generator) -> Item:
        """Draw measurements and the latent at t = 1."""
        return {
            **draw_prompt(item, self._features, self._ranges, generator),
            "noise": torch.randn(self._latent_shape, generator=generator),
        }

    def export(self, directory: Path) -> None:
        """Write the pipeline with the tuned decoder."""
        self._pipeline.save_pretrained(directory)


def _with_correction(
    pipeline: RadioDiffPipeline, settings: CorrectionSettings
) -> RadioDiffPipeline:
    """Return the pipeline with a new correction.

    Raises:
        InputError: it has one already, or its prompt lacks the path-loss model.
    """
    if pipeline.correction is not None:
        raise InputError("correction: the pipeline has one already, which is tuned with null")
    features = list(pipeline.config.prompt_features)
    return RadioDiffPipeline(
        vae=pipeline.vae,
        denoiser=pipeline.denoiser,
        scheduler=pipeline.scheduler,
        prompt_features=features,
        zero_buildings=pipeline.config.zero_buildings,
        gain_scale_db=pipeline.config.gain_scale_db,
        window=pipeline.config.window,
        correction=PathLossCorrection(len(features), **settings.model_dump()),
    )
