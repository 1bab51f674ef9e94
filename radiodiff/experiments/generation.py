"""Generates the maps of a tree with RadioDiff: each once, on any number of processes."""

from __future__ import annotations

from pathlib import Path

import torch
from PIL import Image
from tqdm import tqdm

from radiodiff.cli import open_run_directory, provenance, write_json
from radiodiff.data.radiomapseer import RadioMapSeer, build_dataset
from radiodiff.diffusion.pipeline import RadioDiffPipeline
from radiodiff.errors import InputError
from radiodiff.experiments.settings import GenerateConfig
from radiodiff.processes import join_processes
from radiodiff.training.stream import mix_seed
from radiodiff.units import gray_to_level


def generate_maps(config: GenerateConfig) -> Path:
    """Generate every map that is not there yet; return the folder of the maps.

    Under ``accelerate launch`` or ``torchrun`` each process takes its share of what is missing. A
    run that was stopped goes on, also on another number of processes.

    Raises:
        InputError: the model is missing or asks for another prompt, or the data are.
    """
    state = join_processes()
    pipeline = RadioDiffPipeline.from_pretrained(config.model, getattr(torch, config.dtype))
    wanted, given = tuple(pipeline.config.prompt_features), config.data.prompt_features
    if wanted != given:
        raise InputError(
            f"data.prompt_features: found {', '.join(given)}; {config.model} was trained with "
            f"{', '.join(wanted)}"
        )
    pipeline.to(state.device)
    dataset = build_dataset(config.data, config.part)
    if state.is_main_process:
        directory = open_run_directory(config.output, config)
        made_by = provenance(config, state.device)
        write_json(directory / "made_by.json", {**made_by, "buildings": dataset.building_sources()})
    maps = config.output / "maps"
    maps.mkdir(parents=True, exist_ok=True)
    count = min(len(dataset), config.max_maps or len(dataset))
    missing = [i for i in range(count) if not (maps / f"{dataset.name(i)}.png").is_file()]
    state.wait_for_everyone()  # so that all list the same, and none writes what main refuses
    mine = missing[state.process_index :: state.num_processes]
    with tqdm(
        total=len(mine), desc="generate", unit="map", disable=not state.is_main_process
    ) as bar:
        for start in range(0, len(mine), config.batch_size):
            chosen = mine[start : start + config.batch_size]
            images = _generate(pipeline, dataset, chosen, config)
            for index, image in zip(chosen, images, strict=True):
                _write_png(maps / f"{dataset.name(index)}.png", image)
            bar.update(len(chosen))
    state.wait_for_everyone()
    return maps


def _generate(
    pipeline: RadioDiffPipeline, dataset: RadioMapSeer, indices: list[int], config: GenerateConfig
) -> list[Image.Image]:
    items = [dataset[index] for index in indices]
    generators = []
    for index in indices:
        map_id, transmitter = dataset.pairs[index]
        seed = mix_seed(config.seed, map_id, transmitter)
        generators.append(torch.Generator().manual_seed(seed))
    output = pipeline.generate(
        torch.stack([item["prompt"] for item in items]),
        num_inference_steps=config.num_inference_steps,
        generator=generators,
        mode=config.mode,
    )
    gray = output.gray.cpu()
    if config.zero_buildings:
        gray = gray.masked_fill(torch.cat([item["buildings"] for item in items]), 0.0)
    return [Image.fromarray(gray_to_level(image.numpy())) for image in gray]


def _write_png(path: Path, image: Image.Image) -> None:
    partial = path.with_name(path.name + ".partial")
    image.save(partial, format="PNG")
    partial.replace(path)
