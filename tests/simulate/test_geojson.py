import json

import numpy as np
import pytest
import shapely
from shapely.affinity import affine_transform
from shapely.geometry import (
    GeometryCollection,
    LineString,
    MultiPolygon,
    Point,
    Polygon,
    box,
    mapping,
)

from radiodiff.errors import InputError
from radiodiff.simulate.city import City
from radiodiff.simulate.geojson import Projection

# Length of a degree at 45 degrees of latitude on WGS84 (published tables): 78 847 m and 111 132 m.
LONGITUDE_M, LATITUDE_M = 78_847.0, 111_132.0
WEST, NORTH = 7.0, 45.0


def degrees(shape):
    """From metres east and south of (WEST, NORTH) to longitude and latitude."""
    return affine_transform(shape, [1 / LONGITUDE_M, 0, 0, -1 / LATITUDE_M, WEST, NORTH])


def write(path, *features, **members):
    content = {
        "type": "FeatureCollection",
        "features": [
            {"type": "Feature", "geometry": shape and mapping(degrees(shape)), "properties": tags}
            for shape, tags in features
        ],
        **members,
    }
    path.write_text(json.dumps(content))
    return path


def bounds(width, height):
    return (WEST, NORTH - height / LATITUDE_M, WEST + width / LONGITUDE_M, NORTH)


def test_metres_per_degree_match_published_tables():
    scale = Projection((7.0, 44.99, 7.02, 45.01)).metres_per_degree
    np.testing.assert_allclose(scale, (LONGITUDE_M, LATITUDE_M), rtol=2e-5)
    at_equator = Projection((7.0, -0.01, 7.02, 0.01)).metres_per_degree
    np.testing.assert_allclose(at_equator, (111_320.0, 110_574.0), rtol=2e-5)


def test_an_osm_export_becomes_layers_in_metres(tmp_path):
    ring = box(20, 30, 60, 70).difference(box(30, 40, 50, 60))
    export = write(
        tmp_path / "export.geojson",
        (ring, {"building": "yes"}),
        (box(80, 10, 90, 25), {"building": "house"}),
        (box(0, 0, 100, 80), {"landuse": "residential"}),
        (box(2, 2, 8, 8), {"building": "no"}),
        (LineString([(0, 75), (100, 75)]), {"highway": "residential", "width": "4"}),
        (LineString([(70, 0), (70, 80)]), {"highway": "footway"}),
        (None, {"building": "yes"}),
    )
    city = City.from_geojson(export, roads=export, bounds=bounds(100, 80))
    assert city.size == (80, 100)
    assert sorted(round(b.area) for b in city.buildings) == [150, 1200]
    mask = city.building_mask
    assert mask.sum() == 150 + 1200
    # First row north, first column west, the courtyard open.
    assert mask[20, 85]
    assert not mask[50, 40]
    assert mask[35, 25]
    roads = city.road_mask
    assert roads.sum() == 4 * 100
    assert roads[75].all()
    assert not city.vehicles


def test_untagged_polygons_of_a_footprint_file_are_buildings(tmp_path):
    shapes = box(10, 10, 20, 20), box(40, 30, 50, 45)
    path = write(tmp_path / "footprints.geojson", *((shape, {}) for shape in shapes))
    city = City.from_geojson(path)
    assert city.size == (35, 40)
    assert city.building_mask.sum() == 100 + 150


def test_terraced_houses_are_joined(tmp_path):
    houses = [(box(10 + 6.2 * i, 10, 16.2 + 6.2 * i, 20), {"building": "yes"}) for i in range(5)]
    city = City.from_geojson(write(tmp_path / "row.geojson", *houses), bounds=bounds(60, 40))
    assert len(city.buildings) == 1
    assert city.buildings[0].area == pytest.approx(310, abs=10)


def test_self_crossing_footprint_is_repaired(tmp_path):
    bow_tie = Polygon([(10, 10), (30, 30), (30, 10), (10, 30)])
    path = write(tmp_path / "bad.geojson", (bow_tie, {"building": "yes"}))
    city = City.from_geojson(path, bounds=bounds(64, 64))
    assert city.building_mask.sum() == pytest.approx(200, abs=20)


def test_vehicles_come_from_a_file_or_are_drawn_along_the_roads(tmp_path):
    buildings = write(tmp_path / "b.geojson", (box(10, 10, 40, 40), {"building": "yes"}))
    roads = write(
        tmp_path / "r.geojson", (LineString([(0, 60), (200, 60)]), {"highway": "primary"})
    )
    cars = write(tmp_path / "v.geojson", (box(50, 59, 55, 61), {}))
    area = bounds(200, 100)
    from_file = City.from_geojson(buildings, roads, cars, area)
    assert from_file.vehicle_mask.sum() == 10
    drawn = City.from_geojson(buildings, roads, bounds=area, traffic=np.random.default_rng(0))
    assert drawn.vehicles
    assert not (drawn.vehicle_mask & drawn.building_mask).any()
    assert all(54 < v.centroid.y < 64 for v in drawn.vehicles)


def test_an_empty_part_of_the_world_is_free_space(tmp_path):
    path = write(tmp_path / "empty.geojson")
    assert not City.from_geojson(path, bounds=bounds(64, 64)).building_mask.any()
    with pytest.raises(InputError, match="no features and no bounds"):
        City.from_geojson(path)


def test_projected_coordinates_are_refused(tmp_path):
    path = tmp_path / "utm.geojson"
    utm = mapping(box(391_000, 5_820_000, 391_100, 5_820_100))
    feature = {"type": "Feature", "geometry": utm, "properties": {}}
    path.write_text(json.dumps({"type": "FeatureCollection", "features": [feature]}))
    with pytest.raises(InputError, match=r"391000.*no longitudes and latitudes.*EPSG:4326"):
        City.from_geojson(path)


def test_metres_that_pass_for_degrees_are_refused(tmp_path):
    path = tmp_path / "local.geojson"
    feature = {"type": "Feature", "geometry": mapping(box(0, 0, 80, 60)), "properties": {}}
    path.write_text(json.dumps({"type": "FeatureCollection", "features": [feature]}))
    with pytest.raises(InputError, match=r"km, at most 20 km.*not metres"):
        City.from_geojson(path)


def test_a_named_projection_is_converted(tmp_path):
    pyproj = pytest.importorskip("pyproj")
    project = pyproj.Transformer.from_crs("EPSG:4326", "EPSG:25832", always_xy=True).transform
    shapes = box(10, 10, 40, 30), box(60, 50, 80, 70)
    plain = write(tmp_path / "plain.geojson", *((s, {"building": "yes"}) for s in shapes))
    named = {
        "type": "FeatureCollection",
        "crs": {"type": "name", "properties": {"name": "urn:ogc:def:crs:EPSG::25832"}},
        "features": [
            {
                "type": "Feature",
                "geometry": mapping(
                    shapely.transform(degrees(s), lambda p: np.stack(project(*p.T), 1))
                ),
                "properties": {"building": "yes"},
            }
            for s in shapes
        ],
    }
    path = tmp_path / "named.geojson"
    path.write_text(json.dumps(named))
    found, expected = City.from_geojson(path), City.from_geojson(plain)
    assert found.size == expected.size
    assert (found.building_mask == expected.building_mask).all()
    named["crs"]["properties"]["name"] = "urn:ogc:def:crs:OGC:1.3:CRS84"
    named["features"] = json.loads(plain.read_text())["features"]
    path.write_text(json.dumps(named))
    assert City.from_geojson(path).size == expected.size
    named["crs"]["properties"]["name"] = "EPSG:1"
    path.write_text(json.dumps(named))
    with pytest.raises(InputError, match="'EPSG:1' is not known"):
        City.from_geojson(path)


FOUR = [box(10, 10, 40, 30), box(60, 50, 80, 70), box(100, 10, 120, 40), box(90, 60, 120, 80)]
AREA = sum(shape.area for shape in FOUR)


def city_of(path):
    return City.from_geojson(path, bounds=bounds(150, 100)).building_mask.sum()


@pytest.mark.parametrize(
    "tags",
    [
        {"building": "yes"},
        {"building": True},
        {"tags": {"building": "house"}},
        {"type": "way", "id": 3, "tags": {"building:part": "yes"}},
        {"other_tags": '"height"=>"12","building"=>"yes"'},
        {"tags": '{"building": "yes"}'},
        {"class": "Building"},
    ],
)
def test_tags_of_buildings_wherever_they_are(tmp_path, tags):
    park = (box(0, 0, 140, 90), {"tags": {"landuse": "residential"}})
    path = write(tmp_path / "b.geojson", *((shape, tags) for shape in FOUR), park)
    assert city_of(path) == AREA


@pytest.mark.parametrize("tags", [{}, {"name": "site"}, {"landuse": "campus"}, {"building": "no"}])
def test_the_outline_of_the_site_is_no_building_and_that_is_said(tmp_path, tags, caplog):
    plain = {"height": 8.0}
    outline = (box(5, 5, 145, 95), tags)
    path = write(tmp_path / "b.geojson", *((shape, plain) for shape in FOUR), outline)
    assert city_of(path) == AREA
    assert ("left out 1 of 5 polygons" in caplog.text) == ("building" not in tags)


def test_collections_lines_and_points_of_buildings(tmp_path, caplog):
    tags = {"building": "yes"}
    nested = GeometryCollection([FOUR[0], Point(1, 1), GeometryCollection([FOUR[1]])])
    ring = LineString(FOUR[2].exterior.coords)
    shapes = [nested, ring, MultiPolygon([FOUR[3]]), Point(5, 5), LineString([(0, 0), (9, 9)])]
    path = write(tmp_path / "b.geojson", *((shape, tags) for shape in shapes))
    assert city_of(path) == AREA
    assert "left out 2 of 5 features tagged as buildings: no polygon" in caplog.text


def as_text(content, form):
    items = content["features"]
    return {
        "byte order mark": "\ufeff" + json.dumps(content),
        "record separators": "".join(f"\x1e{json.dumps(item)}\n" for item in items),
        "lines": "\n".join(map(json.dumps, items)),
        "list": json.dumps(items),
        "collections": "\n".join([json.dumps(content)] * 2),
        "geometries": "\n".join(json.dumps(item["geometry"]) for item in items),
        "one geometry": json.dumps(
            {"type": "GeometryCollection", "geometries": [item["geometry"] for item in items]}
        ),
    }[form]


@pytest.mark.parametrize(
    "form",
    [
        "byte order mark",
        "record separators",
        "lines",
        "list",
        "collections",
        "geometries",
        "one geometry",
    ],
)
def test_forms_of_geojson(tmp_path, form):
    path = write(tmp_path / "b.geojson", *((shape, {"building": "yes"}) for shape in FOUR))
    content = json.loads(path.read_text())
    path.write_text(as_text(content, form), encoding="utf-8")
    assert city_of(path) == AREA


def test_a_collection_without_features_is_empty(tmp_path):
    path = tmp_path / "b.geojson"
    path.write_text('{"type": "FeatureCollection", "features": null}')
    assert city_of(path) == 0


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("{", "not JSON"),
        ('{"elements": []}', "not GeoJSON.*Overpass"),
        ("[1, 2]", "not GeoJSON"),
        (
            '{"type": "FeatureCollection", "features": [{"geometry": {"type": "Nonsense"}}]}',
            "feature 0",
        ),
        ('{"type": "FeatureCollection", "features": [7]}', "feature 0"),
    ],
)
def test_files_that_are_no_geojson_are_refused(tmp_path, text, words):
    path = tmp_path / "file.geojson"
    path.write_text(text)
    with pytest.raises(InputError, match=words):
        City.from_geojson(path)


def test_a_missing_file_and_impossible_bounds_are_refused(tmp_path):
    with pytest.raises(InputError, match=r"nowhere\.geojson: cannot be read"):
        City.from_geojson(tmp_path / "nowhere.geojson")
    path = write(tmp_path / "b.geojson", (box(0, 0, 9, 9), {}))
    with pytest.raises(InputError, match="west < east"):
        City.from_geojson(path, bounds=(8.0, 45.0, 7.0, 46.0))
