import sys
from collections import Counter

import numpy as np
import pytest
from shapely.geometry import Polygon, box

from radiodiff.errors import InputError
from radiodiff.simulate import ray_tracing
from radiodiff.simulate.city import City
from radiodiff.simulate.dataset import simulate_dataset
from radiodiff.simulate.ray_tracing import extrude, facets, llvm_is_unsound, path_gain
from radiodiff.simulate.settings import SimulateConfig
from radiodiff.units import GAIN_MAX_DB, GAIN_MIN_DB


def usable():
    try:
        ray_tracing.require_sionna()
    except InputError:
        return False
    return True


needs_sionna = pytest.mark.skipif(not usable(), reason="needs the extra raytrace and a backend")


def triangle_areas(vertices, faces):
    a, b, c = (vertices[faces[:, k]] for k in range(3))
    return 0.5 * np.linalg.norm(np.cross(b - a, c - a), axis=1)


@pytest.mark.parametrize(
    "footprint",
    [
        box(0, 0, 10, 4),
        Polygon([(0, 0), (12, 0), (12, 5), (6, 5), (6, 9), (0, 9)]),
        box(0, 0, 20, 20).difference(box(5, 5, 12, 15)),
    ],
)
def test_prisms_have_closed_walls_and_roofs(footprint):
    vertices, faces = extrude([footprint], 25.0)
    area = triangle_areas(vertices, faces)
    assert area.sum() == pytest.approx(footprint.area + 25.0 * footprint.length)
    on_roof = (vertices[faces][..., 2] == 25.0).all(axis=1)
    assert area[on_roof].sum() == pytest.approx(footprint.area)
    # Every edge belongs to two triangles, except those on the ground.
    edges = Counter(
        frozenset((face[k], face[(k + 1) % 3])) for face in faces.tolist() for k in range(3)
    )
    open_edges = [edge for edge, count in edges.items() if count == 1]
    assert all(vertices[vertex, 2] == 0.0 for edge in open_edges for vertex in edge)
    assert max(edges.values()) == 2


def test_points_on_a_straight_wall_are_no_corners():
    vertices, _ = extrude([Polygon([(0, 0), (5, 0), (10, 0), (10, 4), (0, 4)])], 3.0)
    assert len(vertices) == 8


def test_facets_face_the_transmitter():
    pixels = np.array([[3, 4], [10, 20], [7, 7]])
    vertices, faces = facets(pixels, (7, 7))
    assert triangle_areas(vertices, faces) == pytest.approx(0.25, rel=1e-5)
    corners = vertices.reshape(-1, 4, 3)
    np.testing.assert_allclose(corners.mean(axis=1)[:, :2], pixels[:, ::-1] + [0.25, -0.25])
    np.testing.assert_allclose(corners[..., 2], [[1, 1, 2, 2]] * 3)
    along = corners[:, 1, :2] - corners[:, 0, :2]
    ray = corners.mean(axis=1)[:, :2] - [7, 7]
    np.testing.assert_allclose((along * ray).sum(axis=1), 0.0, atol=1e-5)


def test_unsound_llvm_is_known():
    assert llvm_is_unsound((15, 0, 6), ["sse2", "avx512_bf16"])
    assert not llvm_is_unsound((19, 1, 7), ["sse2", "avx512_bf16"])
    assert not llvm_is_unsound((15, 0, 6), ["sse2", "avx2"])


def test_a_missing_sionna_is_explained_in_one_line(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "drjit", None)
    words = r'not installed: pip install -e "\.\[raytrace\]"$'
    with pytest.raises(InputError, match=words):
        path_gain(np.zeros((8, 8), bool), (4, 4))
    config = SimulateConfig(
        output=tmp_path / "tree", seed=0, layouts=1, size=64, transmitters=1, simulations=("IRT2",)
    )
    with pytest.raises(InputError, match=words):
        simulate_dataset(config)
    assert not (tmp_path / "tree").exists()


@needs_sionna
def test_an_empty_city_is_free_space():
    gain = path_gain(City((64, 64)), (32, 20))
    row, column = np.mgrid[:64, :64]
    distance = np.hypot(row - 32, column - 20)
    error = (gain - (GAIN_MAX_DB - 20 * np.log10(np.maximum(distance, 1.0))))[distance > 5]
    assert abs(error.mean()) < 0.1
    assert error.std() < 0.4


@needs_sionna
def test_a_building_reflects_and_shadows():
    city = City((64, 64), (box(30, 20, 44, 44),))
    free = path_gain(City((64, 64)), (32, 10))
    gain = path_gain(city, (32, 10), max_depth=2)
    assert (gain[city.building_mask] == GAIN_MIN_DB).all()
    # Before the wall the reflection adds, behind the building only a diffracted wave arrives.
    assert 0.2 < (gain - free)[32, 22:28].mean() < 4.0
    assert (gain - free)[21:43, 46:60].max() < -10.0
    direct = path_gain(city, (32, 10), max_depth=0)
    np.testing.assert_allclose(direct[32, 15:28], free[32, 15:28], atol=0.5)
    assert (direct[28:36, 46:60] == GAIN_MIN_DB).all()


@needs_sionna
def test_vehicles_shadow_but_do_not_block():
    vehicles = np.zeros((64, 64), bool)
    vehicles[28:36, 30:32] = True
    empty = City((64, 64))
    difference = path_gain(empty, (32, 10), vehicles) - path_gain(empty, (32, 10))
    assert -8.0 < difference[31:34, 36:60].mean() < -1.0
    assert abs(difference[5:10, 12:50].mean()) < 0.5


@needs_sionna
def test_a_transmitter_in_a_building_is_refused():
    with pytest.raises(InputError, match=r"\(30, 35\)"):
        path_gain(City((64, 64), (box(30, 20, 44, 44),)), (30, 35))
