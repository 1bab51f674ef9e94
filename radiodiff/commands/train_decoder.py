"""Stage three of RadioDiff: tune the decoder to the latents of the denoiser."""

from radiodiff.cli import add_resume, parse_config
from radiodiff.training.settings import DecoderExperiment


def main() -> None:
    """Read the configuration and train."""
    config, arguments = parse_config(DecoderExperiment, __doc__ or "", add_arguments=add_resume)
    from radiodiff.training.decoder import DecoderTask
    from radiodiff.training.experiments import train_stage

    train_stage(config, DecoderTask, arguments.resume)
