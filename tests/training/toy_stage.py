"""A training stage small enough to watch: fits y = w x with two optimisers and dropout.

Run as a script it trains on one or several processes: ``toy_stage.py DIRECTORY STEPS RESUME``.
"""

import sys
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor, nn

from radiodiff.training.engine import train
from radiodiff.training.settings import EmaSettings, OptimizerSettings, TrainSettings
from radiodiff.training.trainer import Phase


class Maps:
    poisoned: str | None = None

    def __len__(self) -> int:
        return 10

    def __getitem__(self, index: int) -> dict[str, object]:
        name = f"{index}_0"
        value = float("nan") if name == self.poisoned else float(index)
        return {"gain": torch.full((1, 4, 4), value) / 10, "name": name}


class Objective(nn.Module):
    def __init__(self, network: nn.Module, target: float) -> None:
        super().__init__()
        self.network = network
        self.target = target

    def forward(self, batch: dict[str, Tensor], step: int) -> tuple[Tensor, dict[str, Tensor]]:
        error = self.network(batch["gain"]) - self.target * batch["gain"] - 0.01 * batch["noise"]
        loss = error.square().mean()
        return loss, {"error": error.abs().mean()}


class ToyStage:
    fields = ("gain",)

    def __init__(self, dropout: float = 0.0, width: int = 8) -> None:
        generator = torch.Generator().manual_seed(0)
        self.averaged = nn.Sequential(
            nn.Conv2d(1, width, 3, padding=1), nn.Dropout(dropout), nn.Conv2d(width, 1, 1)
        )
        other = nn.Conv2d(1, 1, 1)
        for module in (self.averaged, other):
            for parameter in module.parameters():
                parameter.data = torch.randn(parameter.shape, generator=generator) * 0.1
        self.frozen: list[nn.Module] = []
        optimizer = OptimizerSettings(
            learning_rate=1e-2,
            final_learning_rate=1e-3,
            schedule="cosine",
            weight_decay=0.0,
            gradient_clip=1.0,
        )
        self.phases = [
            Phase("first", Objective(self.averaged, 2.0), optimizer),
            Phase("second", Objective(other, 3.0), optimizer, first_step=2),
        ]

    def draw(self, item: dict[str, Tensor], generator: torch.Generator) -> dict[str, Tensor]:
        return {"noise": torch.randn(1, 4, 4, generator=generator)}

    def validate(self, indices: Sequence[int]) -> dict[str, list[float]]:
        with torch.no_grad():
            value = self.averaged(torch.ones(1, 1, 4, 4, device=self.device())).mean().item()
        return {"score": [abs(value - 2.0) for _ in indices]}

    def preview(self) -> dict[str, Tensor]:
        return {"map": torch.zeros(1, 4, 4)}

    def export(self, directory: Path) -> None:
        directory.mkdir()
        torch.save(self.averaged.state_dict(), directory / "weights.pt")

    def device(self) -> torch.device:
        return next(self.averaged.parameters()).device


def settings(steps: int, **changes: object) -> TrainSettings:
    values: dict[str, object] = {
        "steps": steps,
        "batch_size": 4,
        "precision": "fp32",
        "seed": 5,
        "ema": EmaSettings(decay=0.9, every=2),
        "log_every": 1,
        "validate_every": 5,
        "validation_maps": 4,
        "checkpoint_every": 5,
        "keep_last": 3,
    }
    return TrainSettings.model_validate(values | changes)


def run(
    directory: Path,
    steps: int,
    resume: bool = False,
    stage: ToyStage | None = None,
    maps: Maps | None = None,
    **changes: object,
) -> None:
    stage = stage or ToyStage(dropout=0.3)
    train(stage, maps or Maps(), settings(steps, **changes), directory, {"name": "toy"}, resume)


if __name__ == "__main__":
    run(Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3] == "resume", ToyStage())
