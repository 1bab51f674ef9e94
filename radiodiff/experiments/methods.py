"""Anything that predicts radio maps, behind one call, to be run over a dataset.

A method is a function of a :class:`~radiodiff.experiments.batches.MapBatch` that returns gray maps.
Those of this package are in :data:`METHODS` by name, or are loaded from what their training
exported. A custom one is a function

    def my_method(batch: MapBatch) -> Tensor: ...

named in a configuration as ``package.module:my_method``, or put under a name by :func:`register`.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from radiodiff.data.prompts import PAPER_PROMPT, Fact
from radiodiff.data.radiomapseer import RadioMapSeer, Sample, build_dataset
from radiodiff.data.settings import DataConfig, MeasurementProtocol
from radiodiff.data.splits import Part
from radiodiff.diffusion.pipeline import RadioDiffPipeline
from radiodiff.errors import InputError
from radiodiff.experiments.batches import MapBatch, batch_of, read_ahead
from radiodiff.experiments.precision import prepare_networks
from radiodiff.experiments.sampling import load_pipeline, reconstruct
from radiodiff.experiments.settings import MethodSettings
from radiodiff.inverse.interpolation import INTERPOLATORS
from radiodiff.models.baselines.pipeline import BaselinePipeline
from radiodiff.plugins import import_here
from radiodiff.units import model_to_gray
from radiodiff.weight_sources import find_weights

RADIODIFF_STEPS = 5
INVERSE_STEPS = 100


@dataclass(frozen=True)
class Prediction:
    """What a method may return besides gray maps."""

    gray: Tensor
    """(N, H, W) gray."""
    building_mask: Tensor
    """(N, H, W) bool: the buildings that the method found. Without it they are the pixels of the
    map below its shadow threshold (:func:`radiodiff.inverse.sensing.shadow_mask`)."""


Predict = Callable[[MapBatch], Tensor | Prediction]
"""Returns (N, H, W) gray; values outside [0, 1] are clipped afterwards."""


@dataclass(frozen=True)
class Method:
    """A method, and what it must be shown.

    Attributes:
        predict: maps of a batch.
        prompt_features: channels of the prompt, in order; () for a method that does not look at it.
            Where one of them follows from what a scenario withholds, the method cannot run.
        needs_measurements: it cannot do without.
        prompt_size: (H, W) of maps to the least (H, W) of their prompts, which show the scene
            mirrored at its last row and column where they are larger; None is that of the maps.
    """

    predict: Predict
    prompt_features: tuple[str, ...] = PAPER_PROMPT
    needs_measurements: bool = False
    prompt_size: Callable[[tuple[int, int]], tuple[int, int]] | None = None


@dataclass(frozen=True)
class PredictedMap:
    """One map of a dataset as a method predicts it, beside the truth.

    Attributes:
        name: such as "12_7".
        gray: (H, W) in [0, 1], on the scale that the data's threshold gives the truth.
        building_mask: (H, W) bool, the buildings that the method found; None where it finds none.
        truth: (H, W) gray.
        buildings: (H, W) bool, the true ones.
    """

    name: str
    gray: Tensor
    building_mask: Tensor | None
    truth: Tensor
    buildings: Tensor


def _interpolation(interpolate: Callable[..., object]) -> Method:
    def predict(batch: MapBatch) -> Tensor:
        assert batch.measurements is not None
        values, masks = batch.measurements.values[:, 0].cpu(), batch.measurements.mask[:, 0].cpu()
        maps = [
            torch.as_tensor(interpolate(value.numpy(), mask.numpy()))
            for value, mask in zip(values, masks, strict=True)
        ]
        return model_to_gray(torch.stack(maps))

    return Method(predict, (), needs_measurements=True)


def _path_loss_model(batch: MapBatch) -> Tensor:
    return model_to_gray(batch.prompt[:, 0])


METHODS: dict[str, Method] = {
    **{name: _interpolation(interpolate) for name, interpolate in INTERPOLATORS.items()},
    "path_loss_model": Method(_path_loss_model, ("path_loss_model",)),
}
"""Name -> method; :func:`register` adds to it."""


def register(name: str, method: Method | Predict) -> None:
    """Make a method available by name.

    Raises:
        InputError: the name is taken.
    """
    if name in METHODS:
        raise InputError(f"method {name!r}: the name is taken; choose another")
    METHODS[name] = method if isinstance(method, Method) else Method(method)


def load_method(settings: MethodSettings) -> Method:
    """Return the method that settings name.

    Raises:
        InputError: it is neither a name, nor a folder of a saved pipeline, nor a function.
    """
    source = settings.source
    if source in METHODS:
        return METHODS[source]
    if (directory := find_weights(source)).is_dir():
        return _from_directory(directory, settings)
    if ":" in source:
        return _from_module(source)
    raise InputError(
        f"method {source!r}: no such folder, and none of {', '.join(METHODS)}; a custom function "
        "is named package.module:function"
    )


def predict_maps(
    method: Method,
    data: DataConfig,
    part: Part,
    *,
    batch_size: int = 8,
    max_maps: int | None = None,
    protocol: MeasurementProtocol | None = None,
    known: Sequence[Fact] | None = None,
    seed: int = 0,
) -> Iterator[PredictedMap]:
    """Run a method over one part of a dataset.

    Args:
        method: the method; its prompt features take the place of those in ``data``.
        data: the maps.
        part: of the split.
        batch_size: maps in one call of the method.
        max_maps: the first N maps; None takes all.
        protocol: how the maps are measured; None gives no measurements.
        known: what of a scene is shown; None takes
            :func:`radiodiff.experiments.batches.known_facts`.
        seed: the seeds of measurements and of methods follow from it and the map's name.

    Raises:
        InputError: the data cannot be read, the method needs measurements and there is no protocol,
            it asks for what is unknown, or it returns no finite maps of the right shape.
    """
    dataset = open_for(method, data, part)
    count = min(len(dataset), max_maps or len(dataset))
    batches = [range(n, min(n + batch_size, count)) for n in range(0, count, batch_size)]
    for predicted in predict_batches(method, dataset, batches, seed, protocol, known):
        yield from predicted


def open_for(method: Method, data: DataConfig, part: Part) -> RadioMapSeer:
    """Open one part of a dataset with the prompt that a method asks for."""
    features = {"prompt_features": method.prompt_features}
    dataset = build_dataset(data.model_copy(update=features), part)
    if method.prompt_size is not None:
        dataset.prompt_size = method.prompt_size(dataset.shape)
    return dataset


def predict_batches(
    method: Method,
    dataset: RadioMapSeer,
    batches: Sequence[Sequence[int]],
    seed: int = 0,
    protocol: MeasurementProtocol | None = None,
    known: Sequence[Fact] | None = None,
) -> Iterator[list[PredictedMap]]:
    """Run a method over some maps of a dataset that :func:`open_for` opened, one call per batch.

    The prompts of the next batches are made while the method predicts one.

    Args:
        method: the method.
        dataset: the maps.
        batches: indices of the maps of each call.
        seed: see :func:`predict_maps`, as the next two.
        protocol: how the maps are measured.
        known: what of a scene is shown.

    Returns:
        The predicted maps of each batch.

    Raises:
        InputError: as :func:`predict_maps`.
    """
    if method.needs_measurements and protocol is None:
        raise InputError("the method needs measurements, and none are made here")
    for indices, items in zip(batches, read_ahead(dataset, batches), strict=True):
        batch = batch_of(dataset, indices, items, seed, protocol, known)
        yield _predict(method, batch, items)


def _predict(method: Method, batch: MapBatch, items: list[Sample]) -> list[PredictedMap]:
    """Predict the maps of a batch, and check what the method returns."""
    shape = (len(items), *batch.shape)
    found = method.predict(batch)
    masks: list[Tensor | None] = [None] * len(items)
    if isinstance(found, Prediction):
        gray, mask = _checked(found.gray, shape), found.building_mask.detach().cpu()
        if mask.dtype != torch.bool or mask.shape != shape:
            raise InputError(
                f"the method returned a building mask {tuple(mask.shape)} {mask.dtype}, expected "
                f"{shape} torch.bool"
            )
        masks = list(mask)
    else:
        gray = _checked(found, shape)
    return [
        PredictedMap(item["name"], one, mask, model_to_gray(item["gain"][0]), item["buildings"][0])
        for item, one, mask in zip(items, gray, masks, strict=True)
    ]


def _checked(gray: object, shape: tuple[int, ...]) -> Tensor:
    if not isinstance(gray, Tensor) or gray.shape != shape:
        found = tuple(gray.shape) if isinstance(gray, Tensor) else type(gray).__name__
        raise InputError(f"the method returned {found}, expected gray maps {shape}")
    gray = gray.detach().float().cpu()
    if not gray.isfinite().all():
        raise InputError("the method returned NaN or infinity")
    return gray.clamp(0.0, 1.0)


def _from_directory(directory: Path, settings: MethodSettings) -> Method:
    index = directory / "model_index.json"
    if not index.is_file():
        raise InputError(f"{directory}: no model_index.json, so no saved pipeline")
    kind = json.loads(index.read_text(encoding="utf-8")).get("_class_name")
    if kind == RadioDiffPipeline.__name__:
        return _radiodiff(RadioDiffPipeline.from_pretrained(directory), settings)
    if kind == BaselinePipeline.__name__:
        return _baseline(BaselinePipeline.from_pretrained(directory), settings)
    return _inverse(directory, settings)  # any diffusers pipeline with a prior and its schedule


def _from_module(source: str) -> Method:
    module, _, name = source.partition(":")
    try:
        found = getattr(import_here(module), name)
    except (ImportError, AttributeError, ValueError, SyntaxError) as error:
        raise InputError(f"method {source!r}: cannot be imported ({error})") from None
    if not callable(found) and not isinstance(found, Method):
        raise InputError(f"method {source!r}: neither a function nor a Method")
    return found if isinstance(found, Method) else Method(found)


def _radiodiff(pipeline: RadioDiffPipeline, settings: MethodSettings) -> Method:
    prepare_networks(pipeline, settings.device, settings.dtype)
    steps = settings.num_inference_steps or RADIODIFF_STEPS

    def predict(batch: MapBatch) -> Tensor:
        # Noise is drawn on the CPU, so that a map is the same on every device.
        generators = [torch.Generator().manual_seed(seed) for seed in batch.seeds]
        output = pipeline.generate(
            batch.prompt,
            steps,
            generator=generators,
            mode=settings.mode,
            size=batch.shape,
            measurements=batch.measurements if takes else None,
        )
        return output.gray

    features, takes = tuple(pipeline.config.prompt_features), pipeline.takes_measurements
    return Method(predict, features, takes, pipeline.prompt_size)


def _baseline(pipeline: BaselinePipeline, settings: MethodSettings) -> Method:
    prepare_networks(pipeline, settings.device, settings.dtype)
    return Method(
        lambda batch: pipeline(batch.prompt, batch.measurements),
        tuple(pipeline.config.prompt_features),
        pipeline.config.takes_measurements,
    )


def _inverse(directory: Path, settings: MethodSettings) -> Method:
    pipeline = load_pipeline(directory, settings.device, settings.dtype)
    steps = settings.num_inference_steps or INVERSE_STEPS

    def predict(batch: MapBatch) -> Prediction:
        output = reconstruct(
            pipeline,
            batch,
            num_particles=settings.num_particles,
            num_inference_steps=steps,
            sampler=settings.sampler,
            refinement=settings.refinement,
        )
        return Prediction(model_to_gray(output.mean[:, 0]), output.building_mask[:, 0])

    return Method(predict, (), needs_measurements=True)
