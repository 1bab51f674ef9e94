"""What the tasks share: batches of validation maps, their scores and their pictures."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from radiodiff.data.radiomapseer import RadioMapSeer
from radiodiff.diffusion.pipeline import RadioDiffPipeline
from radiodiff.evaluation.metrics import nmse, psnr
from radiodiff.training.measuring import measure_validation
from radiodiff.training.settings import MeasurementRanges
from radiodiff.training.stream import Item
from radiodiff.units import model_to_gray

VALIDATION_BATCH = 8
PREVIEW_MAPS = 4


def batches(maps: RadioMapSeer, indices: Sequence[int], device: torch.device) -> Iterator[Item]:
    """Yield batches of validation maps; ``index`` lists which ones."""
    for start in range(0, len(indices), VALIDATION_BATCH):
        chosen = list(indices[start : start + VALIDATION_BATCH])
        items = [maps[index] for index in chosen]
        yield {
            "gain": torch.stack([item["gain"] for item in items]).to(device),
            "prompt": torch.stack([item["prompt"] for item in items]).to(device),
            "buildings": torch.stack([item["buildings"] for item in items]).to(device),
            "index": chosen,
        }


def preview_batch(maps: RadioMapSeer, device: torch.device) -> Item:
    """Return the first few validation maps as one batch."""
    return next(batches(maps, range(min(PREVIEW_MAPS, len(maps))), device))


@contextmanager
def without_gradients(module: nn.Module | None) -> Iterator[None]:
    """Keep gradients out of ``module``, which only the other phase may train."""
    if module is None:
        yield
        return
    module.requires_grad_(False)
    try:
        yield
    finally:
        module.requires_grad_(True)


def score_maps(
    predict: Callable[[Item], Tensor],
    maps: RadioMapSeer,
    indices: Sequence[int],
    device: torch.device,
) -> dict[str, list[float]]:
    """Return the NMSE (as ``score``) and PSNR of predictions of validation maps, in gray.

    Args:
        predict: makes maps (N, 1, H, W) in model range from a batch of :func:`batches`.
        maps: the validation maps.
        indices: which of them.
        device: where the batches go.
    """
    scores: dict[str, list[float]] = {"score": [], "psnr": []}
    for batch in batches(maps, indices, device):
        predicted = model_to_gray(predict(batch)).clamp(0.0, 1.0).float().squeeze(1)
        truth = model_to_gray(batch["gain"]).squeeze(1)
        scores["score"] += nmse(predicted, truth).tolist()
        scores["psnr"] += psnr(predicted, truth).tolist()
    return scores


class GeneratedMaps:
    """Validation maps as a RadioDiff pipeline generates them, each from its own noise.

    Args:
        pipeline: holds the networks that are trained.
        maps: the validation maps.
        steps: steps of the sampler.
        measurements: what is measured of the maps, for a pipeline that takes it.
    """

    def __init__(
        self,
        pipeline: RadioDiffPipeline,
        maps: RadioMapSeer,
        steps: int,
        measurements: MeasurementRanges | None = None,
    ) -> None:
        pipeline.set_progress_bar_config(disable=True)
        self._pipeline = pipeline
        self._maps = maps
        self._steps = steps
        self._measurements = measurements

    def scores(self, indices: Sequence[int]) -> dict[str, list[float]]:
        """Return the NMSE (as ``score``) and PSNR of maps ``indices``."""
        return score_maps(self._generate, self._maps, indices, self._pipeline.device)

    def preview(self) -> dict[str, Tensor]:
        """Return truth above generated maps."""
        batch = preview_batch(self._maps, self._pipeline.device)
        return {"generated": rows(batch["gain"], self._generate(batch))}

    def _generate(self, batch: Item) -> Tensor:
        generators = [torch.Generator().manual_seed(index) for index in batch["index"]]
        ranges = self._measurements
        made = self._pipeline.generate(
            batch["prompt"],
            self._steps,
            generator=generators,
            measurements=None if ranges is None else measure_validation(batch, ranges),
        )
        return made.model[:, None]


def rows(*rows: Tensor) -> Tensor:
    """Put batches (N, 1, H, W) in model range below each other as one image (1, R H, N W)."""
    images = [model_to_gray(row).clamp(0.0, 1.0).float().cpu() for row in rows]
    return torch.cat([torch.cat(list(row), dim=-1) for row in images], dim=-2)
