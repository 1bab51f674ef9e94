"""Stage two of RadioDiff: train the decoupled latent diffusion."""

from radiodiff.cli import add_resume, parse_config
from radiodiff.training.settings import LDMExperiment


def main() -> None:
    """Read the configuration and train."""
    config, arguments = parse_config(LDMExperiment, __doc__ or "", add_arguments=add_resume)
    from radiodiff.training.experiments import train_stage
    from radiodiff.training.tasks import LDMTask

    train_stage(config, LDMTask, arguments.resume)
