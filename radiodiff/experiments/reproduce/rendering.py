"""Comparison tables in Markdown, LaTeX and CSV: mean, interval, and the printed figure beside."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from radiodiff.evaluation.intervals import Estimate
from radiodiff.evaluation.tables import MISSING, Column

Block = Mapping[str, Mapping[str, Estimate]]
"""Method -> metric -> ours."""
Printed = Mapping[str, Mapping[str, float]]
"""Method -> metric -> the printed figure."""

CSV_COLUMNS = (
    "table",
    "data",
    "setting",
    "method",
    "metric",
    "mean",
    "ci95_half_width",
    "ci95_groups",
    "printed",
    "difference",
)


@dataclass(frozen=True)
class ComparisonTable:
    """What a table shows.

    Attributes:
        name: of its files.
        title: above it.
        blocks: setting -> ours; every block has the same methods and metrics. A method that does
            not run in a setting has no metrics there.
        printed: setting -> the printed figures.
        columns: metric -> how it is printed.
        notes: lines below the table.
        data: one word for the maps, which stands in every line of the CSV.
    """

    name: str
    title: str
    blocks: Mapping[str, Block]
    printed: Mapping[str, Printed]
    columns: Mapping[str, Column]
    notes: tuple[str, ...]
    data: str


@dataclass(frozen=True)
class _Cell:
    """A formatted cell; rank 1 is the best of its column, 2 the second, 0 neither."""

    mean: str
    half_width: str | None
    printed: str | None
    difference: str | None
    rank: int


def markdown(table: ComparisonTable) -> str:
    """Format as Markdown: the best in bold, the second underlined, the printed figure below."""
    lines = [f"## {table.title}\n"]
    for setting, block in table.blocks.items():
        if setting:
            lines.append(f"**{setting}**\n")
        headings = ["method", *(_heading(column, "↑", "↓") for column in table.columns.values())]
        rows = [headings, ["---", *("---:" for _ in table.columns)]]
        for method in block:
            cells = [_markdown_cell(_cell(table, setting, method, name)) for name in table.columns]
            rows.append([method.replace("|", "\\|"), *cells])
        lines += [f"| {' | '.join(row)} |" for row in rows]
        lines.append("")
    lines += [f"{note}\n" for note in table.notes]
    return "\n".join(lines)


def latex(table: ComparisonTable, comments: str) -> str:
    """Format as a LaTeX table (package booktabs); ``comments`` go above it as such."""
    lines = [f"% {line}".rstrip() for line in comments.splitlines()]
    caption = f"{table.title}. {' '.join(table.notes)}"
    lines += [r"\begin{table}", r"\centering", rf"\caption{{{_escape(caption)}}}"]
    lines += [rf"\begin{{tabular}}{{l{'r' * len(table.columns)}}}", r"\toprule"]
    headings = [
        _heading(column, r"$\uparrow$", r"$\downarrow$", _escape)
        for column in table.columns.values()
    ]
    lines.append(rf"method & {' & '.join(headings)} \\")
    for setting, block in table.blocks.items():
        lines.append(r"\midrule")
        if setting:
            columns = len(table.columns) + 1
            lines.append(rf"\multicolumn{{{columns}}}{{l}}{{\emph{{{_escape(setting)}}}}} \\")
        for method in block:
            cells = [_cell(table, setting, method, name) for name in table.columns]
            ours = " & ".join(_latex_cell(cell) for cell in cells)
            lines.append(rf"{_escape(method)} & {ours} \\")
            if any(cell.printed is not None for cell in cells):
                printed = " & ".join(_latex_printed(cell) for cell in cells)
                lines.append(rf"\quad\footnotesize printed & {printed} \\")
    lines += [r"\bottomrule", r"\end{tabular}", r"\end{table}"]
    return "\n".join(lines) + "\n"


def csv_text(table: ComparisonTable) -> str:
    """Format as CSV, one line for every setting, method and metric, with unrounded figures."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(CSV_COLUMNS)
    for setting, block in table.blocks.items():
        for method, ours in block.items():
            for metric, one in ours.items():
                printed = table.printed.get(setting, {}).get(method, {}).get(metric)
                width = "" if one.half_width is None else one.half_width
                beside = ["", ""] if printed is None else [printed, one.mean - printed]
                place = [table.name, table.data, setting, method, metric]
                writer.writerow([*place, one.mean, width, one.count, *beside])
    return text.getvalue()


def _cell(table: ComparisonTable, setting: str, method: str, metric: str) -> _Cell:
    block, column = table.blocks[setting], table.columns[metric]
    ours = block[method].get(metric)
    printed = table.printed.get(setting, {}).get(method, {}).get(metric)
    if ours is None:
        return _Cell(MISSING, None, None if printed is None else _number(printed, column), None, 0)
    mean, width = _number(ours.mean, column), ours.half_width
    return _Cell(
        mean=mean,
        half_width=None if width is None or math.isnan(width) else _number(width, column),
        printed=None if printed is None else _number(printed, column),
        difference=None if printed is None else f"{ours.mean - printed:+.{column.digits}f}",
        rank=_rank(block, metric, column, mean),
    )


def _rank(block: Block, metric: str, column: Column, mean: str) -> int:
    """Rank a cell as it is printed, so that equal figures look equal."""
    if column.higher_is_better is None:
        return 0
    found = {_number(ours[metric].mean, column) for ours in block.values() if metric in ours}
    best = sorted((f for f in found if f != "nan"), key=float, reverse=column.higher_is_better)
    return best.index(mean) + 1 if len(best) > 1 and mean in best[:2] else 0


def _number(value: float, column: Column) -> str:
    return f"{value:.{column.digits}f}"


def _heading(column: Column, up: str, down: str, escape: Callable[[str], str] = str) -> str:
    label = escape(column.label)
    if column.higher_is_better is None:
        return label
    return f"{label} {up if column.higher_is_better else down}"


def _markdown_cell(cell: _Cell) -> str:
    marked = {0: cell.mean, 1: f"**{cell.mean}**", 2: f"<u>{cell.mean}</u>"}[cell.rank]
    text = marked if cell.half_width is None else f"{marked} ± {cell.half_width}"
    if cell.printed is None:
        return text
    beside = "" if cell.difference is None else f" ({cell.difference})"
    return f"{text}<br>{cell.printed}{beside}"


def _latex_cell(cell: _Cell) -> str:
    mean = "--" if cell.mean == MISSING else cell.mean
    wrapped = {0: mean, 1: rf"\textbf{{{mean}}}", 2: rf"\underline{{{mean}}}"}
    text = wrapped[cell.rank]
    return text if cell.half_width is None else rf"{text} $\pm$ {cell.half_width}"


def _latex_printed(cell: _Cell) -> str:
    if cell.printed is None:
        return ""
    beside = "" if cell.difference is None else f" (${cell.difference}$)"
    return rf"\footnotesize {cell.printed}{beside}"


_SPECIAL = str.maketrans(
    {character: f"\\{character}" for character in "&%$#_{}"}
    | {"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}"}
    | {"±": r"$\pm$", "−": "$-$", "–": "--", "<": "$<$", ">": "$>$"}
)


def _escape(text: str) -> str:
    return text.translate(_SPECIAL)
