"""The papers' tables, filled with what was computed here."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

import torch

from radiodiff.evaluation.intervals import Estimate, estimate
from radiodiff.evaluation.paper import TABLES, printed_rows, settings_of
from radiodiff.evaluation.settings import MetricConfig, RmseUnit
from radiodiff.evaluation.tables import COLUMNS, Column, markdown_table
from radiodiff.experiments.reproduce.cells import CellScores
from radiodiff.experiments.reproduce.cost import Cost
from radiodiff.experiments.reproduce.header import data_word, warning
from radiodiff.experiments.reproduce.rendering import ComparisonTable, Printed
from radiodiff.experiments.reproduce.settings import (
    CostTable,
    CurvesFigure,
    Metric,
    ReproduceConfig,
    Scenario,
    ScoreTable,
)

ScoresOf = Callable[[str, Scenario, int, MetricConfig], CellScores | None]
"""Method, scenario, seed, conventions -> scores; None where it does not run."""

COSTS = ("seconds", "seconds_min", "seconds_max", "memory_mb")
"""What printed tables say of time and memory."""
_RMSE_LABELS: dict[RmseUnit, str] = {
    "gray": "RMSE (gray)",
    "model": "RMSE (range [−1, 1])",
    "db": "RMSE (dB)",
}


def column(metric: str, conventions: MetricConfig) -> Column:
    """Return how a metric is printed under some conventions."""
    if metric == "rmse":
        return replace(COLUMNS["rmse"], label=_RMSE_LABELS[conventions.rmse_unit])
    return COLUMNS[metric]


def estimates(
    config: ReproduceConfig,
    scores_of: ScoresOf,
    method: str,
    scenario: Scenario,
    metrics: tuple[Metric, ...],
    shown: ScoreTable | CurvesFigure,
) -> dict[str, Estimate]:
    """Average the scores of a method in a scenario; empty where it does not run."""
    runs = [scores_of(method, scenario, seed, shown.conventions) for seed in config.seeds]
    found = [run for run in runs if run is not None]
    if not found:
        return {}
    return {
        metric: estimate(
            metric,
            torch.stack([run.values[metric] for run in found]),
            found[0].names,
            shown.interval,
            shown.conventions.averaging,
            torch.stack([run.values["truth_power"] for run in found]),
        )
        for metric in metrics
        if not (
            metric in ("iou", "iou_gain") and scenario.measurements and scenario.measurements.aware
        )
    }


def score_table(
    name: str, table: ScoreTable, config: ReproduceConfig, scores_of: ScoresOf
) -> ComparisonTable:
    """Fill a table of metrics."""
    blocks = {
        setting: {
            method: estimates(config, scores_of, method, scenario, table.metrics, table)
            for method in config.rows(table)
        }
        for setting, scenario in table.scenarios.items()
    }
    return ComparisonTable(
        name=name,
        title=table.title,
        blocks=blocks,
        printed=_printed(table.printed),
        columns={metric: column(metric, table.conventions) for metric in table.metrics},
        notes=(
            *_warning(config),
            _interval_note(table, config),
            _conventions_note(table.conventions),
            *_printed_notes(table.printed),
        ),
        data=data_word(config),
    )


def cost_table(
    name: str,
    table: CostTable,
    config: ReproduceConfig,
    costs: Mapping[str, Cost | None],
    device: str,
) -> ComparisonTable:
    """Fill a table of time and memory."""
    block: dict[str, dict[str, Estimate]] = {
        method: {}
        if cost is None
        else {
            "seconds": Estimate(cost.seconds, None, 1),
            "prompt_seconds": Estimate(cost.prompt_seconds, None, 1),
            "memory_mb": Estimate(cost.memory_mb, None, 1),
        }
        for method, cost in costs.items()
    }
    slowest = max((c.first_prompt_seconds for c in costs.values() if c is not None), default=0.0)
    idle = max((cost.idle_mb for cost in costs.values() if cost is not None), default=0.0)
    memory = (
        f"of the whole process, of which {idle:.0f} MB are Python and its libraries before the "
        "method is loaded"
        if idle
        else "of tensors on the GPU"
    )
    return ComparisonTable(
        name=name,
        title=table.title,
        blocks={"": block},
        printed=_printed(table.printed),
        columns={metric: COLUMNS[metric] for metric in ("seconds", "prompt_seconds", "memory_mb")},
        notes=(
            *_warning(config),
            f"Measured on {device}, each method in a process of its own, one map at a time: "
            f"median of {table.repeats} maps after a first one; peak memory {memory}.",
            "Time per map begins with the prompt in memory. The prompt is that of a map whose city "
            f"is known already; that of the first map of a city takes up to {slowest:.2f} s.",
            *_printed_notes(table.printed),
        ),
        data=data_word(config),
    )


def also_printed(table: ScoreTable | CostTable) -> str:
    """Return further printed tables in Markdown."""
    parts = []
    wanted = table.metrics if isinstance(table, ScoreTable) else COSTS
    for key in table.also_printed:
        parts.append(f"Also printed: {TABLES[key].source} ({TABLES[key].note}).\n")
        for setting in settings_of(key):
            rows = {
                method: {name: value for name, value in row.items() if name in wanted}
                for method, row in printed_rows(key, setting).items()
            }
            rows = {method: row for method, row in rows.items() if row}
            if rows and setting:
                parts.append(f"{setting}\n")
            if rows:
                parts.append(markdown_table(rows))
    return "\n".join(parts)


def _printed(table: str | None) -> dict[str, Printed]:
    if table is None:
        return {}
    return {setting: printed_rows(table, setting) for setting in settings_of(table)}


def _warning(config: ReproduceConfig) -> tuple[str, ...]:
    text = warning(config)
    return () if text is None else (text,)


def _interval_note(table: ScoreTable, config: ReproduceConfig) -> str:
    if table.interval == "seeds":
        over = f"the means of {len(config.seeds)} seeds (masks, noise and samples; same weights)"
    else:
        over = "the means of the cities"
    return f"Mean ± half width of Student's 95 % confidence interval over {over}."


def _conventions_note(conventions: MetricConfig) -> str:
    peak = {"full_scale": "full scale, 1", "truth_range": "the range of each true map"}
    window = {"uniform": "uniform 7 x 7", "gaussian": "Gaussian 11 x 11"}
    averaging = {
        "maps": "means of the values of each map",
        "pooled": "NMSE, PSNR and RMSE of the sums over all maps",
    }
    threshold = {
        "none": "gray as stored",
        "thr2": "gray clipped at the noise floor and stretched, max(0, gray - 0.2) / 0.8",
    }
    return (
        f"Conventions: {threshold[conventions.threshold]}, "
        f"RMSE in {_RMSE_LABELS[conventions.rmse_unit][6:-1]}, PSNR peak "
        f"{peak[conventions.psnr_peak]}, SSIM window {window[conventions.ssim_window]}, "
        f"{conventions.pixels} pixels, {averaging[conventions.averaging]}."
    )


def _printed_notes(table: str | None) -> tuple[str, ...]:
    if table is None:
        return ()
    return (
        f"Second line: as printed in {TABLES[table].source} ({TABLES[table].note}), and ours "
        "minus printed.",
    )
