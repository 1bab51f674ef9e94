"""See the whole system work on this machine: simulate, train, generate, reconstruct, compare."""

from pathlib import Path

from radiodiff.cli import parse_config, run_main
from radiodiff.demo import DemoConfig, run_demo

DEFAULT_CONFIG = Path(__file__).parents[1] / "configs" / "demo.yaml"


def main() -> None:
    """Run the demo and print its table."""
    config, _ = parse_config(DemoConfig, __doc__, default_config=str(DEFAULT_CONFIG))
    print(f"\n{run_demo(config)}\nwrote {config.output}/demo.png and {config.output}/table.md")


if __name__ == "__main__":
    run_main(main)
