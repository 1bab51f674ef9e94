"""Stage one of RadioDiff: train the KL autoencoder on radio maps."""

from radiodiff.cli import add_resume, parse_config
from radiodiff.training.settings import VAEExperiment


def main() -> None:
    """Read the configuration and train."""
    config, arguments = parse_config(VAEExperiment, __doc__ or "", add_arguments=add_resume)
    from radiodiff.training.experiments import train_stage
    from radiodiff.training.tasks import VAETask

    train_stage(config, VAETask, arguments.resume)
