"""What a few custom maps are worth: fine-tuning in folds by layout.

    python studies/few_maps_study.py ROOT outputs/few_maps_study

tunes configs/small/decoder_few_maps.yaml once per fold, on the layouts that are not in it, and
scores the fold with the network before and after. A run that was cut short goes on with the same
command. Further arguments ``key.path=value`` change the configuration, such as
``train.steps=120``.
"""

import argparse
from collections.abc import Callable
from pathlib import Path

import torch

from radiodiff.cli import run_main
from radiodiff.config import load_config
from radiodiff.data.radiomapseer import build_dataset
from radiodiff.data.tree import scan_gain
from radiodiff.diffusion.pipeline import RadioDiffPipeline
from radiodiff.evaluation import metrics
from radiodiff.training.decoder import DecoderTask
from radiodiff.training.experiments import train_stage
from radiodiff.training.settings import DecoderExperiment
from radiodiff.units import model_to_gray

CONFIG = Path(__file__).parents[1] / "configs" / "small" / "decoder_few_maps.yaml"
METRICS: dict[str, Callable[[torch.Tensor, torch.Tensor], torch.Tensor]] = {
    "NMSE": metrics.nmse,
    "SSIM": metrics.ssim,
    "PSNR": metrics.psnr,
}


def main() -> None:
    """Train the folds and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("root", type=Path, help="a tree as RadioMapSeer is")
    parser.add_argument("output", type=Path, help="a run directory per fold goes here")
    parser.add_argument("overrides", nargs="*", help="key.path=value of the configuration")
    parser.add_argument("--folds", type=int, default=4)
    arguments = parser.parse_args()
    layouts = sorted(scan_gain(arguments.root / "gain" / "DPM"))
    before, after = [], []
    for fold in range(arguments.folds):
        held_out = layouts[fold :: arguments.folds]
        config = fold_config(arguments, fold, layouts, held_out)
        train_stage(config, DecoderTask, resume=(config.output / "checkpoints").is_dir())
        before.append(scores(config, config.pipeline))
        after.append(scores(config, config.output / "model"))
        print(
            f"fold {fold}: {len(layouts) - len(held_out)} layouts, NMSE of {len(before[-1])} maps "
            f"{before[-1][:, 0].mean():.5f} -> {after[-1][:, 0].mean():.5f}",
            flush=True,
        )
    print(f"| | maps | {' | '.join(METRICS)} |\n|---|---|{'---|' * len(METRICS)}")
    for label, parts in (("as shipped", before), ("tuned", after)):
        values = torch.cat(parts)
        nmse, ssim, psnr = values.mean(0).tolist()
        print(f"| {label} | {len(values)} | {nmse:.5f} | {ssim:.4f} | {psnr:.2f} |")
    better = torch.cat(after)[:, 0] < torch.cat(before)[:, 0]
    print(f"NMSE falls on {int(better.sum())} of {len(better)} maps")


def fold_config(
    arguments: argparse.Namespace, fold: int, layouts: list[int], held_out: list[int]
) -> DecoderExperiment:
    """Return the configuration of one fold."""
    training = [layout for layout in layouts if layout not in held_out]
    return load_config(
        CONFIG,
        DecoderExperiment,
        [
            f"data.root={arguments.root}",
            "data.split=explicit",
            f"data.maps={{train: {training}, val: {held_out}}}",
            f"output={arguments.output / f'fold_{fold}'}",
            *arguments.overrides,
        ],
    )


@torch.no_grad()
def scores(config: DecoderExperiment, model: Path) -> torch.Tensor:
    """Return (N, 3): NMSE, SSIM and PSNR of the maps of the fold, gray."""
    pipeline = RadioDiffPipeline.from_pretrained(model)
    pipeline.set_progress_bar_config(disable=True)
    dataset = build_dataset(config.data, "val")
    rows = []
    for index in range(len(dataset)):
        item = dataset[index]
        generated = pipeline.generate(
            item["prompt"][None],
            config.sampling_steps,
            generator=torch.Generator().manual_seed(index),
        ).gray
        truth = model_to_gray(item["gain"])
        rows.append([float(metric(generated, truth)) for metric in METRICS.values()])
    return torch.tensor(rows)


if __name__ == "__main__":
    run_main(main)
