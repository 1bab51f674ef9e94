import itertools

import pytest
import torch
import torch.nn.functional as F

from radiodiff.errors import InputError
from radiodiff.inverse.tiling import tile_denoiser
from radiodiff.tiles import tile_starts

LEVEL = torch.ones(2, dtype=torch.float64)


@pytest.mark.parametrize(
    ("size", "tile", "overlap"), [(512, 256, 64), (384, 256, 64), (300, 64, 8)]
)
def test_tiles_cover_the_map_and_overlap(size, tile, overlap):
    starts = tile_starts(size, tile, overlap)
    assert starts[0] == 0
    assert starts[-1] == size - tile
    assert all(tile - (b - a) >= overlap for a, b in itertools.pairwise(starts))


def test_a_map_of_one_tile_is_left_alone():
    x = torch.randn(2, 1, 32, 32, generator=torch.Generator().manual_seed(0))
    found = tile_denoiser(lambda x, _: x.square(), (32, 32), 8)(x, LEVEL)
    torch.testing.assert_close(found, x.square())


def test_pointwise_denoisers_do_not_notice_the_tiles():
    x = torch.randn(2, 1, 70, 53, generator=torch.Generator().manual_seed(0))

    def pointwise(x, abar):
        assert x.shape[-2:] == (32, 24)
        return torch.tanh(x)

    found = tile_denoiser(pointwise, (32, 24), 8)(x, LEVEL)
    torch.testing.assert_close(found, torch.tanh(x))


def test_levels_of_pixels_are_cut_like_the_map():
    x = torch.randn(2, 1, 48, 40, generator=torch.Generator().manual_seed(0))
    level = torch.rand(x.shape, generator=torch.Generator().manual_seed(1))
    found = tile_denoiser(lambda x, abar: x * abar, (32, 24), 8)(x, level)
    torch.testing.assert_close(found, x * level)


def test_tiles_that_disagree_leave_no_seam():
    """A denoiser that returns one level per tile: the blend has no jump, only ramps."""
    levels = iter([0.0, 1.0, 0.3, -0.5, 0.2, 0.9])
    tile = tile_denoiser(lambda x, _: torch.full_like(x, next(levels)), (32, 32), 16)
    blend = tile(torch.zeros(1, 1, 48, 64), LEVEL[:1])
    steps = torch.cat([blend.diff(dim=-1).flatten(), blend.diff(dim=-2).flatten()])
    assert steps.abs().max() < 0.2  # jumps of up to 1.5 are spread over the overlap
    assert blend.std() > 0.1


def test_smoothing_across_tiles_is_as_in_one_piece():
    x = torch.randn(1, 1, 96, 96, generator=torch.Generator().manual_seed(0))
    kernel = torch.ones(1, 1, 5, 5) / 25

    def smooth(x, _):
        return F.conv2d(x, kernel, padding=2)

    found = tile_denoiser(smooth, (64, 64), 32)(x, LEVEL[:1])
    # Only the two pixels at a tile's border miss neighbours, and there its weight is at most 2/32.
    error = (found - smooth(x, None)).abs()
    assert error.max() < 0.06 * smooth(x, None).abs().max() + 0.02


@pytest.mark.parametrize("overlap", [0, 32])
def test_impossible_overlaps_are_refused(overlap):
    with pytest.raises(InputError, match=r"allowed are 1 \.\. 31"):
        tile_denoiser(lambda x, _: x, (32, 40), overlap)
