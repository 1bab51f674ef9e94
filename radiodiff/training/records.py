"""What a run leaves behind to look at: metrics.jsonl, trackers and the progress bar."""

from __future__ import annotations

import csv
import json
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import TextIO

from accelerate.tracking import GeneralTracker, WandBTracker
from accelerate.utils import is_wandb_available
from torch import Tensor
from torch.utils.tensorboard import SummaryWriter
from tqdm import tqdm

from radiodiff.errors import InputError
from radiodiff.files import write_text
from radiodiff.training.settings import Tracker

SCALARS = "scalars.csv"
"""Table of the tracker ``csv``: step, name, value."""


class Records:
    """Writes the records of the main process; on other processes every call does nothing.

    ``metrics.jsonl`` holds only what the run computes (no clock), so a resumed run writes the same
    bytes as one that was never stopped. Speed goes to TensorBoard alone.

    Args:
        directory: the run directory.
        first_step: lines at or past this step are dropped: the run is about to write them again.
        total_steps: length of the progress bar.
        enabled: true on the main process.
        trackers: where scalars go besides metrics.jsonl; images and histograms go to TensorBoard.

    Raises:
        InputError: wandb is asked for and not installed, or refuses to start.
    """

    def __init__(
        self,
        directory: Path,
        first_step: int,
        total_steps: int,
        enabled: bool,
        trackers: Sequence[Tracker] = ("tensorboard",),
    ) -> None:
        self._enabled = enabled
        if not enabled:
            return
        path = directory / "metrics.jsonl"
        _keep_lines_before(path, first_step)
        self._metrics = path.open("a", encoding="utf-8")
        self._board = (
            SummaryWriter(str(directory / "tensorboard"), purge_step=first_step)
            if "tensorboard" in trackers
            else None
        )
        self._table = _open_table(directory / SCALARS, first_step) if "csv" in trackers else None
        self._wandb = _open_wandb(directory) if "wandb" in trackers else None
        self._bar = tqdm(total=total_steps, initial=first_step, unit="step", dynamic_ncols=True)

    def __enter__(self) -> Records:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._enabled:
            self._bar.close()
            self._metrics.close()
            if self._board is not None:
                self._board.close()
            if self._table is not None:
                self._table.close()
            if self._wandb is not None:
                self._wandb.finish()

    def advance(self, loss: float) -> None:
        """Move the progress bar by one step."""
        if self._enabled:
            self._bar.set_postfix(loss=f"{loss:.4g}", refresh=False)
            self._bar.update()

    def metrics(self, step: int, values: dict[str, float]) -> None:
        """Append one line to metrics.jsonl and hand the same scalars to the trackers."""
        if self._enabled:
            self._metrics.write(json.dumps({"step": step, **values}) + "\n")
            self._metrics.flush()
            self.scalars(step, values)

    def event(self, step: int, name: str, message: str) -> None:
        """Append something that happened to metrics.jsonl and say it."""
        if self._enabled:
            self._metrics.write(json.dumps({"step": step, name: message}) + "\n")
            self._metrics.flush()
            tqdm.write(f"step {step}: {message}")

    def scalars(self, step: int, values: dict[str, float]) -> None:
        """Hand scalars to the trackers alone."""
        if not self._enabled:
            return
        if self._board is not None:
            for name, value in values.items():
                self._board.add_scalar(name, value, step)
        if self._table is not None:
            csv.writer(self._table).writerows((step, name, value) for name, value in values.items())
            self._table.flush()
        if self._wandb is not None:
            self._wandb.log(values, step=step)

    def images(self, step: int, images: dict[str, Tensor]) -> None:
        """Write images (3 or 1, H, W) in [0, 1] to TensorBoard."""
        if self._enabled and self._board is not None:
            for name, image in images.items():
                self._board.add_image(name, image, step)

    def histograms(self, step: int, tensors: dict[str, Tensor]) -> None:
        """Write histograms of tensors to TensorBoard."""
        if self._enabled and self._board is not None:
            for name, tensor in tensors.items():
                self._board.add_histogram(name, tensor, step)


def _open_table(path: Path, first_step: int) -> TextIO:
    """Open the table of scalars behind the rows of earlier steps."""
    kept = [("step", "name", "value")]
    if path.is_file():
        with path.open(encoding="utf-8", newline="") as file:
            rows = [row for row in csv.reader(file) if len(row) == 3 and row[0].isdigit()]
        kept += [(step, name, value) for step, name, value in rows if int(step) < first_step]
    table = path.open("w", encoding="utf-8", newline="")
    csv.writer(table).writerows(kept)
    return table


def _open_wandb(directory: Path) -> GeneralTracker:
    """Start a run of Weights & Biases, named like the run directory."""
    if not is_wandb_available():
        raise InputError("train.trackers: wandb is not installed (pip install wandb)")
    try:
        tracker = WandBTracker("radiodiff", name=directory.name, dir=str(directory))
        if hasattr(tracker, "start"):  # accelerate before 1.7 starts it at once
            tracker.start()
    except Exception as error:  # whatever its client raises without network or account
        reason = " ".join(str(error).split())
        raise InputError(f"train.trackers: wandb does not start ({reason})") from None
    return tracker


def _keep_lines_before(path: Path, first_step: int) -> None:
    """Drop the lines of ``path`` at or past ``first_step``, and a line cut short by a kill."""
    if not path.is_file():
        return
    kept = []
    for line in path.read_text(encoding="utf-8").splitlines():
        try:
            step = json.loads(line)["step"]
        except (json.JSONDecodeError, KeyError):
            break
        if step < first_step:
            kept.append(line + "\n")
    write_text(path, "".join(kept))
