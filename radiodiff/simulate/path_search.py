"""Least-loss paths from one transmitter, around corners and over roofs.

A path runs at antenna height around convex corners. Once it may go over the roofs: from the ground
to a roof point, on to another roof point, and down again (:mod:`over_roof`). All changes of
direction lose f(theta) of the same model, with angles in three dimensions.

Because the next change of direction needs the incoming one, a corner keeps a label per incoming
link (:mod:`path_labels`).
"""

from __future__ import annotations

from heapq import heappop, heappush

import numba
import numpy as np

from radiodiff.simulate.over_roof import RoofPairs, paths_over_roofs
from radiodiff.simulate.path_labels import (
    Labels,
    ObstructedLoss,
    angle_between,
    bends_inwards,
    distance_loss,
    interaction_loss,
)
from radiodiff.simulate.visibility import PIXEL_SHIFT, Corners, sees, sweep, tangent_side
from radiodiff.simulate.visibility_graph import Links, VisibilityGraph

ROUNDING_DB = 1e-3
"""More than what the rounding of a path's length to float32 changes in its loss."""


@numba.njit(cache=True, nogil=True, error_model="numpy")
def search(
    row: int,
    col: int,
    corners: Corners,
    roof: np.ndarray,
    pairs: RoofPairs,
    horizontal_loss: np.ndarray,
    height: float,
    edges: np.ndarray,
    graph: VisibilityGraph,
    obstructed: ObstructedLoss,
    loss_limit: float,
) -> tuple[Labels, Labels]:
    """Return the paths that end at corners, and those that end at their second roof point.

    Labels of corners count from 0, those of roof points follow; a parent may be of either kind.

    Args:
        row: transmitter's row.
        col: transmitter's column.
        corners: the K convex corners.
        roof: (R, 2) roof points.
        pairs: horizontal paths between roof points.
        horizontal_loss: dB lost on each of them.
        height: metres of the roofs above the antennas.
        edges: (E, 4) building edges.
        graph: the layout's links.
        obstructed: the obstructed loss.
        loss_limit: paths that lose more, in dB, are dropped.
    """
    links = graph.corner_to_corner
    count, link_count = corners.position.shape[0], links.target.shape[0]
    down = graph.roof_to_corner
    # Corner labels by block: around corners only (per link), straight from the transmitter,
    # down from a roof (per link), and around corners after a roof (per link).
    direct_block = link_count
    down_block = direct_block + count
    after_block = down_block + down.target.shape[0]
    total = after_block + link_count
    labels = Labels(
        np.full(total, -1, dtype=np.int32),
        np.full(total, -1, dtype=np.int32),
        np.zeros(total),
        np.zeros(total),
        np.zeros(total),
        np.zeros(total),
    )
    loss = np.full(total, np.inf)
    queue = [(0.0, 0)]
    queue.clear()

    source_row, source_col = row - PIXEL_SHIFT, col + PIXEL_SHIFT
    bounds, nearest = sweep(source_row, source_col, edges)
    for m in range(count):
        dr, dc = corners.position[m, 0] - row, corners.position[m, 1] - col
        distance = np.hypot(dr, dc)
        side = tangent_side(dr, dc, corners, m)
        if (
            distance > 0.0
            and side != 0
            and sees(
                source_row,
                source_col,
                bounds,
                nearest,
                edges,
                corners.outside[m, 0],
                corners.outside[m, 1],
            )
        ):
            i = direct_block + m
            labels.point[i] = 2 * m + (1 - side) // 2
            labels.length[i] = distance
            labels.azimuth[i] = np.arctan2(dr, dc)
            loss[i] = distance_loss(obstructed, max(distance, 1.0))
            heappush(queue, (loss[i], i))
    _settle(queue, 0, labels, loss, links, obstructed, loss_limit)

    seen = np.zeros(roof.shape[0], dtype=np.bool_)
    for a in range(roof.shape[0]):
        seen[a] = sees(source_row, source_col, bounds, nearest, edges, roof[a, 0], roof[a, 1])
    roof_labels = paths_over_roofs(
        row, col, roof, pairs, horizontal_loss, height, seen, labels, loss[:down_block],
        graph.corner_to_roof, obstructed, loss_limit,
    )  # fmt: skip
    first = np.searchsorted(roof_labels.point, np.arange(roof.shape[0] + 1))
    for b in range(roof.shape[0]):
        for n in range(down.start[b], down.start[b + 1]):
            i = down_block + n
            fall = np.arctan2(height, float(down.length[n]))
            drop = np.hypot(height, float(down.length[n]))
            for j in range(first[b], first[b + 1]):
                theta = angle_between(roof_labels.azimuth[j], 0.0, down.azimuth[n], -fall)
                lost = roof_labels.interaction[j] + interaction_loss(obstructed, theta)
                length = roof_labels.length[j] + drop
                candidate = distance_loss(obstructed, length) + lost
                if candidate < loss[i] and candidate + obstructed.offset < loss_limit:
                    loss[i] = candidate
                    labels.point[i] = down.target[n]
                    labels.parent[i] = total + j
                    labels.length[i] = length
                    labels.interaction[i] = lost
                    labels.azimuth[i] = down.azimuth[n]
                    labels.elevation[i] = -fall
            if loss[i] < np.inf:
                heappush(queue, (loss[i], i))
    _settle(queue, after_block, labels, loss, links, obstructed, loss_limit)
    return _compact(labels, loss, down_block, total, roof_labels)


@numba.njit(cache=True, nogil=True, error_model="numpy")
def _settle(
    queue: list[tuple[float, int]],
    block: int,
    labels: Labels,
    loss: np.ndarray,
    links: Links,
    obstructed: ObstructedLoss,
    loss_limit: float,
) -> None:
    """Extend the queued labels around corners in order of loss; link j is label block + j."""
    while len(queue) > 0:
        queued, i = heappop(queue)
        if queued > loss[i]:
            continue
        zone = labels.point[i]
        for j in range(links.start[zone], links.start[zone + 1]):
            if not bends_inwards(zone, labels.azimuth[i], links.azimuth[j]):
                continue
            theta = angle_between(labels.azimuth[i], labels.elevation[i], links.azimuth[j], 0.0)
            lost = labels.interaction[i] + interaction_loss(obstructed, theta)
            length = labels.length[i] + links.length[j]
            candidate = distance_loss(obstructed, length) + lost
            # After a roof, a link is worth keeping only if it beats the path around corners.
            if (
                candidate < min(loss[block + j], loss[j])
                and candidate + obstructed.offset < loss_limit
            ):
                k = block + j
                loss[k] = candidate
                labels.point[k] = links.target[j]
                labels.parent[k] = i
                labels.length[k] = length
                labels.interaction[k] = lost
                labels.azimuth[k] = links.azimuth[j]
                heappush(queue, (candidate, k))


@numba.njit(cache=True, nogil=True, error_model="numpy")
def _compact(
    labels: Labels, loss: np.ndarray, down_block: int, total: int, roof_labels: Labels
) -> tuple[Labels, Labels]:
    """Keep the reached labels, numbered so that corners come before roof points."""
    reached = np.flatnonzero(loss < np.inf)
    number = np.full(total, -1, dtype=np.int32)
    for n, i in enumerate(reached):
        number[i] = n
    parent = np.empty(len(reached), dtype=np.int32)
    for n, i in enumerate(reached):
        p = labels.parent[i]
        parent[n] = p if p < 0 else (number[p] if p < total else len(reached) + p - total)
    roof_parent = roof_labels.parent.copy()
    for n in range(len(roof_parent)):
        if roof_parent[n] >= 0:
            roof_parent[n] = number[roof_parent[n]]
    return (
        Labels(
            labels.point[reached],
            parent,
            labels.length[reached],
            labels.interaction[reached],
            labels.azimuth[reached],
            labels.elevation[reached],
        ),
        Labels(
            roof_labels.point,
            roof_parent,
            roof_labels.length,
            roof_labels.interaction,
            roof_labels.azimuth,
            roof_labels.elevation,
        ),
    )


@numba.njit(cache=True, nogil=True, error_model="numpy")
def spread_to_pixels(
    labels: Labels,
    from_roof: bool,
    first_number: int,
    height: float,
    links: Links,
    obstructed: ObstructedLoss,
    direct: np.ndarray,
    loss: np.ndarray,
    label: np.ndarray,
) -> None:
    """Lower the (N,) ``loss`` of every pixel to its best path's, and set ``label`` to that path.

    Pixels in line of sight carry ``loss`` = -inf and stay so. No path is shorter than the straight
    line, so ``direct``, the (N,) dB that its length loses, rules most paths out before their angles
    are computed.
    """
    groups = links.start.shape[0] - 1
    before = np.empty(len(labels.length))
    for j in range(len(before)):
        before[j] = distance_loss(obstructed, labels.length[j]) + labels.interaction[j]
    before += obstructed.offset
    order = np.argsort(before)
    members = np.zeros(groups + 1, dtype=np.int64)
    for point in labels.point:
        members[point + 1] += 1
    members = np.cumsum(members)
    filled = members[:-1].copy()
    by_group = np.empty(len(order), dtype=np.int64)
    for j in order:
        by_group[filled[labels.point[j]]] = j
        filled[labels.point[j]] += 1
    after = labels.interaction + (obstructed.offset - ROUNDING_DB)
    visited = np.zeros(groups, dtype=np.bool_)
    for leader in order:
        g = labels.point[leader]
        if visited[g]:
            continue
        visited[g] = True
        least_after = np.inf
        for m in range(members[g], members[g + 1]):
            least_after = min(least_after, after[by_group[m]])
        for n in range(links.start[g], links.start[g + 1]):
            i = links.target[n]
            best = loss[i]
            if before[leader] >= best or direct[i] + least_after >= best:
                continue
            elevation, length, least = 0.0, float(links.length[n]), 0.0
            if from_roof:
                elevation = -np.arctan2(height, length)
                length = np.hypot(height, length)
                least = obstructed.per_radian * min(-elevation, obstructed.breakpoint)
            for m in range(members[g], members[g + 1]):
                j = by_group[m]
                if before[j] + least >= best:
                    break
                turn = angle_between(labels.azimuth[j], 0.0, links.azimuth[n], 0.0)
                bend = obstructed.per_radian * min(turn, np.pi / 2, obstructed.breakpoint)
                if direct[i] + after[j] + max(bend, least) >= best:
                    continue
                if not from_roof and not bends_inwards(g, labels.azimuth[j], links.azimuth[n]):
                    continue
                theta = angle_between(
                    labels.azimuth[j], labels.elevation[j], links.azimuth[n], elevation
                )
                candidate = (
                    distance_loss(obstructed, labels.length[j] + length)
                    + labels.interaction[j]
                    + interaction_loss(obstructed, theta)
                )
                if candidate < best:
                    best = candidate
                    label[i] = first_number + j
            loss[i] = best
