"""What stands above every result: which maps, which weights, which versions."""

from __future__ import annotations

from collections.abc import Mapping

from radiodiff.cli import provenance
from radiodiff.experiments.reproduce.cells import Cells, map_count
from radiodiff.experiments.reproduce.settings import ReproduceConfig, Scenario
from radiodiff.experiments.reproduce.sources import Source, is_simulated

Sources = Mapping[tuple[str, str], Source]
"""Method and variant -> where its maps come from."""


def data_word(config: ReproduceConfig) -> str:
    """Return one word for the maps."""
    return "simulated" if is_simulated(config.data.root) else "dataset"


def warning(config: ReproduceConfig) -> str | None:
    """Return what must not be overlooked about the maps."""
    if not is_simulated(config.data.root):
        return None
    return (
        "SIMULATED MAPS, not RadioMapSeer: none of these figures can be compared with a printed "
        "one, and the differences mean nothing."
    )


def header(
    config: ReproduceConfig, cells: Cells, scenarios: list[Scenario], sources: Sources
) -> str:
    """Return the header in Markdown."""
    lines = []
    if (text := warning(config)) is not None:
        lines += [f"> **{text}**", ""]
    data = config.data
    dataset = cells.truth(scenarios[0])
    count = map_count(dataset, config)
    cities = len({city for city, _ in dataset.pairs[:count]})
    height, width = dataset.shape
    kind = (
        "written by scripts/simulate.py"
        if is_simulated(data.root)
        else "holds no manifest of the simulator, so it is taken for the dataset"
    )
    simulations = ", ".join(dict.fromkeys(scenario.simulation for scenario in scenarios))
    made_by = provenance(config, config.device)
    counts = dataset.building_sources()
    made_from = ", ".join(f"{source} ({maps} maps)" for source, maps in counts.items())
    lines += [
        f"- maps: `{data.root}` ({kind}), {simulations}, split {data.split}, part {config.part}, "
        f"threshold {data.threshold}",
        f"- buildings made from: {made_from}",
        f"- {count} maps of {cities} cities, {height} x {width} pixels; "
        f"seeds {', '.join(map(str, config.seeds))}",
        f"- radiodiff {made_by['radiodiff']} ({made_by['git_revision']}), torch "
        f"{made_by['torch']}, device {config.device}",
        "",
        "| method | variant | maps come from | SHA-256 |",
        "| --- | --- | --- | --- |",
    ]
    lines += [
        f"| {method} | {variant} | {source.description} | {source.digest[:12]} |"
        for (method, variant), source in sources.items()
    ]
    return "\n".join(lines) + "\n"
