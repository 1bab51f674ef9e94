"""Stage three of RadioDiff: tune the decoder to the latents of the denoiser."""

from radiodiff.cli import parse_config, run_main
from radiodiff.training.decoder import DecoderExperiment, DecoderTask
from radiodiff.training.experiments import add_resume, train_stage


def main() -> None:
    """Read the configuration and train."""
    config, arguments = parse_config(DecoderExperiment, __doc__ or "", add_arguments=add_resume)
    train_stage(config, DecoderTask, arguments.resume)


if __name__ == "__main__":
    run_main(main)
