"""What a machine does to a run, said in one line: memory, workers, disks."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch

from radiodiff.errors import InputError
from radiodiff.training.settings import TrainSettings

_OUT_OF_MEMORY = ("out of memory", "can't allocate memory")
_WORKER = "DataLoader worker"


@contextmanager
def explained(directory: Path, settings: TrainSettings, num_processes: int) -> Iterator[None]:
    """Raise ``InputError`` for faults of the machine; other errors pass.

    Args:
        directory: the run directory, for faults of its disk.
        settings: say what batch to try when memory runs out.
        num_processes: processes that share the batch.

    Raises:
        InputError: memory ran out (names the batch size to try), a data loading process died, or a
            file cannot be read or written.
    """
    try:
        yield
    except InputError:
        raise
    except MemoryError as error:
        raise InputError(out_of_memory_advice(settings, num_processes)) from error
    except (ConnectionError, EOFError) as error:  # torch's pipe saw the worker end before torch did
        raise InputError(_dead_worker(f"{_WORKER} closed its pipe")) from error
    except OSError as error:
        where = error.filename or directory
        raise InputError(f"{where}: {error.strerror or error}; fix it and resume") from error
    except RuntimeError as error:
        text = str(error)
        if isinstance(error, torch.OutOfMemoryError) or any(w in text for w in _OUT_OF_MEMORY):
            raise InputError(out_of_memory_advice(settings, num_processes)) from error
        if text.startswith(_WORKER):
            raise InputError(_dead_worker(text.splitlines()[0])) from error
        raise


def _dead_worker(what: str) -> str:
    return (
        f"{what}: a data loading process died, mostly because the machine or its /dev/shm ran out "
        "of memory; lower train.num_workers and resume"
    )


def out_of_memory_advice(settings: TrainSettings, num_processes: int) -> str:
    """Return the line to print when ``settings`` do not fit into memory."""
    share = settings.batch_size // num_processes
    micro = share // settings.accumulation
    smaller = next((m for m in range(micro // 2, 0, -1) if share % m == 0), None)
    begin = f"out of memory with {micro} maps at a time in each process"
    if smaller is None:
        return f"{begin}; try train.checkpoint_activations=true, precision bf16 or a smaller model"
    return (
        f"{begin}; try {smaller}: train.accumulation={share // smaller} makes the same update of "
        f"them, or train.batch_size={smaller * settings.accumulation * num_processes} a smaller one"
    )
