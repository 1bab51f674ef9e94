import numpy as np
import pytest

from radiodiff.data import geodesy
from radiodiff.errors import InputError


def test_a_degree_is_as_long_as_the_ellipsoid_says():
    pyproj = pytest.importorskip("pyproj")
    geod = pyproj.Geod(ellps="WGS84")
    for latitude in (-60.0, 0.0, 49.4, 80.0):
        east = geod.inv(7.0, latitude, 7.001, latitude)[2] * 1000
        north = geod.inv(7.0, latitude - 5e-4, 7.0, latitude + 5e-4)[2] * 1000
        np.testing.assert_allclose(geodesy.metres_per_degree(latitude), (east, north), rtol=1e-6)


@pytest.mark.parametrize("name", ["EPSG:4326", "epsg:4326", "urn:ogc:def:crs:OGC:1.3:CRS84"])
def test_spellings_of_wgs84_need_no_package(name):
    assert geodesy.is_wgs84(name)
    assert geodesy.is_geographic(name)
    x, y = geodesy.transform(np.array([7.0]), np.array([49.0]), name, geodesy.WGS84)
    assert (x[0], y[0]) == (7.0, 49.0)


def test_units_of_projections_are_metres_on_the_ground():
    pytest.importorskip("pyproj")
    assert geodesy.metres_per_unit("EPSG:32632", False, 409_500.0, 5_475_000.0) == (1.0, 1.0)
    mercator = geodesy.metres_per_unit("EPSG:3857", False, 862_700.0, 6_348_000.0)
    latitude = np.degrees(2 * np.arctan(np.exp(6_348_000.0 / 6_378_137.0)) - np.pi / 2)
    np.testing.assert_allclose(mercator, np.cos(np.radians(latitude)), rtol=0.005)
    feet = geodesy.metres_per_unit("EPSG:2263", False, 985_000.0, 200_000.0)
    np.testing.assert_allclose(feet, 0.3048, rtol=1e-3)


@pytest.mark.parametrize(
    ("longitude", "latitude", "code"),
    [(7.75, 49.4, "EPSG:32632"), (-70.6, -33.4, "EPSG:32719"), (180.0, 0.0, "EPSG:32601")],
)
def test_utm_zones(longitude, latitude, code):
    assert geodesy.utm_zone(longitude, latitude) == code


def test_without_pyproj_the_way_out_is_said(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "pyproj", None)
    with pytest.raises(InputError, match=r"needs pyproj; install it with.*radiodiff\[geo\]"):
        geodesy.parse_crs("EPSG:32632")
