"""Train the unconditional DDPM prior of RadioDiff-Inverse."""

import torch

from radiodiff.cli import parse_config, run_main
from radiodiff.training.experiments import (
    PriorExperiment,
    add_resume,
    open_datasets,
    run_experiment,
)
from radiodiff.training.tasks import PriorTask


def main() -> None:
    """Read the configuration and train."""
    config, arguments = parse_config(PriorExperiment, __doc__ or "", add_arguments=add_resume)
    training, validation = open_datasets(config)
    torch.manual_seed(config.train.seed)
    run_experiment(config, PriorTask(config, validation), training, arguments.resume)


if __name__ == "__main__":
    run_main(main)
