"""See the shipped weights at work on a city that no training saw, and on a survey of it."""

from radiodiff.cli import parse_config
from radiodiff.experiments.settings import DemoConfig

DEFAULT_CONFIG = "demo"


def main() -> None:
    """Run the demo and print what it found."""
    config, _ = parse_config(DemoConfig, __doc__, default_config=DEFAULT_CONFIG)
    from radiodiff.experiments.demo import run_demo

    print(f"\n{run_demo(config)}")
    print(f"wrote demo.png, table.md, survey.csv and survey/ in {config.output}")
