"""A broken tree is reported as a whole."""

import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from radiodiff.data.check_tree import check_tree
from radiodiff.errors import InputError


def edit(path: Path, change) -> None:
    Image.fromarray(change(np.asarray(Image.open(path)).copy())).save(path)


def test_a_sound_tree_has_no_problem(make_tree):
    report = check_tree(make_tree())
    assert not report.problems
    assert report.facts[0].startswith("gain/DPM: 4 maps, 3 transmitters each, 24 x 32 pixels")
    assert len(report.maps) == 24
    assert report.text().endswith("nothing is wrong")


def test_everything_that_is_wrong_is_said_at_once(make_tree):
    root = make_tree(simulations=("DPM",))
    gain, buildings, antennas = (
        root / "gain/DPM",
        root / "png/buildings_complete",
        root / "png/antennas",
    )
    (gain / "3_0.png").write_bytes(b"no image")
    edit(gain / "3_1.png", lambda x: x[:20])
    edit(gain / "3_2.png", lambda x: np.full_like(x, 7))
    edit(gain / "7_0.png", lambda x: np.where(x > 0, 255, 0).astype(np.uint8))
    (gain / "7_1.png").unlink()
    (gain / "map7.png").write_bytes(b"")
    (gain / "07_2.png").write_bytes((gain / "7_2.png").read_bytes())
    edit(buildings / "12.png", lambda x: x[::-1])
    (antennas / "12_0.png").unlink()
    (root / "antenna" / "12.json").unlink()
    edit(antennas / "12_1.png", lambda x: np.full_like(x, 255))
    edit(antennas / "12_2.png", lambda x: np.roll(x, 12, axis=1))
    edit(buildings / "30.png", lambda x: x // 255 * np.arange(1, 33, dtype=np.uint8))
    edit(antennas / "30_0.png", lambda x: x[:, :9])
    (buildings / "99.png").write_bytes((buildings / "12.png").read_bytes())
    (root / "radiomap.yaml").write_text("scale: {min_db: 3, max_db: 2}")
    report = check_tree(root)
    expected = {
        "description": "radiomap.yaml",
        "that cannot be read": r"3_0\.png \(corrupt",
        "gain maps of another size than 24 x 32": r"3_1\.png \(20 x 32\)",
        "gain maps of one level": r"3_2\.png",
        "saturated": r"7_0\.png",
        "file names that are not": r"map7\.png",
        "the same map twice": r"07_2\.png and 7_2\.png",
        "fewer transmitters": r"DPM/7 \(2\)",
        "fit the gain upside down": r"12_0\.png",
        "without a position": r"12_0\.png",
        "antenna images that cannot be used": r"12_1\.png \(768 pixels",
        "away from the brightest": r"12_2\.png",
        "heights are no mask": r"30\.png",
        "antenna images of another size": r"30_0\.png \(24 x 9\)",
        "images of maps that have no gain": r"99\.png",
    }
    for kind, place in expected.items():
        found = [places for name, places in report.problems.items() if kind in name]
        assert found, f"{kind}\n{report.text()}"
        assert any(re.search(place, where) for where in found[0]), (kind, found)


def test_no_folder_is_one_line(tmp_path):
    with pytest.raises(InputError, match="no such folder"):
        check_tree(tmp_path / "none")
    assert "there are no gain maps" in check_tree(tmp_path).text()
