"""Train the unconditional DDPM prior of RadioDiff-Inverse."""

from radiodiff.cli import add_resume, parse_config
from radiodiff.training.settings import PriorExperiment


def main() -> None:
    """Read the configuration and train."""
    config, arguments = parse_config(PriorExperiment, __doc__ or "", add_arguments=add_resume)
    from radiodiff.training.experiments import train_stage
    from radiodiff.training.tasks import PriorTask

    train_stage(config, PriorTask, arguments.resume)
