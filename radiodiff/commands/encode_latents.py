"""Encode the maps of a split once, for stage two to train on."""

from radiodiff.cli import parse_config
from radiodiff.training.settings import EncodeConfig


def main() -> None:
    """Read the configuration and encode."""
    config, _ = parse_config(EncodeConfig, __doc__ or "")
    from radiodiff.processes import join_processes
    from radiodiff.training.latents import encode_dataset

    directory = encode_dataset(config, join_processes().device)
    print(f"wrote {directory}; train on it with scripts/train_ldm.py ... latents={directory}")
