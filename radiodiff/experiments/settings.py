"""The configurations of the commands that generate, reconstruct and show maps."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field, field_validator, model_validator

from radiodiff.checks import MAX_COUNT
from radiodiff.config import Settings
from radiodiff.data.settings import DataConfig, MeasurementProtocol
from radiodiff.data.splits import Part
from radiodiff.diffusion.settings import Mode
from radiodiff.inverse.sampler import AnySampler
from radiodiff.inverse.settings import Interpolator, RefinementSettings
from radiodiff.plugins import import_modules
from radiodiff.units import RESOLUTION_M

NetworkPrecision = Literal["auto", "float32", "bfloat16"]
"""Precision of networks; ``auto`` is bfloat16 where the device computes in it, else float32."""


class SamplerSettings(Settings):
    """Which prior is used, and how it is sampled."""

    prior: Path
    """Directory of any diffusers DDPM pipeline, or the weights of a guided-diffusion network."""
    sampler: AnySampler | None = None
    """How the posterior is sampled; null takes what suits the prior."""
    refinement: RefinementSettings | None = None
    """Walls and path-loss model; null takes what suits the prior where no sampler is given,
    else none."""
    num_particles: int = Field(default=5, ge=1, le=MAX_COUNT)
    """Samples of each map."""
    num_inference_steps: int = Field(default=100, ge=1, le=MAX_COUNT)
    """Network calls per particle."""
    batch_limit: int | None = Field(default=None, ge=1)
    """Most particles in one network call, to bound memory; null puts no limit."""
    shadow_threshold: float | None = None
    """tau of the building mask, model range; null estimates it from each map's truncation floor."""
    device: str = "cpu"
    """A torch device."""
    dtype: NetworkPrecision = "float32"
    """Precision of the prior; the sampler itself runs in float32. ``auto`` is bfloat16 where the
    device computes in it, else float32."""


class InverseConfig(SamplerSettings):
    """A benchmark of reconstruction from sparse noisy samples."""

    output: Path
    """Run directory: config.yaml, metrics.csv, summary.json, maps.npz."""
    data: DataConfig
    """The maps."""
    part: Part = "test"
    """Part of the split."""
    max_maps: int | None = Field(default=None, ge=1)
    """Take the first N maps of the part; null takes all."""
    measurements: MeasurementProtocol
    """How every map is measured."""
    seeds: tuple[int, ...] = Field(default=(0,), min_length=1)
    """Every seed draws other masks, noise and particles."""
    batch_size: int = Field(default=1, ge=1)
    """Maps reconstructed together; the result does not depend on it."""
    baselines: tuple[Interpolator, ...] = ("nearest", "linear")
    """Interpolators run beside it on the same measurements."""


class CityMaps(Settings):
    """A city without a tree of maps."""

    buildings: Path
    """Footprints as GeoJSON in longitude and latitude, one metre a pixel; or a mask as PNG, north
    up, white for buildings."""
    transmitters: tuple[tuple[int, int], ...] = Field(min_length=1)
    """(row, column) of outdoor pixels from the top left; a map is made for each."""
    bounds: tuple[float, float, float, float] | None = None
    """West, south, east, north in degrees of the part of a GeoJSON file that is mapped; null maps
    all of it."""
    resolution_m: float = Field(default=RESOLUTION_M, gt=0)
    """Side of a pixel of a PNG in metres."""

    @model_validator(mode="after")
    def _of_png(self) -> CityMaps:
        png = self.buildings.suffix.lower() == ".png"
        if png and self.bounds is not None:
            raise ValueError("bounds go with GeoJSON, not with a PNG")
        if not png and self.resolution_m != RESOLUTION_M:
            raise ValueError("resolution_m goes with a PNG; GeoJSON is drawn at one metre a pixel")
        return self


class GenerateConfig(Settings):
    """Which weights generate which maps: of a tree (``data``) or of a city (``city``)."""

    output: Path
    """Run directory; maps go to maps/{map}_{transmitter}.png, 8-bit gray as in the dataset, or
    those of a city to maps/{transmitter}.npz, .png (16 bits) and .tif."""
    imports: tuple[str, ...] = ()
    """Modules of your own that add prompt features, see the training configurations."""
    model: Path
    """A saved RadioDiffPipeline: the folder ``model`` of a ``train_ldm.py`` run."""
    data: DataConfig | None = None
    """The cities and transmitters; ``prompt_features`` that are not given are the model's."""
    city: CityMaps | None = None
    """A city of your own instead, as GeoJSON or PNG, without true maps."""
    part: Part = "test"
    """Part of the split that is generated."""
    max_maps: int | None = Field(default=None, ge=1)
    """Generate the first N maps of the part; null generates all."""
    num_inference_steps: int = Field(ge=1, le=MAX_COUNT)
    """Evaluations of the denoiser for each map."""
    mode: Mode | None = None
    """``mean`` or ``sample``; null takes what the model was trained with."""
    zero_buildings: bool
    """Set building interiors to gray 0, as they are in RadioMapSeer."""
    measurements: MeasurementProtocol | None = None
    """How the maps are measured, for a model whose prompt has the channel ``measurements``."""
    seed: int = Field(0, ge=0)
    """A map's noise follows from the seed and its name alone."""
    batch_size: int = Field(ge=1)
    """Maps generated at a time."""
    dtype: NetworkPrecision = "float32"
    """Precision of the networks. ``auto`` is bfloat16 where the device computes in it, else
    float32."""

    @field_validator("imports")
    @classmethod
    def _import(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        import_modules(names)
        return names

    @model_validator(mode="after")
    def _one_source(self) -> GenerateConfig:
        if (self.data is None) == (self.city is None):
            raise ValueError("give either data (a tree) or city (a file of buildings)")
        return self


class SurveyDemo(Settings):
    """Measurements that are made up on the city and reconstructed."""

    config: Path
    """Configuration of ``scripts/infer_inverse.py --measurements``."""
    noise_std_db: float = Field(gt=0)
    """Noise of the samples, which the reconstruction is told."""
    transmit_power_dbm: float
    """Transmit power, which the reconstruction is told."""
    points: int = Field(ge=10)
    """Measurements that the reconstruction sees."""
    held_out: int = Field(ge=1)
    """Further measurements that the reconstruction is compared with."""


class DemoConfig(SamplerSettings):
    """Which weights are shown, and on what; the sampler's settings are the inverse method's."""

    output: Path
    """Folder of the figure, the table and the survey."""
    model: Path
    """RadioDiff."""
    city_seed: int = Field(ge=0)
    """Of the city. Training cities are drawn from other generators, seeded with three numbers."""
    num_maps: int = Field(ge=1)
    """Transmitters in that city."""
    sampling_steps: int = Field(ge=1)
    """Steps of RadioDiff."""
    measurements: MeasurementProtocol
    """How the maps are measured for RadioDiff-Inverse."""
    survey: SurveyDemo
    seed: int = Field(ge=0)
    """Of measurements, particles and the survey."""


class SamplingSettings(Settings):
    """How a method that samples is run; the others do not look at it."""

    num_inference_steps: int | None = Field(None, ge=1)
    """Sampler steps of RadioDiff, network calls per particle of RadioDiff-Inverse; null takes 5
    and 100."""
    mode: Mode | None = None
    """``mean`` or ``sample`` of RadioDiff; null takes what the model was trained with."""
    num_particles: int = Field(5, ge=1)
    """Samples of each map by RadioDiff-Inverse, whose mean is scored."""
    sampler: AnySampler | None = None
    """How RadioDiff-Inverse samples the posterior; null takes what suits the prior."""
    refinement: RefinementSettings | None = None
    """Walls and path-loss model; null takes what suits the prior where no sampler is given,
    else none."""
    dtype: NetworkPrecision = "float32"
    """Precision of the networks of any method; the sampler of RadioDiff-Inverse runs in float32.
    ``auto`` is bfloat16 where the device computes in it, else float32."""


class MethodSettings(SamplingSettings):
    """Which method is run, and how."""

    source: str = Field(min_length=1)
    """A name in METHODS, a folder that a training script exported, or package.module:function."""
    device: str = "cpu"
    """A torch device."""
