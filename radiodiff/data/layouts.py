"""The building layouts of a tree: where polygons and images lie, and which of them are used."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import numpy as np

from radiodiff.data.footprints import (
    Footprint,
    check_against_gain,
    check_polygons_against_png,
    footprint_from_gain,
    footprint_from_png,
    footprint_from_polygons,
    read_rings,
)
from radiodiff.data.images import read_any_levels, read_gray, read_mask
from radiodiff.data.settings import BuildingSource, LayoutName
from radiodiff.data.tree import NumberedFiles
from radiodiff.errors import InputError


class Layouts:
    """The footprints of a tree's layouts, each made when first asked for and then kept.

    Args:
        root: the folder that holds ``png/`` and ``polygon/``.
        layout: ``complete``, or ``missing1`` .. ``missing4`` without one to four buildings.
        version: which of the versions of an incomplete layout.
        source: ``polygon``, ``png`` or ``gain``; ``auto`` takes the polygons of a map if there are
            any, else its image, and checks what it took.
        heights: the images hold heights; what is above 0 is building, as it is drawn.

    Raises:
        InputError: the tree has no such layout.
    """

    def __init__(
        self,
        root: Path,
        layout: LayoutName,
        version: int,
        source: BuildingSource,
        heights: bool = False,
    ) -> None:
        folder = Path(f"buildings_{layout}", "" if layout == "complete" else str(version))
        self.images, self.polygons = root / "png" / folder, root / "polygon" / folder
        self._image_files = NumberedFiles(self.images, ".png")
        self._polygon_files = NumberedFiles(self.polygons, ".json")
        self._source: BuildingSource = "png" if heights else source
        self._of_heights = heights
        self._footprints: dict[int, Footprint] = {}
        if source == "gain":
            if layout != "complete":
                raise InputError(
                    f"data.buildings: gain images show all buildings, not the layout {layout}; "
                    "choose auto, polygon or png"
                )
            return
        wanted = {"auto": (self.images, self.polygons), "png": (self.images,)}
        folders = wanted.get(source, (self.polygons,))
        if not any(folder.is_dir() for folder in folders):
            raise InputError(f"{folders[0]}: no such folder; copy it from the dataset")

    def source(self, map_id: int) -> str:
        """Return which source the footprint of a map is made from: polygon, png or gain."""
        if self._source == "auto":
            return "polygon" if self._ring_file(map_id).is_file() else "png"
        return self._source

    def sources(self, map_ids: Iterable[int]) -> dict[str, int]:
        """Return source -> number of maps, for reports."""
        return dict(Counter(self.source(map_id) for map_id in map_ids))

    def footprint(
        self,
        map_id: int,
        shape: tuple[int, int],
        gain_images: Sequence[Callable[[], np.ndarray]],
    ) -> Footprint:
        """Return the footprint of a map.

        Args:
            map_id: id of the map.
            shape: (H, W) it must have.
            gain_images: functions that read the levels of the map's gain images. The source png
                looks at the first one to tell the rule of the image.

        Raises:
            InputError: a file is missing or cannot be read, or with ``auto`` contradicts another.
        """
        if map_id not in self._footprints:
            self._footprints[map_id] = self._make(map_id, shape, gain_images)
        return self._footprints[map_id]

    def image(self, map_id: int, shape: tuple[int, int] | None) -> np.ndarray | None:
        """Return the (H, W) bool building image of a map, or None if there is none."""
        path = self._image_file(map_id)
        if not path.is_file():
            return None
        return read_any_levels(path, shape) > 0 if self._of_heights else read_mask(path, shape)

    def heights(self, map_id: int, shape: tuple[int, int]) -> np.ndarray | None:
        """Return (H, W) float32 heights in [0, 1] where the images hold them, else None."""
        if not self._of_heights:
            return None
        return read_gray(self._image_file(map_id), shape)

    def files(self, map_id: int) -> list[Path]:
        """Return the files that there are of a map's layout."""
        return [p for p in (self._image_file(map_id), self._ring_file(map_id)) if p.is_file()]

    def _make(
        self,
        map_id: int,
        shape: tuple[int, int],
        gain_images: Sequence[Callable[[], np.ndarray]],
    ) -> Footprint:
        source = self.source(map_id)
        path, image = self._image_file(map_id), self.image(map_id, shape)
        if source == "gain":
            return footprint_from_gain((read() for read in gain_images), image)
        if source == "polygon":
            ring_file = self._ring_file(map_id)
            found = footprint_from_polygons(read_rings(ring_file, shape), shape, image)
            if self._source == "auto" and image is not None:
                check_polygons_against_png(found, ring_file, path)
            return found
        if image is None:
            raise InputError(f"{path}: this file is missing")
        if self._of_heights:
            return Footprint(image, "png of heights", image)
        gain = gain_images[0]()
        found = footprint_from_png(image, gain)
        if self._source == "auto":
            check_against_gain(found, gain, path)
        return found

    def _image_file(self, map_id: int) -> Path:
        return self._image_files(map_id)

    def _ring_file(self, map_id: int) -> Path:
        return self._polygon_files(map_id)
