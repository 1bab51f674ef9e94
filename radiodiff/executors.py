"""Runs a function over many items: on processes of this machine, or on a Dask cluster.

The function writes files, skips those that are there, and returns little. So a run may be killed
and continued, and an item that a lost worker had begun may be run again.
"""

from __future__ import annotations

import multiprocessing
import os
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import ExitStack
from pathlib import Path
from typing import Literal, TypeVar

from pydantic import model_validator

from radiodiff.config import Settings
from radiodiff.errors import InputError

Item = TypeVar("Item")
Result = TypeVar("Result")

CONNECT_S = 30
"""Seconds within which a Dask scheduler must answer."""


class Executor(Settings):
    """Where the parts of a run are computed; what is written does not depend on it."""

    kind: Literal["processes", "dask"] = "processes"
    """processes: ``workers`` of this machine. dask: a cluster, needs the extra ``dask``."""
    address: str | None = None
    """Dask scheduler, such as tcp://HOST:8786, whose workers see the same files; null starts a
    scheduler and ``workers`` processes on this machine."""

    @model_validator(mode="after")
    def _address_of_dask(self) -> Executor:
        if self.address is not None and self.kind != "dask":
            raise ValueError("address: is that of a Dask scheduler; set kind: dask")
        return self


MAY_DIFFER = ("workers", "executor.kind", "executor.address")
"""Settings in which a continued run may differ from the run it continues."""


def run_all(
    function: Callable[[Item], Result], items: Sequence[Item], executor: Executor, workers: int
) -> Iterator[Result]:
    """Apply a function to every item; yield the results in the order in which they are ready.

    Args:
        function: importable by name, or a ``functools.partial`` of such a function.
        items: what it is applied to, each once.
        executor: where it runs. One worker of ``processes`` is this process itself.
        workers: processes on this machine; those of a cluster at ``address`` are its own.

    Raises:
        InputError: a worker was killed, the scheduler does not answer, or Dask is not installed.
            An exception of the function is passed on.
    """
    if executor.kind == "dask":
        return _run_on_dask(function, items, executor.address, workers)
    return _run_on_processes(function, items, min(workers, len(items)))


def _run_on_processes(
    function: Callable[[Item], Result], items: Sequence[Item], workers: int
) -> Iterator[Result]:
    if workers <= 1:
        yield from map(function, items)
        return
    # Spawned, not forked: forking a process that runs threads (torch, numba) can deadlock.
    context = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(workers, mp_context=context, initializer=_start_worker)
    try:
        for future in as_completed([pool.submit(function, item) for item in items]):
            yield future.result()
    except BrokenProcessPool:
        raise InputError(
            "a worker process was killed (out of memory?); start the same command again to "
            "continue, with fewer workers if memory is short"
        ) from None
    finally:
        pool.shutdown(cancel_futures=True)


def _run_on_dask(
    function: Callable[[Item], Result], items: Sequence[Item], address: str | None, workers: int
) -> Iterator[Result]:
    if not items:
        return
    try:
        import distributed
    except ImportError:
        raise InputError(
            "executor.kind: dask needs dask.distributed (pip install 'radiodiff[dask]')"
        ) from None
    with ExitStack() as stack:
        try:
            if address is None:
                scheduler = stack.enter_context(
                    distributed.LocalCluster(
                        n_workers=workers, threads_per_worker=1, dashboard_address=None
                    )
                )
            else:
                scheduler = address
            client = distributed.Client(scheduler, timeout=CONNECT_S)
        except (OSError, ValueError) as error:
            raise InputError(
                f"executor.address: no Dask scheduler answers at {address} ({error})"
            ) from None
        stack.enter_context(client)
        tasks = client.map(_run_in, items, function=function, folder=str(Path.cwd()), pure=False)
        stack.callback(client.cancel, tasks)
        try:
            for task in distributed.as_completed(tasks):
                yield task.result()
        except distributed.KilledWorker:
            raise InputError(
                "Dask workers were killed again and again (out of memory?); start the same "
                "command again to continue"
            ) from None


def _run_in(item: Item, function: Callable[[Item], Result], folder: str) -> Result:
    """Call a function where the command was started, so that relative paths mean the same.

    Raises:
        InputError: the worker's machine has no such folder.
    """
    try:
        os.chdir(folder)
    except OSError as error:
        raise InputError(
            f"{folder}: not on the machine of a Dask worker ({error.strerror}); start the command "
            "in a folder that all machines share"
        ) from None
    return function(item)


def _start_worker() -> None:
    """Keep a worker to one core, and end it when the main process is killed."""
    import numba
    import torch

    torch.set_num_threads(1)
    numba.set_num_threads(1)
    parent = multiprocessing.parent_process()
    assert parent is not None

    def follow() -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=follow, daemon=True).start()
