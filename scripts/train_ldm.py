"""Stage two of RadioDiff: train the decoupled latent diffusion."""

import torch

from radiodiff.cli import parse_config, run_main
from radiodiff.training.experiments import LDMExperiment, add_resume, open_datasets, run_experiment
from radiodiff.training.tasks import LDMTask


def main() -> None:
    """Read the configuration and train."""
    config, arguments = parse_config(LDMExperiment, __doc__ or "", add_arguments=add_resume)
    training, validation = open_datasets(config)
    torch.manual_seed(config.train.seed)
    run_experiment(config, LDMTask(config, validation), training, arguments.resume)


if __name__ == "__main__":
    run_main(main)
