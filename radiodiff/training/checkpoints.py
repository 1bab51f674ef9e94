"""Checkpoints that are either complete or absent.

One checkpoint is one file, ``step_00001000.pt``, beside ``step_00001000.json`` with its SHA-256.
Both are written under a temporary name and renamed, the JSON last, so a kill at any moment leaves
the earlier checkpoints and nothing that looks whole but is not. Files hold tensors and plain
values alone and are read with ``weights_only=True``.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from radiodiff.errors import InputError

_NAME = re.compile(r"step_(\d{8})\.json")


class CheckpointWriter:
    """Writes checkpoints in the background and removes old ones.

    Args:
        directory: where they go.
        keep_last: how many of the newest to keep.
        keep_every: also keep each checkpoint whose step is a multiple of this; None for none.
    """

    def __init__(self, directory: Path, keep_last: int, keep_every: int | None) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        for leftover in directory.glob("step_*.partial"):  # of a run that was killed in a write
            leftover.unlink(missing_ok=True)
        self._directory = directory
        self._keep_last = keep_last
        self._keep_every = keep_every
        self._thread = ThreadPoolExecutor(max_workers=1)
        self._pending: Future[None] | None = None

    def save(self, step: int, state: dict[str, Any]) -> None:
        """Copy ``state`` to memory and write it while training goes on.

        Raises:
            InputError: this or the previous checkpoint could not be written (disk full, read-only);
                the last complete one stays.
        """
        self.wait()
        self._pending = self._thread.submit(self._write, step, snapshot(state))

    def wait(self) -> None:
        """Return when no write is under way."""
        if self._pending is not None:
            pending, self._pending = self._pending, None
            pending.result()

    def close(self) -> None:
        """Finish the last write and end the thread."""
        try:
            self.wait()
        finally:
            self._thread.shutdown()

    def _write(self, step: int, state: dict[str, Any]) -> None:
        weights = self._directory / f"step_{step:08d}.pt"
        manifest = weights.with_suffix(".json")
        partial = weights.with_name(weights.name + ".partial")
        try:
            torch.save(state, partial)
            digest = _sha256(partial)
            _sync(partial)
            partial.replace(weights)
            note = manifest.with_name(manifest.name + ".partial")
            note.write_text(json.dumps({"step": step, "sha256": digest}) + "\n", encoding="utf-8")
            _sync(note)
            note.replace(manifest)
        except (OSError, RuntimeError) as error:  # torch reports a full disk as a RuntimeError
            partial.unlink(missing_ok=True)
            last = newest_step(self._directory)
            kept = f"step {last} is the last good one" if last is not None else "there is none yet"
            raise InputError(
                f"{weights}: checkpoint could not be written ({error}); {kept}. Free disk space or "
                "fix the permissions and resume"
            ) from error
        self._remove_old()

    def _remove_old(self) -> None:
        for step in steps_in(self._directory)[: -self._keep_last]:
            if self._keep_every is None or step % self._keep_every != 0:
                weights = self._directory / f"step_{step:08d}.pt"
                weights.with_suffix(".json").unlink()
                weights.unlink(missing_ok=True)


def snapshot(value: Any) -> Any:
    """Return a deep copy of nested containers with every tensor cloned to CPU memory."""
    if isinstance(value, Tensor):
        return value.detach().to("cpu", copy=True)
    if isinstance(value, dict):
        return {key: snapshot(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(snapshot(entry) for entry in value)
    return value


def steps_in(directory: Path) -> list[int]:
    """Return the steps of the complete checkpoints in ``directory``, oldest first."""
    matches = (_NAME.fullmatch(path.name) for path in directory.glob("step_*.json"))
    return sorted(int(match[1]) for match in matches if match)


def newest_step(directory: Path) -> int | None:
    """Return the step of the newest complete checkpoint, or None."""
    steps = steps_in(directory)
    return steps[-1] if steps else None


def load_newest(directory: Path) -> dict[str, Any] | None:
    """Return the newest checkpoint that passes its checksum, or None where there is none at all.

    A damaged one is reported and the one before it is taken.

    Raises:
        InputError: there are checkpoints but every one is damaged.
    """
    steps = steps_in(directory)
    for step in reversed(steps):
        weights = directory / f"step_{step:08d}.pt"
        expected = json.loads(weights.with_suffix(".json").read_text(encoding="utf-8"))["sha256"]
        if weights.is_file() and _sha256(weights) == expected:
            state: dict[str, Any] = torch.load(weights, map_location="cpu", weights_only=True)
            return state
        print(f"{weights}: damaged or missing (checksum differs), trying the one before it")
    if steps:
        raise InputError(
            f"{directory}: every checkpoint is damaged (steps {steps}); restore one from a backup "
            "or start again in another output"
        )
    return None


def _sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def _sync(path: Path) -> None:
    with path.open("rb+") as file:  # Windows syncs what is open for writing alone
        os.fsync(file.fileno())
