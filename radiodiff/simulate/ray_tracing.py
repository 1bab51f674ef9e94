"""A second engine: ray tracing with Sionna RT, called like :mod:`.dominant_path`.

Buildings are concrete prisms of 25 m, vehicles metal boxes of 1.5 m, antennas are isotropic,
vertically polarised and at 1.5 m; there is no ground, as in the dominant path model. Rays are
reflected specularly and diffracted at edges; Sionna RT follows one diffraction per path, so the
deep shadow behind two corners, where no reflection leads either, is empty (GAIN_MIN_DB).

Sionna's radio maps count rays that cross a measurement surface. A horizontal surface at 1.5 m would
hold the transmitter, and no ray from it would ever cross it. So every pixel is measured by a small
upright facet that faces the transmitter and reaches from 1 m to 2 m height. A vehicle shadows the
lower half of it: like the wave whose lower half it blocks.

Needs the extra ``raytrace``. Sionna runs on a GPU where there is one, else on the CPU through LLVM.
Source: Hoydis et al., "Sionna RT", technical report, 2025.
"""

from __future__ import annotations

from collections.abc import Iterable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import shapely
from shapely.geometry import Polygon

from radiodiff.data.binary import as_mask
from radiodiff.data.polygons import polygons_from_mask
from radiodiff.data.prompts import check_transmitter
from radiodiff.errors import InputError
from radiodiff.simulate.city import City
from radiodiff.simulate.geometry import polygon_parts
from radiodiff.units import (
    ANTENNA_HEIGHT_M,
    BUILDING_HEIGHT_M,
    CARRIER_FREQUENCY_HZ,
    GAIN_MAX_DB,
    GAIN_MIN_DB,
    VEHICLE_HEIGHT_M,
)

FACET_WIDTH_M, FACET_HEIGHT_M = 0.5, 1.0
FACET_SHIFT_M = 0.25
"""Facets stand this far right of and above the pixel centre, towards the point by which the raster
rule decides, so that a pixel on a wall is measured on its open side."""
OLDEST_SOUND_LLVM = 16
"""LLVM 14 and 15 abort the process when they generate code for AVX512-BF16."""


def path_gain(
    city_or_mask: City | np.ndarray,
    transmitter: tuple[int, int],
    vehicles: np.ndarray | None = None,
    *,
    max_depth: int = 2,
    samples: int = 1_000_000,
    seed: int = 1,
) -> np.ndarray:
    """Return the (H, W) float32 path gain in dB of one transmitter, GAIN_MIN_DB inside buildings.

    Args:
        city_or_mask: a City, or a (H, W) bool or 0/1 building mask.
        transmitter: row and column, outside buildings.
        vehicles: (H, W) bool or 0/1, True on vehicles.
        max_depth: most reflections and diffractions along a path, >= 0.
        samples: rays sent out. With 10^6 the noise in line of sight is about 0.2 dB up to 60 m and
            0.35 dB up to 100 m; it falls with the square root.
        seed: of the rays' directions.

    Raises:
        InputError: Sionna RT is not installed or has no backend that works; a mask is not binary;
            the transmitter is in a building or off the map.
    """
    require_sionna()
    if isinstance(city_or_mask, City):
        mask, footprints = city_or_mask.building_mask, list(city_or_mask.buildings)
    else:
        mask = as_mask(city_or_mask)
        footprints = polygons_from_mask(mask)
    row, column = check_transmitter(transmitter, mask)
    bodies = [("buildings", footprints, BUILDING_HEIGHT_M, "concrete")]
    if vehicles is not None:
        cars = polygons_from_mask(as_mask(vehicles, "vehicles"))
        bodies.append(("vehicles", cars, VEHICLE_HEIGHT_M, "metal"))
    scene = _build_scene([body for body in bodies if body[1]], (row, column))
    pixels = np.argwhere(~mask)
    vertices, faces = facets(pixels, (row, column))
    gain = _trace(scene, vertices, faces, max_depth, samples, seed).reshape(-1, 2).mean(axis=1)
    result = np.full(mask.shape, GAIN_MIN_DB, dtype=np.float32)
    with np.errstate(divide="ignore"):
        gain_db = 10.0 * np.log10(gain)
    result[tuple(pixels.T)] = np.clip(gain_db, GAIN_MIN_DB, GAIN_MAX_DB)
    return result


def require_sionna() -> None:
    """Check that Sionna RT can be used here.

    Raises:
        InputError: it is not installed, or Dr.Jit finds neither a GPU nor an LLVM that works.
    """
    try:
        import drjit

        if find_spec("sionna") is None:
            raise ImportError
    except ImportError:
        raise InputError(
            'ray tracing needs Sionna RT, which is not installed: pip install -e ".[raytrace]"'
        ) from None
    if drjit.has_backend(drjit.JitBackend.CUDA):
        return
    if not drjit.has_backend(drjit.JitBackend.LLVM):
        raise InputError(
            "ray tracing needs a GPU or LLVM, and Dr.Jit finds neither: install LLVM (Debian: apt "
            "install libllvm19) and set DRJIT_LIBLLVM_PATH to its libLLVM.so"
        )
    version = drjit.detail.llvm_version()
    if llvm_is_unsound(version, _processor_flags()):
        raise InputError(
            f"ray tracing would crash: Dr.Jit found LLVM {version[0]}.{version[1]}, which cannot "
            "generate code for this processor (AVX512-BF16): install a newer one (Debian: apt "
            "install libllvm19) and set DRJIT_LIBLLVM_PATH to its libLLVM.so"
        )


def llvm_is_unsound(version: tuple[int, int, int], processor_flags: Iterable[str]) -> bool:
    """Return whether this LLVM aborts in code generation for a processor with these features."""
    return version[0] < OLDEST_SOUND_LLVM and "avx512_bf16" in processor_flags


def extrude(polygons: Iterable[Polygon], height: float) -> tuple[np.ndarray, np.ndarray]:
    """Return the walls and roofs of prisms as a triangle mesh.

    Neighbouring triangles share their vertices, so that edges are known as edges.

    Args:
        polygons: footprints (x, y), possibly with holes.
        height: of all prisms, in metres.

    Returns:
        vertices (N, 3) float32 and faces (M, 3) uint32.
    """
    vertices: list[tuple[float, float, float]] = []
    faces: list[tuple[int, int, int]] = []
    for polygon in polygons:
        polygon = polygon.simplify(0.0)
        top: dict[tuple[float, float], int] = {}
        for ring in (polygon.exterior, *polygon.interiors):
            first, points = len(vertices), ring.coords[:-1]
            for index, (x, y) in enumerate(points):
                vertices += [(x, y, 0.0), (x, y, height)]
                top[x, y] = first + 2 * index + 1
                a, b = first + 2 * index, first + 2 * ((index + 1) % len(points))
                faces += [(a, b, b + 1), (a, b + 1, a + 1)]
        for triangle in polygon_parts(shapely.constrained_delaunay_triangles(polygon)):
            a, b, c = (top[x, y] for x, y in triangle.exterior.coords[:-1])
            faces.append((a, b, c))
    return np.array(vertices, dtype=np.float32), np.array(faces, dtype=np.uint32)


def facets(pixels: np.ndarray, transmitter: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    """Return the mesh of the measuring facets, two triangles per pixel, facing the transmitter.

    Args:
        pixels: (N, 2) of (row, column).
        transmitter: (row, column).

    Returns:
        vertices (4 N, 3) float32 (x, y, height) and faces (2 N, 3) uint32.
    """
    centre = pixels[:, ::-1] + FACET_SHIFT_M * np.array([1.0, -1.0])
    ray = centre - np.array(transmitter[::-1], dtype=np.float64)
    ray /= np.linalg.norm(ray, axis=1, keepdims=True)
    half = FACET_WIDTH_M / 2 * np.stack([-ray[:, 1], ray[:, 0]], axis=1)
    low, high = ANTENNA_HEIGHT_M - FACET_HEIGHT_M / 2, ANTENNA_HEIGHT_M + FACET_HEIGHT_M / 2
    corners = [
        np.column_stack([centre + side * half, np.full(len(centre), z)])
        for side, z in ((-1, low), (1, low), (1, high), (-1, high))
    ]
    first = 4 * np.arange(len(pixels))[:, None]
    faces = first + np.array([0, 1, 2, 0, 2, 3])
    vertices = np.stack(corners, axis=1)
    return vertices.reshape(-1, 3).astype(np.float32), faces.reshape(-1, 3).astype(np.uint32)


def _build_scene(
    bodies: Iterable[tuple[str, list[Polygon], float, str]], transmitter: tuple[int, int]
) -> Any:
    """Return the Sionna scene of prisms (name, footprints, height, ITU material) and an antenna."""
    from sionna import rt

    scene = rt.load_scene()
    scene.frequency = CARRIER_FREQUENCY_HZ
    scene.tx_array = rt.PlanarArray(num_rows=1, num_cols=1, pattern="iso", polarization="V")
    row, column = transmitter
    scene.add(rt.Transmitter("transmitter", [float(column), float(row), ANTENNA_HEIGHT_M]))
    scene.edit(
        add=[
            rt.SceneObject(
                mi_mesh=_mesh(name, *extrude(footprints, height)),
                name=name,
                radio_material=rt.ITURadioMaterial(f"{name} material", material, thickness=0.3),
            )
            for name, footprints, height, material in bodies
        ]
    )
    return scene


def _trace(
    scene: Any, vertices: np.ndarray, faces: np.ndarray, max_depth: int, samples: int, seed: int
) -> np.ndarray:
    """Return the linear path gain of every face of the measurement mesh."""
    from sionna import rt

    solved = rt.RadioMapSolver()(
        scene,
        measurement_surface=_mesh("receivers", vertices, faces),
        max_depth=max_depth,
        samples_per_tx=samples,
        seed=seed,
        refraction=False,
        diffraction=max_depth > 0,
    )
    return np.asarray(solved.path_gain, dtype=np.float64)[0]


def _mesh(name: str, vertices: np.ndarray, faces: np.ndarray) -> Any:
    import mitsuba

    mesh = mitsuba.Mesh(name, vertex_count=len(vertices), face_count=len(faces))
    parameters = mitsuba.traverse(mesh)
    parameters["vertex_positions"] = vertices.ravel()
    parameters["faces"] = faces.ravel()
    parameters.update()
    return mesh


def _processor_flags() -> list[str]:
    """Return the processor's feature names where Linux lists them."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return []
    return next((line.split() for line in lines if line.startswith("flags")), [])
