import math

import pytest
import torch

from radiodiff.errors import InputError
from radiodiff.evaluation.tables import COLUMNS, Column, markdown_table, mean_values

ROWS = {
    "nearest": {"nmse": 0.02, "psnr": 25.0, "coverage": 0.5},
    "linear": {"nmse": 0.01, "psnr": 28.123, "coverage": 0.9},
    "a | b": {"nmse": 0.01001, "psnr": math.nan},
}


def test_markdown_marks_the_best_of_every_metric():
    assert markdown_table(ROWS) == (
        "| method | NMSE ↓ | PSNR (dB) ↑ | coverage |\n"
        "| --- | ---: | ---: | ---: |\n"
        "| nearest | 0.0200 | 25.00 | 0.500 |\n"
        "| linear | **0.0100** | **28.12** | 0.900 |\n"
        "| a \\| b | **0.0100** | – | – |\n"
    )


def test_a_single_method_is_not_called_best():
    assert "**" not in markdown_table({"only": {"nmse": 0.1}})


def test_a_custom_metric_needs_a_column():
    rows = {"x": {"metres": 1.26}, "y": {"metres": 1.24}}
    with pytest.raises(InputError, match="no column for 'metres', known: nmse"):
        markdown_table(rows)
    table = markdown_table(rows, {**COLUMNS, "metres": Column("m", 1, False)}, row_header="who")
    assert table.splitlines()[2:] == ["| x | 1.3 |", "| y | **1.2** |"]
    with pytest.raises(InputError, match="there is no row"):
        markdown_table({})


def test_means_over_maps():
    assert mean_values({"nmse": torch.tensor([0.1, 0.3])}) == pytest.approx({"nmse": 0.2})
