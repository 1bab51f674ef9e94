import json
import multiprocessing
import shutil
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from shapely.geometry import LineString, box, mapping

from radiodiff.config import load_config
from radiodiff.data.polygons import PNG_RULE, rasterise
from radiodiff.data.radiomapseer import RadioMapSeer
from radiodiff.errors import InputError
from radiodiff.simulate import dataset, dominant_path
from radiodiff.simulate.city import City
from radiodiff.simulate.dataset import choose_transmitters, simulate_dataset
from radiodiff.simulate.settings import SimulateConfig
from radiodiff.units import db_to_level

REPOSITORY = Path(__file__).parents[2]
SETTINGS = {
    "seed": 5,
    "layouts": 3,
    "first_map_id": 7,
    "size": 64,
    "transmitters": 2,
    "simulations": ("DPM", "carsDPM"),
}


def config_of(output, **changes):
    return SimulateConfig(output=output, **(SETTINGS | changes))


def contents(root):
    """Every file of a tree: relative path -> bytes."""
    return {p.relative_to(root): p.read_bytes() for p in root.rglob("*") if p.is_file()}


def levels(path):
    return np.asarray(Image.open(path))


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """The tree of SETTINGS, made by one worker; do not change it."""
    return simulate_dataset(config_of(tmp_path_factory.mktemp("simulated") / "tree"))


def test_the_tree_is_complete(root):
    found = {path.as_posix() for path in contents(root)}
    maps = ("7", "8", "9")
    expected = {"manifest.json", "dataset.csv"}
    expected |= {f"antenna/{m}.json" for m in maps}
    for layer in ("buildings_complete", "cars", "roads"):
        expected |= {f"png/{layer}/{m}.png" for m in maps}
        expected |= {f"polygon/{layer}/{m}.json" for m in maps}
    for folder in ("png/antennas", "gain/DPM", "gain/carsDPM"):
        expected |= {f"{folder}/{m}_{tx}.png" for m in maps for tx in (0, 1)}
    assert found == expected
    index = (root / "dataset.csv").read_text().splitlines()
    assert index[0] == "map,transmitter,row,column,buildings,DPM,carsDPM"
    assert len(index) == 1 + 6
    for path in index[1].split(",")[4:]:
        assert (root / path).is_file()
    manifest = json.loads((root / "manifest.json").read_text())
    assert manifest["complete"]
    assert manifest["config"]["seed"] == 5


def test_images_hold_what_the_engine_computes(root):
    buildings = levels(root / "png/buildings_complete/8.png")
    cars = levels(root / "png/cars/8.png")
    assert buildings.dtype == np.uint8
    assert set(np.unique(buildings)) <= {0, 255}
    assert (cars == 255).any()
    polygon = root / "polygon"
    city = City.from_rings(polygon / "buildings_complete/8.json", (64, 64), polygon / "cars/8.json")
    np.testing.assert_array_equal(rasterise(city.buildings, (64, 64), PNG_RULE), buildings == 255)
    np.testing.assert_array_equal(rasterise(city.vehicles, (64, 64), PNG_RULE), cars == 255)
    rings = json.loads((polygon / "buildings_complete/8.json").read_text())
    assert all(ring[0] == ring[-1] for ring in rings)
    assert all(isinstance(value, int) for ring in rings for point in ring for value in point)
    for tx, (x, y) in enumerate(json.loads((root / "antenna/8.json").read_text())):
        antenna = levels(root / f"png/antennas/8_{tx}.png")
        assert np.argwhere(antenna).tolist() == [[y, x]]
        assert antenna[y, x] == 255
        static = dominant_path.path_gain(city, (y, x))
        np.testing.assert_array_equal(levels(root / f"gain/DPM/8_{tx}.png"), db_to_level(static))
        dynamic = dominant_path.path_gain(city, (y, x), city.vehicle_mask)
        np.testing.assert_array_equal(
            levels(root / f"gain/carsDPM/8_{tx}.png"), db_to_level(dynamic)
        )


def test_the_dataset_reader_reads_the_tree(root):
    maps = RadioMapSeer(root, simulation="carsDPM")
    assert len(maps) == 6
    sample = maps[0]
    assert sample["name"] == "7_0"
    assert sample["gain"].shape == (1, 64, 64)
    assert sample["gain"][sample["buildings"]].max() == -1
    row, column = sample["transmitter"]
    assert not sample["buildings"][0, row, column]
    # In sight of the transmitter the map is brightest.
    assert sample["gain"][0, row, column] > 0.8


def test_two_workers_write_the_same_bytes_as_one(root, tmp_path):
    assert contents(simulate_dataset(config_of(tmp_path / "tree", workers=2))) == contents(root)


def test_a_layout_depends_on_its_id_and_not_on_the_others(root, tmp_path):
    alone = simulate_dataset(config_of(tmp_path / "tree", first_map_id=9, layouts=1))
    whole = contents(root)
    files = contents(alone)
    for path in files.keys() - {Path("manifest.json"), Path("dataset.csv")}:
        assert files[path] == whole[path]
    assert (
        whole[Path("png/buildings_complete/7.png")] != whole[Path("png/buildings_complete/8.png")]
    )


def test_only_missing_files_are_computed_again(root, tmp_path, monkeypatch):
    copy = tmp_path / "tree"
    shutil.copytree(root, copy)
    lost = ["gain/DPM/8_1.png", "png/antennas/9_0.png", "dataset.csv"]
    for name in lost:
        (copy / name).unlink()
    (copy / "gain/DPM/8_1.png.123.partial").write_bytes(b"half a map")
    before = {path: (copy / path).stat().st_mtime_ns for path in contents(copy)}
    computed = []
    engine = dominant_path.Layout.path_gain
    monkeypatch.setattr(
        dominant_path.Layout,
        "path_gain",
        lambda self, tx, vehicles=None: computed.append(tx) or engine(self, tx, vehicles),
    )
    simulate_dataset(config_of(copy))
    assert len(computed) == 1
    assert contents(copy) == contents(root)
    rewritten = {Path("manifest.json"), Path("dataset.csv")}
    for path in before.keys() & contents(copy).keys() - rewritten:
        assert (copy / path).stat().st_mtime_ns == before[path]


def test_a_stopped_run_on_dask_is_finished_and_writes_each_file_once(root, tmp_path, monkeypatch):
    distributed = pytest.importorskip("distributed")
    written = []
    write_atomic = dataset.write_atomic

    def write(path, content):
        if len(written) == 12:
            raise InputError("the disk is gone")
        write_atomic(path, content)
        written.append(path)

    monkeypatch.setattr(dataset, "write_atomic", write)
    with distributed.LocalCluster(
        n_workers=2, threads_per_worker=1, processes=False, dashboard_address=None
    ) as cluster:
        executor = {"kind": "dask", "address": cluster.scheduler_address}
        config = config_of(tmp_path / "tree", executor=executor)
        with pytest.raises(InputError, match="the disk is gone"):
            simulate_dataset(config)
        monkeypatch.setattr(
            dataset, "write_atomic", lambda *a: (write_atomic(*a), written.append(a[0]))
        )
        assert contents(simulate_dataset(config)) == contents(root)
    written = [path for path in written if path.name != "manifest.json"]
    assert len(written) == len(set(written)) == len(contents(root)) - 1


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="needs /proc")
@pytest.mark.parametrize("workers", [1, 2])
def test_a_killed_run_leaves_whole_files_and_is_finished_by_the_next(root, tmp_path, workers):
    output = tmp_path / "tree"
    config_file = tmp_path / "simulate.yaml"
    config = config_of(output, workers=workers)
    config_file.write_text(json.dumps(config.model_dump(mode="json")))
    command = [sys.executable, "scripts/simulate.py", "--config", str(config_file)]
    process = subprocess.Popen(
        command,
        cwd=REPOSITORY,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    while process.poll() is None and len(list(output.glob("gain/*/*.png"))) < 2:
        time.sleep(0.002)
    process.kill()
    process.wait()
    # The workers notice that they are orphans and end too.
    deadline = time.monotonic() + 60
    while group_members(process.pid) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert not group_members(process.pid)
    reference = contents(root)
    survived = {p: c for p, c in contents(output).items() if p.suffix in (".png", ".json")}
    survived.pop(Path("manifest.json"))
    assert len([path for path in survived if path.parts[0] == "gain"]) >= 2
    for path, content in survived.items():
        assert content == reference[path], path
    times = {path: (output / path).stat().st_mtime_ns for path in survived}
    simulate_dataset(config_of(output))
    assert contents(output) == reference
    assert all((output / path).stat().st_mtime_ns == times[path] for path in survived)


def group_members(group):
    """The living processes of a process group."""
    members = []
    for status in Path("/proc").glob("[0-9]*/stat"):
        try:
            state, _, process_group = status.read_text().rpartition(")")[2].split()[:3]
        except (FileNotFoundError, ProcessLookupError):
            continue
        if int(process_group) == group and state != "Z":
            members.append(status.parent.name)
    return members


def test_another_dataset_is_not_overwritten(root, tmp_path):
    before = contents(root)
    with pytest.raises(InputError, match=r"made with seed = 5, not 6; choose another output"):
        simulate_dataset(config_of(root, seed=6))
    assert contents(root) == before
    foreign = tmp_path / "notes"
    foreign.mkdir()
    (foreign / "notes.txt").write_text("mine")
    with pytest.raises(InputError, match="no simulated dataset"):
        simulate_dataset(config_of(foreign))
    assert [p.name for p in foreign.iterdir()] == ["notes.txt"]
    with pytest.raises(InputError, match="no simulated dataset"):
        simulate_dataset(config_of(foreign / "notes.txt"))


def test_too_small_a_disk_is_refused_before_anything_is_written(tmp_path, monkeypatch):
    usage = shutil.disk_usage(tmp_path)._replace(free=50_000)
    monkeypatch.setattr(dataset.shutil, "disk_usage", lambda _: usage)
    with pytest.raises(InputError, match=r"39 files need about .* GB, but 0\.0 GB are free"):
        simulate_dataset(config_of(tmp_path / "tree"))
    assert not (tmp_path / "tree").exists()


def test_transmitters_stand_outdoors_where_a_street_reaches():
    ring = box(20, 20, 60, 60).difference(box(25, 25, 55, 55))
    car = box(64, 40, 66, 45)
    city = City((80, 80), buildings=(ring,), vehicles=(car,))
    margin = 0.1
    everywhere = choose_transmitters(city, 2000, np.random.default_rng(0), margin)
    assert len(np.unique(everywhere, axis=0)) == 2000
    assert everywhere.min() == 8
    assert everywhere.max() == 71
    rows, columns = everywhere.T
    assert not (city.building_mask | city.vehicle_mask)[rows, columns].any()
    courtyard = (rows > 24) & (rows <= 54) & (columns >= 25) & (columns < 55)
    assert not courtyard.any()
    again = choose_transmitters(city, 2000, np.random.default_rng(0), margin)
    np.testing.assert_array_equal(everywhere, again)
    with pytest.raises(InputError, match="9999 transmitters asked for, but only"):
        choose_transmitters(city, 9999, np.random.default_rng(0), margin)


@pytest.fixture
def geojson(tmp_path):
    """A city of 200 m x 130 m at the equator, with one courtyard and one street."""

    def degrees(x, y):
        return 10.0 + x / 111_320.0, -y / 110_574.0

    def feature(shape, **tags):
        geometry = json.loads(json.dumps(mapping(shape)))
        rings = geometry["coordinates"]
        if geometry["type"] == "Polygon":
            geometry["coordinates"] = [[degrees(*point) for point in ring] for ring in rings]
        else:
            geometry["coordinates"] = [degrees(*point) for point in rings]
        return {"type": "Feature", "geometry": geometry, "properties": tags}

    block = box(70, 30, 130, 60).difference(box(80, 38, 120, 52))
    features = [
        feature(box(0, 0, 20, 10), building="yes"),
        feature(box(180, 120, 200, 130), building="yes"),
        feature(block, building="apartments"),
        feature(LineString([(0, 80), (200, 80)]), highway="secondary"),
    ]
    path = tmp_path / "city.geojson"
    path.write_text(json.dumps({"type": "FeatureCollection", "features": features}))
    return path


def test_a_custom_city_becomes_tiles(geojson, tmp_path):
    source = {"buildings": geojson, "roads": geojson, "overlap": 10}
    config = config_of(tmp_path / "tree", layouts=None, city=source, simulations=("carsDPM",))
    root = simulate_dataset(config)
    whole = City.from_geojson(geojson)
    assert whole.size == (130, 200)
    tiles = json.loads((root / "manifest.json").read_text())["tiles"]
    assert [tuple(t.values()) for t in tiles.values()] == [
        (row, column) for row in (0, 54, 66) for column in (0, 54, 108, 136)
    ]
    cars = 0
    for map_id, tile in tiles.items():
        window = np.s_[tile["row"] : tile["row"] + 64, tile["column"] : tile["column"] + 64]
        mask = levels(root / f"png/buildings_complete/{map_id}.png") == 255
        np.testing.assert_array_equal(mask, whole.building_mask[window])
        cars += (levels(root / f"png/cars/{map_id}.png") == 255).sum()
        assert levels(root / f"gain/carsDPM/{map_id}_0.png")[mask].sum() == 0
    assert cars > 0
    # A tile without buildings is free space.
    empty = [m for m in tiles if not levels(root / f"png/buildings_complete/{m}.png").any()]
    assert empty
    assert (levels(root / f"gain/carsDPM/{empty[0]}_0.png") > 0).all()

    geojson.write_text(geojson.read_text() + " ")
    with pytest.raises(InputError, match="made with inputs_sha256"):
        simulate_dataset(config)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"layouts": None}, "either layouts"),
        ({"size": 16}, "size: found 16"),
        ({"simulations": ["DMP"]}, "simulations.0: found 'DMP'"),
        ({"transmitters": 0}, "transmitters: found 0"),
        ({"city": {"buildings": "b.geojson", "overlap": 64}}, "either layouts"),
        ({"layouts": None, "city": {"buildings": "b.geojson", "overlap": 64}}, "overlap must be"),
        ({"worker": 2}, "did you mean 'workers'"),
    ],
)
def test_impossible_settings_are_refused(tmp_path, changes, words):
    path = tmp_path / "simulate.yaml"
    path.write_text(json.dumps({"output": "x", **SETTINGS, **changes}))
    with pytest.raises(InputError, match=words):
        load_config(path, SimulateConfig)


def test_committed_configurations_are_valid():
    for path in REPOSITORY.glob("configs/*/simulate.yaml"):
        config = load_config(path, SimulateConfig)
        assert config.workers <= (multiprocessing.cpu_count() or 1) * 8


def test_the_script_explains_a_wrong_city_in_one_line(tmp_path):
    command = [sys.executable, "scripts/simulate.py", "--config", "configs/smoke/simulate.yaml"]
    overrides = [f"output={tmp_path / 'x'}", "layouts=null", "city.buildings=nowhere.geojson"]
    result = subprocess.run(
        command + overrides, cwd=REPOSITORY, capture_output=True, text=True, check=False
    )
    assert result.returncode == 2
    assert result.stderr.strip() == (
        "error: nowhere.geojson: cannot be read (No such file or directory)"
    )
    assert not (tmp_path / "x").exists()
