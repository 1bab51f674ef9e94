"""What one reproduce run compares: data, methods, tables and figures."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, model_validator

from radiodiff.config import Settings
from radiodiff.data.prompts import Fact
from radiodiff.data.settings import DataConfig, MeasurementProtocol, Simulation
from radiodiff.data.splits import Part
from radiodiff.evaluation.paper import TABLES
from radiodiff.evaluation.settings import Interval, MetricConfig
from radiodiff.executors import Executor
from radiodiff.experiments.settings import SamplingSettings

ANY = "any"
"""Variant of a method that serves every scenario."""

Metric = Literal["nmse", "rmse", "ssim", "psnr", "iou", "iou_gain"]


class TrainingStage(Settings):
    """One training run."""

    stage: Literal["vae", "ldm", "decoder", "prior", "baseline"]
    """Which of the scripts train_*.py would run it."""
    config: Path
    """Its configuration. What says which maps train (root, split, maps, fractions) is replaced by
    that of ``data`` here, so that no test map is trained on."""
    name: str | None = None
    """Its folder in ``runs``; null takes the name of the configuration file."""
    overrides: tuple[str, ...] = ()
    """Further ``key.path=value``, applied after ``train_overrides``."""


class MethodEntry(SamplingSettings):
    """Where a method comes from: the first of ``predictions``, ``source`` and ``train`` given."""

    predictions: Path | None = None
    """Folder of predicted maps, as scripts/evaluate.py reads them."""
    source: str | None = None
    """A name in METHODS, a folder that a training script exported, or package.module:function."""
    files: tuple[Path, ...] = ()
    """What the maps of a custom function follow from besides its module, the modules that this one
    imports, and weights beside them: files or folders. Maps are predicted anew when one changes."""
    train: tuple[TrainingStage, ...] = ()
    """Stages run one after the other, each going on with what it finds; the last one's weights are
    the method. An ``ldm`` takes the autoencoder of the stage before it, a ``decoder`` the
    pipeline."""

    @model_validator(mode="after")
    def _one_origin(self) -> MethodEntry:
        if self.predictions is None and self.source is None and not self.train:
            raise ValueError("one of predictions, source and train is required")
        return self


class Scenario(Settings):
    """What the methods are shown, and with which weights they run."""

    variant: str
    """The methods' variant; one that lacks it takes its variant ``any``."""
    simulation: Simulation = "DPM"
    """Propagation model of the maps: a folder of gain/."""
    measurements: MeasurementProtocol | None = None
    """How every map is measured; null shows no measurements."""
    known: tuple[Fact, ...] | None = None
    """What prompts may show: buildings, transmitter, vehicles. null is all of them without
    measurements; with them the transmitter, and the rest where ``measurements.aware``. A method
    whose prompt follows from anything else does not run, and the table says so."""

    @model_validator(mode="after")
    def _buildings_known_once(self) -> Scenario:
        measured = self.measurements
        if self.known is None or measured is None:
            return self
        if ("buildings" in self.known) != measured.aware:
            raise ValueError("buildings stand in known where measurements.aware, and only there")
        return self


class Shown(Settings):
    """What every table and figure has."""

    title: str
    """Caption."""
    methods: tuple[str, ...]
    """Which of ``methods``, in this order; ``own_methods`` follow in every table and figure."""

    def scenario_list(self) -> Iterator[Scenario]:
        """Return the scenarios that are needed."""
        raise NotImplementedError


class ScoreTable(Shown):
    """Mean and interval of metrics, a block for every scenario, a row for every method."""

    kind: Literal["scores"]
    """Selects this kind of table."""
    scenarios: dict[str, Scenario]
    """Setting -> scenario; a setting named as in the printed table has its figures beside it."""
    metrics: tuple[Metric, ...] = Field(min_length=1)
    """IoU is left out where building pixels are observed: the papers print none there."""
    interval: Interval
    """What the 95 % intervals are over."""
    conventions: MetricConfig
    """In which the papers differ."""
    printed: str | None = None
    """Key of radiodiff.evaluation.paper.TABLES."""
    also_printed: tuple[str, ...] = ()
    """Further printed tables, shown below for comparison."""

    @model_validator(mode="after")
    def _known_tables(self) -> ScoreTable:
        _check_printed(self.printed, *self.also_printed)
        unit = None if self.printed is None else TABLES[self.printed].rmse_unit
        if unit not in (None, self.conventions.rmse_unit):
            raise ValueError(f"the RMSE of {self.printed} is printed in {unit}: set rmse_unit")
        return self

    def scenario_list(self) -> Iterator[Scenario]:
        """Return the scenarios that are needed."""
        yield from self.scenarios.values()


class CostTable(Shown):
    """Time per map and peak memory of every method on the present device, in its own process."""

    kind: Literal["cost"]
    """Selects this kind of table."""
    scenario: Scenario
    repeats: int = Field(ge=1)
    """Maps that are timed, one at a time after one that is not; the median counts."""
    printed: str | None = None
    """Key of radiodiff.evaluation.paper.TABLES."""
    also_printed: tuple[str, ...] = ()
    """Further printed tables, whose times and memory are shown below for comparison."""

    @model_validator(mode="after")
    def _known_tables(self) -> CostTable:
        _check_printed(self.printed, *self.also_printed)
        return self

    def scenario_list(self) -> Iterator[Scenario]:
        """Return the scenarios that are needed."""
        yield self.scenario


class MapsFigure(Shown):
    """Maps side by side with their errors: prompt, samples, truth, methods."""

    kind: Literal["maps"]
    """Selects this kind of figure."""
    scenario: Scenario
    maps: int = Field(ge=1)
    """How many, spread over the part."""

    def scenario_list(self) -> Iterator[Scenario]:
        """Return the scenarios that are needed."""
        yield self.scenario


class CurvesFigure(Shown):
    """A metric against the share of missing pixels or the noise, with bands."""

    kind: Literal["curves"]
    """Selects this kind of figure."""
    metric: Metric
    """What is drawn."""
    axis: Literal["missing_ratio", "noise_std"]
    """What it is drawn against."""
    values: tuple[float, ...] = Field(min_length=2)
    """Along the axis."""
    scenarios: dict[str, Scenario]
    """Label -> scenario, whose value on the axis is replaced; buildings known are drawn solid,
    unknown dashed."""
    interval: Interval
    """What the bands, 95 % intervals, are over."""
    conventions: MetricConfig

    @model_validator(mode="after")
    def _measured(self) -> CurvesFigure:
        if any(scenario.measurements is None for scenario in self.scenarios.values()):
            raise ValueError("curves need scenarios with measurements")
        return self

    def at(self, scenario: Scenario, value: float) -> Scenario:
        """Return the scenario at a value of the axis."""
        assert scenario.measurements is not None
        samples = scenario.measurements.model_copy(update={self.axis: value})
        return scenario.model_copy(update={"measurements": samples})

    def scenario_list(self) -> Iterator[Scenario]:
        """Return the scenarios that are needed."""
        for scenario in self.scenarios.values():
            for value in self.values:
                yield self.at(scenario, value)


Table = Annotated[ScoreTable | CostTable, Field(discriminator="kind")]
Figure = Annotated[MapsFigure | CurvesFigure, Field(discriminator="kind")]
Variants = dict[str, MethodEntry]


class ReproduceConfig(Settings):
    """A set of comparisons (``scripts/reproduce.py``)."""

    output: Path
    """Run directory: report.md, tables/ (Markdown, LaTeX, CSV), figures/ (PNG)."""
    cache: Path
    """Predicted maps, scores and timings under a hash of what made them; runs may share it."""
    simulate: Path | None = None
    """Configuration of scripts/simulate.py whose tree is written to ``data.root`` first."""
    runs: Path | None = None
    """Folder of the run directories; null takes ``output`` of every training configuration."""
    train_overrides: tuple[str, ...] = ()
    """``key.path=value`` for every training configuration."""
    imports: tuple[str, ...] = ()
    """Modules imported first, which may call radiodiff.experiments.methods.register."""
    data: DataConfig
    """The maps; simulation and prompt follow from scenario and method."""
    part: Part = "test"
    """Part of the split that is compared."""
    max_maps: int | None = Field(default=None, ge=1)
    """Take the first N maps of the part; null takes all."""
    seeds: tuple[int, ...] = Field(min_length=1)
    """Every seed draws other masks, noise and samples."""
    shadow_threshold: float | None = None
    """tau of the building mask behind IoU, model range; null estimates it from each map."""
    batch_size: int = Field(ge=1)
    """Maps in one call of a method."""
    device: str = "cpu"
    """A torch device."""
    workers: int = Field(default=1, ge=1, le=1024)
    """Processes that predict; training and scoring stay in one."""
    executor: Executor = Executor()
    """Where maps are predicted, one method, scenario and seed at a time."""
    methods: dict[str, Variants]
    """Method -> variant -> where it comes from. Names of the printed tables have their figures
    beside them."""
    own_methods: dict[str, Variants] = Field(default={})
    """The same for methods that stand in every table and figure."""
    tables: dict[str, Table] = Field(default={})
    """File name -> table."""
    figures: dict[str, Figure] = Field(default={})
    """File name -> figure."""

    @model_validator(mode="after")
    def _known_methods(self) -> ReproduceConfig:
        if twice := self.methods.keys() & self.own_methods.keys():
            raise ValueError(f"{min(twice)!r} stands in methods and own_methods")
        if not self.tables and not self.figures:
            raise ValueError("neither tables nor figures: there is nothing to compare")
        for name, shown in {**self.tables, **self.figures}.items():
            for method in shown.methods:
                if method not in self.methods:
                    allowed = ", ".join(self.methods)
                    raise ValueError(f"{name}: {method!r} is none of the methods, {allowed}")
                for scenario in shown.scenario_list():
                    if self.variant(method, scenario) is None:
                        raise ValueError(
                            f"{name}: {method!r} has neither the variant {scenario.variant!r} "
                            f"nor {ANY!r}"
                        )
        return self

    @model_validator(mode="after")
    def _threshold_once(self) -> ReproduceConfig:
        for name, shown in {**self.tables, **self.figures}.items():
            if (
                isinstance(shown, (ScoreTable, CurvesFigure))
                and self.data.threshold == shown.conventions.threshold == "thr2"
            ):
                raise ValueError(
                    f"{name}: conventions.threshold: data.threshold=thr2 has stretched the maps "
                    "already"
                )
        return self

    def rows(self, shown: Shown) -> tuple[str, ...]:
        """Return the methods of a table or figure in order."""
        return (*shown.methods, *self.own_methods)

    def variant(self, method: str, scenario: Scenario) -> str | None:
        """Return the variant in which a method runs in a scenario; None where it does not."""
        variants = {**self.methods, **self.own_methods}[method]
        return next((name for name in (scenario.variant, ANY) if name in variants), None)

    def entry(self, method: str, variant: str) -> MethodEntry:
        """Return where a variant of a method comes from."""
        return {**self.methods, **self.own_methods}[method][variant]


def _check_printed(*tables: str | None) -> None:
    for table in tables:
        if table is not None and table not in TABLES:
            raise ValueError(f"no printed table {table!r}, allowed: {', '.join(TABLES)}")
