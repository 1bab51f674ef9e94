import pytest
import torch
from torchvision.models import vgg16

from radiodiff.errors import InputError
from radiodiff.models.lpips import HEADS_FILE, LPIPS, VGG_FILE, load_lpips


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    """Files as they are distributed, with other numbers in them."""
    directory = tmp_path_factory.mktemp("lpips")
    generator = torch.Generator().manual_seed(0)
    # The classifier of VGG16 is large and unused, so it is left out here.
    with torch.device("meta"):
        shapes = vgg16(weights=None).features.state_dict()
    vgg = {
        f"features.{key}": torch.randn(value.shape, generator=generator) * 0.05
        for key, value in shapes.items()
    }
    torch.save(vgg, directory / VGG_FILE)
    heads = {
        f"lin{index}.model.1.weight": torch.rand(1, channels, 1, 1, generator=generator)
        for index, channels in enumerate((64, 128, 256, 512, 512))
    }
    torch.save(heads, directory / HEADS_FILE)
    return directory


def test_distance_follows_its_definition(weights):
    """Sum over relu1_2 .. relu5_3 of the head-weighted squared difference of unit features."""
    lpips = load_lpips(weights)
    heads = torch.load(weights / HEADS_FILE, weights_only=True)
    generator = torch.Generator().manual_seed(1)
    x, y = (torch.rand(2, 1, 32, 32, generator=generator) * 2 - 1 for _ in range(2))

    mean, std = torch.tensor([-0.030, -0.088, -0.188]), torch.tensor([0.458, 0.448, 0.450])
    features = []
    for image in (x, y):
        hidden = (image.expand(-1, 3, -1, -1) - mean[:, None, None]) / std[:, None, None]
        outputs = []
        for index, layer in enumerate(lpips.features):
            hidden = layer(hidden)
            if index in (3, 8, 15, 22, 29):
                outputs.append(hidden / hidden.norm(dim=1, keepdim=True))
        features.append(outputs)
    expected = torch.zeros(2)
    for index, (of_x, of_y) in enumerate(zip(*features, strict=True)):
        weighted = heads[f"lin{index}.model.1.weight"] * (of_x - of_y) ** 2
        expected += weighted.sum(dim=1).mean(dim=(1, 2))
    torch.testing.assert_close(lpips(x, y), expected, rtol=1e-4, atol=1e-6)


def test_distance_is_a_frozen_measure_with_gradients_to_the_image(weights):
    lpips = load_lpips(weights)
    x = torch.rand(2, 1, 32, 32, generator=torch.Generator().manual_seed(2)) * 2 - 1
    assert lpips(x, x).tolist() == [0.0, 0.0]
    y = (-x).requires_grad_()
    lpips(x, y).sum().backward()
    assert y.grad.abs().sum() > 0
    assert not any(parameter.requires_grad for parameter in lpips.parameters())


def test_missing_file_says_where_to_get_it(tmp_path):
    with pytest.raises(InputError, match=r"vgg16-397923af\.pth: .*download\.pytorch\.org.*none"):
        load_lpips(tmp_path)


def test_other_weights_are_refused(weights, tmp_path):
    torch.save({"features.0.weight": torch.zeros(1)}, tmp_path / VGG_FILE)
    torch.save(torch.load(weights / HEADS_FILE, weights_only=True), tmp_path / HEADS_FILE)
    with pytest.raises(InputError, match="other weights"):
        load_lpips(tmp_path)


def test_a_broken_file_is_refused(tmp_path):
    (tmp_path / VGG_FILE).write_bytes(b"<html>not found</html>")
    with pytest.raises(InputError, match=r"vgg16-397923af\.pth: .*weight file"):
        load_lpips(tmp_path)


def test_module_has_the_layers_of_vgg16():
    assert sum(p.numel() for p in LPIPS().parameters()) == 14_714_688 + 64 + 128 + 256 + 512 + 512
