"""Measure the speed of one part of the project on this machine."""

import argparse
from pathlib import Path

from radiodiff.cli import run_main
from radiodiff.data.benchmark import TARGETS, benchmark_dataset


def main() -> None:
    """Run the benchmark that the command line names."""
    parser = argparse.ArgumentParser(description=__doc__)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    data = commands.add_parser("data", help="maps per second and core of the dataset reader")
    data.add_argument("--root", type=Path, help="a RadioMapSeer tree; noise images by default")
    data.add_argument("--seconds", type=float, default=3.0, help="of every measurement")
    data.set_defaults(run=run_data)
    arguments = parser.parse_args()
    arguments.run(arguments)


def run_data(arguments: argparse.Namespace) -> None:
    """Print the rates of the dataset reader beside the required ones."""
    for label, rate in benchmark_dataset(arguments.root, arguments.seconds).items():
        target = f"  (at least {TARGETS[label]:.0f})" if label in TARGETS else ""
        print(f"{label:<26} {rate:8.0f} maps/s{target}")


if __name__ == "__main__":
    run_main(main)
