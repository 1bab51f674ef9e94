"""Train a baseline: RadioUNet, UVM-Net or RME-GAN, with or without measurements."""

from radiodiff.cli import add_resume, parse_config
from radiodiff.training.baselines.settings import BaselineExperiment


def main() -> None:
    """Read the configuration and train."""
    config, arguments = parse_config(BaselineExperiment, __doc__ or "", add_arguments=add_resume)
    from radiodiff.training.baselines.experiment import train_baseline

    train_baseline(config, arguments.resume)
