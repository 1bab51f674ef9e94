"""The command ``radiodiff``: finds the command that is named, and runs it."""

from __future__ import annotations

import difflib
import sys
from pkgutil import resolve_name
from typing import NoReturn

import radiodiff
from radiodiff.cli import run_main
from radiodiff.errors import InputError

COMMANDS = {
    "demo": ("demo", "the shipped weights on a simulated city and a survey of it"),
    "predict": ("predict", "maps of your own city, from a GeoJSON of its buildings"),
    "invert": ("infer_inverse", "maps from sparse samples: of a survey, or of a dataset"),
    "app": ("app", "a page in the browser"),
    "simulate": ("simulate", "simulated cities and their maps as a dataset"),
    "train vae": ("train_vae", "stage one of RadioDiff"),
    "train ldm": ("train_ldm", "stage two of RadioDiff"),
    "train decoder": ("train_decoder", "stage three of RadioDiff"),
    "train prior": ("train_prior", "the prior of RadioDiff-Inverse"),
    "train baseline": ("train_baseline", "RadioUNet, UVM-Net or RME-GAN"),
    "encode": ("encode_latents", "latents of a dataset, stored once for stage two"),
    "infer": ("infer_ldm", "maps of a dataset by RadioDiff"),
    "evaluate": ("evaluate", "scores of a folder of maps"),
    "reproduce": ("reproduce", "tables and figures of both papers"),
    "configs": ("configs", "lists the shipped configurations, and copies them"),
    "check": ("check", "a tree of maps, or whether this installation works"),
}
"""Command -> module of ``radiodiff.commands``, and what it does."""


def main() -> NoReturn:
    """Run the command that the command line names; ``radiodiff COMMAND --help`` explains one."""
    run_main(_dispatch)


def _dispatch() -> None:
    words = sys.argv[1:]
    if not words or words[0] in ("-h", "--help"):
        print(_help())
        return
    if words[0] == "--version":
        print(f"radiodiff {radiodiff.__version__}")
        return
    command, rest = _split(words)
    sys.argv = [f"radiodiff {command}", *rest]
    resolve_name(f"radiodiff.commands.{COMMANDS[command][0]}:main")()


def _split(words: list[str]) -> tuple[str, list[str]]:
    """Return the command, of one or of two words, and what follows it."""
    for length in (2, 1):
        command = " ".join(words[:length])
        if command in COMMANDS:
            return command, words[length:]
    wanted = " ".join(words[:2]) if words[0] == "train" else words[0]
    close = difflib.get_close_matches(wanted, COMMANDS, n=1)
    hint = f", did you mean {close[0]!r}?" if close else ""
    raise InputError(f"unknown command {wanted!r}{hint} (allowed: {', '.join(COMMANDS)})")


def _help() -> str:
    rows = "\n".join(f"  {name:<16} {meaning}" for name, (_, meaning) in COMMANDS.items())
    return (
        "usage: radiodiff COMMAND [--config FILE.yaml] [key.path=value ...]\n\n"
        f"{(radiodiff.__doc__ or '').splitlines()[0]}\n\ncommands:\n{rows}\n\n"
        "radiodiff COMMAND --help explains a command; radiodiff --version tells the version."
    )
