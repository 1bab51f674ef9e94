"""RadioDiff from buildings to radio maps: prompt, reverse diffusion, decoding."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import torch
from diffusers import AutoencoderKL, DiffusionPipeline
from diffusers.utils import BaseOutput
from diffusers.utils.torch_utils import randn_tensor
from torch import Tensor, nn

from radiodiff.checks import check_count, check_generators, require_data
from radiodiff.data.measurements import Measurements, show_measurements
from radiodiff.data.prompts import MEASURED_FEATURE, PAPER_PROMPT, check_features
from radiodiff.data.scale import Scale
from radiodiff.diffusion.decoupled import DecoupledScheduler, Generators, sample
from radiodiff.diffusion.scenes import Array, Points, stack_scenes
from radiodiff.diffusion.settings import Mode
from radiodiff.diffusion.windows import generate_in_windows
from radiodiff.errors import InputError
from radiodiff.models.correction import PathLossCorrection
from radiodiff.models.denoiser import DecoupledUNet
from radiodiff.models.loading import load_component, read_index
from radiodiff.models.padding import crop, round_up
from radiodiff.units import GAIN_MAX_DB, GAIN_MIN_DB, RESOLUTION_M, model_to_gray
from radiodiff.weight_sources import find_weights

PATH_LOSS_FEATURE = "path_loss_model"
"""Channel of the prompt that a correction corrects."""


@dataclass
class RadioDiffOutput(BaseOutput):
    """Radio maps in three units, each (N, H, W) float32 on the pipeline's device.

    Attributes:
        path_gain_db: path gain in dB, from -147 to -47.84 on RadioMapSeer's scale.
        gray: gray level in [0, 1].
        model: model range [-1, 1].
    """

    path_gain_db: Tensor
    gray: Tensor
    model: Tensor


class RadioDiffPipeline(DiffusionPipeline):
    """Generates radio maps for any city, transmitter and vehicles, without measurements.

    Args:
        vae: autoencoder of single-channel maps; its ``scaling_factor`` is the latent scale.
        denoiser: predicts the attenuation and the noise of latents.
        scheduler: the reverse process.
        prompt_features: names from ``radiodiff.data.prompts.PROMPT_FEATURES``, in channel order.
        zero_buildings: set building interiors to gray 0, as in RadioMapSeer, unless a call says
            otherwise; the prompt must hold the buildings.
        correction: corrects the prompt's ``path_loss_model`` by the decoded map; None takes the
            decoded map as it is.
        gain_scale_db: path gain of gray 0 and of gray 1 in the maps that it was trained on; None
            is RadioMapSeer's.
        window: side in pixels of the windows that larger maps are generated in, as a network that
            was trained on windows needs; None generates maps of any size whole.

    Raises:
        InputError: components that do not fit each other, or unknown prompt features.
    """

    model_cpu_offload_seq = "denoiser->vae->correction"
    _optional_components: ClassVar[list[str]] = ["correction"]

    vae: AutoencoderKL
    denoiser: DecoupledUNet
    scheduler: DecoupledScheduler
    correction: PathLossCorrection | None

    def __init__(
        self,
        vae: AutoencoderKL,
        denoiser: DecoupledUNet,
        scheduler: DecoupledScheduler,
        prompt_features: Sequence[str] = PAPER_PROMPT,
        zero_buildings: bool = False,
        correction: PathLossCorrection | None = None,
        gain_scale_db: Sequence[float] | None = None,
        window: int | None = None,
    ) -> None:
        super().__init__()
        check_features(prompt_features)
        gain_scale_db = gain_scale_db or (GAIN_MIN_DB, GAIN_MAX_DB)
        self._scale = Scale(min_db=gain_scale_db[0], max_db=gain_scale_db[1])
        if zero_buildings and "buildings" not in prompt_features:
            raise InputError("zero_buildings: the prompt features lack 'buildings'")
        for what, found, expected in (
            ("prompt features", len(prompt_features), denoiser.config.prompt_channels),
            (
                "latent channels of the vae",
                vae.config.latent_channels,
                denoiser.config.latent_channels,
            ),
            (
                "attenuation of the scheduler",
                scheduler.config.attenuation,
                denoiser.config.attenuation,
            ),
        ):
            if found != expected:
                raise InputError(f"{what}: found {found}, the denoiser has {expected}")
        if correction is not None:
            if PATH_LOSS_FEATURE not in prompt_features:
                raise InputError(f"correction: the prompt features lack {PATH_LOSS_FEATURE!r}")
            if correction.config.prompt_channels != len(prompt_features):
                raise InputError(
                    f"prompt features: found {len(prompt_features)}, the correction has "
                    f"{correction.config.prompt_channels}"
                )
        self.register_modules(
            vae=vae, denoiser=denoiser, scheduler=scheduler, correction=correction
        )
        self.register_to_config(
            prompt_features=list(prompt_features),
            zero_buildings=zero_buildings,
            gain_scale_db=list(gain_scale_db),
            window=window,
        )
        if window is not None and (window <= 0 or window % self._vae_stride):
            raise InputError(f"window: found {window}, allowed are multiples of {self._vae_stride}")

    @classmethod
    def from_pretrained(
        cls, directory: str | Path, dtype: torch.dtype | None = None
    ) -> RadioDiffPipeline:
        """Load what ``save_pretrained`` wrote.

        Args:
            directory: holds ``model_index.json`` and a folder per component; or a name of weights,
                such as ``radiodiff-small`` (:func:`radiodiff.weight_sources.find_weights`).
            dtype: precision of the networks; None is float32, whatever the files hold.

        Raises:
            InputError: the directory is no saved RadioDiffPipeline, its weights are not those of
                its networks, or some are not finite.
        """
        directory = find_weights(directory)
        needed = ("vae", "denoiser", "scheduler", "prompt_features")
        config = read_index(directory, needed, cls.__name__)
        return cls(
            vae=load_component(AutoencoderKL, directory / "vae", dtype),
            denoiser=load_component(DecoupledUNet, directory / "denoiser", dtype),
            scheduler=load_component(DecoupledScheduler, directory / "scheduler"),
            prompt_features=config["prompt_features"],
            zero_buildings=config.get("zero_buildings", False),
            gain_scale_db=config.get("gain_scale_db"),
            window=config.get("window"),
            correction=(
                load_component(PathLossCorrection, directory / "correction", dtype)
                if (directory / "correction").is_dir()
                else None
            ),
        )

    @torch.no_grad()
    def __call__(
        self,
        buildings: Array,
        transmitter: Points,
        vehicles: Array | None = None,
        num_inference_steps: int = 5,
        num_samples: int = 1,
        generator: Generators = None,
        mode: Mode | None = None,
        zero_buildings: bool | None = None,
        resolution_m: float = RESOLUTION_M,
        latents: Tensor | None = None,
        measurements: Measurements | None = None,
        return_dict: bool = True,
    ) -> RadioDiffOutput:
        """Generate radio maps.

        One scene for all, or N of each: a single mask, transmitter or vehicle mask serves the
        whole batch.

        Args:
            buildings: (H, W) or (N, H, W) mask, bool or 0 and 1.
            transmitter: (row, column) or (N, 2), outdoors.
            vehicles: (H, W) or (N, H, W) mask; None for static maps.
            num_inference_steps: evaluations of the denoiser.
            num_samples: maps per scene; the output holds those of one scene next to each other.
            generator: source of all noise; a list gives one to each output map, which then does
                not depend on the rest of the batch. None draws from torch's default generator.
            mode: ``released`` as published, ``mean`` for the least error, ``sample`` for the
                right spread; None takes the scheduler as it was configured.
            zero_buildings: set building interiors to gray 0, as in RadioMapSeer; None does what the
                pipeline was made with.
            resolution_m: side of a pixel in metres.
            latents: (N, c, h, w) float32 normal noise to begin from, one for each output map and
                of the size of :meth:`prompt_size`; None draws it.
            measurements: of the N maps, or of one for all, for a network whose prompt has the
                channel ``measurements``, and for no other.
            return_dict: False returns the fields of the output as a tuple, as in diffusers.

        Raises:
            InputError: a mask that is not binary, a transmitter outside or in a building, batches
                of different lengths.
        """
        masks, prompt = stack_scenes(
            self.config.prompt_features,
            buildings,
            transmitter,
            vehicles,
            resolution_m,
            self.prompt_size,
        )
        self._check_prompt(prompt)
        prompt = show_measurements(prompt, self.config.prompt_features, measurements)
        model = self._sample(prompt, num_inference_steps, num_samples, generator, mode, latents)
        model = crop(model, masks.shape[-2:])
        if self.config.zero_buildings if zero_buildings is None else zero_buildings:
            model = _zero(model, torch.from_numpy(masks))
        output = self._output(model)
        # Typed as the usual case: a union would make every caller narrow it.
        return output if return_dict else output.to_tuple()

    @torch.no_grad()
    def generate(
        self,
        prompt: Tensor,
        num_inference_steps: int = 5,
        num_samples: int = 1,
        generator: Generators = None,
        mode: Mode | None = None,
        size: tuple[int, int] | None = None,
        measurements: Measurements | None = None,
    ) -> RadioDiffOutput:
        """Generate radio maps from prompts that are already stacked, as a dataset gives them.

        Args:
            prompt: (N, C, H, W) in [-1, 1], channels in the order of ``prompt_features``.
            num_inference_steps: see :meth:`__call__`, as the next three.
            num_samples: maps per prompt.
            generator: source of all noise.
            mode: ``released``, ``mean`` or ``sample``.
            size: (H, W) of the maps where the prompts show more, at the bottom and at the right, as
                :meth:`prompt_size` asks for; None is that of the prompts.
            measurements: see :meth:`__call__`.

        Raises:
            InputError: see :meth:`__call__`.
        """
        self._check_prompt(prompt)
        prompt = show_measurements(prompt, self.config.prompt_features, measurements)
        model = self._sample(prompt, num_inference_steps, num_samples, generator, mode)
        prompt = crop(prompt, size or prompt.shape[-2:])
        model = crop(model, prompt.shape[-2:])
        if self.config.zero_buildings:
            channel = list(self.config.prompt_features).index("buildings")
            model = _zero(model, prompt[:, channel] > 0)
        return self._output(model)

    @property
    def takes_measurements(self) -> bool:
        """Whether the prompt has the channel ``measurements``."""
        return MEASURED_FEATURE in self.config.prompt_features

    def prompt_size(self, size: tuple[int, int]) -> tuple[int, int]:
        """Return the least (H, W) that prompts of maps of ``size`` should show.

        Levels, and with them the statistics of the group normalisations, are those of training only
        if a map reaches as far from its transmitter. A side shorter than that of training is
        extended to it. A network that is shown a path-loss model has the levels from there.
        """
        if PATH_LOSS_FEATURE in self.config.prompt_features:
            return size
        stride = self.denoiser.latent_stride * self._vae_stride
        height, width = (
            trained * stride if round_up(side, stride) < trained * stride else side
            for side, trained in zip(size, self.denoiser.config.filter_size, strict=True)
        )
        return height, width

    def _sample(
        self,
        prompt: Tensor,
        num_inference_steps: int,
        num_samples: int,
        generator: Generators,
        mode: Mode | None,
        latents: Tensor | None = None,
    ) -> Tensor:
        """Return maps (N, H, W) in model range; see :meth:`generate`."""
        check_count("num_samples", num_samples)
        check_count("num_inference_steps", num_inference_steps)
        check_generators(generator)
        n = len(prompt) * num_samples
        if isinstance(generator, list) and len(generator) != n:
            raise InputError(f"generator: found {len(generator)} generators for {n} maps")
        device = self._execution_device
        size, stride = prompt.shape[-2:], self._vae_stride
        latent_size = (-(-size[0] // stride), -(-size[1] // stride))
        scheduler = self._scheduler_for(mode)
        # Latents stay in float32 whatever the networks compute in.
        shape = (n, self.vae.config.latent_channels, *latent_size)
        if latents is None:
            noise = randn_tensor(shape, generator, device, torch.float32)
        elif tuple(latents.shape) == shape:
            noise = latents.to(device, torch.float32)
        else:
            raise InputError(f"latents: found {tuple(latents.shape)}, expected {shape}")
        networks = [n for n in (self.vae, self.denoiser, self.correction) if n is not None]
        prompt = prompt.to(device)

        def generate(prompt: Tensor, noise: Tensor) -> Tensor:
            scheduler.set_timesteps(num_inference_steps, device)
            return self._maps(prompt, noise, scheduler, generator)

        with _evaluating(*networks):
            if self.config.window is None or max(size) <= self.config.window:
                maps = generate(prompt, noise)
            else:
                maps = generate_in_windows(generate, prompt, noise, self.config.window, stride)
        if not torch.isfinite(maps).all():
            raise InputError("the networks returned NaN or infinity; are the weights sound?")
        return maps[:, 0].clamp(-1.0, 1.0)

    def _maps(
        self,
        prompt: Tensor,
        noise: Tensor,
        scheduler: DecoupledScheduler,
        generator: Generators,
    ) -> Tensor:
        """Return maps (N, 1, H, W) from noise (N, c, h, w) and prompts (M, C, H, W), N / M each."""
        samples = len(noise) // len(prompt)
        features = [
            feature.repeat_interleave(samples, dim=0)
            for feature in self.denoiser.encode_prompt(prompt, (noise.shape[-2], noise.shape[-1]))
        ]
        z_0 = sample(lambda z, t: self.denoiser(z, t, features), scheduler, noise, generator)
        latents = (z_0 / self.vae.config.scaling_factor).to(self.vae.dtype)
        maps: Tensor = crop(self.vae.decode(latents).sample.float(), prompt.shape[-2:])
        if self.correction is not None:
            channels = prompt.repeat_interleave(samples, dim=0)
            maps = self.correction(maps, self.path_loss_channel(channels), channels)
        return maps

    def _check_prompt(self, prompt: Tensor) -> None:
        channels = self.denoiser.config.prompt_channels
        if not isinstance(prompt, Tensor) or prompt.ndim != 4 or prompt.shape[1] != channels:
            found = tuple(prompt.shape) if isinstance(prompt, Tensor) else type(prompt).__name__
            raise InputError(f"prompt: found {found}, expected a tensor (N, {channels}, H, W)")
        require_data(prompt, "prompt")
        if prompt.numel() == 0:
            raise InputError(f"prompt: an empty batch, {tuple(prompt.shape)}")
        if not torch.isfinite(prompt).all():
            raise InputError("prompt: holds NaN or infinity")

    def path_loss_channel(self, prompt: Tensor) -> Tensor:
        """Return the path-loss model's maps (N, 1, H, W) of prompts (N, C, H, W)."""
        channel = list(self.config.prompt_features).index(PATH_LOSS_FEATURE)
        return prompt[:, channel, None]

    def _output(self, model: Tensor) -> RadioDiffOutput:
        gain_db = self._scale.model_to_db(model)
        return RadioDiffOutput(path_gain_db=gain_db, gray=model_to_gray(model), model=model)

    @property
    def _vae_stride(self) -> int:
        return 2 ** (len(self.vae.config.block_out_channels) - 1)

    def _scheduler_for(self, mode: Mode | None) -> DecoupledScheduler:
        if mode is None:
            return self.scheduler
        return DecoupledScheduler.from_config(
            self.scheduler.config, mode=mode, sampler=None, grid_power=None
        )


def _zero(model: Tensor, buildings: Tensor) -> Tensor:
    """Set building pixels of maps (N, H, W) to the least gain; ``buildings`` has one per scene."""
    inside = buildings.to(model.device).repeat_interleave(len(model) // len(buildings), dim=0)
    return model.masked_fill(inside, -1.0)


@contextmanager
def _evaluating(*networks: nn.Module) -> Iterator[None]:
    """Switch dropout and batch statistics off, and back as they were: a preview during training
    must not change the networks.
    """
    flags = [(module, module.training) for network in networks for module in network.modules()]
    for network in networks:
        network.eval()
    try:
        yield
    finally:
        for module, training in flags:
            module.training = training
