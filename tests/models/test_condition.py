import pytest
import torch
import torchvision
from torch import Tensor

from radiodiff.errors import InputError
from radiodiff.models.condition import ConvolutionalPyramid, SwinPyramid


def noise(*shape: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(0))


@pytest.fixture(scope="module")
def swin() -> SwinPyramid:
    return SwinPyramid("swin_t").eval()


def test_swin_features_are_the_outputs_of_the_four_stages(swin):
    prompt = noise(1, 3, 64, 96)
    collected = []
    hooks = [
        stage.register_forward_hook(lambda _, __, output: collected.append(output))
        for stage in swin.backbone.features[1::2]
    ]
    with torch.no_grad():
        swin.backbone(prompt)
        for hook in hooks:
            hook.remove()
        features = swin(prompt)
    assert [tuple(feature.shape) for feature in features] == [
        (1, 96, 16, 24),
        (1, 192, 8, 12),
        (1, 384, 4, 6),
        (1, 768, 2, 3),
    ]
    assert swin.channels == (96, 192, 384, 768)
    for feature, stage in zip(features, collected, strict=True):
        assert torch.equal(feature, stage.permute(0, 3, 1, 2))


def test_swin_trains_what_it_uses(swin):
    for feature in swin(noise(1, 3, 64, 64)):
        feature.sum().backward(retain_graph=True)
    unused = [name for name, p in swin.named_parameters() if p.requires_grad and p.grad is None]
    assert unused == []


def test_swin_maps_other_prompts_to_three_channels():
    with torch.device("meta"):
        pyramid = SwinPyramid("swin_t", prompt_channels=5)
        assert pyramid(torch.empty(1, 5, 64, 64))[0].shape == (1, 96, 16, 16)


def test_swin_loads_torchvision_weights_from_a_file(swin, tmp_path):
    state_dict = torchvision.models.swin_t().state_dict()
    torch.save(state_dict, tmp_path / "swin.pth")
    pyramid = SwinPyramid("swin_t")
    pyramid.load_weights(str(tmp_path / "swin.pth"))
    for key, tensor in pyramid.backbone.state_dict().items():
        assert torch.equal(tensor, state_dict[key])


def test_swin_refuses_other_weights(swin, tmp_path):
    torch.save({"conv.weight": torch.zeros(3)}, tmp_path / "other.pth")
    with pytest.raises(InputError, match="not weights of torchvision swin_t: 186 tensors"):
        swin.load_weights(str(tmp_path / "other.pth"))
    (tmp_path / "text.pth").write_text("no weights")
    with pytest.raises(InputError, match="damaged, or holds more than tensors"):
        swin.load_weights(str(tmp_path / "text.pth"))
    with pytest.raises(InputError, match=r"neither a file nor .*allowed: IMAGENET1K_V1"):
        swin.load_weights("IMAGENET22K")


def test_convolutional_features_halve_and_widen():
    pyramid = ConvolutionalPyramid(5, (8, 16, 16), stride=4)
    features = pyramid(noise(2, 5, 32, 48))
    assert [tuple(feature.shape) for feature in features] == [
        (2, 8, 8, 12),
        (2, 16, 4, 6),
        (2, 16, 2, 3),
    ]


def test_convolutional_features_see_a_transmitter_of_one_pixel():
    pyramid = ConvolutionalPyramid(1, (8, 16), stride=4).eval()
    empty = torch.full((1, 1, 64, 64), -1.0)
    first, second = empty.clone(), empty.clone()
    first[..., 30, 33] = second[..., 31, 33] = 1.0  # the same cell of 4 x 4 pixels
    with torch.no_grad():
        none, one, other = (pyramid(prompt)[0] for prompt in (empty, first, second))
    assert (one - none).abs().max() > 1e-3
    assert (one - other).abs().max() > 1e-3
