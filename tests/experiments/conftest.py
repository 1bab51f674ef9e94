import numpy as np
import pytest
import torch
from PIL import Image

from radiodiff.inverse.pipeline import RadioDiffInversePipeline
from radiodiff.inverse.prior import PatchUNet, build_noise_schedule
from radiodiff.units import db_to_level

SIDE = 32


def toy_levels(buildings, transmitter):
    """Path gain that falls with distance, and nothing inside buildings."""
    rows, columns = np.indices(buildings.shape)
    distance = np.maximum(np.hypot(rows - transmitter[0], columns - transmitter[1]), 1.0)
    return np.where(buildings, 0, db_to_level(-47.84 - 25 * np.log10(distance))).astype(np.uint8)


@pytest.fixture(scope="session")
def prior_directory(tmp_path_factory):
    """An untrained prior for maps of 32 x 32."""
    directory = tmp_path_factory.mktemp("prior")
    prior = PatchUNet(SIDE, block_out_channels=(32,), attention=False)
    RadioDiffInversePipeline(prior, build_noise_schedule()).save_pretrained(directory)
    return directory


@pytest.fixture(scope="session")
def tree(tmp_path_factory):
    """A RadioMapSeer tree of three maps of 32 x 32."""
    root = tmp_path_factory.mktemp("tree")
    for folder in ("gain/DPM", "png/buildings_complete", "png/antennas"):
        (root / folder).mkdir(parents=True)
    for number in (1, 2, 3):
        buildings = np.zeros((SIDE, SIDE), dtype=bool)
        buildings[4 + number : 14, 6:14] = True
        buildings[18:28, 15 : 22 + number] = True
        position = (16, 8 + number)
        antenna = np.zeros((SIDE, SIDE), dtype=np.uint8)
        antenna[position] = 255
        images = {
            f"gain/DPM/{number}_0.png": toy_levels(buildings, position),
            f"png/buildings_complete/{number}.png": buildings.astype(np.uint8) * 255,
            f"png/antennas/{number}_0.png": antenna,
        }
        for name, image in images.items():
            Image.fromarray(image).save(root / name)
    return root


@pytest.fixture(autouse=True)
def _one_thread():
    """Small networks are slower on several threads than on one."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)
