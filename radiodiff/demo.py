"""The whole path at the smallest size: simulate, train every stage, generate, reconstruct, compare.

Each part is the one the scripts run, with the configurations of ``configs/smoke``; what is already
there from an earlier, interrupted run is not made again.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from pydantic import Field
from torch import Tensor

from radiodiff.cli import open_run_directory, provenance, write_json
from radiodiff.config import Settings, SettingsT, load_config
from radiodiff.data.measurements import Measurements, measure, pixel_mask
from radiodiff.data.radiomapseer import RadioMapSeer, Sample, build_dataset
from radiodiff.diffusion.pipeline import RadioDiffPipeline
from radiodiff.errors import InputError
from radiodiff.evaluation.figures import comparison_figure, save_figure
from radiodiff.evaluation.predictions import MetricConfig, score_maps
from radiodiff.evaluation.tables import markdown_table, mean_values
from radiodiff.inverse.interpolation import linear, nearest
from radiodiff.inverse.pipeline import InverseOutput, RadioDiffInversePipeline
from radiodiff.simulate.dataset import SimulateConfig, simulate_dataset
from radiodiff.training.experiments import (
    Experiment,
    LDMExperiment,
    PriorExperiment,
    VAEExperiment,
    train_stage,
)
from radiodiff.training.tasks import LDMTask, PriorTask, VAETask
from radiodiff.training.trainer import Task
from radiodiff.units import model_to_gray

MEASURED = "RadioDiff-Inverse"
GENERATED = "RadioDiff"


class DemoConfig(Settings):
    """Where the parts are configured, and what is shown."""

    output: Path
    simulate: Path
    """Configuration of scripts/simulate.py."""
    vae: Path
    """Configuration of scripts/train_vae.py; ``output`` and ``data.root`` of this and the next two
    are replaced by folders of the demo."""
    ldm: Path
    prior: Path
    num_maps: int = Field(ge=1)
    """Maps of unseen cities that are generated and reconstructed."""
    sampling_steps: int = Field(ge=1)
    """Steps of RadioDiff."""
    missing_ratio: float = Field(gt=0, lt=1)
    """Share of pixels without a measurement."""
    noise_std: float = Field(ge=0)
    """Noise of a measurement, model range."""
    num_particles: int = Field(ge=1)
    inverse_steps: int = Field(ge=1)
    seed: int = Field(ge=0)


def run_demo(config: DemoConfig) -> str:
    """Run everything; write table.md, results.json and demo.png; return the table."""
    output = open_run_directory(config.output, config)
    root = output / "simulated"
    print("1/5  simulating cities", flush=True)
    simulate_dataset(load_config(config.simulate, SimulateConfig, [f"output={root}"]))
    print("2/5  training the autoencoder", flush=True)
    _train(config.vae, VAEExperiment, VAETask, output / "vae", root)
    print("3/5  training the latent diffusion", flush=True)
    vae = f"vae={output / 'vae' / 'model'}"
    ldm = _train(config.ldm, LDMExperiment, LDMTask, output / "ldm", root, vae)
    print("4/5  training the prior", flush=True)
    _train(config.prior, PriorExperiment, PriorTask, output / "prior", root)
    print("5/5  maps of cities that no training saw", flush=True)
    maps = build_dataset(ldm.data, "test")
    if len(maps) < config.num_maps:
        raise InputError(f"num_maps: found {config.num_maps}, the test part has {len(maps)}")
    # Spread over the part, so that neighbours in it (transmitters of one city) do not repeat.
    indices = [k * len(maps) // config.num_maps for k in range(config.num_maps)]
    return _compare(config, output, maps, [maps[index] for index in indices])


def _train(
    path: Path,
    model: type[SettingsT],
    task: Callable[[SettingsT, RadioMapSeer], Task],
    output: Path,
    root: Path,
    *overrides: str,
) -> SettingsT:
    config = load_config(path, model, [f"output={output}", f"data.root={root}", *overrides])
    assert isinstance(config, Experiment)
    if not (output / "model").is_dir():
        train_stage(config, task, resume=True)
        if not (output / "model").is_dir():
            sys.exit(0)  # stopped on request; the same command goes on
    return config


def _compare(config: DemoConfig, output: Path, maps: RadioMapSeer, items: list[Sample]) -> str:
    truth = model_to_gray(torch.cat([item["gain"] for item in items]))
    prompt = torch.stack([item["prompt"] for item in items])
    generator = torch.Generator().manual_seed(config.seed)
    pipeline = RadioDiffPipeline.from_pretrained(output / "ldm" / "model")
    generated = pipeline.generate(prompt, config.sampling_steps, generator=generator).gray
    samples = _measure(config, items)
    inverse = _reconstruct(config, output, samples)
    results = {
        GENERATED: generated,
        MEASURED: _gray(inverse.mean[:, 0]),
        "nearest neighbour": _interpolate(nearest, samples),
        "linear interpolation": _interpolate(linear, samples),
    }
    rows = {
        name: mean_values(score_maps(result, truth, MetricConfig()))
        for name, result in results.items()
    }
    seen = round(100 * (1 - config.missing_ratio))
    labels = {
        GENERATED: f"{GENERATED} (buildings and transmitter, no measurement)",
        MEASURED: f"{MEASURED} ({seen} % noisy pixels, nothing else)",
        "nearest neighbour": "nearest neighbour (the same pixels)",
        "linear interpolation": "linear interpolation (the same pixels)",
    }
    table = markdown_table({labels[name]: row for name, row in rows.items()})
    observed = samples.values.where(samples.mask, torch.nan)[:, 0]
    figure = comparison_figure(
        truth,
        {name: results[name] for name in (GENERATED, MEASURED, "linear interpolation")},
        buildings=torch.cat([item["buildings"] for item in items]),
        transmitters=torch.stack([item["transmitter"] for item in items]),
        inputs={f"{seen} % noisy samples": _gray(observed)},
        names=[f"city {item['name'].split('_')[0]}" for item in items],
    )
    save_figure(figure, output / "demo.png")
    (output / "table.md").write_text(table, encoding="utf-8")
    write_json(
        output / "results.json",
        {
            "data": "simulated cities that no training saw",
            "maps": [item["name"] for item in items],
            "scores": rows,
            "made_by": provenance(config, "cpu"),
        },
    )
    return table


def _measure(config: DemoConfig, items: list[Sample]) -> Measurements:
    """Observe every map at random pixels with noise."""
    gain = torch.stack([item["gain"] for item in items])
    height, width = gain.shape[-2:]
    masks = [
        pixel_mask((height, width), config.missing_ratio, np.random.default_rng((config.seed, k)))
        for k in range(len(items))
    ]
    noise = torch.Generator().manual_seed(config.seed)
    return measure(gain, torch.from_numpy(np.stack(masks))[:, None], config.noise_std, noise)


def _reconstruct(config: DemoConfig, output: Path, samples: Measurements) -> InverseOutput:
    pipeline = RadioDiffInversePipeline.from_pretrained(output / "prior" / "model")
    pipeline.set_progress_bar_config(disable=True)
    generators = [
        torch.Generator().manual_seed(config.seed + index) for index in range(len(samples.values))
    ]
    return pipeline(
        samples,
        noise_std=config.noise_std,
        num_particles=config.num_particles,
        num_inference_steps=config.inverse_steps,
        generator=generators,
    )


def _interpolate(method: Callable[..., object], samples: Measurements) -> Tensor:
    maps = [
        torch.as_tensor(method(values[0].numpy(), mask[0].numpy()))
        for values, mask in zip(samples.values, samples.mask, strict=True)
    ]
    return _gray(torch.stack(maps))


def _gray(model: Tensor) -> Tensor:
    return model_to_gray(model.float()).clamp(0.0, 1.0)
