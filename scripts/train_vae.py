"""Stage one of RadioDiff: train the KL autoencoder on radio maps."""

import torch

from radiodiff.cli import parse_config, run_main
from radiodiff.training.experiments import VAEExperiment, add_resume, open_datasets, run_experiment
from radiodiff.training.tasks import VAETask


def main() -> None:
    """Read the configuration and train."""
    config, arguments = parse_config(VAEExperiment, __doc__ or "", add_arguments=add_resume)
    training, validation = open_datasets(config)
    torch.manual_seed(config.train.seed)
    run_experiment(config, VAETask(config, validation), training, arguments.resume)


if __name__ == "__main__":
    run_main(main)
