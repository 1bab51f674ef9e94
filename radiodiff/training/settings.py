"""Settings every training stage shares."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from radiodiff.config import Settings
from radiodiff.processes import Precision


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
    every: int = Field(1, ge=1)
    """Update once in N steps."""
    first_step: int = Field(0, ge=0)
    """Before this step there is no average."""


class TrainSettings(Settings):
    """How long, how large, how precise, and what to keep."""

    steps: int = Field(ge=1)
    batch_size: int = Field(ge=1)
    """Samples in one update over all processes and micro-batches."""
    accumulation: int = Field(1, ge=1)
    """Micro-batches in one update."""
    precision: Precision
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
    seed: int = Field(ge=0)
    num_workers: int = Field(0, ge=0)
    """Data loading processes for each training process."""
    ema: EmaSettings | None
    log_every: int = Field(ge=1)
    spike_factor: float = Field(3.0, gt=1)
    """A loss of more than N times the median of the last 100 is logged with its maps."""
    histogram_every: int | None = Field(None, ge=1)
    """Histograms of weights and gradients to TensorBoard once in N steps; null for none."""
    validate_every: int = Field(ge=1)
    validation_maps: int = Field(ge=1)
    """How many maps of the validation split are scored."""
    checkpoint_every: int = Field(ge=1)
    keep_last: int = Field(2, ge=1)
    keep_every: int | None = Field(None, ge=1)

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
