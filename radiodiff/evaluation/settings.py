"""The conventions of metrics, and which predictions are scored."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field, model_validator

from radiodiff.config import Settings
from radiodiff.data.settings import DataConfig, Threshold
from radiodiff.data.splits import Part

RmseUnit = Literal["gray", "model", "db"]


PsnrPeak = Literal["full_scale", "truth_range"]


SsimWindow = Literal["uniform", "gaussian"]


Averaging = Literal["maps", "pooled"]

Interval = Literal["seeds", "cities"]
"""Over the means of the seeds, or of the cities: maps of one city are alike."""


class MetricConfig(Settings):
    """The conventions in which papers differ; :mod:`radiodiff.evaluation.metrics` explains them."""

    threshold: Threshold = "none"
    """none: gray as stored (RadioDiff, RadioMamba); thr2: clipped at the noise floor and stretched,
    max(0, gray - 0.2) / 0.8 (RadioFlow, RMDM, RadioDiff-FS)."""
    rmse_unit: RmseUnit = "gray"
    """gray (RadioDiff), model (RadioDiff-Inverse, Table I) or db."""
    psnr_peak: PsnrPeak = "full_scale"
    """full_scale, or the range of each true map."""
    ssim_window: SsimWindow = "uniform"
    """uniform (7 x 7) or gaussian (11 x 11)."""
    pixels: Literal["all", "outdoor"] = "all"
    """outdoor leaves the buildings of data.buildings out of NMSE, RMSE and PSNR."""
    averaging: Averaging = "maps"
    """maps: mean of every map's NMSE, PSNR and RMSE; pooled: those of the sums over all maps."""

    @model_validator(mode="after")
    def _one_unit(self) -> MetricConfig:
        if self.threshold == "thr2" and self.rmse_unit == "db":
            raise ValueError(
                "rmse_unit: dB are of gray as stored, threshold=thr2 has another range"
            )
        return self


class EvaluateConfig(Settings):
    """Predicted maps, the tree they are scored against, and where the scores go."""

    predictions: Path
    """Folder of predicted maps."""
    data: DataConfig
    """The true maps. With threshold thr2 predictions are clipped and rescaled like the truth."""
    part: Part = "test"
    """Part of the split that is scored."""
    method: str = Field(default="prediction", min_length=1)
    """Name of the row in the table."""
    missing: Literal["error", "skip"] = "error"
    """What happens if a map of the part has no prediction; skip scores the others and names it."""
    metrics: MetricConfig = MetricConfig()
    """Conventions of the metrics."""
    more_metrics: tuple[str, ...] = ()
    """Metrics besides the papers': ``mae``, or ``module:function`` of your own, which takes
    prediction, truth (both (N, H, W) gray in [0, 1]) and where ((N, H, W) bool, the pixels that
    count) as tensors and returns N values. A module may lie in the current folder."""
    output: Path | None = None
    """Run directory for per_map.csv, summary.json and table.md. null is ``scores`` in predictions,
    or ``scores-`` and the conventions that are not the defaults, such as ``scores-db``."""

    @model_validator(mode="after")
    def _threshold_once(self) -> EvaluateConfig:
        if self.data.threshold == "thr2" and self.metrics.threshold == "thr2":
            raise ValueError(
                "metrics.threshold: data.threshold=thr2 has stretched the maps already"
            )
        return self

    @property
    def output_directory(self) -> Path:
        """Where the scores go."""
        if self.output is not None:
            return self.output
        changed = self.metrics.model_dump(exclude_defaults=True).values()
        more = (name.rpartition(":")[2] for name in self.more_metrics)
        return self.predictions / "-".join(["scores", *changed, *more])
