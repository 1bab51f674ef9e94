import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from radiodiff.data.images import (
    read_antenna_json,
    read_antenna_png,
    read_levels,
    read_mask,
    write_levels,
)
from radiodiff.errors import InputError


@pytest.fixture
def levels():
    return np.random.default_rng(0).integers(0, 256, (5, 9), dtype=np.uint8)


def test_levels_are_what_was_written(tmp_path, levels):
    write_levels(tmp_path / "a.png", levels)
    assert np.array_equal(read_levels(tmp_path / "a.png", (5, 9)), levels)
    assert [path.name for path in tmp_path.iterdir()] == ["a.png"]


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "corrupt or not a PNG"),
        (b"GIF89a not a picture", "corrupt or not a PNG"),
        (None, "this file is missing"),
    ],
)
def test_unreadable_files_are_named(tmp_path, content, words):
    path = tmp_path / "12_7.png"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(InputError, match=f"12_7.png: {words}"):
        read_levels(path)


@pytest.mark.parametrize("damage", ["cut", "flip"])
def test_a_damaged_png_is_named(tmp_path, levels, damage):
    path = tmp_path / "12_7.png"
    write_levels(path, np.tile(levels, (20, 20)))
    content = bytearray(path.read_bytes())
    if damage == "cut":
        del content[len(content) // 2 :]
    else:
        content[len(content) // 2] ^= 0xFF
    path.write_bytes(content)
    with pytest.raises(InputError, match=r"12_7\.png: corrupt"):
        read_levels(path)


def test_a_png_that_claims_to_be_huge_is_refused_without_decoding(tmp_path):
    header = struct.pack(">IIBBBBB", 60_000, 60_000, 8, 0, 0, 0, 0)
    chunk = b"IHDR" + header
    content = b"\x89PNG\r\n\x1a\n" + struct.pack(">I", len(header)) + chunk
    path = tmp_path / "12_7.png"
    content += struct.pack(">I", zlib.crc32(chunk)) + struct.pack(">I", 64) + b"IDAT" + bytes(68)
    path.write_bytes(content)
    with pytest.raises(InputError, match=r"12_7\.png: corrupt"):
        read_levels(path)


@pytest.mark.parametrize("mode", ["RGB", "P", "1", "I;16"])
def test_another_mode_is_refused(tmp_path, mode):
    Image.new(mode, (4, 4)).save(tmp_path / "a.png")
    with pytest.raises(InputError, match=f"a.png: image mode {mode}, expected grayscale of 8 bits"):
        read_levels(tmp_path / "a.png")


def test_another_size_is_refused(tmp_path, levels):
    write_levels(tmp_path / "a.png", levels)
    with pytest.raises(InputError, match=r"5 x 9 pixels .* expected 9 x 5"):
        read_levels(tmp_path / "a.png", (9, 5))


def test_a_mask_is_binary(tmp_path):
    mask = np.array([[0, 255], [255, 0]], dtype=np.uint8)
    write_levels(tmp_path / "a.png", mask)
    assert np.array_equal(read_mask(tmp_path / "a.png"), mask > 0)
    mask[0, 0] = 7
    write_levels(tmp_path / "a.png", mask)
    with pytest.raises(InputError, match=r"not a binary mask, it holds level 7"):
        read_mask(tmp_path / "a.png")


def test_an_antenna_image_has_one_pixel(tmp_path):
    pixels = np.zeros((4, 6), dtype=np.uint8)
    pixels[3, 1] = 255
    write_levels(tmp_path / "a.png", pixels)
    assert read_antenna_png(tmp_path / "a.png", (4, 6)) == (3, 1)
    pixels[0, 0] = 255
    write_levels(tmp_path / "a.png", pixels)
    with pytest.raises(InputError, match="2 pixels of level 255, expected 1"):
        read_antenna_png(tmp_path / "a.png", (4, 6))


@pytest.mark.parametrize("text", ["{", "[[1, 2, 3]]", '[["a", 2]]', "[1, 2]", "7"])
def test_a_broken_antenna_list_is_named(tmp_path, text):
    (tmp_path / "3.json").write_text(text)
    with pytest.raises(InputError, match=r"3.json: expected a JSON list of \[x, y\]"):
        read_antenna_json(tmp_path / "3.json")


def test_an_antenna_list_keeps_x_and_y(tmp_path):
    (tmp_path / "3.json").write_text("[[5, 1], [2, 7.0]]")
    assert read_antenna_json(tmp_path / "3.json") == [(5, 1), (2, 7)]
