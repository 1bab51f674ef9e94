"""Train a baseline: RadioUNet, UVM-Net or RME-GAN, with or without measurements."""

from radiodiff.cli import parse_config, run_main
from radiodiff.training.baselines import BaselineExperiment, train_baseline
from radiodiff.training.experiments import add_resume


def main() -> None:
    """Read the configuration and train."""
    config, arguments = parse_config(BaselineExperiment, __doc__ or "", add_arguments=add_resume)
    train_baseline(config, arguments.resume)


if __name__ == "__main__":
    run_main(main)
