"""Generates the maps of a tree with RadioDiff: each once, on any number of processes."""

from __future__ import annotations

from pathlib import Path

import torch
from PIL import Image
from PIL.PngImagePlugin import PngInfo
from tqdm import tqdm

from radiodiff.cli import open_run_directory, provenance
from radiodiff.data.prompts import FACTS
from radiodiff.data.radiomapseer import build_dataset
from radiodiff.diffusion.pipeline import RadioDiffPipeline
from radiodiff.errors import InputError
from radiodiff.experiments.batches import MapBatch, batch_of, read_ahead
from radiodiff.experiments.fingerprints import (
    digest_code,
    digest_files,
    digest_folder,
    digest_of,
)
from radiodiff.experiments.pictures import write_gallery
from radiodiff.experiments.precision import prepare_networks
from radiodiff.experiments.settings import GenerateConfig
from radiodiff.files import replacing, write_json
from radiodiff.processes import join_processes
from radiodiff.units import gray_to_level
from radiodiff.weight_sources import find_weights

MADE_BY = "radiodiff made_by"
"""Text of a PNG: the digest of what the map followed from."""
MAY_DIFFER = ("max_maps", "batch_size", "data.root", "data.cache", "data.prompt_cache")
"""Settings that a map does not depend on; its scene is compared by content."""


def generate_maps(config: GenerateConfig) -> Path:
    """Generate every map that is not there yet; return the folder of the maps.

    A map is there if it carries the digest of what makes it now: weights, this package's code, its
    scene and the settings. One that other weights made is made anew.

    Under ``accelerate launch`` or ``torchrun`` each process takes its share of what is missing. A
    run that was stopped goes on, also on another number of processes, with more or fewer maps or
    in batches of another size.

    Raises:
        InputError: the model is missing or asks for another prompt, or the data are.
    """
    if config.data is None:
        raise InputError("data: no tree of maps is given")
    state = join_processes()
    pipeline = RadioDiffPipeline.from_pretrained(config.model)
    wanted, given = tuple(pipeline.config.prompt_features), config.data.prompt_features
    if "prompt_features" not in config.data.model_fields_set:
        data = config.data.model_copy(update={"prompt_features": wanted})
        config = config.model_copy(update={"data": data})
    elif wanted != given:
        raise InputError(
            f"data.prompt_features: found {', '.join(given)}; {config.model} was trained with "
            f"{', '.join(wanted)}"
        )
    if pipeline.takes_measurements and config.measurements is None:
        raise InputError(
            f"measurements: none given, {config.model} was trained with them; say how the maps are "
            "measured, such as measurements.missing_ratio=0.9 measurements.noise_std=0.05"
        )
    dtype = prepare_networks(pipeline, state.device, config.dtype)
    assert config.data is not None
    dataset = build_dataset(config.data, config.part)
    dataset.prompt_size = pipeline.prompt_size(dataset.shape)
    if state.is_main_process:
        directory = open_run_directory(config.output, config, MAY_DIFFER)
        notes = {**provenance(config, state.device), "buildings": dataset.building_sources()}
        write_json(directory / "made_by.json", notes)
    maps = config.output / "maps"
    maps.mkdir(parents=True, exist_ok=True)
    count = min(len(dataset), config.max_maps or len(dataset))
    made_by = _identity(config, dtype)
    digests = [digest_of([made_by, digest_files(dataset.files(i))]) for i in range(count)]
    missing = [i for i in range(count) if _made_by(maps / f"{dataset.name(i)}.png") != digests[i]]
    state.wait_for_everyone()  # so that all list the same, and none writes what main refuses
    mine = missing[state.process_index :: state.num_processes]
    with tqdm(
        total=len(mine), desc="generate", unit="map", disable=not state.is_main_process
    ) as bar:
        size = config.batch_size
        batches = [mine[start : start + size] for start in range(0, len(mine), size)]
        for chosen, items in zip(batches, read_ahead(dataset, batches), strict=True):
            protocol = config.measurements
            batch = batch_of(dataset, chosen, items, config.seed, protocol, known=FACTS)
            images = _generate(pipeline, batch, config)
            for index, image in zip(chosen, images, strict=True):
                _write_png(maps / f"{dataset.name(index)}.png", image, digests[index])
            bar.update(len(chosen))
    state.wait_for_everyone()
    if state.is_main_process:
        write_gallery(config.output, dataset, range(count))
    return maps


def _generate(
    pipeline: RadioDiffPipeline, batch: MapBatch, config: GenerateConfig
) -> list[Image.Image]:
    output = pipeline.generate(
        batch.prompt,
        num_inference_steps=config.num_inference_steps,
        generator=[torch.Generator().manual_seed(seed) for seed in batch.seeds],
        mode=config.mode,
        size=batch.shape,
        measurements=batch.measurements,
    )
    gray = output.gray.cpu()
    if config.zero_buildings:
        assert batch.buildings is not None
        gray = gray.masked_fill(batch.buildings[:, 0], 0.0)
    return [Image.fromarray(gray_to_level(image.numpy())) for image in gray]


def _identity(config: GenerateConfig, dtype: torch.dtype) -> dict[str, object]:
    """What every map follows from, besides its own scene."""
    settings = config.model_dump(
        mode="json",
        include={"num_inference_steps", "mode", "zero_buildings", "seed", "measurements"},
    )
    weights = digest_folder(find_weights(config.model))
    return settings | {"dtype": str(dtype), "weights": weights, "code": digest_code()}


def _made_by(path: Path) -> str | None:
    """Return the digest that a map carries, or None."""
    try:
        with Image.open(path, formats=("PNG",)) as image:
            digest = image.info.get(MADE_BY)
    except (OSError, SyntaxError, ValueError):
        return None
    return None if digest is None else str(digest)


def _write_png(path: Path, image: Image.Image, digest: str) -> None:
    note = PngInfo()
    note.add_text(MADE_BY, digest)
    with replacing(path) as temporary:
        image.save(temporary, format="PNG", pnginfo=note)
