"""Reconstruct radio maps from sparse noisy samples (RadioDiff-Inverse)."""

from radiodiff.cli import parse_config, run_main
from radiodiff.inverse.experiment import InverseConfig, format_summary, run_benchmark


def main() -> None:
    """Reconstruct the maps of a RadioMapSeer tree and print how close they are."""
    config, _ = parse_config(InverseConfig, __doc__)
    print(format_summary(run_benchmark(config)))
    print(f"wrote {config.output}")


if __name__ == "__main__":
    run_main(main)
