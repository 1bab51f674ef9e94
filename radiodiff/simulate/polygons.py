"""Building polygons from a mask and back, exactly, under the raster rule of RadioMapSeer.

Raster rule: the centre of pixel (row, col) is its integer coordinate, building vertices are
integers, and a pixel is building if the point (row - eps, col + eps) lies inside. So pixels on the
bottom and left edges of a building belong to it, pixels on the top and right edges do not.

Polygons are :class:`shapely.Polygon` with x = column and y = row.
"""

from __future__ import annotations

from collections.abc import Iterable

import numba
import numpy as np
import shapely
from numpy.typing import ArrayLike
from skimage.measure import label

from radiodiff.errors import InputError

# eps of the raster rule. The column's is larger by less than any slope between two lattice
# points of a map can resolve, which decides the ties of walls that run along (-1, +1).
_EPS_ROW = 2.0**-14
_EPS_COL = _EPS_ROW * (1.0 + 2.0**-11)

# Direction k of a step along the pixel edges: right, down, left, up, as (row, column).
_STEP = np.array([[0, 1], [1, 0], [0, -1], [-1, 0]])
# Pixels on the right-hand (inner) and left-hand (outer) side of that step, relative to its start.
_INNER = np.array([[1, 0], [1, -1], [0, -1], [0, 0]])
_OUTER = np.array([[0, 0], [1, 0], [1, -1], [0, -1]])


def as_mask(mask: ArrayLike) -> np.ndarray:
    """Return a (H, W) bool copy of a mask of bools or of the numbers 0 and 1.

    Raises:
        InputError: the array has not two dimensions, or holds other values.
    """
    array = np.asarray(mask)
    if array.ndim != 2 or 0 in array.shape:
        raise InputError(f"building mask: expected shape (H, W), found {array.shape}")
    if array.dtype != bool and not np.isin(array, (0, 1)).all():
        values = np.unique(array)
        raise InputError(
            f"building mask: values must be 0 and 1 (or bool), found {len(values)} values from "
            f"{values[0]} to {values[-1]}"
        )
    return array.astype(bool)


def polygons_from_mask(mask: np.ndarray) -> list[shapely.Polygon]:
    """Return the polygons with the fewest integer vertices that rasterise to ``mask`` exactly.

    One polygon per 4-connected component, with its holes. Every spurious vertex on a wall would
    cost a propagation path one interaction, so fewer vertices matter more than smooth outlines.

    Args:
        mask: (H, W) bool or 0/1, True inside buildings.

    Raises:
        InputError: ``mask`` is not a binary (H, W) array.
    """
    mask = as_mask(mask)
    components = label(mask, connectivity=1)
    polygons = []
    for index in range(1, components.max() + 1):
        component = components == index
        contours = _trace_contours(component)
        # The outer contour runs clockwise on the screen, holes run the other way.
        contours.sort(key=_signed_area, reverse=True)
        rings = [contour[_fewest_vertices(contour)] for contour in contours]
        polygon = shapely.Polygon(rings[0][:, ::-1], [ring[:, ::-1] for ring in rings[1:]])
        if not (polygon.is_valid and np.array_equal(rasterise([polygon], mask.shape), component)):
            rings = [_drop_collinear(contour) for contour in contours]
            polygon = shapely.Polygon(rings[0][:, ::-1], [ring[:, ::-1] for ring in rings[1:]])
        polygons.append(polygon)
    return polygons


def rasterise(polygons: Iterable[shapely.Polygon], shape: tuple[int, int]) -> np.ndarray:
    """Return the (H, W) bool mask of the union of ``polygons`` under the raster rule.

    Polygons may reach beyond the map; the part outside is cut off.
    """
    height, width = shape
    mask = np.zeros(shape, dtype=bool)
    for polygon in polygons:
        toggles = np.zeros((height, width + 1), dtype=np.int64)
        for ring in polygon_rings([polygon]):
            start, end = ring, np.roll(ring, -1, axis=0)
            for (row_0, col_0), (row_1, col_1) in zip(start, end, strict=True):
                low, high = sorted((row_0, row_1))
                # Rows whose scan line row - eps is crossed by this edge.
                first = max(int(np.floor(low + _EPS_ROW)) + 1, 0)
                last = min(int(np.floor(high + _EPS_ROW)), height - 1)
                if first > last:
                    continue
                rows = np.arange(first, last + 1)
                crossing = col_0 + (rows - _EPS_ROW - row_0) * (col_1 - col_0) / (row_1 - row_0)
                columns = np.clip(np.ceil(crossing - _EPS_COL), 0, width).astype(np.int64)
                np.add.at(toggles, (rows, columns), 1)
        mask |= np.cumsum(toggles, axis=1)[:, :width] % 2 == 1
    return mask


def polygon_rings(polygons: Iterable[shapely.Polygon]) -> list[np.ndarray]:
    """Return every ring as an open (n, 2) float array of (row, column), building on the right."""
    rings = []
    for polygon in polygons:
        # shapely's "clockwise" is drawn with y up; rows run down, so it is the other way round.
        polygon = shapely.geometry.polygon.orient(polygon, sign=1.0)
        for ring in (polygon.exterior, *polygon.interiors):
            rings.append(np.asarray(ring.coords, dtype=np.float64)[:-1, ::-1].copy())
    return rings


def _signed_area(ring: np.ndarray) -> float:
    """Return the area of a (row, column) ring, positive if it runs clockwise on the screen."""
    following = np.roll(ring, -1, axis=0)
    return 0.5 * float(np.sum(ring[:, 1] * following[:, 0] - ring[:, 0] * following[:, 1]))


def _drop_collinear(contour: np.ndarray) -> np.ndarray:
    """Return the corners of a contour of unit steps."""
    turns = np.any(
        np.roll(contour, -1, axis=0) - contour != contour - np.roll(contour, 1, axis=0), axis=1
    )
    return contour[turns]


def _trace_contours(component: np.ndarray) -> list[np.ndarray]:
    """Return the closed contours of a 4-connected set of pixels as (n, 2) lattice points.

    Pixel (row, col) is the cell between lattice rows row - 1 and row and columns col and col + 1,
    so that its sampling point (row - eps, col + eps) lies in the cell's lower left corner.
    """
    height, width = component.shape
    padded = np.pad(component, 2)
    rows, cols = np.meshgrid(np.arange(-1, height + 1), np.arange(0, width + 1), indexing="ij")
    leaves = np.zeros((4, height + 2, width + 1), dtype=bool)
    for k in range(4):
        inner = padded[rows + _INNER[k, 0] + 2, cols + _INNER[k, 1] + 2]
        outer = padded[rows + _OUTER[k, 0] + 2, cols + _OUTER[k, 1] + 2]
        leaves[k] = inner & ~outer
    contours = []
    for start in np.argwhere(leaves):
        k, row, col = (int(index) for index in start)
        if not leaves[k, row, col]:
            continue
        points = []
        while leaves[k, row, col]:
            leaves[k, row, col] = False
            points.append((row - 1, col))
            row, col = row + int(_STEP[k, 0]), col + int(_STEP[k, 1])
            # Where two pixels meet diagonally, turn right: they stay separate.
            k = next((turn % 4 for turn in (k + 1, k, k + 3) if leaves[turn % 4, row, col]), k)
        contours.append(np.array(points, dtype=np.int64))
    return contours


def _fewest_vertices(contour: np.ndarray) -> np.ndarray:
    """Return the indices of the contour points to keep as vertices, in order."""
    n = len(contour)
    step = (np.roll(contour, -1, axis=0) - contour).tolist()
    direction = np.array([_STEP.tolist().index(s) for s in step])
    inner = contour + _INNER[direction]
    outer = contour + _OUTER[direction]
    cost = _segment_costs(contour, inner, outer)
    reach = np.array([np.flatnonzero(np.isfinite(row))[-1] for row in cost])
    # A closed polygon has a vertex within the reach of every point: start behind the shortest.
    tightest = int(np.argmin(reach))
    starts = (tightest + 1 + np.arange(reach[tightest])) % n
    return np.sort(_shortest_cycle(cost, starts.astype(np.int64)))


@numba.njit(cache=True, nogil=True, error_model="numpy")
def _side(ar: int, ac: int, br: int, bc: int, xr: int, xc: int) -> int:
    """Return +1 if the sampling point of pixel x is to the right of a -> b (inside), else -1."""
    dr, dc = br - ar, bc - ac
    cross = dc * (xr - ar) - dr * (xc - ac)
    if cross == 0:
        cross = -dc - dr  # the sampling point lies towards (-1, +1) ...
    if cross == 0:
        cross = -dr  # ... and a little farther in column than in row
    return 1 if cross > 0 else -1


@numba.njit(cache=True, nogil=True, error_model="numpy")
def _segment_costs(contour: np.ndarray, inner: np.ndarray, outer: np.ndarray) -> np.ndarray:
    """Return (n, n + 1) costs: entry (i, m) replaces the m steps after point i by one segment.

    A segment is possible if every pixel along these steps stays on its side. Its cost is one
    vertex plus a small multiple of the mean deviation from the contour, which decides ties.
    """
    n = len(contour)
    cost = np.full((n, n + 1), np.inf)
    for i in range(n):
        ar, ac = contour[i]
        low, high = -np.inf, np.inf
        for m in range(1, n):
            t = (i + m - 1) % n
            # Directions (as angles) that keep both pixels of this step on their sides.
            for kind in range(2):
                pixel = inner[t] if kind == 0 else outer[t]
                vr, vc = pixel[0] - ar, pixel[1] - ac
                if vr == 0 and vc == 0:
                    vr, vc = -1, 1
                angle = np.arctan2(float(vr), float(vc))
                start = angle - np.pi if kind == 0 else angle
                if low == -np.inf:
                    low, high = start, start + np.pi
                else:
                    shift = np.rint((0.5 * (low + high) - start - 0.5 * np.pi) / (2 * np.pi))
                    start += shift * 2 * np.pi
                    low, high = max(low, start), min(high, start + np.pi)
            if low > high + 1e-9:
                break
            br, bc = contour[(i + m) % n]
            possible = True
            deviation = 0.0
            for s in range(m):
                t = (i + s) % n
                if (
                    _side(ar, ac, br, bc, inner[t, 0], inner[t, 1]) < 0
                    or _side(ar, ac, br, bc, outer[t, 0], outer[t, 1]) > 0
                ):
                    possible = False
                    break
                pr, pc = contour[t]
                deviation += abs((bc - ac) * (pr - ar) - (br - ar) * (pc - ac))
            if possible:
                length = np.hypot(float(br - ar), float(bc - ac))
                cost[i, m] = 1.0 + 1e-4 * deviation / (m * max(length, 1.0))
    return cost


@numba.njit(cache=True, nogil=True, error_model="numpy")
def _shortest_cycle(cost: np.ndarray, starts: np.ndarray) -> np.ndarray:
    """Return the vertices of the cheapest closed chain of segments through one of ``starts``."""
    n = cost.shape[0]
    best: float = np.inf
    best_chain = np.zeros(0, dtype=np.int64)
    for start in starts:
        total = np.full(n + 1, np.inf)
        before = np.zeros(n + 1, dtype=np.int64)
        total[0] = 0.0
        for a in range(n):
            if total[a] >= best:
                continue
            i = (start + a) % n
            for m in range(1, n - a + 1):
                candidate = total[a] + cost[i, m]
                if candidate < total[a + m]:
                    total[a + m] = candidate
                    before[a + m] = a
        if total[n] < best:
            best = float(total[n])
            chain = [0]
            chain.clear()
            a = n
            while a > 0:
                a = int(before[a])
                chain.append((start + a) % n)
            best_chain = np.array(chain)
    return best_chain
