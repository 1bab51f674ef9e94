"""See the shipped weights at work on a city that no training saw, and on a survey of it."""

from pathlib import Path

from radiodiff.cli import parse_config, run_main
from radiodiff.experiments.settings import DemoConfig

DEFAULT_CONFIG = Path(__file__).parents[1] / "configs" / "demo.yaml"


def main() -> None:
    """Run the demo and print what it found."""
    config, _ = parse_config(DemoConfig, __doc__, default_config=str(DEFAULT_CONFIG))
    from radiodiff.experiments.demo import run_demo

    print(f"\n{run_demo(config)}")
    print(f"wrote demo.png, table.md, survey.csv and survey/ in {config.output}")


if __name__ == "__main__":
    run_main(main)
