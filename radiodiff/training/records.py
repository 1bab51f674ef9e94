"""What a run leaves behind to look at: metrics.jsonl, TensorBoard and the progress bar."""

from __future__ import annotations

import json
from pathlib import Path
from types import TracebackType

from torch import Tensor
from torch.utils.tensorboard import SummaryWriter
from tqdm import tqdm

from radiodiff.files import write_text


class Records:
    """Writes the records of the main process; on other processes every call does nothing.

    ``metrics.jsonl`` holds only what the run computes (no clock), so a resumed run writes the same
    bytes as one that was never stopped. Speed goes to TensorBoard alone.

    Args:
        directory: the run directory.
        first_step: lines at or past this step are dropped: the run is about to write them again.
        total_steps: length of the progress bar.
        enabled: true on the main process.
    """

    def __init__(self, directory: Path, first_step: int, total_steps: int, enabled: bool) -> None:
        self._enabled = enabled
        if not enabled:
            return
        path = directory / "metrics.jsonl"
        _keep_lines_before(path, first_step)
        self._metrics = path.open("a", encoding="utf-8")
        self._board = SummaryWriter(str(directory / "tensorboard"), purge_step=first_step)
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
            self._board.close()

    def advance(self, loss: float) -> None:
        """Move the progress bar by one step."""
        if self._enabled:
            self._bar.set_postfix(loss=f"{loss:.4g}", refresh=False)
            self._bar.update()

    def metrics(self, step: int, values: dict[str, float]) -> None:
        """Append one line to metrics.jsonl and the same scalars to TensorBoard."""
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
        """Write scalars to TensorBoard alone."""
        if self._enabled:
            for name, value in values.items():
                self._board.add_scalar(name, value, step)

    def images(self, step: int, images: dict[str, Tensor]) -> None:
        """Write images (3 or 1, H, W) in [0, 1] to TensorBoard."""
        if self._enabled:
            for name, image in images.items():
                self._board.add_image(name, image, step)

    def histograms(self, step: int, tensors: dict[str, Tensor]) -> None:
        """Write histograms of tensors to TensorBoard."""
        if self._enabled:
            for name, tensor in tensors.items():
                self._board.add_histogram(name, tensor, step)


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
