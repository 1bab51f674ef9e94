"""Error and spread of generated maps against sampler and number of steps: table and figure.

    python studies/sampler_study.py MODEL DATA [--maps 16] [--figure docs/images/sampler_study.png]

MODEL is a saved RadioDiffPipeline, DATA a tree; its test part (split ``fraction``) is generated.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import torch
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from radiodiff.cli import run_main
from radiodiff.data.radiomapseer import build_dataset
from radiodiff.data.settings import DataConfig
from radiodiff.diffusion.decoupled import DecoupledScheduler
from radiodiff.diffusion.pipeline import RadioDiffPipeline
from radiodiff.evaluation.figures import save_figure
from radiodiff.evaluation.metrics import nmse
from radiodiff.units import model_to_gray

STEPS = (1, 2, 3, 5, 10, 20, 50)
SAMPLERS: dict[str, dict[str, Any]] = {
    "mode `released`": {"mode": "released"},
    "mode `mean`": {"mode": "mean"},
    "`probability_flow`, uniform grid": {"sampler": "probability_flow", "grid_power": 1.0},
    "`probability_flow`, p = 2": {"sampler": "probability_flow", "grid_power": 2.0},
    "`second_order`, uniform grid": {"sampler": "second_order", "grid_power": 1.0},
    "mode `sample` (`second_order`, p = 2)": {"mode": "sample"},
}


def study(
    pipeline: RadioDiffPipeline, prompt: torch.Tensor, truth: torch.Tensor
) -> tuple[dict[str, list[float]], dict[str, list[float]]]:
    """Generate every map twice from different noise, with each sampler and number of steps.

    Args:
        pipeline: the model; its scheduler is replaced.
        prompt: (N, C, H, W).
        truth: (N, H, W) gray.

    Returns:
        NMSE, and the spread: the root mean square difference of the two maps over sqrt(2), gray.
    """
    errors: dict[str, list[float]] = {}
    spreads: dict[str, list[float]] = {}
    for name, options in SAMPLERS.items():
        pipeline.scheduler = DecoupledScheduler.from_config(
            pipeline.scheduler.config,
            **({"mode": "released", "sampler": None, "grid_power": None} | options),
        )
        errors[name], spreads[name] = [], []
        for steps in STEPS:
            first, second = (
                pipeline.generate(prompt, steps, generator=torch.Generator().manual_seed(seed)).gray
                for seed in (0, 1)
            )
            both = (nmse(first, truth).mean() + nmse(second, truth).mean()) / 2
            errors[name].append(both.item())
            spreads[name].append(((first - second).square().mean() / 2).sqrt().item())
    return errors, spreads


def print_table(title: str, rows: dict[str, list[float]]) -> None:
    """Print a Markdown table over the numbers of steps."""
    print(f"\n| {title} | " + " | ".join(map(str, STEPS)) + " |")
    print("|---" * (len(STEPS) + 1) + "|")
    for name, values in rows.items():
        print(f"| {name} | " + " | ".join(f"{value:.4f}" for value in values) + " |")


def draw(errors: dict[str, list[float]], spreads: dict[str, list[float]]) -> Figure:
    """Draw both against the number of steps."""
    figure = Figure(figsize=(10, 3.6), layout="constrained")
    FigureCanvasAgg(figure)
    for axes, rows, label in zip(
        figure.subplots(1, 2), (errors, spreads), ("NMSE", "spread (gray)"), strict=True
    ):
        for name, values in rows.items():
            axes.plot(STEPS, values, marker="o", markersize=3, label=name.replace("`", ""))
        axes.set(xscale="log", xlabel="steps", ylabel=label, ylim=(0, None))
        axes.set_xticks(STEPS, [str(n) for n in STEPS])
        axes.minorticks_off()
        axes.grid(alpha=0.3)
    figure.axes[0].legend(fontsize="x-small")
    return figure


def main() -> None:
    """Run the study and print its tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", type=Path)
    parser.add_argument("data", type=Path)
    parser.add_argument("--maps", type=int, default=16)
    parser.add_argument("--figure", type=Path, default=Path("docs/images/sampler_study.png"))
    arguments = parser.parse_args()
    pipeline = RadioDiffPipeline.from_pretrained(arguments.model)
    features = tuple(pipeline.config.prompt_features)
    config = DataConfig(root=arguments.data, split="fraction", prompt_features=features)
    dataset = build_dataset(config, "test")
    count = min(arguments.maps, len(dataset))
    items = [dataset[k * len(dataset) // count] for k in range(count)]
    prompt = torch.stack([item["prompt"] for item in items])
    truth = model_to_gray(torch.cat([item["gain"] for item in items]))
    errors, spreads = study(pipeline, prompt, truth)
    print_table("NMSE at steps", errors)
    print_table("spread at steps", spreads)
    arguments.figure.parent.mkdir(parents=True, exist_ok=True)
    save_figure(draw(errors, spreads), arguments.figure)


if __name__ == "__main__":
    run_main(main)
