"""Runs a comparison: simulate, train, predict, score, then write tables and figures.

Every part looks for what is there already, so a run that was stopped, or killed, is continued by
the same command and ends with the same files.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import torch

from radiodiff.cli import open_run_directory
from radiodiff.config import load_config
from radiodiff.errors import InputError
from radiodiff.evaluation.figures import save_figure
from radiodiff.evaluation.settings import MetricConfig
from radiodiff.executors import MAY_DIFFER, run_all
from radiodiff.experiments.batches import WithheldError
from radiodiff.experiments.fingerprints import digest_code, digest_of
from radiodiff.experiments.reproduce.cells import Cells, CellScores, scenario_data
from radiodiff.experiments.reproduce.cost import Cost, CostRequest, describe_device, measure_alone
from radiodiff.experiments.reproduce.drawing import curves_figure, maps_figure
from radiodiff.experiments.reproduce.header import header
from radiodiff.experiments.reproduce.rendering import csv_text, latex, markdown
from radiodiff.experiments.reproduce.settings import (
    CostTable,
    CurvesFigure,
    MapsFigure,
    ReproduceConfig,
    Scenario,
    ScoreTable,
    Shown,
)
from radiodiff.experiments.reproduce.sources import Source, check_names, find_source
from radiodiff.experiments.reproduce.tables import also_printed, cost_table, score_table
from radiodiff.files import write_json, write_text
from radiodiff.plugins import import_modules
from radiodiff.simulate.dataset import simulate_dataset
from radiodiff.simulate.settings import SimulateConfig


def reproduce(config: ReproduceConfig) -> Path:
    """Compute what is missing and write ``report.md``, ``tables/`` and ``figures/``.

    Returns:
        the path of ``report.md``.

    Raises:
        InputError: data, weights or a method cannot be used.
        KeyboardInterrupt: training was asked to stop.
    """
    _check_device(config.device)
    check_names(config)
    directory = open_run_directory(config.output, config, MAY_DIFFER)
    if config.simulate is not None:
        overrides = [f"output={json.dumps(str(config.data.root))}"]
        simulate_dataset(load_config(config.simulate, SimulateConfig, overrides))
    return Comparison(config).write(directory)


class Comparison:
    """A comparison whose methods are trained and whose cells are predicted when it is made.

    Args:
        config: the comparison.
    """

    def __init__(self, config: ReproduceConfig) -> None:
        self._config = config
        self._cells = Cells(config)
        self._sources: dict[tuple[str, str], Source] = {}
        self._cannot_run: dict[tuple[tuple[str, str], Scenario], str] = {}
        """Method with variant and scenario -> why it does not run there."""
        for shown in self._all_shown():
            for method, scenario in self._pairs(shown):
                self._find(method, scenario)
        self._predict()

    def write(self, directory: Path) -> Path:
        """Write tables, figures and the report that holds both."""
        config = self._config
        report = ["# Comparison\n", self._header(*self._all_shown())]
        for folder in ("tables", "figures"):
            (directory / folder).mkdir(exist_ok=True)
        for name, table in config.tables.items():
            above = self._header(table)
            if isinstance(table, ScoreTable):
                filled = score_table(name, table, config, self._scores)
                filled = replace(filled, notes=(*filled.notes, *self._reasons(table)))
            else:
                device = describe_device(config.device)
                costs = {m: self._cost(m, table, device) for m in config.rows(table)}
                filled = cost_table(name, table, config, costs, device)
            text = markdown(filled) + "\n" + also_printed(table)
            path = directory / "tables" / name
            write_text(path.with_suffix(".md"), f"{above}\n{text}")
            write_text(path.with_suffix(".tex"), latex(filled, above))
            write_text(path.with_suffix(".csv"), csv_text(filled))
            report.append(text)
        for name, figure in config.figures.items():
            if isinstance(figure, CurvesFigure):
                drawn = curves_figure(figure, config, self._scores)
            else:
                drawn = maps_figure(figure, config, self._folder)
            save_figure(drawn, directory / "figures" / f"{name}.png")
            report.append(f"![{figure.title}](figures/{name}.png)\n")
        path = directory / "report.md"
        write_text(path, "\n".join(report))
        return path

    def _reasons(self, shown: Shown) -> list[str]:
        """Say which methods have no figures in a table, and why."""
        reasons: dict[str, None] = {}
        for method, scenario in self._pairs(shown):
            key = self._key(method, scenario)
            if key is None:
                reasons[f"{method} does not run as {scenario.variant!r}: no such variant."] = None
            elif (key, scenario) in self._cannot_run:
                reasons[f"{method} does not run: {self._cannot_run[key, scenario]}."] = None
        return list(reasons)

    def _header(self, *shown: Shown) -> str:
        pairs = [pair for one in shown for pair in self._pairs(one)]
        keys = dict.fromkeys(self._key(*pair) for pair in pairs)
        sources = {key: self._sources[key] for key in keys if key is not None}
        scenarios = list(dict.fromkeys(scenario for _, scenario in pairs))
        return header(self._config, self._cells, scenarios, sources)

    def _all_shown(self) -> Iterator[Shown]:
        yield from self._config.tables.values()
        yield from self._config.figures.values()

    def _pairs(self, shown: Shown) -> Iterator[tuple[str, Scenario]]:
        for method in self._config.rows(shown):
            for scenario in shown.scenario_list():
                yield method, scenario

    def _key(self, method: str, scenario: Scenario) -> tuple[str, str] | None:
        """Return method and variant that run in a scenario, or None."""
        variant = self._config.variant(method, scenario)
        return None if variant is None else (method, variant)

    def _find(self, method: str, scenario: Scenario) -> None:
        """Train a method if need be, and keep where its maps come from."""
        key = self._key(method, scenario)
        if key is not None and key not in self._sources:
            self._sources[key] = find_source(self._config.entry(*key), self._config)

    def _runs(self, method: str, scenario: Scenario) -> Source | None:
        key = self._key(method, scenario)
        return None if key is None or (key, scenario) in self._cannot_run else self._sources[key]

    def _scores(
        self, method: str, scenario: Scenario, seed: int, conventions: MetricConfig
    ) -> CellScores | None:
        source = self._runs(method, scenario)
        if source is None:
            return None
        return self._cells.scores(source, scenario, seed, conventions)

    def _folder(self, method: str, scenario: Scenario, seed: int) -> Path | None:
        source = self._runs(method, scenario)
        return None if source is None else self._cells.maps_folder(source, scenario, seed)

    def _cost(self, method: str, table: CostTable, device: str) -> Cost | None:
        config, scenario = self._config, table.scenario
        source = self._runs(method, scenario)
        if source is None or source.settings is None:
            return None
        request = CostRequest(
            settings=source.settings,
            imports=config.imports,
            data=scenario_data(config, scenario),
            part=config.part,
            protocol=scenario.measurements,
            known=scenario.known,
            repeats=table.repeats,
            threads=torch.get_num_threads(),
        )
        identity = {
            "method": source.identity,
            "device": device,
            "scenario": scenario.model_dump(mode="json"),
            "root": str(config.data.root),
            "repeats": table.repeats,
            "code": digest_code(),
        }
        path = config.cache / "costs" / f"{digest_of(identity)}.json"
        if not path.is_file():
            print(f"measuring {method}", flush=True)
            path.parent.mkdir(parents=True, exist_ok=True)
            cost = measure_alone(request)
            write_json(path, None if cost is None else dataclasses.asdict(cost))
        found = json.loads(path.read_text(encoding="utf-8"))
        return None if found is None else Cost(**found)

    def _predict(self) -> None:
        """Predict every cell that tables and figures show, one method after the other."""
        needed: dict[tuple[str, str], dict[tuple[Scenario, int], None]] = {}
        for shown in self._all_shown():
            if isinstance(shown, CostTable):
                continue
            seeds = self._config.seeds[:1] if isinstance(shown, MapsFigure) else self._config.seeds
            for method, scenario in self._pairs(shown):
                key = self._key(method, scenario)
                if key is not None:
                    cells = needed.setdefault(key, {})
                    cells.update(((scenario, seed), None) for seed in seeds)
        tasks = []
        for key, cells in needed.items():
            source = self._sources[key]
            missing = [cell for cell in cells if not self._cells.is_predicted(source, *cell)]
            if missing:
                name = f"{key[0]} ({key[1]})"
                print(f"predicting {name}: {len(missing)} of {len(cells)} cells", flush=True)
                tasks.append(PredictionTask(key, source, missing))
        config = self._config
        if config.executor.kind == "processes" and config.workers == 1:
            predict = partial(predict_cells, config=config, cells=self._cells)
            parts = tasks
        else:  # one cell at a time
            parts = [replace(task, cells=[cell]) for task in tasks for cell in task.cells]
            predict = partial(predict_cells, config=config)
        for cannot_run in run_all(predict, parts, config.executor, config.workers):
            self._cannot_run |= cannot_run


@dataclass(frozen=True)
class PredictionTask:
    """Cells of one method that are to be predicted.

    Attributes:
        key: method and variant.
        source: where the maps come from.
        cells: scenario and seed of each.
    """

    key: tuple[str, str]
    source: Source
    cells: list[tuple[Scenario, int]]


def predict_cells(
    task: PredictionTask, config: ReproduceConfig, cells: Cells | None = None
) -> dict[tuple[tuple[str, str], Scenario], str]:
    """Predict cells of one method.

    Args:
        task: what to predict.
        config: the comparison.
        cells: those of this process; None opens them.

    Returns:
        Method with variant and scenario -> why it does not run there.

    Raises:
        InputError: data, weights or the method cannot be used.
    """
    if cells is None:
        import_modules(config.imports)
        cells = Cells(config)
    cannot_run: dict[tuple[tuple[str, str], Scenario], str] = {}
    method = task.source.load()
    for scenario, seed in task.cells:
        if (task.key, scenario) in cannot_run:
            continue
        if method.needs_measurements and scenario.measurements is None:
            cannot_run[task.key, scenario] = "it needs measurements, and none are shown here"
            continue
        try:
            cells.predict(task.source, method, scenario, seed)
        except WithheldError as error:
            cannot_run[task.key, scenario] = str(error)
    return cannot_run


def _check_device(device: str) -> None:
    try:
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0]
        raise InputError(f"device: {device!r} cannot be used ({reason}); set device=cpu") from None
