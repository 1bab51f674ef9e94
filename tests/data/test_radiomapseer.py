import itertools
import json
import pickle
import shutil

import numpy as np
import pytest
import torch
from PIL import Image
from pydantic import ValidationError
from torch.utils.data import DataLoader

from radiodiff.config import load_config
from radiodiff.data.radiomapseer import RadioMapSeer, build_dataset
from radiodiff.data.settings import DataConfig
from radiodiff.data.splits import literature_maps
from radiodiff.data.thresholds import apply_threshold, undo_threshold
from radiodiff.errors import InputError
from radiodiff.units import model_to_gray


def test_a_sample_is_what_the_files_hold(tree):
    dataset = RadioMapSeer(tree)
    assert len(dataset) == 4 * 3
    assert dataset.shape == (24, 32)
    sample = dataset[7]
    assert sample["name"] == dataset.name(7) == "12_1"
    levels = np.asarray(Image.open(tree / "gain/DPM/12_1.png"))
    buildings = np.asarray(Image.open(tree / "png/buildings_complete/12.png")) > 0
    row, column = np.argwhere(np.asarray(Image.open(tree / "png/antennas/12_1.png")))[0]
    assert sample["gain"].shape == (1, 24, 32)
    assert sample["gain"].dtype == torch.float32
    np.testing.assert_allclose(model_to_gray(sample["gain"][0]), levels / 255, atol=1e-7)
    assert np.array_equal(sample["buildings"][0], buildings)
    assert sample["transmitter"].tolist() == [row, column]
    assert sample["transmitter"].dtype == torch.int64
    assert sample["prompt"].shape == (3, 24, 32)
    assert (sample["prompt"][1] == 1).nonzero().tolist() == [[row, column]]


def test_the_order_is_that_of_the_maps_asked_for(tree):
    dataset = RadioMapSeer(tree, maps=[30, 3], transmitters=[2, 0])
    assert [dataset.name(index) for index in range(4)] == ["30_2", "30_0", "3_2", "3_0"]


def test_vehicles_are_in_the_prompt_of_dynamic_maps_only(tree):
    static, dynamic = RadioMapSeer(tree), RadioMapSeer(tree, simulation="carsDPM")
    cars = np.asarray(Image.open(tree / "png/cars/3.png")) > 0
    assert np.array_equal(dynamic[0]["prompt"][2] > 0, cars)
    assert torch.equal(static[0]["prompt"][2], static[0]["prompt"][0])
    assert not torch.equal(static[0]["gain"], dynamic[0]["gain"])


def test_incomplete_buildings_come_from_their_version_folder(tree):
    missing = RadioMapSeer(tree, layout="missing1", layout_version=2)
    stored = np.asarray(Image.open(tree / "png/buildings_missing1/2/3.png")) > 0
    assert np.array_equal(missing[0]["buildings"][0], stored)
    assert not torch.equal(missing[0]["buildings"], RadioMapSeer(tree)[0]["buildings"])
    with pytest.raises(InputError, match=r"buildings_missing1/6: no such folder"):
        RadioMapSeer(tree, layout="missing1", layout_version=6)


def test_samples_with_and_without_cache_are_equal_and_own_their_memory(tree):
    cached, plain = RadioMapSeer(tree), RadioMapSeer(tree, cache=False)
    cached.preload()
    for key in ("gain", "prompt", "buildings", "transmitter"):
        assert torch.equal(cached[5][key], plain[5][key])
        before = cached[5][key].clone()
        cached[5][key].zero_()
        assert torch.equal(cached[5][key], before)


def test_a_warm_cache_needs_no_files_and_travels_to_workers(make_tree):
    root = make_tree()
    dataset = RadioMapSeer(root)
    dataset.preload()
    expected = [dataset[index]["gain"] for index in range(len(dataset))]
    shutil.rmtree(root)
    copy = pickle.loads(pickle.dumps(dataset))
    batches = list(DataLoader(copy, batch_size=5, num_workers=1))
    assert torch.equal(torch.cat([batch["gain"] for batch in batches]), torch.stack(expected))
    assert batches[0]["name"] == ["3_0", "3_1", "3_2", "7_0", "7_1"]


def test_preload_without_cache_is_refused(tree):
    with pytest.raises(InputError, match="preload needs the cache"):
        RadioMapSeer(tree, cache=False).preload()


def test_threshold_clips_at_the_noise_floor_and_rescales(tree):
    gray = np.array([0.0, 0.1, 0.2, 0.6, 1.0])
    np.testing.assert_allclose(apply_threshold(gray, "thr2"), [0, 0, 0, 0.5, 1.0], atol=1e-12)
    np.testing.assert_allclose(
        undo_threshold(apply_threshold(gray, "thr2"), "thr2"), [0.2, 0.2, 0.2, 0.6, 1.0]
    )
    assert apply_threshold(gray, "none") is gray
    assert undo_threshold(gray, "none") is gray
    dataset = RadioMapSeer(tree, threshold="thr2")
    expected = np.maximum(dataset.levels(0) / 255 - 0.2, 0) / 0.8
    np.testing.assert_allclose(model_to_gray(dataset[0]["gain"][0]), expected, atol=1e-6)


# Positions from antenna/{map}.json


@pytest.mark.parametrize("upward", [False, True])
def test_positions_may_come_from_json_whichever_way_y_points(make_tree, upward):
    root = make_tree()
    expected = [sample["transmitter"] for sample in map(RadioMapSeer(root).__getitem__, range(12))]
    shutil.rmtree(root / "png/antennas")
    if upward:
        for path in (root / "antenna").iterdir():
            flipped = [[x, 24 - 1 - y] for x, y in json.loads(path.read_text())]
            path.write_text(json.dumps(flipped))
    found = [sample["transmitter"] for sample in map(RadioMapSeer(root).__getitem__, range(12))]
    assert torch.equal(torch.stack(found), torch.stack(expected))


def test_a_position_that_contradicts_the_gain_is_refused(make_tree):
    root = make_tree()
    shutil.rmtree(root / "png/antennas")
    path = root / "antenna/3.json"
    positions = json.loads(path.read_text())
    positions[1][0] = (positions[1][0] + 16) % 32
    path.write_text(json.dumps(positions))
    with pytest.raises(InputError, match=r"3.json: transmitter 1 at .* brightest at row"):
        RadioMapSeer(root)[1]


def test_missing_positions_are_named(make_tree):
    root = make_tree()
    (root / "png/antennas/3_1.png").unlink()
    (root / "antenna/3.json").unlink()
    with pytest.raises(InputError, match=r"neither png/antennas/3_1.png nor antenna/3.json"):
        RadioMapSeer(root)[1]
    (root / "antenna/3.json").write_text("[[1, 2]]")
    with pytest.raises(InputError, match=r"3.json: lists 1 transmitters, number 1 is missing"):
        RadioMapSeer(root)[1]
    shutil.rmtree(root / "png/antennas")
    shutil.rmtree(root / "antenna")
    with pytest.raises(InputError, match=r"neither png/antennas/ nor antenna/ exists"):
        RadioMapSeer(root)


# Input that is wrong


def test_missing_folders_are_named(tree, tmp_path):
    with pytest.raises(InputError, match=r"nowhere: no such dataset folder; data/README.md tells"):
        RadioMapSeer(tmp_path / "nowhere")
    with pytest.raises(InputError, match=r"gain/IRT2: no such folder; gain/ holds DPM, carsDPM"):
        RadioMapSeer(tree, simulation="IRT2")
    with pytest.raises(InputError, match=r"no such folder; gain/ holds nothing"):
        RadioMapSeer(tmp_path)
    (tmp_path / "gain/DPM").mkdir(parents=True)
    (tmp_path / "png/buildings_complete").mkdir(parents=True)
    (tmp_path / "antenna").mkdir()
    with pytest.raises(InputError, match=r"gain/DPM: holds no image named"):
        RadioMapSeer(tmp_path)


def test_missing_maps_and_transmitters_are_named(tree):
    with pytest.raises(InputError, match=r"lacks 2 of 3 maps, 4, 5; it holds 4 maps: 3, 7, 12, 30"):
        RadioMapSeer(tree, maps=[3, 4, 5])
    with pytest.raises(InputError, match=r"8 of 20 transmitter images are missing, 3_3.png, 3_4"):
        RadioMapSeer(tree, transmitters=range(5))


@pytest.mark.parametrize(
    ("file", "change", "words"),
    [
        ("gain/DPM/7_2.png", None, "this file is missing"),
        ("png/buildings_complete/7.png", None, "this file is missing"),
        ("gain/DPM/7_2.png", b"\x89PNG\r\n\x1a\nnothing more", "corrupt or not a PNG"),
        ("gain/DPM/7_2.png", Image.new("RGB", (32, 24), "red"), "image mode RGB"),
        ("gain/DPM/7_2.png", Image.new("L", (24, 32)), "32 x 24 pixels"),
        ("png/buildings_complete/7.png", Image.new("L", (32, 24), 128), "not a binary mask"),
        ("png/buildings_complete/7.png", Image.new("L", (32, 24), 255), "neither raster rule"),
        ("png/antennas/7_2.png", Image.new("L", (32, 24)), "0 pixels of level 255"),
    ],
)
def test_a_bad_file_is_named(make_tree, file, change, words):
    root = make_tree()
    dataset = RadioMapSeer(root)
    if change is None:
        (root / file).unlink()
    elif isinstance(change, bytes):
        (root / file).write_bytes(change)
    else:
        change.save(root / file)
    with pytest.raises(InputError, match=words) as error:
        dataset[5]
    assert "\n" not in str(error.value)
    assert file in str(error.value) or "antennas/7_2.png" in str(error.value)
    assert dataset[0]["name"] == "3_0"


# Configuration


def test_named_splits_take_the_published_maps(make_tree):
    ids = literature_maps("inverse", "val")
    root = make_tree(maps=ids, transmitters=1, simulations=("DPM",), shape=(16, 16))
    dataset = build_dataset(DataConfig(root=root, split="inverse"), "val")
    assert [map_id for map_id, _ in dataset.pairs] == list(ids)
    with pytest.raises(InputError, match=r"split radiounet, part train: .* lacks .* of 501 maps"):
        build_dataset(DataConfig(root=root, split="radiounet"), "train")


def test_an_incomplete_copy_of_a_published_split_is_refused(make_tree):
    ids = literature_maps("inverse", "val")
    root = make_tree(maps=ids, transmitters=2, simulations=("DPM",), shape=(16, 16))
    assert len(build_dataset(DataConfig(root=root, split="inverse"), "val")) == 2 * len(ids)
    (root / f"gain/DPM/{ids[4]}_1.png").unlink()
    with pytest.raises(InputError, match=f"1 of 100 .* are missing, {ids[4]}_1.png"):
        build_dataset(DataConfig(root=root, split="inverse"), "val")
    config = DataConfig(root=root, split="inverse", transmitters=(0, 1))
    assert len(build_dataset(config, "val")) == len(ids)


def test_parts_of_fraction_and_explicit_splits_do_not_overlap(tree):
    configs = [
        DataConfig(root=tree, split="fraction", fractions=(0.5, 0.25, 0.25)),
        DataConfig(
            root=tree, split="explicit", maps={"train": (3, 12), "val": (7,), "test": (30,)}
        ),
    ]
    for config in configs:
        parts = [
            {build_dataset(config, part).name(i) for i in range(len(build_dataset(config, part)))}
            for part in ("train", "val", "test")
        ]
        assert [len(part) for part in parts] == [6, 3, 3]
        for one, other in itertools.combinations(parts, 2):
            assert not one & other


def test_all_is_for_testing_only(tree):
    assert len(build_dataset(DataConfig(root=tree, split="all"), "test")) == 12
    with pytest.raises(InputError, match="split all has no part 'train'"):
        build_dataset(DataConfig(root=tree, split="all"), "train")


def test_explicit_part_that_is_not_listed_is_refused(tree):
    config = DataConfig(root=tree, split="explicit", maps={"test": (3,)})
    with pytest.raises(InputError, match=r"data.maps: no part 'train', only test"):
        build_dataset(config, "train")


def test_every_setting_reaches_the_dataset(tree):
    config = DataConfig(
        root=tree,
        split="all",
        simulation="carsDPM",
        layout="missing1",
        layout_version=2,
        buildings="png",
        transmitters=(1, 3),
        prompt_features=("distance",),
        threshold="thr2",
        cache=False,
    )
    dataset = build_dataset(config, "test")
    expected = RadioMapSeer(
        tree,
        simulation="carsDPM",
        layout="missing1",
        layout_version=2,
        buildings="png",
        transmitters=[1, 2],
        prompt_features=["distance"],
        threshold="thr2",
        cache=False,
    )
    assert dataset.pairs == expected.pairs
    assert len(dataset) == 8
    for key in ("gain", "prompt", "buildings"):
        assert torch.equal(dataset[3][key], expected[3][key])
    with pytest.raises(InputError, match="preload needs the cache"):
        dataset.preload()


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"split": "radionet"}, "radiounet"),
        ({"simulation": "dpm"}, "carsIRT4"),
        ({"prompt_features": ["building"]}, "allowed: buildings, transmitter"),
        ({"transmitters": [3, 3]}, "0 <= first < last"),
        ({"fractions": [0.5, 0.5, 0.5]}, "sum to 1"),
        ({"layout_version": 7}, "less than or equal to 6"),
        ({"maps": {"train": [1]}}, "go together"),
        ({"split": "explicit"}, "go together"),
        ({"split": "explicit", "maps": {"train": [1, 2], "test": [2]}}, "map 2 is listed twice"),
    ],
)
def test_impossible_settings_are_refused(tmp_path, values, words):
    with pytest.raises(ValidationError, match=words):
        DataConfig(root=tmp_path, **values)


def test_overrides_on_the_command_line_choose_maps(tree, tmp_path):
    path = tmp_path / "data.yaml"
    path.write_text(f"root: {tree}\nsplit: fraction\n")
    config = load_config(path, DataConfig, ["split=explicit", "maps.test=[3, 7]"])
    assert len(build_dataset(config, "test")) == 6


@pytest.mark.real
def test_every_real_map_loads(real_root):
    dataset = build_dataset(DataConfig(root=real_root, split="all", transmitters=(0, 1)), "test")
    for index in range(min(len(dataset), 30)):
        sample = dataset[index]
        row, column = sample["transmitter"].tolist()
        gray = model_to_gray(sample["gain"][0])
        assert gray[row, column] > 0.9
        assert gray.max() == 1.0
        assert gray[sample["buildings"][0]].max() == 0.0
