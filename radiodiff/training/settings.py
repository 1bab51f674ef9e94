"""Settings every training stage shares."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from pydantic import Field, field_validator, model_validator

from radiodiff.checks import MAX_COUNT
from radiodiff.config import Precision, Settings
from radiodiff.data.prompts import MEASURED_FEATURE
from radiodiff.data.settings import DataConfig
from radiodiff.data.splits import Part
from radiodiff.diffusion.settings import DecoupledSettings
from radiodiff.inverse.settings import Prediction
from radiodiff.models.settings import (
    CorrectionSettings,
    Preconditioning,
    PromptEncoder,
    VAELossSettings,
    VAESettings,
)
from radiodiff.plugins import import_modules

Tracker = Literal["tensorboard", "wandb", "csv"]
NoiseLevels = Literal["uniform", "log_normal"]


class OptimizerSettings(Settings):
    """The optimiser and its learning rate over the run."""

    method: Literal["adamw", "muon"] = "adamw"
    """``muon`` updates kernels by Muon and all else by AdamW (:mod:`radiodiff.training.muon`)."""
    learning_rate: float = Field(gt=0)
    """Peak learning rate, reached after the warm-up."""
    final_learning_rate: float = Field(ge=0)
    """Floor reached at the last step."""
    schedule: Literal["constant", "cosine", "polynomial"]
    """Shape of the decay from the peak to the floor."""
    power: float = Field(1.0, gt=0)
    """Exponent of the polynomial decay; 1 is linear. Read by ``polynomial`` alone."""
    warmup_steps: int = Field(0, ge=0)
    """Steps of linear warm-up from zero."""
    weight_decay: float = Field(ge=0)
    """Decoupled weight decay of AdamW and Muon."""
    betas: tuple[float, float] = (0.9, 0.999)
    """Of AdamW."""
    gradient_clip: float | None = Field(gt=0)
    """Largest gradient norm, or null for no clipping."""

    @model_validator(mode="after")
    def _floor_below_peak(self) -> OptimizerSettings:
        if self.final_learning_rate > self.learning_rate:
            raise ValueError(
                f"final_learning_rate {self.final_learning_rate} must not exceed learning_rate "
                f"{self.learning_rate}"
            )
        return self


class EmaSettings(Settings):
    """Exponential moving average of the weights; the average is what is validated and exported."""

    decay: float = Field(gt=0, lt=1)
    """Share of the average that an update keeps."""
    every: int = Field(1, ge=1)
    """Update once in N steps."""
    first_step: int = Field(0, ge=0)
    """Before this step there is no average."""


class TrainSettings(Settings):
    """How long, how large, how precise, and what to keep."""

    steps: int = Field(ge=1)
    """Updates of the run."""
    batch_size: int = Field(ge=1)
    """Samples in one update over all processes and micro-batches."""
    accumulation: int = Field(1, ge=1)
    """Micro-batches in one update."""
    precision: Precision
    """Of the computation; weights, moments and averages stay float32."""
    channels_last: bool = False
    """Keep images in channels-last memory, which convolutions in bfloat16 prefer."""
    compile: bool = False
    """Compile the networks with torch.compile; the first steps then take minutes."""
    checkpoint_activations: bool = False
    """Compute the activations of residual and attention blocks again in the backward pass instead
    of keeping them: a third more work for a fraction of the memory."""
    shard: bool = False
    """Spread weights, gradients and optimiser states over the processes (FSDP2) instead of keeping
    them on each; for stages with one optimiser, in fp32 or bf16."""
    augment: bool = True
    """Random flips and quarter turns of map and prompt together."""
    window: int | None = Field(None, ge=8)
    """Train on random squares of this many pixels a side of larger maps, whose transmitter may lie
    outside of them: less memory, and all distances of the large map. Validation maps stay whole.
    null trains on whole maps."""
    seed: int = Field(ge=0)
    """Initial weights, samples and noise follow from it."""
    num_workers: int = Field(0, ge=0, le=1024)
    """Data loading processes for each training process."""
    ema: EmaSettings | None
    trackers: tuple[Tracker, ...] = ("tensorboard",)
    """Where scalars go besides metrics.jsonl: tensorboard (with images and histograms), csv (the
    file scalars.csv) and wandb, which needs that package and an account or WANDB_MODE=offline."""
    log_every: int = Field(ge=1)
    """Log losses and speed once in N steps."""
    spike_factor: float = Field(3.0, gt=1)
    """A loss of more than N times the median of the last 100 is logged with its maps."""
    histogram_every: int | None = Field(None, ge=1)
    """Histograms of weights and gradients to TensorBoard once in N steps; null for none."""
    validate_every: int = Field(ge=1)
    """Score validation maps once in N steps."""
    validation_maps: int = Field(ge=1)
    """How many maps of the validation split are scored."""
    checkpoint_every: int = Field(ge=1)
    """Write a checkpoint once in N steps."""
    keep_last: int = Field(2, ge=1)
    """Number of newest checkpoints that stay."""
    keep_every: int | None = Field(None, ge=1)
    """Checkpoints of every N-th step stay as well; null for none."""

    def size_of(self, whole: tuple[int, int]) -> tuple[int, int]:
        """Return (rows, columns) that are trained on of maps of size ``whole``."""
        return whole if self.window is None else (self.window, self.window)

    @model_validator(mode="after")
    def _sharded_precision(self) -> TrainSettings:
        if self.shard and self.precision == "fp16":
            raise ValueError("shard needs precision fp32 or bf16, found fp16")
        return self

    @model_validator(mode="after")
    def _batch_divides(self) -> TrainSettings:
        if self.batch_size % self.accumulation:
            raise ValueError(
                f"batch_size {self.batch_size} must be a multiple of accumulation "
                f"{self.accumulation}"
            )
        return self


class Experiment(Settings):
    """What every training run has."""

    # Before the data, whose prompt features the modules may add to.
    imports: tuple[str, ...] = ()
    """Modules of your own, in the current folder or installed, that are imported first: they add
    prompt features to ``radiodiff.data.prompts.PROMPT_FEATURES``."""
    output: Path
    """Run directory: config.yaml, metrics.jsonl, tensorboard/, checkpoints/, model/."""
    data: DataConfig
    train: TrainSettings
    optimizer: OptimizerSettings
    start_from: Path | None = None
    """A network of the same sizes whose weights are the initial ones, to tune it to other maps: the
    folder of one ``config.json``, such as data/pretrained/radiodiff-small/denoiser. Its prompt may
    lack features of this run's (:mod:`radiodiff.training.prompt_channels`)."""

    @field_validator("imports")
    @classmethod
    def _import(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        import_modules(names)
        return names


class VAEExperiment(Experiment):
    """Stage one of RadioDiff: the KL autoencoder (``scripts/train_vae.py``)."""

    model: VAESettings
    loss: VAELossSettings
    discriminator_optimizer: OptimizerSettings


class DenoiserSettings(Settings):
    """Sizes of the attention U-Net; see :class:`radiodiff.models.denoiser.DecoupledUNet`."""

    dim: int = Field(ge=8)
    """Channels of the first scale."""
    dim_mults: tuple[int, ...] = Field(min_length=2)
    """Channels of every scale in units of ``dim``, from fine to coarse."""
    prompt_encoder: PromptEncoder
    """Encodes the prompt: a Swin transformer (paper: swin_b), or a small convolutional network."""
    prompt_weights: str | None = None
    """Weights of a Swin encoder: null, a local file, or a torchvision name (IMAGENET1K_V1)."""
    prompt_width: int | None = Field(None, ge=8)
    """Channels of the first scale of the convolutional encoder; null is ``dim``."""
    patch_size: int = Field(1, ge=1)
    """The U-Net works on squares of this many latent pixels a side, unfolded into channels."""
    window_sizes: tuple[int, ...]
    """Side of the averaging windows of the condition attention, one per scale."""
    aft: bool
    """Adaptive FFT filter on the bottleneck of both decoders: RadioDiff, eq. (22)."""
    fourier_scale: float = Field(16.0, gt=0)
    """Standard deviation of the frequencies that encode the time."""
    preconditioning: Preconditioning = "released"
    """``released``, or ``unit_variance``: outputs of one size (docs/explanation/networks.md)."""


class MeasurementRanges(Settings):
    """Which protocol measures a training sample: drawn anew for each, from these ranges."""

    kind: Literal["pixel", "block"]
    """Single pixels ("1 x 1"), or blocks of 2 x 3 off buildings ("2 x 3")."""
    aware: bool
    """Building pixels are observed as well, and the ratio counts outdoor pixels only."""
    missing_ratio: tuple[float, float]
    """Least and largest share of pixels that are not observed, uniform between."""
    noise_std: tuple[float, float]
    """Least and largest noise of the measurements, model range, uniform between."""

    @field_validator("missing_ratio", "noise_std")
    @classmethod
    def _ordered(cls, bounds: tuple[float, float]) -> tuple[float, float]:
        if not 0.0 <= bounds[0] <= bounds[1]:
            raise ValueError("expected [least, largest] with 0 <= least <= largest")
        return bounds

    @field_validator("missing_ratio")
    @classmethod
    def _below_one(cls, bounds: tuple[float, float]) -> tuple[float, float]:
        if bounds[1] >= 1.0:
            raise ValueError("a ratio must be below 1")
        return bounds


def check_measured(features: Sequence[str], ranges: MeasurementRanges | None) -> None:
    """Raise ValueError unless the channel and what fills it are both there, or both are not."""
    if (MEASURED_FEATURE in features) != (ranges is not None):
        raise ValueError(
            f"the section measurements and the prompt feature {MEASURED_FEATURE} (in "
            "data.prompt_features) go together; give both or neither"
        )


class LDMExperiment(Experiment):
    """Stage two of RadioDiff: the decoupled latent diffusion (``scripts/train_ldm.py``)."""

    vae: Path
    """What stage one exported: the folder ``model`` of its run directory."""
    latents: Path | None = None
    """What scripts/encode_latents.py wrote of the training maps; null encodes on the fly."""
    latent_scale: float | None = Field(gt=0)
    """Factor on the latents (0.3 in the released code); null measures it on the validation maps so
    that latents have unit variance."""
    model: DenoiserSettings
    diffusion: DecoupledSettings
    sampling_steps: int = Field(ge=1, le=MAX_COUNT)
    """Sampler steps of the maps generated for validation."""
    zero_buildings: bool = False
    """Have the pipeline set building interiors to gray 0, as RadioMapSeer does."""
    measurements: MeasurementRanges | None = None
    """What is measured of every map, for the prompt feature ``measurements``."""

    @model_validator(mode="after")
    def _measured(self) -> LDMExperiment:
        check_measured(self.data.prompt_features, self.measurements)
        return self

    @model_validator(mode="after")
    def _latents_of_whole_maps(self) -> LDMExperiment:
        if self.latents is not None and self.train.window is not None:
            raise ValueError("train.window needs latents null: stored latents are of whole maps")
        return self


class PriorSettings(Settings):
    """Sizes of the unconditional prior; see :class:`radiodiff.inverse.prior.PatchUNet`."""

    patch_size: int = Field(ge=1)
    """Side of the patches of a map that are unfolded into channels."""
    block_out_channels: tuple[int, ...] = Field(min_length=1)
    """Channels of every scale, from fine to coarse."""
    layers_per_block: int = Field(ge=1)
    """Residual blocks per encoder scale."""
    attention: bool
    """Attention at the coarsest scale."""
    norm_num_groups: int = Field(16, ge=1)
    """Groups of the group normalisations."""
    level_map: bool = False
    """The network takes a noise level for every pixel, as ``sampler.method: fixed_level`` needs."""


class PriorExperiment(Experiment):
    """The unconditional DDPM prior of RadioDiff-Inverse (``scripts/train_prior.py``)."""

    model: PriorSettings
    num_train_timesteps: int = Field(1000, ge=2)
    """Noise levels of the DDPM schedule."""
    prediction_type: Prediction = "epsilon"
    """What the network predicts: ``epsilon`` (the paper's prior) or ``v_prediction``, which weighs
    all noise levels evenly and suits bfloat16."""
    noise_levels: NoiseLevels = "uniform"
    """Levels trained at: every timestep alike, as in DDPM, or ln(sigma) normal with mean -1.2 and
    standard deviation 1.2 (Karras et al., 2022, table 1), for priors that will see dense samples:
    with the paper's schedule 70 % of the timesteps hold more noise than signal. With
    ``model.level_map`` 85 % of the samples have cleaner pixels among the others."""

    @model_validator(mode="after")
    def _level_map_predicts_velocity(self) -> PriorExperiment:
        if self.model.level_map and self.prediction_type != "v_prediction":
            raise ValueError("model.level_map goes with prediction_type v_prediction")
        return self


class DecoderExperiment(Experiment):
    """The tuning of a decoder (``scripts/train_decoder.py``)."""

    pipeline: Path
    """What stage two exported: the folder ``model`` of its run directory."""
    sampling_steps: int = Field(ge=1, le=MAX_COUNT)
    """Sampler steps of the latents that are decoded, in training and validation."""
    correction: CorrectionSettings | None = None
    """Correct the prompt's path_loss_model instead of taking the decoded map. A pipeline that has a
    correction already keeps and tunes it; null then."""
    measurements: MeasurementRanges | None = None
    """What is measured of every map, for the prompt feature ``measurements``."""

    @model_validator(mode="after")
    def _measured(self) -> DecoderExperiment:
        check_measured(self.data.prompt_features, self.measurements)
        return self


class EncodeConfig(Settings):
    """Which autoencoder encodes which maps (``scripts/encode_latents.py``)."""

    output: Path
    """Run directory: latents.npy and manifest.json."""
    vae: Path
    """What stage one exported: the folder ``model`` of its run directory."""
    data: DataConfig
    """The maps, as in the configuration of stage two; the prompt is not read."""
    part: Part = "train"
    """Part of the split that is encoded."""
    augmented: bool
    """Encode all eight flips and quarter turns; stage two needs them where it augments."""
    precision: Literal["fp32", "bf16"]
    """Precision of the autoencoder."""
    batch_size: int = Field(ge=1)
    """Images encoded at a time."""
