"""Train the unconditional DDPM prior of RadioDiff-Inverse."""

from radiodiff.cli import parse_config, run_main
from radiodiff.training.experiments import PriorExperiment, add_resume, train_stage
from radiodiff.training.tasks import PriorTask


def main() -> None:
    """Read the configuration and train."""
    config, arguments = parse_config(PriorExperiment, __doc__ or "", add_arguments=add_resume)
    train_stage(config, PriorTask, arguments.resume)


if __name__ == "__main__":
    run_main(main)
