"""Figures of docs/findings/inverse.md that need a trained prior.

`python studies/inverse_study.py STUDY PRIOR ROOT [--split all --part test --maps 28]`, where STUDY
is one of the functions below and ROOT a RadioMapSeer tree. Each prints the rows of its table.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from scipy import ndimage
from torch import Tensor

from radiodiff.cli import run_main
from radiodiff.data.measurements import Measurements, observe_map
from radiodiff.data.radiomapseer import RadioMapSeer, build_dataset
from radiodiff.data.settings import DataConfig, MeasurementProtocol
from radiodiff.evaluation import metrics
from radiodiff.experiments.batches import make_batch
from radiodiff.experiments.inverse_benchmark import score
from radiodiff.experiments.sampling import load_pipeline
from radiodiff.experiments.survey import reconstruct_survey
from radiodiff.experiments.survey_settings import SurveyConfig
from radiodiff.inverse.interpolation import INTERPOLATORS
from radiodiff.inverse.output import InverseOutput
from radiodiff.inverse.pipeline import RadioDiffInversePipeline
from radiodiff.inverse.presets import CALIBRATED, CALIBRATED_BY_WEIGHTS, MEAN_MAP
from radiodiff.inverse.quadtree import quadtree_estimate
from radiodiff.inverse.sampler import Sampler
from radiodiff.inverse.samplers import (
    Candidates,
    Combined,
    FixedLevel,
    IndependentNoise,
    Published,
)
from radiodiff.inverse.sensing import locate_transmitter, shadow_mask
from radiodiff.inverse.settings import RefinementSettings
from radiodiff.inverse.tiling import tile_starts
from radiodiff.simulate import dominant_path
from radiodiff.simulate.procedural import procedural_city
from radiodiff.units import db_to_model, model_std_to_db, model_to_db

NORMAL_90 = 1.6449
TRANSMIT_POWER_DBM = 23.0
Method = tuple[Sampler, RefinementSettings | None]
"""How the posterior is sampled, and what is added to the samples."""
METHODS: dict[str, Method] = {
    "published, c = 0.95": (Published(stochasticity=0.95), None),
    "candidates": (Candidates(stochasticity=0.95), None),
    "common noise, ddpm": (CALIBRATED_BY_WEIGHTS.sampler, None),
    "independent noise, c = 1": (IndependentNoise(spacing="log_snr"), None),
    "independent noise, c = 1, uniform": (IndependentNoise(), None),
    "fixed level, ddpm": (CALIBRATED.sampler, None),
    "fixed level, c = 1": (FixedLevel(), None),
    "fixed level, c = 1, log_snr": (FixedLevel(spacing="log_snr"), None),
    "fixed level, self-ensemble": (FixedLevel(self_ensemble=True), None),
    "mean_map": (MEAN_MAP.sampler, MEAN_MAP.refinement),
    "without path-loss model": (MEAN_MAP.sampler, RefinementSettings(walls=True)),
    "network alone": (MEAN_MAP.sampler, None),
    "combined, c = 1": (Combined(spacing="log_snr"), None),
    "combined, guided": (Combined(guidance=True, spacing="log_snr"), None),
    "independent noise, with RePaint jumps": (
        IndependentNoise(repaint_jumps=1, spacing="log_snr"),
        None,
    ),
}


class Study:
    """The maps and the prior of a study, and one reconstruction of each map."""

    def __init__(self, arguments: argparse.Namespace) -> None:
        self.prior: Path = arguments.prior
        self.pipeline: RadioDiffInversePipeline = load_pipeline(arguments.prior, "cpu", "auto")
        config = DataConfig(root=arguments.root, split=arguments.split)
        self.dataset: RadioMapSeer = build_dataset(config, arguments.part)
        count = min(arguments.maps, len(self.dataset))
        self.indices = np.linspace(0, len(self.dataset) - 1, count).round().astype(int).tolist()
        self.particles: int = arguments.particles
        self.steps: int = arguments.steps
        self.methods = {n: s for n, s in METHODS.items() if arguments.only in n}

    def observe(self, index: int, missing: float, sigma: float) -> Measurements:
        """Measure a map as the benchmark does with seed 0."""
        protocol = MeasurementProtocol(missing_ratio=missing, noise_std=sigma)
        measurements = make_batch(self.dataset, [index], 0, protocol)[0].measurements
        assert measurements is not None
        return measurements

    def run(
        self, index: int, measured: Measurements, method: Method, **changes: Any
    ) -> InverseOutput:
        """Reconstruct one map."""
        options = {"num_particles": self.particles, "num_inference_steps": self.steps} | changes
        generator = torch.Generator().manual_seed(1000 + index)
        return self.pipeline(
            measured, generator=generator, sampler=method[0], refinement=method[1], **options
        )

    def reconstruct(
        self, index: int, missing: float, sigma: float, method: Method, **changes: Any
    ) -> InverseOutput:
        """Measure and reconstruct one map."""
        return self.run(index, self.observe(index, missing, sigma), method, **changes)

    def scores(self, index: int, out: InverseOutput) -> dict[str, float]:
        """Score one reconstruction, its uncertainty included."""
        item, mean, std = self.dataset[index], out.mean[0].float(), out.std[0].float()
        found = score(mean, out.building_mask[0], out.transmitter[0], item)
        if out.samples.shape[1] > 1:
            half, unseen = NORMAL_90 * std, ~out.measurements.mask[0]
            found["coverage_90"] = float(
                metrics.interval_coverage(mean - half, mean + half, item["gain"], unseen)
            )
            low, high = out.quantile(0.05)[0], out.quantile(0.95)[0]
            found["quantile_90"] = float(metrics.interval_coverage(low, high, item["gain"], unseen))
        return found

    def mean_scores(self, run: Callable[[int], InverseOutput]) -> dict[str, float]:
        """Average scores and seconds over the maps."""
        rows = []
        for index in self.indices:
            began = time.perf_counter()
            out = run(index)
            rows.append(self.scores(index, out) | {"seconds": time.perf_counter() - began})
        return {key: float(np.mean([row[key] for row in rows])) for key in rows[0]}


COLUMNS = (
    "psnr",
    "ssim",
    "iou",
    "iou_gain",
    "transmitter_m",
    "coverage_90",
    "quantile_90",
    "seconds",
)


def print_row(label: str, found: dict[str, float]) -> None:
    """Print one row."""
    cells = [f"{found[c]:.3f}" if c in found else "-" for c in COLUMNS]
    print(f"| {label} | " + " | ".join(cells) + " |", flush=True)


def methods(study: Study) -> None:
    """Every way of filtering, same maps, masks and noise, and interpolation beside them."""
    for missing, sigma in ((0.7, 0.05), (0.8, 0.05), (0.9, 0.05)):
        label = f"{missing:.0%} | {sigma}"
        for name, method in study.methods.items():
            found = study.mean_scores(
                partial(study.reconstruct, missing=missing, sigma=sigma, method=method)
            )
            print_row(f"{label} | {name}", found)
        for name in ("linear", "kriging"):
            rows = []
            for index in study.indices:
                measured = study.observe(index, missing, sigma)
                gain = INTERPOLATORS[name](
                    measured.values[0, 0].numpy(), measured.mask[0, 0].numpy()
                )
                position = torch.from_numpy(locate_transmitter(gain).position)
                shadows = torch.from_numpy(shadow_mask(gain))[None]
                mean = torch.from_numpy(gain).float()[None]
                rows.append(score(mean, shadows, position, study.dataset[index]))
            print_row(
                f"{label} | {name}", {k: float(np.mean([r[k] for r in rows])) for k in rows[0]}
            )


def levels(study: Study) -> None:
    """Noise 0.01, 0.05 and 0.09 at 70, 80 and 90 % missing."""
    for missing in (0.7, 0.8, 0.9):
        for sigma in (0.01, 0.05, 0.09):
            for name, method in study.methods.items():
                found = study.mean_scores(
                    partial(study.reconstruct, missing=missing, sigma=sigma, method=method)
                )
                print_row(f"{missing:.0%} | {sigma} | {name}", found)


def steps(study: Study) -> None:
    """PSNR against the number of steps, 80 % missing, sigma 0.05."""
    for count in (1, 2, 3, 5, 10, 20, 50, 100):
        for name, method in study.methods.items():
            found = study.mean_scores(
                partial(
                    study.reconstruct,
                    missing=0.8,
                    sigma=0.05,
                    method=method,
                    num_inference_steps=count,
                )
            )
            print_row(f"{count} | {name}", found)


def update(study: Study) -> None:
    """Run with 20 % of the pixels, update with a tenth more, and run with all from scratch."""
    for name, method in study.methods.items():
        first, updated, full = [], [], []
        for index in study.indices:
            whole = study.observe(index, 0.78, 0.05)
            chosen = torch.rand(whole.mask.shape, generator=torch.Generator().manual_seed(index))
            late = whole.mask & (chosen < 2 / 22)
            old, new = (
                Measurements(torch.where(m, whole.values, 0.0), m, whole.noise_std)
                for m in (whole.mask & ~late, late)
            )
            calls: list[int] = []
            handle = study.pipeline.unet.register_forward_hook(lambda *_, c=calls: c.append(1))
            before = study.run(index, old, method)
            cost = len(calls)
            after = study.pipeline.update(
                before,
                new,
                num_inference_steps=study.steps,
                generator=torch.Generator().manual_seed(index),
                sampler=method[0],
                refinement=method[1],
            )
            share = (len(calls) - cost) / cost
            handle.remove()
            first.append(study.scores(index, before))
            updated.append(study.scores(index, after) | {"seconds": share})
            full.append(study.scores(index, study.run(index, whole, method)))
        for label, rows in (("before", first), ("updated", updated), ("full run", full)):
            print_row(
                f"{name} | {label}", {k: float(np.mean([r[k] for r in rows])) for k in rows[0]}
            )


def seams(study: Study) -> None:
    """A simulated area of 512 x 384 in tiles: jumps of the error across tile borders."""
    city = procedural_city(np.random.default_rng(5), 512).crop(0, 0, (512, 384))
    outdoors = np.argwhere(~city.building_mask)
    position = outdoors[np.abs(outdoors - (256, 192)).sum(axis=1).argmin()]
    gain = dominant_path.path_gain(city, (int(position[0]), int(position[1])))
    truth = torch.from_numpy(db_to_model(gain.astype(np.float64))).float()[None, None]
    protocol = MeasurementProtocol(missing_ratio=0.8, noise_std=0.05)
    measured, _ = observe_map(truth[0], torch.from_numpy(city.building_mask)[None], protocol, 0)
    (method,) = study.methods.values()
    # The same area in other tiles: a line is then a border in one run and none in the other.
    runs, extra = [], []
    for overlap in (64, 160):
        out = study.run(0, measured, method, tile_overlap=overlap)
        error = (out.mean - truth)[0, 0]
        jumps = [error.diff(dim=axis).abs().mean(dim=1 - axis) for axis in (0, 1)]
        starts = [tile_starts(size, 256, overlap) for size in error.shape]
        borders = [
            {edge - 1 for s in starts[axis] for edge in (s, s + 256) if 0 < edge < size}
            for axis, size in enumerate(error.shape)
        ]
        runs.append((jumps, borders))
        print(f"overlap {overlap}: PSNR {float(metrics.psnr(*_gray(out.mean, truth))):.2f} dB")
    for (jumps, borders), (others, inside) in (runs, runs[::-1]):
        for axis in (0, 1):
            for line in sorted(borders[axis] - inside[axis]):
                extra.append(float(jumps[axis][line] - others[axis][line]))
    everywhere = torch.cat([jump for jumps, _ in runs for jump in jumps]).mean()
    print(
        f"mean jump of the error between neighbours {float(everywhere):.4f} (model range); across "
        f"{len(extra)} tile borders more by {np.mean(extra):.4f} +- "
        f"{np.std(extra, ddof=1) / len(extra) ** 0.5:.4f} than across the same lines in other tiles"
    )


def survey(study: Study) -> None:
    """Every map through a CSV of received power and back, 80 % missing, sigma 0.05."""
    (method,) = study.methods.values()
    for index in study.indices:
        item, measured = study.dataset[index], study.observe(index, 0.8, 0.05)
        rows, columns = measured.mask[0, 0].nonzero(as_tuple=True)
        power = TRANSMIT_POWER_DBM + model_to_db(measured.values[0, 0, rows, columns].numpy())
        with tempfile.TemporaryDirectory() as folder:
            table = Path(folder) / "survey.csv"
            lines = [f"{x},{y},{p:.6f}" for x, y, p in zip(columns, rows, power, strict=True)]
            table.write_text("\n".join(["x,y,dbm", *lines]))
            config = SurveyConfig.model_validate(
                {
                    "output": Path(folder) / "out",
                    "method": "prior",
                    "prior": study.prior,
                    "survey": {
                        "columns": {"value": "dbm"},
                        "y_axis": "south",
                        "value": "received_dbm",
                        "transmit_power_dbm": TRANSMIT_POWER_DBM,
                        "noise_std_db": float(model_std_to_db(0.05)),
                        "resolution_m": 1.0,
                        "origin": (0, 0),
                        "shape": measured.mask.shape[-2:],
                    },
                    "sampler": method[0],
                    "refinement": method[1],
                    "num_particles": study.particles,
                    "num_inference_steps": study.steps,
                    "dtype": "auto",
                }
            )
            report = reconstruct_survey(table, config)
            with np.load(config.output / "map.npz") as found:
                gain, shadows = found["gain_db"], found["building_mask"]
        mean = torch.from_numpy(db_to_model(gain.astype(np.float64))).float()[None]
        position = torch.tensor(report["transmitter"]["row_column"], dtype=torch.float64)
        from_file = score(mean, torch.from_numpy(shadows)[None], position, item)
        direct = study.scores(index, study.run(index, measured, method))
        for label, scores in (("from the file", from_file), ("direct", direct)):
            print_row(f"{item['name']} | {label}", scores)


def edges(study: Study) -> None:
    """Where the error is, sigma 0.05: share within 2 m of a wall, and per metre of wall.

    The latter is the squared error near walls over the squared steps of the gain at them, to
    compare with `studies/inverse_tables.py walls`.
    """
    (method,) = study.methods.values()
    for missing in (0.7, 0.8, 0.9):
        everywhere, near, steps = 0.0, 0.0, 0.0
        for index in study.indices:
            item = study.dataset[index]
            out = study.run(index, study.observe(index, missing, 0.05), method)
            found, truth = (gray.numpy() for gray in _gray(out.mean, item["gain"][None]))
            error = (found - truth) ** 2
            buildings = item["buildings"][0].numpy() > 0
            inner = ndimage.binary_erosion(buildings, border_value=1)
            close = ndimage.binary_dilation(buildings, iterations=2) & ~ndimage.binary_erosion(
                buildings, iterations=2, border_value=1
            )
            everywhere += float(error.sum())
            near += float(error[close].sum())
            steps += float((ndimage.maximum_filter(truth, 3)[buildings & ~inner] ** 2).sum())
        print(f"| {missing:.0%} | {near / everywhere:.0%} | {near / steps:.3f} |", flush=True)


def details(study: Study) -> None:
    """Mean square of the differences to the means of 2 x 2 blocks, by scale (see quadtree.py).

    And the linear estimate made of them beside linear interpolation, 80 % missing, sigma 0.05.
    """
    maps = torch.stack([study.dataset[index]["gain"] for index in study.indices])
    for scale in range(8):
        coarse = F.avg_pool2d(maps, 2)
        detail = maps - F.interpolate(coarse, scale_factor=2, mode="nearest")
        print(f"{2**scale} m: {float(detail.square().mean()):.4f}")
        maps = coarse
    estimates: dict[str, list[float]] = {"quadtree": [], "linear": []}
    seconds = 0.0
    for index in study.indices:
        measured = study.observe(index, 0.8, 0.05)
        truth = study.dataset[index]["gain"][None]
        began = time.perf_counter()
        quadtree, _ = quadtree_estimate(measured.values, measured.mask / 0.05**2)
        seconds += time.perf_counter() - began
        linear = INTERPOLATORS["linear"](measured.values[0, 0].numpy(), measured.mask[0, 0].numpy())
        for name, estimate in (
            ("quadtree", quadtree),
            ("linear", torch.from_numpy(linear).float()[None, None]),
        ):
            estimates[name].append(float(metrics.psnr(*_gray(estimate, truth))))
    print(
        ", ".join(f"{name} {np.mean(values):.2f} dB" for name, values in estimates.items())
        + f"; quadtree {1000 * seconds / len(study.indices):.1f} ms a map"
    )


def _gray(mean: Tensor, truth: Tensor) -> tuple[Tensor, Tensor]:
    return (mean[0, 0].clamp(-1, 1) + 1) / 2, (truth[0, 0] + 1) / 2


STUDIES = {f.__name__: f for f in (methods, levels, steps, update, seams, survey, edges, details)}


def main() -> None:
    """Run the study the command line names."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("study", choices=STUDIES)
    parser.add_argument("prior", type=Path, help="directory of a trained prior")
    parser.add_argument("root", type=Path, help="a RadioMapSeer tree")
    parser.add_argument("--split", default="all")
    parser.add_argument("--part", default="test")
    parser.add_argument("--maps", type=int, default=28, help="spread evenly over the part")
    parser.add_argument("--particles", type=int, default=5)
    parser.add_argument("--steps", type=int, default=100)
    parser.add_argument("--only", default="", help="methods whose name holds this")
    arguments = parser.parse_args()
    STUDIES[arguments.study](Study(arguments))


if __name__ == "__main__":
    run_main(main)
