"""A Markov chain over building outlines with few corners, given what single pixels say.

A building is a ring of whole-pixel vertices under the raster rule of RadioMapSeer
(:mod:`radiodiff.data.polygons`). The chain samples rings by Metropolis-Hastings steps from

    p(rings) ~ exp(-sum of evidence over building pixels - vertex cost * vertices - corner costs),

where a corner costs less the nearer it is to a right angle. Every move replaces a stretch of one
ring by another, so a step costs as many pixels as change sides.
"""

from __future__ import annotations

import numba
import numpy as np

from radiodiff.data.polygons import EPS_COL, EPS_ROW

REACH = 4
"""Farthest move of a vertex, pixels along either axis."""
MAX_VERTICES = 1024
"""Most vertices of one ring."""

_BOX = float((2 * REACH + 1) ** 2)
_BAND = 3
"""A vertex is inserted at most N pixels beside a wall."""


@numba.njit(cache=True, nogil=True, error_model="numpy")
def _spans(ring_rows, ring_cols, n, height, width, spans):  # type: ignore[no-untyped-def]
    """Fill ``spans`` with (row, first column, last column + 1) inside a ring; return their number,
    or -1 where they do not fit.

    Crossings are paired along every row, so parts that a ring covers twice are outside of it.
    """
    low, high = ring_rows[0], ring_rows[0]
    for i in range(1, n):
        low, high = min(low, ring_rows[i]), max(high, ring_rows[i])
    crossings = np.empty(n, dtype=np.int64)
    slopes = np.empty(n)
    for i in range(n):
        j = i + 1 if i + 1 < n else 0
        slopes[i] = (ring_cols[j] - ring_cols[i]) / (ring_rows[j] - ring_rows[i])
    count = 0
    for row in range(max(low + 1, 0), min(high, height - 1) + 1):
        found = 0
        for i in range(n):
            j = i + 1 if i + 1 < n else 0
            a, b = ring_rows[i], ring_rows[j]
            if not min(a, b) < row <= max(a, b):
                continue
            crossing = ring_cols[i] + (row - EPS_ROW - a) * slopes[i]
            column = np.int64(min(max(np.ceil(crossing - EPS_COL), 0.0), float(width)))
            k = found
            while k > 0 and crossings[k - 1] > column:
                crossings[k] = crossings[k - 1]
                k -= 1
            crossings[k] = column
            found += 1
        for k in range(0, found - 1, 2):
            if crossings[k] == crossings[k + 1]:
                continue
            if count == len(spans):
                return -1
            spans[count, 0], spans[count, 1] = row, crossings[k]
            spans[count, 2] = crossings[k + 1]
            count += 1
    return count


@numba.njit(cache=True, nogil=True, error_model="numpy")
def _flip(mask, spans, count):  # type: ignore[no-untyped-def]
    for k in range(count):
        for column in range(spans[k, 1], spans[k, 2]):
            mask[spans[k, 0], column] = not mask[spans[k, 0], column]


@numba.njit(cache=True, nogil=True, error_model="numpy")
def _flip_cost(mask, evidence, spans, count):  # type: ignore[no-untyped-def]
    total = 0.0
    for k in range(count):
        row = spans[k, 0]
        for column in range(spans[k, 1], spans[k, 2]):
            total += -evidence[row, column] if mask[row, column] else evidence[row, column]
    return total


@numba.njit(cache=True, nogil=True, error_model="numpy")
def _corner_cost(ar, ac, br, bc, cr, cc, costs):  # type: ignore[no-untyped-def]
    """Cost of the corner at b between the walls from a and to c."""
    ur, uc, vr, vc = br - ar, bc - ac, cr - br, cc - bc
    first, second = np.sqrt(float(ur * ur + uc * uc)), np.sqrt(float(vr * vr + vc * vc))
    if first == 0.0 or second == 0.0:
        return 50.0
    cosine = (ur * vr + uc * vc) / (first * second)
    offset = cosine * min(first, second) / costs.corner_offset_px
    cost = min(0.5 * offset * offset, costs.max_corner)
    return cost + costs.spike if cosine < costs.spike_cosine else cost


@numba.njit(cache=True, nogil=True, error_model="numpy")
def _chain_cost(rows, cols, n, costs):  # type: ignore[no-untyped-def]
    """Corner costs of the inner vertices of an open chain."""
    total = 0.0
    for i in range(1, n - 1):
        total += _corner_cost(
            rows[i - 1], cols[i - 1], rows[i], cols[i], rows[i + 1], cols[i + 1], costs
        )
    return total


@numba.njit(cache=True, nogil=True, error_model="numpy")
def rasterise_rings(rows, cols, sizes, height, width):  # type: ignore[no-untyped-def]
    """Return the (H, W) bool mask of pixels in an odd number of rings, see :func:`run_chain`."""
    mask = np.zeros((height, width), dtype=np.bool_)
    spans = np.empty((height * (MAX_VERTICES // 2 + 1), 3), dtype=np.int64)
    for i in range(len(sizes)):
        _flip(mask, spans, _spans(rows[i], cols[i], sizes[i], height, width, spans))
    return mask


@numba.njit(cache=True, nogil=True, error_model="numpy")
def _propose(rows, cols, n, x, rng, new_r, new_c):  # type: ignore[no-untyped-def]
    """Propose to replace k vertices of a ring, from x on, by the m in ``new_r[2:]``, ``new_c[2:]``.

    Returns:
        k, m and the logarithm of the density of the move back over that of the move; k = 0 for a
        move that could not be taken back.
    """
    kind = rng.random()
    b = (x + 1) % n
    if kind < 0.40:  # move a vertex
        reach = REACH if rng.random() < 0.2 else 1
        new_r[2] = rows[x] + rng.integers(-reach, reach + 1)
        new_c[2] = cols[x] + rng.integers(-reach, reach + 1)
        return 1, 1, 0.0
    if kind < 0.50:  # move a wall
        down, right = rng.integers(-1, 2), rng.integers(-1, 2)
        new_r[2], new_c[2] = rows[x] + down, cols[x] + right
        new_r[3], new_c[3] = rows[b] + down, cols[b] + right
        return 2, 2, 0.0
    if kind < 0.62:  # insert a vertex beside the wall that leaves x, evenly in a band
        along = rng.random()
        down, right = rows[b] - rows[x], cols[b] - cols[x]
        new_r[2], new_c[2] = rows[x], cols[x]
        new_r[3] = rows[x] + np.int64(np.rint(along * down)) + rng.integers(-_BAND, _BAND + 1)
        new_c[3] = cols[x] + np.int64(np.rint(along * right)) + rng.integers(-_BAND, _BAND + 1)
        return 1, 2, np.log((2.0 * _BAND + 1.0) * max(abs(down), abs(right), 1))
    if kind < 0.74:  # remove x, if it could be inserted again
        a = (x - 1) % n
        down, right = rows[b] - rows[a], cols[b] - cols[a]
        across = abs(down * (cols[x] - cols[a]) - right * (rows[x] - rows[a]))
        if across > 1.4 * _BAND * max(np.hypot(float(down), float(right)), 1.0):
            return 0, 0, 0.0
        return 1, 0, -np.log((2.0 * _BAND + 1.0) * max(abs(down), abs(right), 1))
    if kind < 0.87:  # split x into two
        for v in range(2, 4):
            new_r[v] = rows[x] + rng.integers(-REACH, REACH + 1)
            new_c[v] = cols[x] + rng.integers(-REACH, REACH + 1)
        return 1, 2, np.log(_BOX)
    # Fuse x and the next into one that could be split into them.
    new_r[2] = rows[x] + rng.integers(-REACH, REACH + 1)
    new_c[2] = cols[x] + rng.integers(-REACH, REACH + 1)
    if max(abs(new_r[2] - rows[b]), abs(new_c[2] - cols[b])) > REACH:
        return 0, 0, 0.0
    return 2, 1, -np.log(_BOX)


@numba.njit(cache=True, nogil=True, error_model="numpy")
def _drop_rings(rows, cols, sizes, mask, evidence, costs, spans):  # type: ignore[no-untyped-def]
    """Drop the rings that cost more than the pixels in them ask for."""
    height, width = mask.shape
    for i in range(len(sizes)):
        count = _spans(rows[i], cols[i], sizes[i], height, width, spans) if sizes[i] else -1
        if count < 0:
            continue
        if _flip_cost(mask, evidence, spans, count) <= sizes[i] * costs.vertex - costs.ring_gain:
            _flip(mask, spans, count)
            sizes[i] = 0


@numba.njit(cache=True, nogil=True, error_model="numpy")
def run_chain(  # type: ignore[no-untyped-def]
    rows, cols, sizes, mask, evidence, costs, sweeps, burn_in, every, rng
):
    """Run the chain; rings and mask are changed in place.

    A sweep is as many moves as there are vertices. During ``burn_in`` whole rings may be dropped.

    Args:
        rows: (rings, MAX_VERTICES) int64 rows of vertices.
        cols: (rings, MAX_VERTICES) int64 columns of vertices.
        sizes: (rings,) int64 vertices of every ring; 0 for none.
        mask: (H, W) bool, the rings rasterised.
        evidence: (H, W) float64 nats against building.
        costs: see :class:`radiodiff.inverse.refinement_constants.Costs`.
        sweeps: number of sweeps.
        burn_in: sweeps that are not counted.
        every: a state is counted after this many sweeps.
        rng: numpy Generator.

    Returns:
        (H, W) float64, how often a pixel was building among the states counted, from 0 to 1.
    """
    height, width = mask.shape
    spans = np.empty((8 * height, 3), dtype=np.int64)
    old_r, old_c = np.empty(8, np.int64), np.empty(8, np.int64)
    new_r, new_c = np.empty(8, np.int64), np.empty(8, np.int64)
    loop_r, loop_c = np.empty(MAX_VERTICES, np.int64), np.empty(MAX_VERTICES, np.int64)
    share, counted = np.zeros((height, width)), 0
    for sweep in range(sweeps):
        if sweep < burn_in:
            _drop_rings(rows, cols, sizes, mask, evidence, costs, spans)
        vertices = sizes.sum()
        for _ in range(vertices):
            # 1. A vertex of all, and a move that begins at it.
            x, i = rng.integers(0, vertices), 0
            while x >= sizes[i]:
                x -= sizes[i]
                i += 1
            n = sizes[i]
            k, m, bonus = _propose(rows[i], cols[i], n, x, rng, new_r, new_c)
            if k == 0 or n < k + 2 or n + m - k < 3 or n + m - k > MAX_VERTICES:
                continue
            outside = False
            for v in range(2, 2 + m):
                outside |= not -REACH <= new_r[v] <= height + REACH
                outside |= not -REACH <= new_c[v] <= width + REACH
            if outside:
                continue
            # 2. Both stretches, with the two vertices on either side that stay.
            for v in range(k + 4):
                at = (x - 2 + v) % n
                old_r[v], old_c[v] = rows[i, at], cols[i, at]
            for v in range(2):
                new_r[v], new_c[v] = old_r[v], old_c[v]
                new_r[2 + m + v], new_c[2 + m + v] = old_r[2 + k + v], old_c[2 + k + v]
            # 3. The pixels between them change sides.
            size = 0
            for v in range(1, k + 3):
                loop_r[size], loop_c[size] = old_r[v], old_c[v]
                size += 1
            for v in range(m + 1, 1, -1):
                loop_r[size], loop_c[size] = new_r[v], new_c[v]
                size += 1
            count = _spans(loop_r, loop_c, size, height, width, spans)
            if count < 0:
                continue
            change = _flip_cost(mask, evidence, spans, count) + costs.vertex * (m - k)
            change += _chain_cost(new_r, new_c, m + 4, costs)
            change -= _chain_cost(old_r, old_c, k + 4, costs)
            if change > bonus and rng.random() >= np.exp(bonus - change):
                continue
            # 4. Accept.
            _flip(mask, spans, count)
            for v in range(n):
                at = (x + v) % n
                loop_r[v], loop_c[v] = rows[i, at], cols[i, at]
            for v in range(m):
                rows[i, v], cols[i, v] = new_r[2 + v], new_c[2 + v]
            for v in range(k, n):
                rows[i, m + v - k], cols[i, m + v - k] = loop_r[v], loop_c[v]
            sizes[i] = n + m - k
            vertices += m - k
        if sweep >= burn_in and (sweep - burn_in) % every == 0:
            counted += 1
            share += mask
    return share / max(counted, 1)
