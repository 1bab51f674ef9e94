import numpy as np
import pytest
import torch

from radiodiff.data.prompts import PAPER_PROMPT, PROMPT_FEATURES, build_prompt
from radiodiff.data.visibility import line_of_sight
from radiodiff.errors import InputError


@pytest.fixture
def buildings():
    mask = np.zeros((6, 8), dtype=bool)
    mask[2:4, 3:5] = True
    return mask


def test_paper_prompt_of_a_static_map(buildings):
    prompt = build_prompt(PAPER_PROMPT, buildings, (0, 5))
    assert prompt.shape == (3, 6, 8)
    assert prompt.dtype == torch.float32
    signed = torch.from_numpy(np.where(buildings, 1.0, -1.0).astype(np.float32))
    assert torch.equal(prompt[0], signed)
    assert torch.equal(prompt[2], signed)
    assert prompt[1, 0, 5] == 1
    assert prompt[1].sum() == 1 - (6 * 8 - 1)


def test_vehicles_take_the_third_channel(buildings):
    vehicles = np.zeros_like(buildings)
    vehicles[5, 7] = True
    prompt = build_prompt(PAPER_PROMPT, buildings, (0, 5), vehicles)
    assert (prompt[2] == 1).nonzero().tolist() == [[5, 7]]
    assert torch.equal(prompt[:2], build_prompt(PAPER_PROMPT, buildings, (0, 5))[:2])


REFERENCE_M = 256 * 2**0.5
"""The diagonal of RadioMapSeer's maps."""


def lengths_of(channel):
    """The lengths in metres that a channel stands for."""
    return REFERENCE_M ** ((channel.double() + 1) / 2)


def test_distance_is_logarithmic_between_one_metre_and_the_reference():
    empty = np.zeros((257, 257), dtype=bool)
    distance = build_prompt(["distance"], empty, (0, 0))[0]
    assert distance[0, 0] == distance[0, 1] == distance[1, 0] == -1
    assert distance[-1, -1] == pytest.approx(1, abs=1e-6)
    # Half way in the logarithm is the square root.
    assert distance[3, 4] == pytest.approx(2 * np.log(5) / np.log(REFERENCE_M) - 1, abs=1e-6)


@pytest.mark.parametrize("feature", ["distance", "detour"])
@pytest.mark.parametrize(("size", "resolution_m"), [(128, 1.0), (512, 1.0), (256, 0.5), (64, 4.0)])
def test_100_metres_are_one_value_on_any_map(feature, size, resolution_m):
    empty = np.zeros((size, size + 8), dtype=bool)
    pixels = round(100 / resolution_m)
    source = (2, 1)
    channel = build_prompt([feature], empty, source, resolution_m=resolution_m)[0]
    along = channel[2, 1 + pixels] if 1 + pixels < size + 8 else channel[2 + pixels, 1]
    assert along == pytest.approx(2 * np.log(100) / np.log(REFERENCE_M) - 1, abs=1e-5)


@pytest.mark.parametrize("resolution_m", [0.0, -1.0, float("nan")])
def test_pixels_have_a_size(buildings, resolution_m):
    with pytest.raises(InputError, match=f"resolution_m: found {resolution_m}, expected metres"):
        build_prompt(["distance"], buildings, (0, 5), resolution_m=resolution_m)


def test_detour_goes_around_the_buildings():
    wall = np.zeros((30, 40), dtype=bool)
    wall[10, :-1] = True  # open at the right end
    wall[20:, 30:] = True  # an empty courtyard
    wall[22:28, 32:38] = False
    detour = build_prompt(["detour"], wall, (9, 29))[0]
    lengths = lengths_of(detour)
    assert lengths[9, 30] == lengths[9, 29] == 1  # within a pixel
    assert lengths[5, 25] == pytest.approx(4 * 2**0.5, rel=1e-5)
    # 9 straight to the gap, through it in two diagonals, 9 straight back.
    assert lengths[11, 29] == pytest.approx(18 + 2 * 2**0.5, rel=1e-5)
    assert (detour[22:28, 32:38] == 1).all()
    assert (detour[torch.from_numpy(wall)] == 1).all()
    long = build_prompt(["detour"], wall, (9, 29), resolution_m=100.0)[0]
    assert lengths_of(long)[9, 20] == pytest.approx(900, rel=1e-5)  # more than the reference
    assert lengths_of(long).max() <= 5000 * (1 + 1e-5)  # the diagonal
    assert (long[22:28, 32:38] == 1).all()
    distance = build_prompt(["distance"], wall, (9, 29))[0]
    assert (detour >= distance - 1e-6).all()


def test_a_scene_that_is_extended_is_mirrored_and_keeps_one_transmitter(buildings):
    height, width = buildings.shape
    size = (height + 3, width + 2)
    mirrored = np.pad(buildings, ((0, 3), (0, 2)), mode="reflect")
    names = ["buildings", "transmitter", "distance", "detour", "line_of_sight"]
    extended = build_prompt(names, buildings, (0, 7), min_size=size)
    assert torch.equal(extended, build_prompt(names, mirrored, (0, 7)))
    same = build_prompt(names, buildings, (0, 7), min_size=(1, 1))
    assert torch.equal(same, build_prompt(names, buildings, (0, 7)))


def test_line_of_sight_channel_is_the_signed_visibility(buildings):
    channel = build_prompt(["line_of_sight"], buildings, (3, 0))[0].numpy()
    assert np.array_equal(channel > 0, line_of_sight(buildings, (3, 0)))
    assert set(np.unique(channel)) == {-1.0, 1.0}


def test_every_feature_stays_in_range_and_keeps_the_order_asked_for(buildings):
    names = [name for name in PROMPT_FEATURES if name != "building_height"][::-1]  # flat
    prompt = build_prompt(names, buildings, (0, 7))
    assert prompt.abs().max() <= 1
    for channel, name in zip(prompt, names, strict=True):
        assert torch.equal(channel, build_prompt([name], buildings, (0, 7))[0])


@pytest.mark.parametrize("convert", [torch.from_numpy, np.asarray, lambda m: m.astype(np.float32)])
def test_masks_and_positions_may_be_arrays_or_tensors(buildings, convert):
    prompt = build_prompt(PAPER_PROMPT, convert(buildings), torch.tensor([0, 5]))
    assert torch.equal(prompt, build_prompt(PAPER_PROMPT, buildings, (0, 5)))


@pytest.mark.parametrize(
    ("transmitter", "words"),
    [
        ((3, 4), r"\(3, 4\) is inside a building; place it on an outdoor pixel"),
        ((6, 0), r"\(6, 0\) is outside the map; rows are 0 .. 5, columns 0 .. 7"),
        ((0, -1), "outside the map"),
        ((0.5, 1), r"expected \(row, column\) in whole pixels"),
        ((float("nan"), 1), "in whole pixels"),
        ((1, 2, 3), "in whole pixels"),
        (None, "in whole pixels"),
    ],
)
def test_impossible_transmitters_are_refused(buildings, transmitter, words):
    with pytest.raises(InputError, match=words):
        build_prompt(PAPER_PROMPT, buildings, transmitter)


@pytest.mark.parametrize("value", [0.5, 255, -1, float("nan")])
def test_masks_that_are_not_binary_are_refused(buildings, value):
    mask = buildings.astype(np.float32)
    mask[0, 0] = value
    with pytest.raises(InputError, match=f"buildings: not a binary mask, it holds {value}"):
        build_prompt(PAPER_PROMPT, mask, (0, 5))


def test_shapes_and_names_are_checked(buildings):
    with pytest.raises(InputError, match=r"buildings: shape .* expected a mask"):
        build_prompt(PAPER_PROMPT, buildings[None], (0, 5))
    with pytest.raises(InputError, match="vehicles: shape"):
        build_prompt(PAPER_PROMPT, buildings, (0, 5), buildings.T)
    with pytest.raises(InputError, match="found 'building', allowed: buildings, transmitter"):
        build_prompt(["building"], buildings, (0, 5))
    with pytest.raises(InputError, match="prompt features: found none"):
        build_prompt([], buildings, (0, 5))
