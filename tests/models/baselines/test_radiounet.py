import pytest
import torch
from torch import Tensor

from radiodiff.errors import InputError
from radiodiff.models.baselines.radiounet import RadioUNet
from radiodiff.models.released import radiounet_from_authors

NARROW = {
    "in_channels": 2,
    "first_widths": (4, 4, 5, 5, 6, 6, 7, 7, 8),
    "second_widths": (3, 4, 5, 6, 7, 8, 9, 10, 11),
    "head_widths": (4, 5),
}


def noise(*shape: int) -> Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(0))


def test_both_u_nets_equal_the_authors(load_reference):
    weights, arrays = load_reference("radiounet_inputs3")
    network = radiounet_from_authors(weights)
    with torch.no_grad():
        outputs = network(arrays["x"])
    for output, name in zip(outputs, ("first", "second"), strict=True):
        scale = arrays[name].abs().max()
        assert (output - arrays[name]).abs().max() < 1e-4 * scale


def test_maps_are_positive_and_of_the_size_of_the_input():
    first, second = RadioUNet(**NARROW)(noise(2, 2, 64, 128))
    assert first.shape == second.shape == (2, 1, 64, 128)
    assert first.min() >= 0
    assert second.min() >= 0


def test_the_second_u_net_does_not_train_the_first():
    network = RadioUNet(**NARROW)
    _, second = network(noise(1, 2, 64, 64))
    second.sum().backward()
    assert all(parameter.grad is None for parameter in network.first.parameters())
    assert network.second.encoder[0][0].weight.grad.any()


def test_few_pixels_start_without_a_gradient():
    scene = torch.zeros(1, 3, 64, 64)
    scene[:, ::2, 10:30, 10:40] = 1.0
    scene[:, 1, 40, 40] = 1.0
    for seed in range(6):
        torch.manual_seed(seed)
        with torch.no_grad():
            outputs = RadioUNet(in_channels=3)(scene)
        assert all((output > 0).float().mean() > 0.9 for output in outputs)


def test_the_authors_sizes():
    with torch.device("meta"):
        network = RadioUNet(in_channels=3)
    sizes = [sum(p.numel() for p in unet.parameters()) for unet in (network.first, network.second)]
    assert sizes == [10_921_984, 2_353_331]


def test_saved_and_loaded(tmp_path):
    network = RadioUNet(**NARROW)
    network.save_pretrained(tmp_path)
    loaded = RadioUNet.from_pretrained(tmp_path)
    x = noise(1, 2, 64, 64)
    with torch.no_grad():
        assert torch.equal(loaded(x)[1], network(x)[1])


def test_sides_that_do_not_divide_are_mirrored_and_cropped():
    network = RadioUNet(**NARROW).eval()
    x = noise(1, 2, 60, 90)
    extended = torch.nn.functional.pad(x, (0, 38, 0, 4), mode="reflect")
    with torch.no_grad():
        assert torch.equal(network.first(x), network.first(extended)[..., :60, :90])
        assert network(x)[1].shape == (1, 1, 60, 90)


def test_refuses_what_does_not_fit():
    network = RadioUNet(**NARROW)
    with pytest.raises(InputError, match=r"expected \(B, 2, H, W\), found \(1, 3, 64, 64\)"):
        network(noise(1, 3, 64, 64))
    with pytest.raises(InputError, match="widths: expected 9 widths, found 3"):
        RadioUNet(second_widths=(8, 16, 32))
