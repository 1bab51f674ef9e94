"""This process among those that ``torchrun`` or ``accelerate launch`` started."""

from __future__ import annotations

import torch
from accelerate import Accelerator, PartialState
from accelerate.state import AcceleratorState
from accelerate.utils import parse_flag_from_env

from radiodiff.config import Precision
from radiodiff.errors import InputError


def on_cpu() -> bool:
    """Say whether to compute on CPUs: there is nothing else, or accelerate was told so.

    Accelerate itself joins processes on CPUs only where it is told that they are CPUs; without,
    each would believe to be alone and write over the others' files.
    """
    return parse_flag_from_env("ACCELERATE_USE_CPU") or not torch.accelerator.is_available()


def join_processes() -> PartialState:
    """Join the other processes, if there are any; return which one this is, and its device."""
    return PartialState(cpu=on_cpu())


def open_accelerator(precision: Precision) -> Accelerator:
    """Return an accelerator that computes in ``precision``, also after one that did not.

    Raises:
        InputError: accelerate was told to shard, which ``train.shard`` does.
    """
    if parse_flag_from_env("ACCELERATE_USE_FSDP"):
        raise InputError(
            "accelerate launch: found FSDP options; launch without them and set train.shard=true"
        )
    AcceleratorState._reset_state()
    return Accelerator(mixed_precision="no" if precision == "fp32" else precision, cpu=on_cpu())
