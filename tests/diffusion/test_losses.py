import math

import pytest
import torch

from radiodiff.diffusion.losses import paper_loss, released_loss

# One sample with errors 3 and 1 in its first head and 2 in its noise, so that L2 and L1 are 5 and 2
# for the head, 4 and 2 for the noise; and a second sample without error.
PREDICTION = torch.tensor([[[3.0, 1.0]], [[7.0, 7.0]]]), torch.tensor([[[2.0, -2.0]], [[5.0, 5.0]]])
TARGET = torch.tensor([[[0.0, 0.0]], [[7.0, 7.0]]]), torch.tensor([[[0.0, 0.0]], [[5.0, 5.0]]])


def test_paper_loss_is_the_sum_of_mean_squares():
    assert paper_loss(PREDICTION, TARGET).tolist() == [9.0, 0.0]


@pytest.mark.parametrize("t", [0.25, 1.0])
def test_released_loss_matches_hand_value(t):
    expected = 0.5 * (2 * math.exp(1 - t) * (5 + 2) + math.exp(math.sqrt(t)) * (4 + 2))
    loss = released_loss(PREDICTION, TARGET, torch.tensor([t, t]))
    assert loss.tolist() == pytest.approx([expected, 0.0])


def test_released_loss_weights_both_linear_coefficients_like_c():
    prediction, target = (PREDICTION[0], *PREDICTION), (TARGET[0], *TARGET)
    t = torch.tensor([0.25, 0.25])
    extra = 0.5 * 2 * math.exp(0.75) * 7
    expected = released_loss(PREDICTION, TARGET, t)[0].item() + extra
    assert released_loss(prediction, target, t)[0].item() == pytest.approx(expected)


def test_losses_refuse_a_missing_head():
    with pytest.raises(ValueError, match="zip"):
        paper_loss(PREDICTION[:1], TARGET)
