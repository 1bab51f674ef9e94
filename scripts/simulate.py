"""Simulate cities and their radio maps as a RadioMapSeer tree."""

from radiodiff.cli import parse_config, run_main
from radiodiff.simulate.dataset import SimulateConfig, simulate_dataset


def main() -> None:
    """Read the configuration and write the tree."""
    config, _ = parse_config(SimulateConfig, __doc__)
    print(f"wrote {simulate_dataset(config)}")


if __name__ == "__main__":
    run_main(main)
