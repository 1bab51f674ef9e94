"""The embedded engine: the dominant path model behind RadioMapSeer's DPM maps.

A pixel in line of sight gets the line-of-sight loss. Every other pixel gets the path of least loss
around building corners and over roofs (:mod:`path_search`, :mod:`over_roof`), with a loss per
change of direction (:mod:`radiodiff.simulate.path_loss_model`).
A 3 x 3 median filter over the outdoor pixels ends the prediction, as in the dataset.
"""

from __future__ import annotations

import copy
import threading
from collections.abc import Sequence
from functools import lru_cache
from typing import Any, Protocol

import numpy as np
import shapely

from radiodiff.data.binary import as_mask
from radiodiff.data.polygons import (
    GAIN_RULE,
    RasterRule,
    polygon_rings,
    polygons_from_mask,
    rasterise,
)
from radiodiff.errors import InputError
from radiodiff.simulate.departures import departure_bearings
from radiodiff.simulate.median import median_filter
from radiodiff.simulate.over_roof import horizontal_losses, roof_pairs, roof_points
from radiodiff.simulate.path_labels import Labels, ObstructedLoss, distance_loss
from radiodiff.simulate.path_loss_model import PathLossModel, constants
from radiodiff.simulate.path_search import search, spread_to_pixels
from radiodiff.simulate.vehicles import path_losses_db, side_clearance
from radiodiff.simulate.visibility import PIXEL_SHIFT, convex_corners, edges_of, visible_pixels
from radiodiff.simulate.visibility_graph import build_graph
from radiodiff.units import GAIN_MAX_DB, GAIN_MIN_DB

_MAKING_LAYOUT = threading.Lock()
"""Threads that ask for one layout wait for it, and do not each make it."""


class HasBuildings(Protocol):
    """Anything with a (H, W) building mask, such as a City; ``polygons`` is used where present."""

    @property
    def building_mask(self) -> np.ndarray:
        """(H, W) bool, True inside buildings."""


def path_gain(
    city_or_mask: np.ndarray | HasBuildings,
    transmitter: tuple[int, int],
    vehicles: np.ndarray | None = None,
) -> np.ndarray:
    """Return the (H, W) float32 path gain in dB of one transmitter, GAIN_MIN_DB inside buildings.

    For many transmitters in one city, build a :class:`Layout` and call its ``path_gain``; the last
    few layouts are kept, so that calling this function in a loop costs the same.

    Args:
        city_or_mask: (H, W) bool or 0/1 building mask, or an object with ``building_mask`` and
            optionally ``polygons`` (shapely, x = column, y = row).
        transmitter: row and column, outside buildings.
        vehicles: (H, W) bool or 0/1, True on vehicles of 1.5 m height.

    Raises:
        InputError: a mask is not binary, or the transmitter is in a building or off the map.
    """
    return _layout_of(city_or_mask).path_gain(transmitter, vehicles)


def link_gain(
    city_or_mask: np.ndarray | HasBuildings,
    points_a: np.ndarray | Sequence[tuple[int, int]],
    points_b: np.ndarray | Sequence[tuple[int, int]],
    vehicles: np.ndarray | None = None,
) -> np.ndarray:
    """Return the (N,) float32 path gain in dB of N links, the same in both directions.

    This is the path-loss model at a point. :func:`path_gain` gives the path-loss model after the
    median filter that ends the dataset's maps, which looks at the neighbours of the receiver and
    not of the transmitter. The two differ where the path-loss model changes within a pixel, such as
    at the edge of a shadow.

    A link is computed from the end that comes first in (row, column) order, since links that touch
    a wall without crossing it may be free in one direction and blocked in the other. One search is
    made for every such end: for one transmitter and many receivers :func:`path_gain` is faster.

    Args:
        city_or_mask: as for :func:`path_gain`.
        points_a: (N, 2) rows and columns of one end of each link, outside buildings.
        points_b: (N, 2), the other end.
        vehicles: (H, W) bool or 0/1, True on vehicles of 1.5 m height.

    Raises:
        InputError: a mask is not binary, the points are not two lists of the same length, or one of
            them is in a building or off the map.
    """
    return _layout_of(city_or_mask).link_gain(points_a, points_b, vehicles)


def _layout_of(city_or_mask: np.ndarray | HasBuildings) -> Layout:
    buildings: Any = getattr(city_or_mask, "building_mask", city_or_mask)
    mask = as_mask(buildings)
    polygons = getattr(city_or_mask, "polygons", None)
    outlines = None if polygons is None else tuple(shapely.to_wkb(p) for p in polygons)
    with _MAKING_LAYOUT:
        return _recent_layout(mask.tobytes(), mask.shape, outlines)


def forget_layouts() -> None:
    """Drop the layouts that are kept, so that the next map costs what the first one does."""
    _recent_layout.cache_clear()


@lru_cache(maxsize=4)
def _recent_layout(
    mask: bytes, shape: tuple[int, int], outlines: tuple[bytes, ...] | None
) -> Layout:
    if outlines is None:
        return Layout.from_mask(np.frombuffer(mask, dtype=bool).reshape(shape))
    return Layout.from_polygons([shapely.from_wkb(p) for p in outlines], shape)


class Layout:
    """The buildings of a map and all lines of sight among them, for all its transmitters.

    Attributes:
        building_mask: (H, W) bool.
        corners: the K convex corners of the buildings.
        edges: (E, 4) walls, the building on the right of start -> end.
        pixels: (N, 2) integer outdoor pixels.
        resolution_m: side of a pixel in metres.
    """

    def __init__(
        self,
        polygons: Sequence[shapely.Polygon],
        building_mask: np.ndarray,
        model: PathLossModel | None = None,
        resolution_m: float = 1.0,
        reach_m: float = np.inf,
        threads: int = 1,
    ) -> None:
        self.resolution_m, self._reach, self._threads = (
            resolution_m,
            reach_m / resolution_m,
            threads,
        )
        self.building_mask = building_mask
        rings = polygon_rings(polygons)
        self.edges = edges_of(rings)
        self.corners = convex_corners(rings)
        self.pixels = np.argwhere(~building_mask)
        self._set_path_loss_model(constants().path_loss_model if model is None else model)
        self._set_roof()

    def _set_roof(self) -> None:
        model = self.path_loss_model
        edges = self.edges if model.over_roofs else self.edges[:0]
        longest_part = model.roof_part_m / self.resolution_m
        self._roof = roof_points(edges, longest_part, model.roof_point_position)
        self._graph = build_graph(
            self.corners, self._roof, self.edges, ~self.building_mask, self._reach, self._threads
        )
        self._roof_pairs = roof_pairs(self._roof, self.edges, self._reach)

    def _set_path_loss_model(self, model: PathLossModel) -> None:
        self.path_loss_model = model
        self._obstructed = ObstructedLoss(
            # Lengths are in pixels.
            model.line_of_sight_db_at_1m
            + model.obstructed_db_per_decade * np.log10(self.resolution_m),
            model.obstructed_db_per_decade,
            model.interaction_offset_db,
            np.rad2deg(model.interaction_db_per_degree),
            np.deg2rad(model.interaction_breakpoint_degree),
        )

    def with_path_loss_model(self, model: PathLossModel) -> Layout:
        """Return this layout under another model; only other roof points cost time."""
        layout = copy.copy(self)
        layout._set_path_loss_model(model)
        placed = ("roof_part_m", "roof_point_position", "over_roofs")
        if any(getattr(model, name) != getattr(self.path_loss_model, name) for name in placed):
            layout._set_roof()
        return layout

    @classmethod
    def from_mask(
        cls, mask: np.ndarray, model: PathLossModel | None = None, rule: RasterRule = GAIN_RULE
    ) -> Layout:
        """Build the layout of a (H, W) bool or 0/1 building mask, after recovering its polygons.

        ``rule`` is the raster rule of ``mask``: ``PNG_RULE`` for a building image of the dataset.
        """
        mask = as_mask(mask)
        polygons = polygons_from_mask(mask, rule)
        return cls(polygons, rasterise(polygons, mask.shape), model)

    @classmethod
    def from_polygons(
        cls,
        polygons: Sequence[shapely.Polygon],
        shape: tuple[int, int],
        model: PathLossModel | None = None,
        resolution_m: float = 1.0,
        reach_m: float = np.inf,
        threads: int = 1,
    ) -> Layout:
        """Build the layout of polygons (x = column, y = row); overlapping ones are merged.

        Args:
            polygons: the buildings, in pixels.
            shape: rows and columns of the map.
            model: the path-loss model; None is the fitted one.
            resolution_m: side of a pixel in metres.
            reach_m: after its first change of direction a path goes on to points in the square of
                this half-side; infinite is the model as it was fitted. A city of kilometres needs
                a bound: the work grows with the square of the number of walls within it.
            threads: find lines of sight at a time.
        """
        # Polygons made on a grid of whole metres would be merged on it, which moves walls.
        merged = shapely.union_all(list(polygons), grid_size=0.0)
        parts = [p for p in shapely.get_parts(merged) if isinstance(p, shapely.Polygon)]
        parts = [p for p in parts if not p.is_empty]
        # As drawn, like City.building_mask: merging rounds, and pixel centres lie on walls.
        mask = rasterise(polygons, shape)
        return cls(parts, mask, model, resolution_m, reach_m, threads)

    def path_gain(
        self, transmitter: tuple[int, int], vehicles: np.ndarray | None = None
    ) -> np.ndarray:
        """Return the (H, W) float32 path gain in dB; see :func:`path_gain`."""
        row, col = self._check_position("transmitter", transmitter)
        return self._gain_map(self._total_losses(row, col, self._clearance(vehicles)))

    def gain_and_diffractions(self, transmitter: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
        """Return the path gain and which path to its last diffraction every pixel's path continues.

        Returns:
            (H, W) float32 gain in dB as of :meth:`path_gain`, and (H, W) int32 diffractions:
            pixels of one number have the same losses up to that diffraction; -1 is line of sight,
            -2 buildings and pixels without a path.

        Raises:
            InputError: the transmitter is in a building or off the map.
        """
        row, col = self._check_position("transmitter", transmitter)
        loss, path, _, _ = self._pixel_losses(row, col)
        diffractions = np.full(self.building_mask.shape, -2, dtype=np.int32)
        diffractions[tuple(self.pixels.T)] = np.where(np.isinf(loss), -2, path)
        return self._gain_map(loss), diffractions

    def gain_and_bearing(self, transmitter: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
        """Return the path gain, and in which direction every pixel's path leaves the transmitter.

        Returns:
            (H, W) float32 gain in dB as of :meth:`path_gain`, and (H, W) degrees clockwise from
            north, NaN in buildings (:func:`radiodiff.simulate.departures.departure_bearings`).

        Raises:
            InputError: the transmitter is in a building or off the map.
        """
        place = self._check_position("transmitter", transmitter)
        loss, path, at_corners, on_roofs = self._pixel_losses(*place)
        bearing = np.full(self.building_mask.shape, np.nan)
        bearing[tuple(self.pixels.T)] = departure_bearings(
            place, self.pixels, path, at_corners, on_roofs, self._roof
        )
        return self._gain_map(loss), bearing

    def line_of_sight(self, transmitter: tuple[int, int]) -> np.ndarray:
        """Return (N,) bool, which of ``pixels`` are in line of sight of a transmitter.

        Raises:
            InputError: the transmitter is in a building or off the map.
        """
        return self._visible(*self._check_position("transmitter", transmitter))

    def link_gain(
        self,
        points_a: np.ndarray | Sequence[tuple[int, int]],
        points_b: np.ndarray | Sequence[tuple[int, int]],
        vehicles: np.ndarray | None = None,
    ) -> np.ndarray:
        """Return the (N,) float32 path gain of links in dB; see :func:`link_gain`."""
        ends = []
        for name, points in (("points_a", points_a), ("points_b", points_b)):
            position = np.asarray(points)
            if position.ndim != 2 or position.shape[1] != 2:
                raise InputError(
                    f"{name}: expected (N, 2) rows and columns, found {position.shape}"
                )
            ends.append([self._check_position(name, point) for point in position])
        if len(ends[0]) != len(ends[1]):
            raise InputError(f"found {len(ends[0])} points_a and {len(ends[1])} points_b")
        links: dict[tuple[int, int], list[int]] = {}
        last = np.empty((len(ends[0]), 2), dtype=np.int64)
        for n, pair in enumerate(zip(*ends, strict=True)):
            links.setdefault(min(pair), []).append(n)
            last[n] = max(pair)
        number = np.full(self.building_mask.shape, -1)
        number[tuple(self.pixels.T)] = np.arange(len(self.pixels))
        clearance = self._clearance(vehicles)
        gain = np.empty(len(last), dtype=np.float32)
        for (row, col), of_source in links.items():
            loss = self._total_losses(row, col, clearance)
            gain[of_source] = -loss[number[tuple(last[of_source].T)]]
        return gain.clip(GAIN_MIN_DB, GAIN_MAX_DB)

    def single_diffractions(
        self, transmitter: tuple[int, int]
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return the pixels with one diffraction, at a corner, for fitting the path-loss model.

        Returns:
            Indices into ``pixels``, path lengths in metres, and angles in degrees.
        """
        row, col = self._check_position("transmitter", transmitter)
        _, path, at_corners, _ = self._pixel_losses(row, col)
        straight = np.append(at_corners.parent < 0, False)
        pixel = np.flatnonzero((path >= 0) & straight[np.clip(path, -1, len(straight) - 1)])
        corner = self.corners.position[at_corners.point[path[pixel]] // 2]
        incoming, outgoing = corner - (row, col), self.pixels[pixel] - corner
        angle = np.arctan2(*outgoing.T) - np.arctan2(*incoming.T)
        length = np.hypot(*incoming.T) + np.hypot(*outgoing.T)
        return pixel, length, np.rad2deg(np.abs((angle + np.pi) % (2 * np.pi) - np.pi))

    def _check_position(self, name: str, point: tuple[int, int] | np.ndarray) -> tuple[int, int]:
        """Return an outdoor pixel as two ints; ``name`` says in errors whose it is."""
        height, width = self.building_mask.shape
        position = np.asarray(point)
        if position.shape != (2,) or not np.all(position == np.rint(position)):
            raise InputError(f"{name}: expected integers (row, col), found {point!r}")
        row, col = int(position[0]), int(position[1])
        if not (0 <= row < height and 0 <= col < width):
            raise InputError(
                f"{name}: ({row}, {col}) is outside the map of {height} rows and {width} columns"
            )
        if self.building_mask[row, col]:
            raise InputError(f"{name}: ({row}, {col}) is inside a building")
        return row, col

    def _clearance(self, vehicles: np.ndarray | None) -> np.ndarray | None:
        """Return what the vehicles' loss needs to know of them."""
        if vehicles is None:
            return None
        vehicles = as_mask(vehicles, "vehicles")
        if vehicles.shape != self.building_mask.shape:
            raise InputError(
                f"vehicles: found shape {vehicles.shape}, the buildings have "
                f"{self.building_mask.shape}"
            )
        return side_clearance(vehicles)

    def _total_losses(self, row: int, col: int, clearance: np.ndarray | None) -> np.ndarray:
        """Return the loss in dB of every outdoor pixel, vehicles included, before the filter."""
        loss, path, at_corners, on_roofs = self._pixel_losses(row, col)
        if clearance is None:
            return loss
        corners = self.corners.position
        return loss + path_losses_db(
            row, col, at_corners, on_roofs, corners, self.pixels, path, clearance
        )

    def _pixel_losses(self, row: int, col: int) -> tuple[np.ndarray, np.ndarray, Labels, Labels]:
        """Return the loss of every outdoor pixel, its path, and the paths to corners and roofs."""
        model, graph = self.path_loss_model, self._graph
        height = model.roof_height_m / self.resolution_m
        at_corners, on_roofs = search(
            row,
            col,
            self.corners,
            self._roof,
            self._roof_pairs,
            horizontal_losses(self._roof_pairs.crossings, model.roof_crossing_db),
            height,
            self.edges,
            graph,
            self._obstructed,
            -GAIN_MIN_DB,
        )
        visible = self._visible(row, col)
        loss = np.where(visible, -np.inf, np.inf)
        path = np.full(len(loss), -1, dtype=np.int32)
        distance = np.hypot(*(self.pixels - (row, col)).T)
        direct = distance_loss(self._obstructed, np.maximum(distance, 1.0))
        spread_to_pixels(
            at_corners, False, 0, 0.0, graph.corner_to_pixel, self._obstructed, direct, loss, path
        )
        count = len(at_corners.point)
        spread_to_pixels(
            on_roofs, True, count, height, graph.roof_to_pixel, self._obstructed, direct, loss, path
        )
        loss[visible] = model.line_of_sight_loss(distance[visible] * self.resolution_m)
        return loss, path, at_corners, on_roofs

    def _visible(self, row: int, col: int) -> np.ndarray:
        return visible_pixels(
            row - PIXEL_SHIFT, col + PIXEL_SHIFT, self.edges, self.pixels.astype(np.float64)
        )

    def _gain_map(self, loss: np.ndarray) -> np.ndarray:
        """Return the (H, W) float32 map of (N,) losses in dB, the median filter included."""
        gain = np.full(self.building_mask.shape, GAIN_MIN_DB)
        gain[tuple(self.pixels.T)] = np.clip(-loss, GAIN_MIN_DB, GAIN_MAX_DB)
        return median_filter(gain, ~self.building_mask).astype(np.float32)
