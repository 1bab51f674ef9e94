"""Simulate cities and their radio maps as a RadioMapSeer tree."""

from radiodiff.cli import parse_config
from radiodiff.simulate.settings import SimulateConfig


def main() -> None:
    """Read the configuration and write the tree."""
    config, _ = parse_config(SimulateConfig, __doc__)
    from radiodiff.experiments.pictures import write_contact_sheet
    from radiodiff.simulate.dataset import simulate_dataset

    root = simulate_dataset(config)
    print(f"wrote {root}; {write_contact_sheet(root).name} shows the first maps")
