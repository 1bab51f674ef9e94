import pytest
import torch
from torch import Tensor

from radiodiff.errors import InputError
from radiodiff.models.baselines.uvmnet import BiSSM, UVMNet

SMALL = {"in_channels": 2, "widths": (4, 6, 6), "grid": 8, "states": 4, "hidden": 4}


def noise(*shape: int) -> Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(0))


@pytest.fixture
def network() -> UVMNet:
    torch.manual_seed(0)
    return UVMNet(**SMALL).eval()


def test_one_network_serves_maps_of_any_size(network: UVMNet) -> None:
    with torch.no_grad():
        assert network(noise(2, 2, 16, 16)).shape == (2, 1, 16, 16)
        assert network(noise(1, 2, 64, 48)).shape == (1, 1, 64, 48)


def test_every_pixel_depends_on_every_other(network: UVMNet) -> None:
    x = noise(1, 2, 96, 96)
    changed = x.clone()
    changed[:, :, -8:, -8:] += 1.0
    with torch.no_grad():
        difference = (network(changed) - network(x)).abs()
        assert difference[..., :8, :8].max() > 1e-7
        # Not through the convolutions: without the Bi-SSM blocks the far corner hears nothing.
        for block in (*network.encoder, *network.decoder):
            block.global_block.smooth.weight.zero_()
        difference = (network(changed) - network(x)).abs()
    assert difference.max() > 1e-3
    assert difference[..., :8, :8].max() == 0


def test_both_scans_and_the_attention_are_trained() -> None:
    torch.manual_seed(0)
    network = UVMNet(**SMALL)
    (network(noise(2, 2, 16, 16)) - 0.5).square().mean().backward()
    assert all(parameter.grad is not None for parameter in network.parameters())
    assert all(parameter.grad.any() for parameter in network.parameters())


def test_the_scans_read_positions_row_by_row() -> None:
    torch.manual_seed(0)
    block = BiSSM(channels=3, grid=4, states=4, hidden=4)
    for layer in (block.local[2], block.smooth):
        torch.nn.init.zeros_(layer.weight)
        torch.nn.init.zeros_(layer.bias)
    torch.nn.init.dirac_(block.smooth.weight)
    x = noise(1, 3, 4, 4)
    rows = x[0].permute(1, 2, 0).reshape(1, 16, 3)  # (position, channel)
    sequence = block.norm(rows)
    along = block.along_channels(block.along_positions(sequence).transpose(1, 2)).transpose(1, 2)
    weight = block.attention(sequence).softmax(dim=-1)
    assert torch.allclose(weight.sum(dim=-1), torch.ones(1, 16))
    expected = (weight * along)[0].reshape(4, 4, 3).permute(2, 0, 1)
    assert torch.allclose(block(x)[0], expected, atol=1e-6)


def test_the_authors_sizes() -> None:
    with torch.device("meta"):
        network = UVMNet()
        plain = [
            sum(p.numel() for p in block.convolutions.parameters())
            for block in (*network.encoder, *network.decoder)
        ]
    # The double convolutions are those of the common U-Net of 64 channels with bilinear upsampling,
    # first layer and two 3 x 3 kernels per level, normalisation included.
    convolution = [
        (3, 64, 64),
        (64, 128, 128),
        (128, 256, 256),
        (256, 512, 512),
        (512, 512, 512),
        (1024, 512, 256),
        (512, 256, 128),
        (256, 128, 64),
        (128, 64, 64),
    ]
    assert plain == [9 * (a * m + m * b) + 2 * (m + b) for a, m, b in convolution]
    for grid, millions in ((64, 1003.9), (32, 116.2), (16, 60.1)):
        with torch.device("meta"):
            total = sum(parameter.numel() for parameter in UVMNet(grid=grid).parameters())
        assert total / 1e6 == pytest.approx(millions, abs=0.1)


def test_saved_and_loaded(network: UVMNet, tmp_path) -> None:
    network.save_pretrained(tmp_path)
    loaded = UVMNet.from_pretrained(tmp_path).eval()
    x = noise(1, 2, 16, 16)
    with torch.no_grad():
        assert torch.equal(loaded(x), network(x))


def test_sides_that_do_not_divide_are_mirrored_and_cropped(network: UVMNet) -> None:
    x = noise(1, 2, 16, 18)
    extended = torch.nn.functional.pad(x, (0, 2, 0, 0), mode="reflect")
    with torch.no_grad():
        assert torch.equal(network(x), network(extended)[..., :18])


def test_refuses_what_does_not_fit(network: UVMNet) -> None:
    with pytest.raises(InputError, match=r"expected \(B, 2, H, W\), found \(1, 3, 16, 16\)"):
        network(noise(1, 3, 16, 16))
    with pytest.raises(InputError, match=r"the last two must be equal, found \(4, 8\)"):
        UVMNet(widths=(4, 8))
