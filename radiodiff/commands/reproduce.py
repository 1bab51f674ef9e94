"""Tables and figures of both papers: train what is missing, predict, score, write."""

from radiodiff.cli import parse_config
from radiodiff.experiments.reproduce.settings import ReproduceConfig


def main() -> None:
    """Read the configuration, compare, and say where the report is."""
    config, _ = parse_config(ReproduceConfig, __doc__ or "")
    from radiodiff.experiments.reproduce.run import reproduce

    print(f"wrote {reproduce(config)}")
