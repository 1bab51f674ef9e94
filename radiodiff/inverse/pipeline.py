"""RadioDiff-Inverse as a diffusers pipeline: from sparse measurements to a map and its
uncertainty.
"""

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from diffusers import DDPMScheduler, DiffusionPipeline
from torch import Tensor, nn

from radiodiff.checks import check_count, check_generators
from radiodiff.config import MAX_NUMBER
from radiodiff.data.measurements import Measurements, merge_measurements
from radiodiff.data.scale import Scale
from radiodiff.errors import InputError
from radiodiff.inverse import sensing
from radiodiff.inverse.filtering import sample_posterior
from radiodiff.inverse.inputs import as_buildings, generator_per_map, with_noise
from radiodiff.inverse.levels import choose_levels
from radiodiff.inverse.output import InverseOutput
from radiodiff.inverse.particles import Progress
from radiodiff.inverse.presets import Preset, preset_for
from radiodiff.inverse.prior import make_denoiser
from radiodiff.inverse.refinement import Refined, refine
from radiodiff.inverse.sampler import Sampler
from radiodiff.inverse.settings import RefinementSettings
from radiodiff.inverse.tiling import tile_denoiser
from radiodiff.models.loading import check_weights, read_index
from radiodiff.units import GAIN_MAX_DB, GAIN_MIN_DB, MAP_SIZE
from radiodiff.weight_sources import find_weights

UPDATE_SHARE = 0.35
"""Share of the steps that :meth:`RadioDiffInversePipeline.update` repeats."""


class RadioDiffInversePipeline(DiffusionPipeline):
    """Reconstructs radio maps from sparse noisy measurements with an unconditional diffusion prior.

    Any diffusers DDPM directory loads: ``RadioDiffInversePipeline.from_pretrained(directory)``.

    Args:
        unet: the prior network, e.g. :class:`radiodiff.inverse.prior.PatchUNet` or ``UNet2DModel``.
        scheduler: its noise schedule.
        gain_scale_db: path gain of gray 0 and of gray 1 in the maps that it was trained on; None
            is RadioMapSeer's.
    """

    # diffusers reads these annotations; some of its versions need classes, not strings.
    def __init__(
        self,
        unet: nn.Module,
        scheduler: DDPMScheduler,
        gain_scale_db: Sequence[float] | None = None,
    ) -> None:
        super().__init__()
        self.register_modules(unet=unet, scheduler=scheduler)
        self.register_to_config(gain_scale_db=list(gain_scale_db or (GAIN_MIN_DB, GAIN_MAX_DB)))

    @classmethod
    def from_pretrained(cls, directory: str | Path, **options: Any) -> "RadioDiffInversePipeline":
        """Load a prior and its schedule from any diffusers DDPM directory.

        Args:
            directory: holds ``model_index.json``, ``unet`` and ``scheduler``; or a name of weights,
                such as ``prior-small`` (:func:`radiodiff.weight_sources.find_weights`).
            options: those of ``DiffusionPipeline.from_pretrained``.

        Raises:
            InputError: there is no prior, its weights are not those of its network, or some are not
                finite.
        """
        directory = find_weights(directory)
        read_index(directory, ("unet", "scheduler"), kind=None)
        pipeline: RadioDiffInversePipeline = super().from_pretrained(str(directory), **options)
        check_weights(pipeline.unet, directory / "unet")
        return pipeline

    def __call__(
        self,
        measurements: Measurements,
        noise_std: float | Tensor | None = None,
        buildings: Tensor | None = None,
        num_particles: int | None = None,
        num_inference_steps: int | None = None,
        generator: torch.Generator | Sequence[torch.Generator] | None = None,
        sampler: Sampler | None = None,
        refinement: RefinementSettings | None = None,
        shadow_threshold: float | None = None,
        batch_limit: int | None = None,
        tile_overlap: int | None = None,
        progress: Progress | None = None,
        return_dict: bool = True,
    ) -> InverseOutput:
        """Reconstruct the maps behind some measurements.

        Args:
            measurements: noisy values of B maps.
            noise_std: sigma in model range, a number or (B, 1, H, W); None takes the measurements'.
            buildings: (B, 1, H, W) bool where known; their pixels are fixed at the truncation.
            num_particles: M, samples of each map; None takes the preset's.
            num_inference_steps: network calls per particle, 1 .. the training levels of the prior;
                None takes the preset's.
            generator: one per map makes each map's result independent of the batch it is in; from a
                single one, a generator per map is derived in order. None draws a seed.
            sampler: how the posterior is sampled; None takes that of the preset that suits the
                prior, :func:`radiodiff.inverse.presets.preset_for`.
            refinement: what is added to the sampled maps; None takes the preset's where no sampler
                is given, else nothing.
            shadow_threshold: tau of the building mask, model range; None estimates it per map.
            batch_limit: most maps in one network call, to bound memory; None puts no limit.
            tile_overlap: allows maps of another size than the prior's: larger ones are denoised in
                tiles that overlap by N pixels, smaller ones are extended by unobserved pixels.
            progress: called with the steps done and to do after every step, beside the progress
                bar; what it raises ends the run. None calls nothing.
            return_dict: False returns the fields of the output as a tuple, as in diffusers.

        Raises:
            InputError: measurements, noise or buildings that cannot be used with this prior.
        """
        preset = self._preset(sampler, refinement)
        if num_particles is None:
            num_particles = preset.num_particles
        if num_inference_steps is None:
            num_inference_steps = preset.num_inference_steps
        check_count("num_inference_steps", num_inference_steps)
        spacing = preset.sampler.spacing
        levels = choose_levels(self.scheduler.alphas_cumprod, num_inference_steps, spacing)
        output = self._reconstruct(
            with_noise(measurements, noise_std),
            buildings,
            num_particles,
            levels,
            generator,
            preset,
            shadow_threshold,
            batch_limit,
            tile_overlap,
            progress,
            start=None,
        )
        # Typed as the usual case: a union would make every caller narrow it.
        return output if return_dict else output.to_tuple()  # type: ignore[return-value]

    def update(
        self,
        output: InverseOutput,
        new_measurements: Measurements,
        noise_std: float | Tensor | None = None,
        num_inference_steps: int = 100,
        generator: torch.Generator | Sequence[torch.Generator] | None = None,
        sampler: Sampler | None = None,
        refinement: RefinementSettings | None = None,
        shadow_threshold: float | None = None,
        batch_limit: int | None = None,
        tile_overlap: int | None = None,
        progress: Progress | None = None,
        return_dict: bool = True,
    ) -> InverseOutput:
        """Take new measurements into a finished result, at about a third of the cost of a full run.

        The samples are noised to an intermediate level, and the last ``UPDATE_SHARE`` of the steps
        is repeated with the old and the new measurements together.

        Args:
            output: result of a call or of an earlier update.
            new_measurements: of the same maps; a pixel measured before is averaged with it.
            noise_std: sigma of the new measurements; None takes their own.
            num_inference_steps: steps of the full run of which the last share is repeated.
            generator: as in :meth:`__call__`.
            sampler: as in :meth:`__call__`; None spaces the steps evenly, so that the last ones
                begin with noise enough to move walls.
            refinement: as in :meth:`__call__`.
            shadow_threshold: as in :meth:`__call__`.
            batch_limit: as in :meth:`__call__`.
            tile_overlap: as in :meth:`__call__`.
            progress: as in :meth:`__call__`.
            return_dict: as in :meth:`__call__`.
        """
        new = with_noise(new_measurements, noise_std)
        preset = self._preset(sampler, refinement)
        if sampler is None:
            evenly = preset.sampler.model_copy(update={"spacing": "uniform"})
            preset = preset.model_copy(update={"sampler": evenly})
        spacing = preset.sampler.spacing
        levels = choose_levels(self.scheduler.alphas_cumprod, num_inference_steps, spacing)
        repeated = max(1, round(UPDATE_SHARE * num_inference_steps))
        updated = self._reconstruct(
            merge_measurements(output.measurements, new),
            output.buildings,
            output.samples.shape[1],
            levels[-1 - repeated :],
            generator,
            preset,
            shadow_threshold,
            batch_limit,
            tile_overlap,
            progress,
            start=output.samples,
        )
        return updated if return_dict else updated.to_tuple()  # type: ignore[return-value]

    def _reconstruct(
        self,
        measurements: Measurements,
        buildings: Tensor | None,
        num_particles: int,
        levels: Tensor,
        generator: torch.Generator | Sequence[torch.Generator] | None,
        preset: Preset,
        shadow_threshold: float | None,
        batch_limit: int | None,
        tile_overlap: int | None,
        progress: Progress | None,
        start: Tensor | None,
    ) -> InverseOutput:
        check_count("num_particles", num_particles)
        check_generators(generator)
        if batch_limit is not None:
            check_count("batch_limit", batch_limit, most=MAX_NUMBER)
        if shadow_threshold is not None and not np.isfinite(shadow_threshold):
            raise InputError(f"shadow_threshold: found {shadow_threshold}, expected a number")
        measurements = measurements.to(self.device)
        known = measurements
        if buildings is not None:
            buildings = as_buildings(buildings, measurements.values)
            known = measurements.with_buildings(buildings)
        y, observed, sigma = known.values, known.mask, known.noise_std
        assert sigma is not None
        points = measurements.points if preset.sampler.takes_points else None
        if points is not None:
            observed = torch.zeros_like(observed) if buildings is None else buildings
        denoiser = make_denoiser(self.unet, self.scheduler)
        rows, columns = y.shape[-2:]
        extension = self._extension(rows, columns, tile_overlap)
        extend = partial(F.pad, pad=extension)
        if points is not None:
            shape = (rows + extension[3], columns + extension[1])
            points = tuple(replace(own, shape=shape) for own in points)
        if tile_overlap is not None:
            denoiser = tile_denoiser(denoiser, self._tile(), tile_overlap)
        generators = generator_per_map(generator, len(y), self.device)
        with self.progress_bar(total=1) as bar:

            def report(done: int, total: int) -> None:
                bar.total = total
                bar.update(done - bar.n)
                if progress is not None:
                    progress(done, total)

            result = sample_posterior(
                denoiser,
                extend(y),
                extend(observed),
                extend(sigma),
                levels,
                num_particles,
                generators,
                preset.sampler,
                start=None if start is None else extend(start),
                batch_limit=batch_limit,
                progress=report,
                points=points,
                known=None if buildings is None else extend(buildings),
            )
        samples, log_weights = result.samples[..., :rows, :columns], result.log_weights
        weights = log_weights.exp().to(samples.dtype).view(*samples.shape[:2], 1, 1, 1)
        mean = (weights * samples).sum(dim=1)
        std = (weights * (samples - mean[:, None]).square()).sum(dim=1).sqrt()
        maps = Refined(mean, std, samples, torch.full_like(mean, torch.nan))
        path_loss_model = preset.refinement.path_loss_model and tile_overlap is None
        maps = refine(
            maps,
            measurements,
            buildings,
            log_weights.exp(),
            generators,
            preset.refinement.walls,
            path_loss_model,
        )
        mean, samples, drawn = maps.mean, maps.samples, maps.building_probability
        sensed = [
            _sense(mean[b, 0], samples[b, :, 0], weights[b], shadow_threshold)
            for b in range(len(y))
        ]
        taus, local, positions, deviations = (
            torch.stack(parts) for parts in zip(*sensed, strict=True)
        )
        below = samples <= local.to(samples)[:, None, None]
        probability = (weights * below).sum(dim=1)
        if shadow_threshold is None:
            probability = torch.where(drawn.isnan(), probability, drawn)
        return InverseOutput(
            mean=mean,
            std=maps.std,
            samples=samples,
            log_weights=log_weights,
            building_mask=probability > 0.5 if buildings is None else buildings,
            building_probability=probability,
            shadow_threshold=taus,
            transmitter=positions,
            transmitter_std=deviations,
            measurements=measurements,
            buildings=buildings,
            scale=Scale(min_db=self.config.gain_scale_db[0], max_db=self.config.gain_scale_db[1]),
        )

    def _preset(self, sampler: Sampler | None, refinement: RefinementSettings | None) -> Preset:
        preset = preset_for(self.unet) if sampler is None else Preset(sampler=sampler)
        if refinement is not None:
            preset = preset.model_copy(update={"refinement": refinement})
        return preset

    def _tile(self) -> tuple[int, int]:
        """Rows and columns of the prior's maps; RadioMapSeer's if the network does not say."""
        size = self.unet.config.sample_size or MAP_SIZE
        return (size, size) if isinstance(size, int) else (size[0], size[1])

    def _extension(
        self, rows: int, columns: int, tile_overlap: int | None
    ) -> tuple[int, int, int, int]:
        """Columns and rows to add so that the prior can be applied, in the order of ``F.pad``."""
        tile = self._tile()
        if tile_overlap is None and (rows, columns) != tile:
            raise InputError(
                f"the maps are {rows} x {columns}, this prior is for {tile[0]} x {tile[1]}; pass "
                "tile_overlap to use it on another size"
            )
        return (0, max(0, tile[1] - columns), 0, max(0, tile[0] - rows))


def _sense(
    mean: Tensor, samples: Tensor, weights: Tensor, threshold: float | None
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Shadow threshold of one map and of every pixel, transmitter position, its deviation."""
    gain = mean.cpu().numpy()
    tau, local = (
        (sensing.shadow_threshold(gain), sensing.local_shadow_threshold(gain))
        if threshold is None
        else (threshold, np.full_like(gain, threshold))
    )
    fit = sensing.locate_transmitter(gain, tau)
    positions = np.stack(
        [sensing.locate_transmitter(s, tau).position for s in samples.cpu().numpy()]
    )
    share = weights.flatten().double().cpu().numpy()
    spread = share @ (positions - share @ positions) ** 2
    std = np.sqrt(fit.std**2 + spread)
    return (
        torch.tensor(tau, dtype=torch.float64),
        torch.from_numpy(local),
        torch.from_numpy(fit.position),
        torch.from_numpy(std),
    )
