"""Gain maps of several kinds hold what was written."""

import shutil

import numpy as np
import pytest
from PIL import Image
from scipy.io import savemat

from radiodiff.data.gain_files import (
    is_saturated,
    levels_to_gray,
    read_extra,
    read_gain,
    to_eight_bits,
)
from radiodiff.data.images import read_mask
from radiodiff.data.radiomapseer import RadioMapSeer, build_dataset
from radiodiff.data.scale import Scale
from radiodiff.data.settings import DataConfig
from radiodiff.errors import InputError
from radiodiff.evaluation.predictions import read_prediction

SCALE = Scale(min_db=-160.0, max_db=-40.0)


@pytest.fixture
def gain_db():
    return np.random.default_rng(0).uniform(-160, -40, (5, 9))


def save(path, array):
    {".npy": np.save, ".npz": np.savez, ".mat": lambda p, a: savemat(p, {"gain_db": a})}[
        path.suffix
    ](path, array)


@pytest.mark.parametrize("suffix", [".npy", ".npz", ".mat"])
def test_arrays_in_db_are_on_the_scale(tmp_path, gain_db, suffix):
    path = tmp_path / f"1_0{suffix}"
    save(path, gain_db)
    read = SCALE.gray_to_db(levels_to_gray(read_gain(path, (5, 9), SCALE)).astype(float))
    assert np.abs(read - gain_db).max() < 0.51 * 120 / 65535 + 1e-4


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_levels_are_kept(tmp_path, dtype):
    levels = np.random.default_rng(0).integers(0, np.iinfo(dtype).max, (5, 9), dtype=dtype)
    np.save(tmp_path / "a.npy", levels)
    Image.fromarray(levels).save(tmp_path / "a.png")
    for name in ("a.npy", "a.png"):
        found = read_gain(tmp_path / name)
        assert found.dtype == dtype
        assert np.array_equal(found, levels)


def test_gray_is_told_from_db(tmp_path, gain_db):
    gray = SCALE.db_to_gray(gain_db)
    np.save(tmp_path / "a.npy", gray)
    np.savez(tmp_path / "a.npz", gray=gray, other=gain_db)
    for name in ("a.npy", "a.npz"):
        assert np.abs(levels_to_gray(read_gain(tmp_path / name)) - gray).max() < 1e-5


def test_only_no_gain_becomes_level_0():
    levels = np.array([0, 1, 128, 257, 65535], dtype=np.uint16)
    assert to_eight_bits(levels).tolist() == [0, 1, 1, 1, 255]


def test_an_rgb_image_of_equal_channels_is_gray(tmp_path):
    levels = np.random.default_rng(0).integers(0, 255, (4, 4), dtype=np.uint8)
    Image.fromarray(levels).convert("RGB").save(tmp_path / "a.png")
    assert np.array_equal(read_gain(tmp_path / "a.png"), levels)
    coloured = np.dstack([levels, levels, levels[::-1]])
    Image.fromarray(coloured).save(tmp_path / "a.png")
    with pytest.raises(InputError, match="image mode RGB"):
        read_gain(tmp_path / "a.png")


@pytest.mark.parametrize(
    ("write", "words"),
    [
        (lambda p: np.save(p, np.full((2, 2), np.nan)), "holds NaN or infinity"),
        (lambda p: np.save(p, np.zeros((2, 2), complex)), "holds complex128"),
        (lambda p: np.save(p, np.zeros((2, 2, 3))), r"shape \(2, 2, 3\)"),
        (lambda p: np.save(p, np.array([{}], dtype=object), allow_pickle=True), "corrupt"),
        (lambda p: p.write_bytes(b"\x93NUMPY\x01\x00\xff\xff"), "corrupt"),
        (lambda p: p.write_bytes(b""), "corrupt"),
    ],
)
def test_what_is_no_map_is_named(tmp_path, write, words):
    path = tmp_path / "1_0.npy"
    write(path)
    with pytest.raises(InputError, match=f"1_0.npy: .*{words}|1_0.npy: {words}"):
        read_gain(path)


@pytest.mark.parametrize("mode", ["1", "L", "RGB", "RGBA", "P"])
def test_masks_of_every_mode_are_read(tmp_path, mode):
    mask = np.random.default_rng(0).random((6, 7)) < 0.5
    image = Image.fromarray(mask.astype(np.uint8) * 255)
    image.convert(mode).save(tmp_path / "a.png")
    assert np.array_equal(read_mask(tmp_path / "a.png"), mask)
    if mode == "L":
        Image.fromarray(mask.astype(np.uint8)).save(tmp_path / "a.png")
        assert np.array_equal(read_mask(tmp_path / "a.png"), mask)


def test_a_tree_of_arrays_and_padded_names_is_the_tree_of_images(make_tree, tmp_path):
    root = make_tree()
    images = RadioMapSeer(root)
    (tmp_path / "copy" / "gain" / "DPM").mkdir(parents=True)
    (tmp_path / "copy" / "png").mkdir()
    for map_id, transmitter in images.pairs:
        index = images.pairs.index((map_id, transmitter))
        gain_db = SCALE.gray_to_db(images.gray(index).astype(float))
        np.save(tmp_path / f"copy/gain/DPM/{map_id:04d}_{transmitter:02d}.npy", gain_db)
    for kind in ("antennas", "buildings_complete"):
        (tmp_path / "copy" / "png" / kind).mkdir()
        for path in (root / "png" / kind).glob("*.png"):
            numbers = [f"{int(part):04d}" for part in path.stem.split("_")]
            shutil.copy(path, tmp_path / "copy" / "png" / kind / f"{'_'.join(numbers)}.png")
    (tmp_path / "copy" / "radiomap.yaml").write_text("scale: {min_db: -160, max_db: -40}\n")
    arrays = build_dataset(DataConfig(root=tmp_path / "copy", split="all"), "test")
    assert arrays.scale == SCALE
    assert [arrays.name(i) for i in range(len(arrays))] == [
        images.name(i) for i in range(len(images))
    ]
    for one, other in zip(arrays, images, strict=True):
        assert (one["gain"] - other["gain"]).abs().max() < 1e-4
        assert (one["prompt"] == other["prompt"]).all()
        assert (one["buildings"] == other["buildings"]).all()


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("scale: {min_db: -40, max_db: -160}", "min_db must be below max_db"),
        ("scale: {min_db: .nan}", "finite"),
        ("scales: {}", "unknown key"),
    ],
)
def test_a_wrong_description_is_named(make_tree, text, words):
    root = make_tree()
    (root / "radiomap.yaml").write_text(text)
    with pytest.raises(InputError, match=f"radiomap.yaml.*{words}"):
        build_dataset(DataConfig(root=root, split="all"), "test")


def test_a_transmitter_may_stand_on_a_roof_where_the_configuration_says_so(make_tree):
    root = make_tree()
    spot = np.argwhere(read_mask(root / "png/buildings_complete/3.png"))[0]
    image = np.zeros((24, 32), np.uint8)
    image[tuple(spot)] = 255
    Image.fromarray(image).save(root / "png/antennas/3_0.png")
    config = DataConfig(root=root, split="all", buildings="gain")
    with pytest.raises(InputError, match="inside a building"):
        build_dataset(config, "test")[0]
    on_roof = build_dataset(config.model_copy(update={"rooftop": True}), "test")[0]
    assert on_roof["transmitter"].tolist() == spot.tolist()


def encrypted(path, array):
    """Write an NPZ whose member is marked as encrypted, in its own header and in the directory."""
    np.savez(path, path_gain_db=array)
    content = bytearray(path.read_bytes())
    for signature, offset in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        content[content.index(signature) + offset] |= 1
    path.write_bytes(content)


def test_an_encrypted_archive_is_refused(tmp_path, gain_db):
    encrypted(tmp_path / "1_0.npz", gain_db)
    for read in (read_gain, read_extra):
        with pytest.raises(InputError, match=r"1_0\.npz: corrupt or no array"):
            read(tmp_path / "1_0.npz", (5, 9))
    encrypted(tmp_path / "2_0.npz", gain_db)
    with pytest.raises(InputError, match=r"2_0\.npz: corrupt or not an NPZ"):
        read_prediction(tmp_path / "2_0.npz", (5, 9), SCALE)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_a_map_that_was_cut_is_saturated_whatever_its_buildings_cover(dtype):
    levels = np.zeros((10, 10), dtype)
    levels[:3] = np.arange(30, dtype=dtype).reshape(3, 10) + 1
    assert not is_saturated(levels)
    levels[:2] = np.iinfo(dtype).max
    assert is_saturated(levels)
