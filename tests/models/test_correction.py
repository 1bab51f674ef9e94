import pytest
import torch

from radiodiff.errors import InputError
from radiodiff.models.correction import PathLossCorrection


def maps(*shape: int) -> torch.Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(sum(shape))) * 2 - 1


def test_it_begins_with_one_gate_everywhere_and_no_residual():
    correction = PathLossCorrection(3, width=8, blocks=2, initial_gate=0.3)
    generated, path_loss, prompt = maps(2, 1, 8, 12), -maps(2, 1, 8, 12), maps(2, 3, 8, 12)
    expected = 0.7 * path_loss + 0.3 * generated
    torch.testing.assert_close(correction(generated, path_loss, prompt), expected)


def test_gate_and_residual_are_those_of_the_head():
    """With a head of biases alone, the output is P + g (G - P) + r of the pixel in its square."""
    correction = PathLossCorrection(1, width=8, blocks=1)
    gates, residuals = torch.tensor([-2.0, -1.0, 0.0, 3.0]), torch.tensor([0.1, 0.2, 0.3, 0.4])
    correction.head.bias.data.copy_(torch.cat([gates, residuals]))
    generated, path_loss = torch.ones(1, 1, 4, 4), torch.zeros(1, 1, 4, 4)
    output = correction(generated, path_loss, maps(1, 1, 4, 4))[0, 0]
    square = (gates.sigmoid() + residuals).view(2, 2)
    torch.testing.assert_close(output, square.repeat(2, 2))


@pytest.mark.parametrize("trusted", ["path loss", "generated"])
def test_it_learns_which_of_the_maps_is_right(trusted):
    torch.manual_seed(0)
    correction = PathLossCorrection(1, width=8, blocks=1)
    optimizer = torch.optim.Adam(correction.parameters(), 0.02)
    generator = torch.Generator().manual_seed(0)
    losses = []
    for _ in range(150):
        truth, wrong, prompt = torch.rand((3, 4, 1, 8, 8), generator=generator) * 2 - 1
        right = (wrong, truth) if trusted == "path loss" else (truth, wrong)
        loss = (correction(*right, prompt) - truth).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.1 * max(losses[:3])


def test_saved_and_loaded_it_is_the_same(tmp_path):
    correction = PathLossCorrection(2, width=8, blocks=2, initial_gate=0.4)
    torch.nn.init.normal_(correction.head.weight)
    correction.save_pretrained(tmp_path)
    loaded = PathLossCorrection.from_pretrained(tmp_path)
    inputs = maps(1, 1, 8, 8), maps(1, 1, 8, 8), maps(1, 2, 8, 8)
    assert torch.equal(correction(*inputs), loaded(*inputs))


def test_what_does_not_fit_is_refused():
    with pytest.raises(InputError, match=r"initial_gate: found 1\.0"):
        PathLossCorrection(2, initial_gate=1.0)
    with pytest.raises(InputError, match=r"width: found 12"):
        PathLossCorrection(2, width=12)
    correction = PathLossCorrection(2, width=8)
    one = maps(1, 1, 8, 8)
    with pytest.raises(InputError, match=r"prompt \(1, 3, 8, 8\)"):
        correction(one, one, maps(1, 3, 8, 8))


def test_odd_sides_are_corrected_as_the_mirrored_map_is():
    correction = PathLossCorrection(2, width=8)
    torch.nn.init.normal_(correction.head.weight)
    odd = maps(1, 1, 7, 8), maps(1, 1, 7, 8), maps(1, 2, 7, 8)
    even = [torch.cat([image, image[:, :, -2:-1]], dim=2) for image in odd]
    torch.testing.assert_close(correction(*odd), correction(*even)[:, :, :7])
