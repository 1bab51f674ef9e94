"""Which maps of which tree are read (the ``data`` section of configurations), how measured."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field, field_validator, model_validator

from radiodiff.config import Settings
from radiodiff.data.prompts import PAPER_PROMPT, check_features
from radiodiff.data.scale import Scale
from radiodiff.data.splits import Part
from radiodiff.units import RESOLUTION_M

Simulation = Literal["DPM", "IRT2", "IRT4", "carsDPM", "carsIRT2", "carsIRT4"]
LayoutName = Literal["complete", "missing1", "missing2", "missing3", "missing4"]
BuildingSource = Literal["auto", "polygon", "png", "gain"]
Threshold = Literal["none", "thr2"]
SplitName = Literal["radiounet", "radiodiff", "inverse", "fraction", "all", "explicit"]


class MeasurementProtocol(Settings):
    """How a map is measured (RadioDiff-Inverse, section V)."""

    kind: Literal["pixel", "block"] = "pixel"
    """Single pixels ("1 x 1"), or blocks of 2 x 3 off buildings ("2 x 3")."""
    missing_ratio: float = Field(ge=0, lt=1)
    """Share of pixels that are not observed."""
    aware: bool = False
    """The buildings are known: their pixels are observed as well, exactly, and the ratio counts
    outdoor pixels only."""
    noise_std: float = Field(ge=0)
    """Sigma of a measurement, model range [-1, 1] as in the paper."""
    quantise_db: float | None = Field(default=None, gt=0)
    """Measurements are rounded to this step in dB, e.g. 1 as handsets do; the rounding error
    is added to the stated noise."""


class DataConfig(Settings):
    """Which maps of which tree, and what is read of them."""

    root: Path
    """The folder that holds gain/ and png/."""
    split: SplitName = "radiounet"
    """Published split (radiounet, radiodiff, inverse), fraction (of the maps in the tree), all
    (every map, as test part only) or explicit (the ids in maps)."""
    maps: dict[Part, tuple[int, ...]] = Field(default={})
    """Map ids by part; only with split explicit."""
    fractions: tuple[float, float, float] = (0.8, 0.1, 0.1)
    """Of train, val and test; only with split fraction."""
    simulation: Simulation = "DPM"
    """Propagation model: a folder of gain/. Those with "cars" are the dynamic maps (DRM)."""
    layout: LayoutName = "complete"
    """The buildings given as prompt; missing1 .. missing4 lack one to four of them."""
    layout_version: int = Field(default=1, ge=1, le=6)
    """Which of the six random versions of an incomplete layout."""
    buildings: BuildingSource = "auto"
    """What the buildings are made from: polygon (the JSON files, exact), png (polygons fitted to
    the images) or gain (where the gain images are 0). auto takes the polygons of a map if there are
    any, else its image, and stops if what it took contradicts the other files."""
    transmitters: tuple[int, int] | None = None
    """First transmitter and the one after the last, which every map must have. null takes all; in a
    published split every map must then have the same ones, or the copy is incomplete."""
    prompt_features: tuple[str, ...] = PAPER_PROMPT
    """Channels of the prompt, in this order."""
    threshold: Threshold = "none"
    """thr2: clip at the noise floor (gray 0.2) and rescale."""
    cache: bool = True
    """Keep decoded images in memory (65 kB per map of 256 x 256)."""
    resolution_m: float = Field(default=RESOLUTION_M, gt=0)
    """Side of a pixel in metres."""
    scale: Scale | None = None
    """Path gain of gray 0 and gray 1 in dB, for a tree of other levels than RadioMapSeer's. null
    takes that of the file radiomap.yaml in root (``scale: {min_db: -160, max_db: -40}``) if there
    is one, else RadioMapSeer's, -147 and -47.84."""
    building_heights: bool = False
    """The images in png/buildings_complete hold heights: 0 is the ground, any other level a
    building. The prompt feature building_height then shows them, and data.buildings is png."""
    extra: dict[str, str] = Field(default={})
    """Further images of each map for prompt features of your own, such as
    ``{terrain: "png/terrain/{map}.png"}`` below root; {transmitter} is replaced too. PNG are gray
    in [0, 1], .npy hold any numbers. A feature finds them as ``scene.extra["terrain"]``."""
    rooftop: bool = False
    """Transmitters may stand inside of a building's outline, on its roof."""
    prompt_cache: Path | None = None
    """Folder that keeps the prompt channels that take long to compute (path_loss_model); a file is
    named by the digest of all that it follows from, so the folder may serve any number of trees.
    Maps are best visited in order the first time, as scripts/encode_latents.py does, since the
    transmitters of a layout share most of the work. null computes them for every item."""

    @field_validator("prompt_features")
    @classmethod
    def _known_features(cls, features: tuple[str, ...]) -> tuple[str, ...]:
        check_features(features)
        return features

    @field_validator("extra")
    @classmethod
    def _of_maps(cls, extra: dict[str, str]) -> dict[str, str]:
        for place in extra.values():
            if "{map}" not in place or not place.endswith((".png", ".npy")):
                raise ValueError(f"{place!r} needs {{map}} in it and ends with .png or .npy")
        return extra

    @field_validator("transmitters")
    @classmethod
    def _non_empty_range(cls, value: tuple[int, int] | None) -> tuple[int, int] | None:
        if value is not None and not 0 <= value[0] < value[1]:
            raise ValueError("expected [first, one after the last] with 0 <= first < last")
        return value

    @field_validator("fractions")
    @classmethod
    def _sum_to_one(cls, fractions: tuple[float, float, float]) -> tuple[float, float, float]:
        if min(fractions) < 0 or abs(sum(fractions) - 1.0) > 1e-6:
            raise ValueError("fractions of train, val and test are not negative and sum to 1")
        return fractions

    @model_validator(mode="after")
    def _heights_of_images(self) -> DataConfig:
        if self.building_heights and self.buildings not in ("auto", "png"):
            raise ValueError("building_heights goes with buildings auto or png")
        return self

    @model_validator(mode="after")
    def _explicit_maps(self) -> DataConfig:
        if (self.split == "explicit") != bool(self.maps):
            raise ValueError("map ids in maps and split explicit go together")
        ids = [map_id for part in self.maps.values() for map_id in part]
        if len(ids) != len(set(ids)):
            twice = next(map_id for map_id in ids if ids.count(map_id) > 1)
            raise ValueError(f"map {twice} is listed twice in maps; parts must not overlap")
        return self
