"""Average the denoisers of two RadioDiff networks, of which one was tuned from the other.

    python studies/average_weights.py data/pretrained/OLD outputs/small/ldm_large/model 0.8 OUTPUT

writes the second one with 0.2 of the first's weights and 0.8 of its own (Wortsman et al., 2022): it
keeps most of what either does best. ``--window`` is the side of the windows that larger maps are
generated in.
"""

import argparse
from pathlib import Path

import torch

from radiodiff.cli import run_main
from radiodiff.diffusion.pipeline import RadioDiffPipeline
from radiodiff.errors import InputError


def main() -> None:
    """Write the average."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("first", help="folder or name of a RadioDiff pipeline")
    parser.add_argument("second", help="the same, of a network of the same sizes")
    parser.add_argument("share", type=float, help="share of the second, 0 to 1")
    parser.add_argument("output", type=Path, help="folder to write")
    parser.add_argument(
        "--window", type=int, default=None, help="pixels; the second's if not given"
    )
    arguments = parser.parse_args()
    if not 0.0 <= arguments.share <= 1.0:
        raise InputError(f"share: found {arguments.share}, allowed are 0 to 1")
    first, second = map(RadioDiffPipeline.from_pretrained, (arguments.first, arguments.second))
    theirs, weights = first.denoiser.state_dict(), second.denoiser.state_dict()
    if any(theirs[name].shape != own.shape for name, own in weights.items()):
        raise InputError(f"{arguments.second}: its denoiser has other sizes than the first's")
    second.denoiser.load_state_dict(
        {
            name: torch.lerp(theirs[name], own, arguments.share)
            if own.is_floating_point()
            else own  # positions of attention windows
            for name, own in weights.items()
        }
    )
    if arguments.window is not None:
        second.register_to_config(window=arguments.window)
    second.save_pretrained(arguments.output)


if __name__ == "__main__":
    run_main(main)
