"""Measure the speed of one part of the project on this machine.

Every benchmark imports what it measures itself, so that ``--help`` waits for none of it.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, get_args

from radiodiff.benchmarks import Size
from radiodiff.cli import run_main

if TYPE_CHECKING:
    from radiodiff.benchmarks.diffusion import Comparison


def main() -> None:
    """Run the benchmark that the command line names."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    data = commands.add_parser("data", help="maps per second and core of the dataset reader")
    data.add_argument("--root", type=Path, help="a RadioMapSeer tree; noise images by default")
    data.add_argument("--seconds", type=float, default=3.0, help="of every measurement")
    data.set_defaults(run=run_data)
    radiodiff = commands.add_parser("radiodiff", help="sampling and training at the paper's size")
    radiodiff.add_argument("--repeats", type=int, default=2, help="runs of every measurement")
    radiodiff.add_argument("--batch", type=int, default=2, help="latents in a training step")
    radiodiff.set_defaults(run=run_radiodiff)
    simulate = commands.add_parser("simulate", help="maps per second of the dominant path engine")
    simulate.add_argument("--transmitters", type=int, default=16, help="timed per layout")
    simulate.set_defaults(run=run_simulate)
    train = commands.add_parser("train", help="rate and shares of every training stage")
    train.add_argument("--size", choices=get_args(Size), default="small", help="which configs")
    train.add_argument("--seconds", type=float, default=12.0, help="of every measurement")
    train.add_argument("--stage", default="", help="only stages whose name begins so, such as LDM")
    train.set_defaults(run=run_train)
    inverse = commands.add_parser("inverse", help="reconstruction with the small and paper's prior")
    inverse.set_defaults(run=run_inverse)
    refinement = commands.add_parser("refinement", help="walls and path-loss model of one map")
    refinement.set_defaults(run=run_refinement)
    arguments = parser.parse_args()
    arguments.run(arguments)


def run_data(arguments: argparse.Namespace) -> None:
    """Print the rates of the dataset reader beside the required ones."""
    from radiodiff.benchmarks.data import TARGETS, benchmark_dataset

    for label, rate in benchmark_dataset(arguments.root, arguments.seconds).items():
        target = f"  (at least {TARGETS[label]:.0f})" if label in TARGETS else ""
        print(f"{label:<26} {rate:8.0f} maps/s{target}")


def run_radiodiff(arguments: argparse.Namespace) -> None:
    """Print the plain and the fast path of sampling and training, and their ratios."""
    import torch

    from radiodiff.benchmarks.diffusion import (
        STEPS,
        compare_sampling,
        compare_training,
        paper_networks,
    )
    from radiodiff.memory import peak_memory

    denoiser, vae = paper_networks()
    sampling = compare_sampling(denoiser, vae, arguments.repeats)
    print(f"sampling one 256 x 256 map, {STEPS} steps and decoding")
    _print_comparison(sampling, per_run="map", maps=1)
    print(f"  RMSE between the two maps    {sampling.rmse:8.4f} of full scale  (at most 0.005)")
    print(f"training step, batch {arguments.batch}")
    training = compare_training(denoiser, arguments.batch, arguments.repeats)
    _print_comparison(training, per_run="step", maps=arguments.batch)
    print(f"peak memory {peak_memory():.1f} GiB, {torch.get_num_threads()} threads")


def _print_comparison(comparison: Comparison, per_run: str, maps: int) -> None:
    for label, timing in (
        ("float32, contiguous, plain", comparison.plain),
        ("bfloat16, channels last", comparison.fast),
    ):
        print(
            f"  {label:<28} {1000 * timing.seconds:8.0f} ms per {per_run}  "
            f"{maps / timing.seconds:7.3f} maps/s  {timing.share_of_peak:5.0%} of matmul peak"
        )
    print(f"  ratio                        {comparison.speedup:8.2f}")


def run_simulate(arguments: argparse.Namespace) -> None:
    """Print the engine's processor time, and its rate on 2 cores at 80 transmitters a layout."""
    from radiodiff.benchmarks.simulate import benchmark_engine

    for label, timing in benchmark_engine(arguments.transmitters).items():
        print(
            f"{label:<14} {timing.corners:4d} corners  layout {timing.layout_s:6.2f} s  "
            f"transmitter {timing.transmitter_s:6.3f} s  "
            f"{timing.maps_per_second(80, cores=2):6.1f} maps/s (at least 3)  "
            f"peak {timing.memory_mib:5.0f} MiB"
        )


def run_train(arguments: argparse.Namespace) -> None:
    """Print a Markdown table row for every stage and precision, as they are measured."""
    import torch

    from radiodiff.benchmarks.training import benchmark_training

    configs = Path(__file__).parents[1] / "configs"
    print(f"{torch.get_num_threads()} threads")
    columns = "stage | GFLOP | precision | batch | samples/s | ratio | data wait | optimiser"
    print(f"| {columns} | checkpoint |")
    print("|---|---:|---|---:|---:|---:|---:|---:|---:|")
    rates: dict[str, float] = {}
    for timing in benchmark_training(configs, arguments.size, arguments.seconds, arguments.stage):
        rate = timing.samples_per_second
        ratio = rate / rates.setdefault(timing.label, rate)
        print(
            f"| {timing.label} | {timing.operations / 1e9:.0f} | {timing.precision} | "
            f"{timing.batch_size} | {rate:.3g} | "
            f"{ratio:.2f} | {timing.data_wait_share:.1%} | {timing.optimizer_share:.1%} | "
            f"{timing.checkpoint_seconds:.2f} s, {timing.checkpoint_share:.2%} of "
            f"{timing.checkpoint_every} steps |",
            flush=True,
        )


def run_inverse(arguments: argparse.Namespace) -> None:
    """Print the cost of a reconstruction with the small prior, and of a step of the paper's."""
    import torch

    from radiodiff.benchmarks.inverse import PARTICLES, STEPS, time_image_prior, time_run
    from radiodiff.inverse.samplers import (
        Combined,
        CommonNoise,
        FixedLevel,
        IndependentNoise,
        Published,
    )
    from radiodiff.memory import peak_memory

    print(f"small prior, 256 x 256, {PARTICLES} particles, {STEPS} steps")
    for label, sampler in (
        ("published", Published()),
        ("common noise", CommonNoise()),
        ("independent noise", IndependentNoise()),
        ("fixed level", FixedLevel()),
        ("self-ensemble", FixedLevel(self_ensemble=True)),
        ("combined", Combined()),
    ):
        for dtype in (torch.float32, torch.bfloat16):
            timing = time_run(sampler, dtype)
            print(
                f"  {label:<17} {str(dtype).removeprefix('torch.'):<9} {timing.seconds:6.1f} s  "
                f"(at most 60)  {1000 * timing.per_particle_step:6.1f} ms per particle and step  "
                f"{timing.outside_network:5.1%} outside the network (below 10)",
                flush=True,
            )
    plain, fast = time_image_prior()
    print(f"paper's prior, one particle and step: float32 {plain:.2f} s, bfloat16 {fast:.2f} s")
    print(f"  ratio {plain / fast:.2f} (at least 2), peak memory {peak_memory():.1f} GiB")


def run_refinement(arguments: argparse.Namespace) -> None:
    """Print the processor time of the walls and of the path-loss model of one map."""
    from radiodiff.benchmarks.refinement import time_refinement

    timing = time_refinement()
    print(f"a chain of outlines (one a particle) {timing.chain_s:.2f} s of one core")
    print(f"the path-loss model in one layout (three a map) {timing.model_s:.2f} s of one core")


if __name__ == "__main__":
    run_main(main)
