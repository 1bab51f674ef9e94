"""A function over items: each once, wherever it runs, and what is said when that fails."""

import os
import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest

from radiodiff.errors import InputError
from radiodiff.executors import Executor, run_all

distributed = pytest.importorskip("distributed")


@pytest.fixture(scope="module")
def dask():
    """A cluster of two threads of this process."""
    with distributed.LocalCluster(
        n_workers=2, threads_per_worker=1, processes=False, dashboard_address=None
    ) as cluster:
        yield Executor(kind="dask", address=cluster.scheduler_address)


def note(folder: Path, item: int) -> int:
    """Leave one more byte in the file of an item."""
    with (folder / str(item)).open("a") as file:
        file.write(".")
    return item * item


def refuse(item: int) -> int:
    raise InputError(f"item {item}: too large")


@pytest.mark.parametrize("workers", [1, 2])
def test_processes_run_every_item_once(tmp_path, workers):
    folders = [tmp_path / name for name in "123"]
    assert list(run_all(os.mkdir, folders, Executor(), workers)) == [None] * 3
    assert sorted(tmp_path.iterdir()) == folders  # a second call would have raised


def test_dask_runs_every_item_once_and_again_when_asked_again(tmp_path, dask):
    for times in (".", ".."):
        assert sorted(run_all(partial(note, tmp_path), [1, 2, 3], dask, 1)) == [1, 4, 9]
        written = {path.name: path.read_text() for path in tmp_path.iterdir()}
        assert written == dict.fromkeys("123", times)


def test_an_error_of_a_worker_is_that_of_the_run(dask):
    with pytest.raises(InputError, match="item 5: too large"):
        list(run_all(refuse, [5], dask, 1))


def test_a_scheduler_that_does_not_answer_is_named(monkeypatch):
    monkeypatch.setattr("radiodiff.executors.CONNECT_S", 0.1)
    nobody = Executor(kind="dask", address="tcp://127.0.0.1:1")
    with pytest.raises(InputError, match=r"no Dask scheduler answers at tcp://127\.0\.0\.1:1"):
        list(run_all(refuse, [5], nobody, 1))


def test_an_address_belongs_to_dask():
    with pytest.raises(ValueError, match="set kind: dask"):
        Executor(address="tcp://127.0.0.1:8786")


def test_dask_is_imported_only_when_asked_for():
    program = (
        "import sys\n"
        "from radiodiff.executors import Executor, run_all\n"
        "assert list(run_all(abs, [-1], Executor(), 1)) == [1]\n"
        "assert not {'dask', 'distributed', 'torch'} & set(sys.modules)\n"
    )
    subprocess.run([sys.executable, "-c", program], check=True)
