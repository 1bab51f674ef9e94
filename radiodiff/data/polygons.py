"""Building polygons from a mask and back, exactly, under the two raster rules of RadioMapSeer.

A rule says at which point a pixel is sampled: the pixel is building if that point lies inside a
polygon. In pixel coordinates, with the integer point (row, col) in the middle of a gain pixel, the
gain images sample (row - eps, col + eps) and the ``png/buildings_*`` images half a pixel further,
(row - 1/2 - eps, col + 1/2). Vertices are integers. Under the gain's rule pixels on the bottom and
left edges of a building belong to it, pixels on the top and right edges do not. Walls parallel to
the axes look the same under both rules, oblique ones do not.

Polygons are :class:`shapely.Polygon` with x = column and y = row.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numba
import numpy as np
import shapely
from scipy import ndimage
from skimage.measure import label

from radiodiff.data.binary import as_mask

# eps of the raster rules. The column's is larger by less than any slope between two lattice
# points of a map can resolve, which decides the ties of walls that run along (-1, +1).
EPS_ROW = 2.0**-14
EPS_COL = EPS_ROW * (1.0 + 2.0**-11)


@dataclass(frozen=True)
class RasterRule:
    """Where the pixel (row, col) is sampled: at (row + ``row``, col + ``column``)."""

    name: str
    row: float
    column: float


GAIN_RULE = RasterRule("gain", -EPS_ROW, EPS_COL)
"""Of the gain images; also of every mask in this package unless a name says otherwise."""
PNG_RULE = RasterRule("PNG", -0.5 - EPS_ROW, 0.5)
"""Of ``png/buildings_complete`` and ``png/buildings_missing*``."""

# Direction k of a step along the pixel edges: right, down, left, up, as (row, column).
_STEP = np.array([[0, 1], [1, 0], [0, -1], [-1, 0]])
# Where a vertex may lie relative to a contour point, the point itself first.
_PLACE = np.array([[0, 0], [-1, 0], [1, 0], [0, -1], [0, 1], [-1, -1], [-1, 1], [1, -1], [1, 1]])
# The cost of a vertex is 1; these decide ties, for vertices on the contour and edges along it.
# Under the PNG's rule the contour is the middle of the sampling points that it separates.
_PLACE_COST = 1e-3
_DEVIATION_COST = 1e-3
# A chain that has this many vertices more than another at the same contour point is given up.
_MAX_EXCESS = 2.0
# Pixels on the right-hand (inner) and left-hand (outer) side of that step, relative to its start.
_INNER = np.array([[1, 0], [1, -1], [0, -1], [0, 0]])
_OUTER = np.array([[0, 0], [1, 0], [1, -1], [0, -1]])


def polygons_from_mask(mask: np.ndarray, rule: RasterRule = GAIN_RULE) -> list[shapely.Polygon]:
    """Return polygons with few integer vertices that rasterise to ``mask`` exactly.

    One polygon per 4-connected component, with its holes. Every spurious vertex on a wall would
    cost a propagation path one interaction, so fewer vertices matter more than smooth outlines.
    Where the fewest vertices do not give a valid polygon, a component gets more of them, at worst
    the corners of its pixels.

    Args:
        mask: (H, W) bool or 0/1, True inside buildings.
        rule: the raster rule by which ``mask`` was drawn.

    Raises:
        InputError: ``mask`` is not a binary (H, W) array.
    """
    mask = as_mask(mask)
    components = label(mask, connectivity=1)
    polygons = []
    for index, (rows, cols) in enumerate(ndimage.find_objects(components), start=1):
        # Vertices lie at most one pixel off the contour, so two pixels around the box are enough.
        component = np.pad(components[rows, cols] == index, 2)
        polygon = _component_polygon(component, rule)
        shift = np.array([cols.start - 2, rows.start - 2])
        polygons.append(shapely.transform(polygon, lambda points, by=shift: points + by))
    return polygons


def _component_polygon(component: np.ndarray, rule: RasterRule) -> shapely.Polygon:
    """Return the polygon of the only component of a mask."""
    contours = trace_contours(component)
    # The outer contour runs clockwise on the screen, holes run the other way.
    contours.sort(key=_signed_area, reverse=True)
    # Vertices beside the contour may make a polygon touch itself: then only those on it.
    for places in (_PLACE, _PLACE[:1]):
        rings = [_fewest_vertices(contour, places, rule) for contour in contours]
        if min(len(ring) for ring in rings) < 3:
            continue
        polygon = _as_polygon(rings)
        if _draws(polygon, component, rule):
            return polygon
    return _as_polygon([_drop_collinear(contour) for contour in contours])


def _draws(polygon: shapely.Polygon, component: np.ndarray, rule: RasterRule) -> bool:
    return polygon.is_valid and np.array_equal(
        rasterise([polygon], component.shape, rule), component
    )


def _as_polygon(rings: list[np.ndarray]) -> shapely.Polygon:
    return shapely.Polygon(rings[0][:, ::-1], [ring[:, ::-1] for ring in rings[1:]])


def rasterise(
    polygons: Iterable[shapely.Polygon], shape: tuple[int, int], rule: RasterRule = GAIN_RULE
) -> np.ndarray:
    """Return the (H, W) bool mask of the union of ``polygons`` under a raster rule.

    Polygons may reach beyond the map; the part outside is cut off.
    """
    height, width = shape
    mask = np.zeros(shape, dtype=bool)
    for polygon in polygons:
        if polygon.is_empty:
            continue
        _, top, _, bottom = polygon.bounds
        upper, lower = max(int(np.floor(top)), 0), min(int(np.ceil(bottom)) + 2, height)
        if upper >= lower:
            continue
        toggles = np.zeros((lower - upper, width + 1), dtype=np.int64)
        for ring in polygon_rings([polygon]):
            start, end = ring, np.roll(ring, -1, axis=0)
            for (row_0, col_0), (row_1, col_1) in zip(start, end, strict=True):
                low, high = sorted((row_0, row_1))
                # Rows whose scan line is crossed by this edge.
                first = max(int(np.floor(low - rule.row)) + 1, 0)
                last = min(int(np.floor(high - rule.row)), height - 1)
                if first > last:
                    continue
                rows = np.arange(first, last + 1)
                crossing = col_0 + (rows + rule.row - row_0) * (col_1 - col_0) / (row_1 - row_0)
                columns = np.clip(np.ceil(crossing - rule.column), 0, width).astype(np.int64)
                np.add.at(toggles, (rows - upper, columns), 1)
        mask[upper:lower] |= np.cumsum(toggles, axis=1)[:, :width] % 2 == 1
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


def _fewest_vertices(contour: np.ndarray, places: np.ndarray, rule: RasterRule) -> np.ndarray:
    """Return the vertices of the simplest polygon that keeps every pixel along a contour in place.

    Vertices are contour points moved by one of ``places``: sharp tips lie off the contour.
    """
    step = (np.roll(contour, -1, axis=0) - contour).tolist()
    direction = np.array([_STEP.tolist().index(s) for s in step])
    offset = np.array([rule.row, rule.column])
    inner, outer = contour + _INNER[direction] + offset, contour + _OUTER[direction] + offset
    # After a lap the chain has forgotten where it began: take its vertex there as the origin.
    chain = _cheapest_chain(contour, inner, outer, places, 0, 0, 3)
    point, place = chain[len(chain) // 2]
    chain = _cheapest_chain(contour, inner, outer, places, point, place, 1)
    return contour[chain[:, 0]] + places[chain[:, 1]]


@numba.njit(cache=True, nogil=True, error_model="numpy")
def _cheapest_chain(
    contour: np.ndarray,
    inner: np.ndarray,
    outer: np.ndarray,
    places: np.ndarray,
    origin: int,
    origin_place: int,
    laps: int,
) -> np.ndarray:
    """Return the cheapest chain of edges around a contour, by dynamic programming.

    An edge may replace a stretch of the contour if the sampling points of the pixels along it stay
    on their sides. The directions d for which they do form a cone: cross(d, w) > 0 for the vectors
    w from the edge's start to the inner points and from the outer points to the start. It is kept
    by its two extreme vectors while the stretch grows, so an edge is decided in constant time.

    Args:
        contour: (n, 2) lattice points (row, column).
        inner: (n, 2) sampling points of the pixels on the inner side of each step.
        outer: (n, 2) those on the outer side.
        places: (P, 2) offsets of a vertex from its contour point.
        origin: contour point at which the chain begins.
        origin_place: place of the first vertex; used with one lap only.
        laps: with one lap the chain returns to its first vertex, with more it begins and ends in
            any place of that contour point.

    Returns:
        (vertices, 2) contour point and place of every vertex.
    """
    n = len(contour)
    total = np.full((laps * n + 1, len(places)), np.inf)
    before = np.zeros((laps * n + 1, len(places)), dtype=np.int64)
    for p in range(len(places)):
        if laps > 1 or p == origin_place:
            total[0, p] = 0.0
    for a in range(laps * n):
        i = (origin + a) % n
        least = total[a].min()
        for p in range(len(places)):
            if total[a, p] > least + _MAX_EXCESS or total[a, p] == np.inf:
                continue
            ar, ac = contour[i, 0] + places[p, 0], contour[i, 1] + places[p, 1]
            first_r, first_c = inner[i, 0] - ar, inner[i, 1] - ac
            last_r, last_c = first_r, first_c
            open_cone = True
            for m in range(1, min(n, laps * n - a + 1)):
                t = (i + m - 1) % n
                for kind in range(2):
                    if kind == 0:
                        wr, wc = inner[t, 0] - ar, inner[t, 1] - ac
                    else:
                        wr, wc = ar - outer[t, 0], ac - outer[t, 1]
                    after_first = first_c * wr - first_r * wc
                    before_last = wc * last_r - wr * last_c
                    if after_first >= 0.0 and before_last >= 0.0:
                        continue
                    if before_last > 0.0:
                        first_r, first_c = wr, wc
                    elif after_first > 0.0:
                        last_r, last_c = wr, wc
                    else:
                        open_cone = False
                if not open_cone:
                    break
                for q in range(len(places)):
                    b = (i + m) % n
                    dr = contour[b, 0] + places[q, 0] - ar
                    dc = contour[b, 1] + places[q, 1] - ac
                    if (
                        dc * first_r - dr * first_c <= 0.0
                        or dc * last_r - dr * last_c <= 0.0
                        or total[a, p] + 1.0 >= total[a + m, q]
                    ):
                        continue
                    deviation = 0.0
                    for s in range(m):
                        t = (i + s) % n
                        mr = 0.5 * (contour[t, 0] + contour[(t + 1) % n, 0]) - ar
                        mc = 0.5 * (contour[t, 1] + contour[(t + 1) % n, 1]) - ac
                        deviation += abs(dc * mr - dr * mc)
                    deviation /= m * np.hypot(float(dr), float(dc))
                    off = abs(places[q, 0]) + abs(places[q, 1])
                    cost = total[a, p] + 1.0 + _PLACE_COST * off + _DEVIATION_COST * deviation
                    if cost < total[a + m, q]:
                        total[a + m, q] = cost
                        before[a + m, q] = a * len(places) + p
    place = int(np.argmin(total[-1])) if laps > 1 else origin_place
    chain = np.empty((laps * n, 2), dtype=np.int64)
    size = 0
    a = laps * n
    while a > 0:
        previous = before[a, place]
        a, place = previous // len(places), previous % len(places)
        chain[size, 0] = (origin + a) % n
        chain[size, 1] = place
        size += 1
    return chain[:size][::-1].copy()
