"""What one step of each training stage computes: VAE, latent diffusion, prior.

Every objective is ``forward(batch, step) -> (loss, values to log)``. Batches hold maps in model
range and the random numbers that each sample brought along (``draw``).
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from diffusers import AutoencoderKL, DDPMScheduler
from diffusers.models.autoencoders.vae import DiagonalGaussianDistribution
from torch import Tensor, nn

from radiodiff.data.radiomapseer import RadioMapSeer
from radiodiff.diffusion.decoupled import DecoupledScheduler
from radiodiff.diffusion.pipeline import RadioDiffPipeline
from radiodiff.diffusion.process import attenuation_coefficients, diffuse
from radiodiff.inverse.pipeline import RadioDiffInversePipeline
from radiodiff.inverse.prior import PatchUNet, build_noise_schedule, make_denoiser
from radiodiff.models.denoiser import DecoupledUNet
from radiodiff.models.padding import crop, pad_to_multiple
from radiodiff.models.vae import VAELoss, build_vae
from radiodiff.training.latents import (
    encode,
    latent_shape,
    latent_stride,
    load_vae,
    measure_latent_scale,
)
from radiodiff.training.measuring import MEASURED_FIELDS, draw_prompt
from radiodiff.training.noise_levels import draw_timestep, draw_timestep_map
from radiodiff.training.scoring import (
    GeneratedMaps,
    preview_batch,
    rows,
    score_maps,
    without_gradients,
)
from radiodiff.training.settings import LDMExperiment, PriorExperiment, VAEExperiment
from radiodiff.training.stream import Item
from radiodiff.training.trainer import Phase

Logs = dict[str, Tensor]


class Autoencoder(nn.Module):
    """Objective of encoder and decoder: reconstruct a map through a sampled latent."""

    def __init__(self, vae: AutoencoderKL, loss: VAELoss) -> None:
        super().__init__()
        self.vae = vae
        # A tuple keeps the discriminator out of this module's parameters.
        self._loss = (loss,)

    def forward(self, batch: Item, step: int) -> tuple[Tensor, Logs]:
        """Return the loss of a batch with ``gain`` (N, 1, H, W) and ``noise`` of the latents."""
        posterior, reconstruction = _reconstruct(self.vae, batch)
        (loss,) = self._loss
        with without_gradients(loss.discriminator):
            return loss.autoencoder_loss(
                batch["gain"], reconstruction, posterior, step, self.vae.decoder.conv_out.weight
            )


class Discriminator(nn.Module):
    """Objective of the patch discriminator: tell maps from reconstructions."""

    def __init__(self, vae: AutoencoderKL, loss: VAELoss) -> None:
        super().__init__()
        self.discriminator = loss.discriminator
        self._frozen = (vae, loss)

    def forward(self, batch: Item, step: int) -> tuple[Tensor, Logs]:
        """Return the hinge loss of a batch, see :class:`Autoencoder`."""
        vae, loss = self._frozen
        with torch.no_grad():
            _, reconstruction = _reconstruct(vae, batch)
        return loss.discriminator_loss(batch["gain"], reconstruction)


def _reconstruct(vae: AutoencoderKL, batch: Item) -> tuple[DiagonalGaussianDistribution, Tensor]:
    """Return the posterior of a batch with ``gain`` and ``noise``, and the maps of a sample."""
    gain = batch["gain"]
    posterior = vae.encode(pad_to_multiple(gain, latent_stride(vae))).latent_dist
    maps = vae.decode(posterior.mean + posterior.std * batch["noise"]).sample
    return posterior, crop(maps, gain.shape[-2:])


class VAETask:
    """Stage one of RadioDiff."""

    fields: tuple[str, ...] = ("gain",)

    def __init__(self, config: VAEExperiment, validation: RadioMapSeer) -> None:
        vae = build_vae(**config.model.model_dump())
        loss = VAELoss(config.loss)
        self.averaged = vae
        self.frozen: list[nn.Module] = [loss.perceptual] if loss.perceptual is not None else []
        self.phases = [Phase("autoencoder", Autoencoder(vae, loss), config.optimizer)]
        if loss.discriminator is not None:
            self.phases.append(
                Phase(
                    "discriminator",
                    Discriminator(vae, loss),
                    config.discriminator_optimizer,
                    first_step=config.loss.discriminator_start,
                )
            )
        self._validation = validation

    def draw(self, item: Item, generator: torch.Generator) -> Item:
        """Draw the noise of the sampled latent."""
        shape = latent_shape(self.averaged, item["gain"].shape[-2:])
        return {"noise": torch.randn(shape, generator=generator)}

    def validate(self, indices: Sequence[int]) -> dict[str, list[float]]:
        """Score reconstructions through the latent mean; ``score`` is the NMSE."""
        return score_maps(self._reconstruct, self._validation, indices, self.averaged.device)

    def preview(self) -> dict[str, Tensor]:
        """Return truth above reconstruction."""
        batch = preview_batch(self._validation, self.averaged.device)
        return {"reconstruction": rows(batch["gain"], self._reconstruct(batch))}

    def export(self, directory: Path) -> None:
        """Write the autoencoder for ``AutoencoderKL.from_pretrained``."""
        self.averaged.save_pretrained(directory)

    @torch.inference_mode()
    def _reconstruct(self, batch: Item) -> Tensor:
        maps = self.averaged.decode(encode(self.averaged, batch["gain"])).sample
        return crop(maps, batch["gain"].shape[-2:])


class LatentDiffusion(nn.Module):
    """Objective of the denoiser: predict (C, eps) of a diffused latent from the prompt."""

    def __init__(
        self, denoiser: DecoupledUNet, vae: AutoencoderKL, scheduler: DecoupledScheduler
    ) -> None:
        super().__init__()
        self.denoiser = denoiser
        self._frozen = (vae, scheduler)

    def forward(self, batch: Item, step: int) -> tuple[Tensor, Logs]:
        """Return the loss of a batch with ``prompt`` and what :class:`LDMTask` draws.

        Its maps are given as ``gain``, or as ``latent``, unscaled.
        """
        vae, scheduler = self._frozen
        latent = batch["latent"] if "latent" in batch else encode(vae, batch["gain"])
        z_0 = latent.float() * vae.config.scaling_factor
        t = batch["time"]
        coefficients = attenuation_coefficients(z_0, batch.get("slope"))
        z_t = diffuse(z_0, coefficients, batch["noise"], t)
        prediction = [head.float() for head in self.denoiser(z_t, t, batch["prompt"])]
        return scheduler.loss(prediction, (*coefficients, batch["noise"]), t), {}


class LDMTask:
    """Stage two of RadioDiff."""

    def __init__(self, config: LDMExperiment, validation: RadioMapSeer) -> None:
        self._attenuation = config.diffusion.attenuation
        self._features, self._ranges = config.data.prompt_features, config.measurements
        self.fields: tuple[str, ...] = (
            "gain" if config.latents is None else "latent",
            "prompt",
            *(MEASURED_FIELDS if config.measurements is not None else ()),
        )
        self._vae = load_vae(config.vae)
        self._vae.requires_grad_(False)
        scale = config.latent_scale or measure_latent_scale(
            self._vae, validation, config.train.validation_maps
        )
        self._vae.register_to_config(scaling_factor=scale)
        self._scheduler = DecoupledScheduler(**config.diffusion.model_dump())
        self._latent_shape = latent_shape(self._vae, config.train.size_of(validation.shape))
        _, height, width = self._latent_shape
        model = config.model
        coarsest = model.patch_size * 2 ** (len(model.dim_mults) - 1)
        self.averaged = DecoupledUNet(
            latent_channels=self._vae.config.latent_channels,
            prompt_channels=len(config.data.prompt_features),
            prompt_stride=latent_stride(self._vae),
            filter_size=(-(-height // coarsest), -(-width // coarsest)),
            attenuation=config.diffusion.attenuation,
            **model.model_dump(exclude={"prompt_weights"}),
        )
        if model.prompt_weights is not None:
            self.averaged.pyramid.load_weights(model.prompt_weights)
        self.frozen: list[nn.Module] = [self._vae]
        self._pipeline = RadioDiffPipeline(
            vae=self._vae,
            denoiser=self.averaged,
            scheduler=self._scheduler,
            prompt_features=list(config.data.prompt_features),
            zero_buildings=config.zero_buildings,
            gain_scale_db=(validation.scale.min_db, validation.scale.max_db),
            window=config.train.window,
        )
        generated = GeneratedMaps(
            self._pipeline, validation, config.sampling_steps, config.measurements
        )
        self.validate, self.preview = generated.scores, generated.preview
        objective = LatentDiffusion(self.averaged, self._vae, self._scheduler)
        self.phases = [Phase("diffusion", objective, config.optimizer)]

    def draw(self, item: Item, generator: torch.Generator) -> Item:
        """Draw measurements, time, noise and, for a linear f_t, its slope."""
        drawn = {
            **draw_prompt(item, self._features, self._ranges, generator),
            "time": self._scheduler.sample_training_times(1, generator)[0],
            "noise": torch.randn(self._latent_shape, generator=generator),
        }
        if self._attenuation == "linear":
            drawn["slope"] = torch.randn(self._latent_shape, generator=generator)
        return drawn

    def export(self, directory: Path) -> None:
        """Write everything inference needs for ``RadioDiffPipeline.from_pretrained``."""
        self._pipeline.save_pretrained(directory)


MAX_CLEAN_WEIGHT = 10.0
"""Most weight of a squared error of the clean map where pixels have levels of their own. A velocity
weighs it by 1 + 1 / sigma^2: a pixel measured with sigma = 0.05 by 401, one that has to be guessed
from it by 1."""


class PriorObjective(nn.Module):
    """Objective of the prior: predict the noise of a diffused map (Ho et al., 2020, eq. (14)).

    The map is diffused by RadioDiff, eq. (4), which diffusers' schedulers compute.
    If the schedule's ``prediction_type`` says so, the velocity is predicted. Given a noise level
    for every pixel, clean pixels weigh no more than ``MAX_CLEAN_WEIGHT``.
    """

    alphas_cumprod: Tensor

    def __init__(self, network: nn.Module, scheduler: DDPMScheduler) -> None:
        super().__init__()
        self.network = network
        self._velocity = scheduler.config.prediction_type == "v_prediction"
        self.register_buffer("alphas_cumprod", scheduler.alphas_cumprod, persistent=False)

    def forward(self, batch: Item, step: int) -> tuple[Tensor, Logs]:
        """Return the loss of a batch with ``gain``, ``noise`` and ``timestep`` (B,) or a map."""
        gain, noise, timestep = batch["gain"], batch["noise"], batch["timestep"]
        abar = self.alphas_cumprod[timestep]
        abar = abar.view(-1, 1, 1, 1) if abar.ndim == 1 else abar
        signal, sigma = abar.sqrt(), (1.0 - abar).sqrt()
        target = signal * noise - sigma * gain if self._velocity else noise
        predicted = self.network(signal * gain + sigma * noise, timestep, return_dict=False)[0]
        error = predicted.float() - target
        weight = (MAX_CLEAN_WEIGHT * (1.0 - abar)).clamp(max=1.0) if timestep.ndim > 1 else 1.0
        return (weight * error.square()).mean(), {}


class PriorTask:
    """The unconditional prior of RadioDiff-Inverse."""

    fields: tuple[str, ...] = ("gain",)

    def __init__(self, config: PriorExperiment, validation: RadioMapSeer) -> None:
        self._validation = validation
        self._noise_levels = config.noise_levels
        self._level_map = config.model.level_map
        self._scheduler = build_noise_schedule(config.num_train_timesteps, config.prediction_type)
        rows, columns = config.train.size_of(validation.shape)
        self.averaged = PatchUNet(
            sample_size=rows if rows == columns else (rows, columns),
            num_train_timesteps=config.num_train_timesteps,
            **config.model.model_dump(),
        )
        self.frozen: list[nn.Module] = []
        objective = PriorObjective(self.averaged, self._scheduler)
        self.phases = [Phase("prior", objective, config.optimizer)]

    def draw(self, item: Item, generator: torch.Generator) -> Item:
        """Draw timesteps and noise."""
        levels = self._scheduler.alphas_cumprod
        if self._level_map:
            timestep = draw_timestep_map(item["gain"], levels, self._noise_levels, generator)
        else:
            timestep = draw_timestep(levels, self._noise_levels, generator)
        return {
            "timestep": timestep,
            "noise": torch.randn(item["gain"].shape, generator=generator),
        }

    def validate(self, indices: Sequence[int]) -> dict[str, list[float]]:
        """Score the denoising of maps at fixed noise levels; ``score`` is the NMSE of x_0."""
        return score_maps(
            lambda batch: self._denoise(batch)[1], self._validation, indices, self.averaged.device
        )

    def preview(self) -> dict[str, Tensor]:
        """Return truth above diffused maps above the prior's estimate."""
        batch = preview_batch(self._validation, self.averaged.device)
        return {"denoised": rows(batch["gain"], *self._denoise(batch))}

    def export(self, directory: Path) -> None:
        """Write the prior for ``RadioDiffInversePipeline.from_pretrained``."""
        scale = self._validation.scale
        pipeline = RadioDiffInversePipeline(
            self.averaged, self._scheduler, (scale.min_db, scale.max_db)
        )
        pipeline.save_pretrained(directory)

    @torch.inference_mode()
    def _denoise(self, batch: Item) -> tuple[Tensor, Tensor]:
        """Return (x_t, estimate of x_0) with levels from a tenth to all but the last tenth."""
        gain = batch["gain"]
        steps = self._scheduler.config.num_train_timesteps
        timestep = torch.tensor([steps // 10 * (1 + index % 5) for index in batch["index"]])
        noise = torch.stack(
            [
                torch.randn(gain.shape[1:], generator=torch.Generator().manual_seed(index))
                for index in batch["index"]
            ]
        ).to(gain.device)
        abar = self._scheduler.alphas_cumprod[timestep].view(-1, 1, 1, 1).to(gain.device)
        x_t = abar.sqrt() * gain + (1.0 - abar).sqrt() * noise
        eps = make_denoiser(self.averaged, self._scheduler)(x_t, abar.flatten())
        return x_t, (x_t - (1.0 - abar).sqrt() * eps) / abar.sqrt()
