"""This process among those that ``torchrun`` or ``accelerate launch`` started."""

from __future__ import annotations

import torch
from accelerate import PartialState
from accelerate.utils import parse_flag_from_env


def on_cpu() -> bool:
    """Say whether to compute on CPUs: there is nothing else, or accelerate was told so.

    Accelerate itself joins processes on CPUs only where it is told that they are CPUs; without,
    each would believe to be alone and write over the others' files.
    """
    return parse_flag_from_env("ACCELERATE_USE_CPU") or not torch.accelerator.is_available()


def join_processes() -> PartialState:
    """Join the other processes, if there are any; return which one this is, and its device."""
    return PartialState(cpu=on_cpu())
