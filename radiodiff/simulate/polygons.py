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
EPS_ROW = 2.0**-14
EPS_COL = EPS_ROW * (1.0 + 2.0**-11)

# Direction k of a step along the pixel edges: right, down, left, up, as (row, column).
_STEP = np.array([[0, 1], [1, 0], [0, -1], [-1, 0]])
# Where a vertex may lie relative to a contour point.
_PLACE = np.array([[0, 0], [-1, 0], [1, 0], [0, -1], [0, 1], [-1, -1], [-1, 1], [1, -1], [1, 1]])
_PLACES = len(_PLACE)
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
        contours = trace_contours(component)
        # The outer contour runs clockwise on the screen, holes run the other way.
        contours.sort(key=_signed_area, reverse=True)
        # Vertices beside the contour may make a polygon touch itself: then only those on it.
        for rings in (
            [_fewest_vertices(contour, len(_PLACE)) for contour in contours],
            [_fewest_vertices(contour, 1) for contour in contours],
            [_drop_collinear(contour) for contour in contours],
        ):
            polygon = shapely.Polygon(rings[0][:, ::-1], [ring[:, ::-1] for ring in rings[1:]])
            if polygon.is_valid and np.array_equal(rasterise([polygon], mask.shape), component):
                break
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
                first = max(int(np.floor(low + EPS_ROW)) + 1, 0)
                last = min(int(np.floor(high + EPS_ROW)), height - 1)
                if first > last:
                    continue
                rows = np.arange(first, last + 1)
                crossing = col_0 + (rows - EPS_ROW - row_0) * (col_1 - col_0) / (row_1 - row_0)
                columns = np.clip(np.ceil(crossing - EPS_COL), 0, width).astype(np.int64)
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


def trace_contours(component: np.ndarray) -> list[np.ndarray]:
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


def _fewest_vertices(contour: np.ndarray, places: int) -> np.ndarray:
    """Return the vertices of the simplest polygon that keeps every pixel along a contour in place.

    Vertices are contour points (``places`` = 1) or also lattice points beside them (9): sharp tips
    lie off the contour.
    """
    step = (np.roll(contour, -1, axis=0) - contour).tolist()
    direction = np.array([_STEP.tolist().index(s) for s in step])
    segments = _possible_segments(
        contour, contour + _INNER[direction], contour + _OUTER[direction], places
    )
    chain = _shortest_cycle(len(contour), *segments)
    return contour[chain // _PLACES] + _PLACE[chain % _PLACES]


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
def _possible_segments(
    contour: np.ndarray, inner: np.ndarray, outer: np.ndarray, allowed: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Return the segments that may replace a stretch of the contour, by the place they leave.

    Place p of point i is state i * _PLACES + p. A segment is possible if every pixel along its
    stretch stays on its side. It costs one vertex, plus what decides ties: a little for a vertex
    off the contour, and less for the mean deviation from the contour.

    Returns:
        start (states + 1,), and for every segment its number of steps, its end place, its cost.
    """
    n = len(contour)
    start = np.zeros(n * _PLACES + 1, dtype=np.int64)
    steps = np.empty(1024, dtype=np.int64)
    places = np.empty(1024, dtype=np.int64)
    costs = np.empty(1024)
    count = 0
    for state in range(n * _PLACES):
        start[state + 1] = count
        if state % _PLACES >= allowed:
            continue
        i = state // _PLACES
        ar = contour[i, 0] + _PLACE[state % _PLACES, 0]
        ac = contour[i, 1] + _PLACE[state % _PLACES, 1]
        low, high = -np.inf, np.inf
        for m in range(1, n):
            t = (i + m - 1) % n
            # Directions (as angles) that keep both pixels of this step on their sides.
            for kind in range(2):
                pixel = inner[t] if kind == 0 else outer[t]
                vr, vc = pixel[0] - ar, pixel[1] - ac
                if vr == 0 and vc == 0:
                    vr, vc = -1, 1
                first = np.arctan2(float(vr), float(vc)) - (np.pi if kind == 0 else 0.0)
                if low == -np.inf:
                    low, high = first, first + np.pi
                else:
                    first += 2 * np.pi * np.rint((0.5 * (low + high - np.pi) - first) / (2 * np.pi))
                    low, high = max(low, first), min(high, first + np.pi)
            if low > high + 1e-9:
                break
            for place in range(allowed):
                br = contour[(i + m) % n, 0] + _PLACE[place, 0]
                bc = contour[(i + m) % n, 1] + _PLACE[place, 1]
                length = np.hypot(float(br - ar), float(bc - ac))
                if length == 0.0:
                    continue
                angle = np.arctan2(float(br - ar), float(bc - ac))
                angle += 2 * np.pi * np.rint((0.5 * (low + high) - angle) / (2 * np.pi))
                if angle < low - 1e-9 or angle > high + 1e-9:
                    continue
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
                if not possible:
                    continue
                if count == len(costs):
                    steps = np.concatenate((steps, steps))
                    places = np.concatenate((places, places))
                    costs = np.concatenate((costs, costs))
                off = abs(_PLACE[place, 0]) + abs(_PLACE[place, 1])
                steps[count] = m
                places[count] = place
                costs[count] = 1.0 + 1e-3 * off + 1e-4 * deviation / (m * length)
                count += 1
        start[state + 1] = count
    return start, steps[:count].copy(), places[:count].copy(), costs[:count].copy()


@numba.njit(cache=True, nogil=True, error_model="numpy")
def _cheapest_chain(
    n: int,
    origin: int,
    laps: int,
    start: np.ndarray,
    steps: np.ndarray,
    places: np.ndarray,
    costs: np.ndarray,
) -> np.ndarray:
    """Return the states of the cheapest chain of segments around a contour of ``n`` points.

    One lap returns to the state ``origin``; more laps begin and end in any place of its point.
    """
    total = np.full((laps * n + 1, _PLACES), np.inf)
    before = np.zeros((laps * n + 1, _PLACES), dtype=np.int64)
    first = origin // _PLACES
    for place in range(_PLACES):
        if laps > 1 or place == origin % _PLACES:
            total[0, place] = 0.0
    for a in range(laps * n):
        i = (first + a) % n
        for place in range(_PLACES):
            if total[a, place] == np.inf:
                continue
            state = i * _PLACES + place
            for k in range(start[state], start[state + 1]):
                b = a + steps[k]
                if b <= laps * n and total[a, place] + costs[k] < total[b, places[k]]:
                    total[b, places[k]] = total[a, place] + costs[k]
                    before[b, places[k]] = a * _PLACES + place
    place = int(np.argmin(total[-1])) if laps > 1 else origin % _PLACES
    chain = np.empty(laps * n, dtype=np.int64)
    size = 0
    a = laps * n
    while a > 0:
        previous = before[a, place]
        a, place = previous // _PLACES, previous % _PLACES
        chain[size] = ((first + a) % n) * _PLACES + place
        size += 1
    return chain[:size][::-1].copy()


@numba.njit(cache=True, nogil=True, error_model="numpy")
def _shortest_cycle(
    n: int, start: np.ndarray, steps: np.ndarray, places: np.ndarray, costs: np.ndarray
) -> np.ndarray:
    """Return the states of the cheapest closed chain of segments."""
    # After a lap the chain has forgotten where it began: take its vertex there as the origin.
    chain = _cheapest_chain(n, 0, 3, start, steps, places, costs)
    origin = chain[len(chain) // 2]
    return _cheapest_chain(n, origin, 1, start, steps, places, costs)
