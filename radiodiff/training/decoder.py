"""Tune RadioDiff's decoder to the latents that the denoiser makes.

Stage one teaches the decoder true latents. The denoiser's are smoother wherever the map is
uncertain, and the decoder of such a mean is not the mean of the maps. Here it learns to decode
them, by the squared error of the map (Garcia et al., 2024, "Fine-Tuning Image-Conditional Diffusion
Models is Easier than You Think", tune the denoiser itself in this way). Encoder and denoiser stay
as they are.
"""

from __future__ import annotations

from pathlib import Path

import torch
from diffusers import AutoencoderKL
from torch import Tensor, nn

from radiodiff.data.radiomapseer import RadioMapSeer
from radiodiff.diffusion.decoupled import DecoupledScheduler, sample
from radiodiff.diffusion.pipeline import RadioDiffPipeline
from radiodiff.errors import InputError
from radiodiff.models.denoiser import DecoupledUNet
from radiodiff.training.latents import check_latent_stride, latent_shape
from radiodiff.training.scoring import GeneratedMaps
from radiodiff.training.settings import DecoderExperiment
from radiodiff.training.stream import Item
from radiodiff.training.trainer import Phase


class SampledDecoding(nn.Module):
    """Objective of the decoder: the map, from a latent that the denoiser samples.

    Args:
        vae: autoencoder whose decoder is trained.
        denoiser: makes the latents.
        scheduler: the sampler.
        steps: steps of the sampler.
        buildings_channel: channel of the prompt whose positive pixels are left out.
    """

    def __init__(
        self,
        vae: AutoencoderKL,
        denoiser: DecoupledUNet,
        scheduler: DecoupledScheduler,
        steps: int,
        buildings_channel: int | None,
    ) -> None:
        super().__init__()
        self.decoder = nn.Sequential(vae.post_quant_conv, vae.decoder)
        self._scale = vae.config.scaling_factor
        self._steps = steps
        self._buildings_channel = buildings_channel
        self._frozen = (denoiser, scheduler)

    def forward(self, batch: Item, step: int) -> tuple[Tensor, dict[str, Tensor]]:
        """Return the mean squared error in model range of a batch with ``gain`` (N, 1, H, W),
        ``prompt`` (N, C, H, W) and ``noise`` (N, c, h, w), the latent at t = 1.
        """
        error = (self.decoder(self._latents(batch)).float() - batch["gain"]).square()
        if self._buildings_channel is not None:
            buildings = batch["prompt"][:, self._buildings_channel, None] > 0
            error = error.masked_fill(buildings, 0.0)
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
        vae, denoiser = self._pipeline.vae, self._pipeline.denoiser
        check_latent_stride(vae, validation)
        self._latent_shape = latent_shape(vae, validation.shape)
        generated = GeneratedMaps(self._pipeline, validation, config.sampling_steps)
        self.validate, self.preview = generated.scores, generated.preview
        self.averaged = vae
        self.frozen: list[nn.Module] = [denoiser, vae]
        # A statistic or a dropout of training would make other latents than those of inference.
        denoiser.requires_grad_(False).eval()
        objective = SampledDecoding(
            vae,
            denoiser,
            self._pipeline.scheduler,
            config.sampling_steps,
            features.index("buildings") if self._pipeline.config.zero_buildings else None,
        )
        self.phases = [Phase("decoder", objective, config.optimizer)]

    def draw(self, item: Item, generator: torch.Generator) -> Item:
        """Draw the latent at t = 1."""
        return {"noise": torch.randn(self._latent_shape, generator=generator)}

    def export(self, directory: Path) -> None:
        """Write the pipeline with the tuned decoder."""
        self._pipeline.save_pretrained(directory)
