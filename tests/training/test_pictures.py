"""What a training run draws is what it wrote down."""

import json
import os
from pathlib import Path

import numpy as np
import torch
from matplotlib import colormaps
from PIL import Image

from radiodiff.training.pictures import are_due, learning_curve, write_pictures

RECORDS = [
    {"step": 0, "first/loss": 4.0, "first/kl": 1.0},
    {"step": 1, "spike": "loss 9 is large"},
    {"step": 1, "first/loss": 2.0, "first/kl": 0.5, "first/learning_rate": 1e-3},
    {"step": 1, "validation/score": -0.5},
]


def write(folder: Path) -> Path:
    path = folder / "metrics.jsonl"
    path.write_text("".join(json.dumps(record) + "\n" for record in RECORDS))
    return path


def test_the_curve_holds_the_values_of_the_run(tmp_path: Path) -> None:
    training, validation = learning_curve(write(tmp_path)).axes
    lines = {line.get_label(): line.get_xydata().tolist() for line in training.lines}
    assert lines == {"first/loss": [[1, 4.0], [2, 2.0]], "first/kl": [[1, 1.0], [2, 0.5]]}
    assert [line.get_xydata().tolist() for line in validation.lines] == [[[2, -0.5]]]
    assert (training.get_yscale(), validation.get_yscale()) == ("log", "linear")


def test_previews_are_written_in_colours(tmp_path: Path) -> None:
    write(tmp_path)
    image = torch.linspace(0.0, 1.0, 12).reshape(1, 3, 4)
    write_pictures(tmp_path, {"generated": image, "of/two": image.expand(3, 3, 4)})
    assert (tmp_path / "learning_curve.png").is_file()
    shown = np.asarray(Image.open(tmp_path / "previews" / "generated.png"))
    expected = colormaps["viridis"](image[0].numpy(), bytes=True)
    np.testing.assert_array_equal(shown, expected)
    gray = np.asarray(Image.open(tmp_path / "previews" / "of_two.png"))[..., :3]
    assert np.abs(gray / 255 - image[0, ..., None].numpy()).max() < 1 / 255


def test_pictures_are_drawn_once_a_minute(tmp_path: Path) -> None:
    write(tmp_path)
    assert are_due(tmp_path)
    write_pictures(tmp_path, {})
    assert not are_due(tmp_path)
    os.utime(tmp_path / "learning_curve.png", (0, 0))
    assert are_due(tmp_path)
