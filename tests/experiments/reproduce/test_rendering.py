import csv
import io
from dataclasses import replace

import pytest

from radiodiff.evaluation.intervals import Estimate
from radiodiff.evaluation.tables import COLUMNS
from radiodiff.experiments.reproduce.rendering import ComparisonTable, csv_text, latex, markdown


@pytest.fixture
def table():
    return ComparisonTable(
        name="t",
        title="Table & title",
        blocks={
            "aware 0.7": {
                "A_1": {"nmse": Estimate(0.02, 0.001, 5), "psnr": Estimate(20.0, None, 1)},
                "B|2": {"nmse": Estimate(0.01, 0.002, 5), "psnr": Estimate(30.004, None, 1)},
                "C": {"nmse": Estimate(0.03, 0.003, 5), "psnr": Estimate(30.001, None, 1)},
                "D": {},
            }
        },
        printed={"aware 0.7": {"A_1": {"nmse": 0.015}, "D": {"psnr": 9.0}}},
        columns={name: COLUMNS[name] for name in ("nmse", "psnr")},
        notes=("50 % of 3 cities.",),
        data="simulated",
    )


def test_markdown(table):
    assert markdown(table) == (
        "## Table & title\n\n"
        "**aware 0.7**\n\n"
        "| method | NMSE ↓ | PSNR (dB) ↑ |\n"
        "| --- | ---: | ---: |\n"
        "| A_1 | <u>0.0200</u> ± 0.0010<br>0.0150 (+0.0050) | <u>20.00</u> |\n"
        "| B\\|2 | **0.0100** ± 0.0020 | **30.00** |\n"
        "| C | 0.0300 ± 0.0030 | **30.00** |\n"
        "| D | – | –<br>9.00 |\n"
        "\n"
        "50 % of 3 cities.\n"
    )


def test_latex(table):
    lines = latex(table, "simulated\nmaps").splitlines()
    assert lines[:2] == ["% simulated", "% maps"]
    assert r"\caption{Table \& title. 50 \% of 3 cities.}" in lines
    assert r"method & NMSE $\downarrow$ & PSNR (dB) $\uparrow$ \\" in lines
    assert r"A\_1 & \underline{0.0200} $\pm$ 0.0010 & \underline{20.00} \\" in lines
    assert r"B|2 & \textbf{0.0100} $\pm$ 0.0020 & \textbf{30.00} \\" in lines
    printed = r"\quad\footnotesize printed & \footnotesize 0.0150 ($+0.0050$) &  \\"
    assert (
        lines[lines.index(r"A\_1 & \underline{0.0200} $\pm$ 0.0010 & \underline{20.00} \\") + 1]
        == printed
    )
    assert r"D & -- & -- \\" in lines
    assert sum(line.count("printed") for line in lines) == 2


def test_csv_is_unrounded_and_says_what_maps(table):
    first, second, *_ = rows = list(csv.DictReader(io.StringIO(csv_text(table))))
    assert first == {
        "table": "t",
        "data": "simulated",
        "setting": "aware 0.7",
        "method": "A_1",
        "metric": "nmse",
        "mean": "0.02",
        "ci95_half_width": "0.001",
        "ci95_groups": "5",
        "printed": "0.015",
        "difference": str(0.02 - 0.015),
    }
    assert (second["metric"], second["ci95_half_width"], second["printed"]) == ("psnr", "", "")
    assert [row["mean"] for row in rows if row["metric"] == "psnr"] == ["20.0", "30.004", "30.001"]
    assert len(rows) == 6


def test_a_metric_without_best_has_no_ranks(table):
    columns = {"nmse": replace(COLUMNS["nmse"], higher_is_better=None)}
    text = markdown(replace(table, columns=columns))
    assert "**0" not in text
    assert "<u>" not in text
    assert "| NMSE |" in text
