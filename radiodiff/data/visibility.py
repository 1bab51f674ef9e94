"""Which pixels of a map see the transmitter, computed on the raster."""

from __future__ import annotations

import numba
import numpy as np


def line_of_sight(buildings: np.ndarray, transmitter: tuple[int, int]) -> np.ndarray:
    """Find the pixels whose straight line to the transmitter meets no building pixel.

    A pixel is the unit square around its integer centre; the line runs from centre to centre and
    is traversed exactly, in integers. A line through the corner shared by four pixels is blocked by
    the two it passes between only if both are buildings. Visibility is symmetric in the two ends.

    Args:
        buildings: (H, W) bool.
        transmitter: (row, column) of an outdoor pixel.

    Returns:
        (H, W) bool; building pixels are False.
    """
    return _line_of_sight(np.ascontiguousarray(buildings), int(transmitter[0]), int(transmitter[1]))


@numba.njit(cache=True)
def _line_of_sight(buildings: np.ndarray, row_0: int, column_0: int) -> np.ndarray:
    rows, columns = buildings.shape
    visible = np.zeros((rows, columns), dtype=np.bool_)
    for row in range(rows):
        for column in range(columns):
            visible[row, column] = not buildings[row, column] and _sees(
                buildings, row_0, column_0, row, column
            )
    return visible


@numba.njit(cache=True)
def _sees(buildings: np.ndarray, row: int, column: int, row_1: int, column_1: int) -> bool:
    """Walk the pixels between two centres (Amanatides and Woo, 1987) until one is a building."""
    row_step = 1 if row_1 > row else -1
    column_step = 1 if column_1 > column else -1
    row_count, column_count = abs(row_1 - row), abs(column_1 - column)
    # The line leaves the i-th row after the fraction (2 i + 1) / (2 row_count) of its length, the
    # j-th column after (2 j + 1) / (2 column_count); multiplied out, both are integers.
    to_row, to_column = column_count, row_count
    while row != row_1 or column != column_1:
        if to_row < to_column:
            row += row_step
            to_row += 2 * column_count
        elif to_column < to_row:
            column += column_step
            to_column += 2 * row_count
        else:
            if buildings[row + row_step, column] and buildings[row, column + column_step]:
                return False
            row += row_step
            column += column_step
            to_row += 2 * column_count
            to_column += 2 * row_count
        if buildings[row, column]:
            return False
    return True
