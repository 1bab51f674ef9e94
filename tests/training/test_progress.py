import pytest

from radiodiff.training.progress import FEWEST, WINDOW, Progress


def test_a_spike_is_a_loss_above_a_multiple_of_the_median() -> None:
    progress = Progress()
    assert all(progress.exceeds(1.0 + k % 3, 3.0) is None for k in range(FEWEST + 20))
    assert progress.exceeds(5.9, 3.0) is None
    assert progress.exceeds(6.1, 3.0) == 2.0


def test_the_first_losses_and_negative_medians_are_not_judged() -> None:
    progress = Progress()
    assert all(progress.exceeds(10.0**k, 3.0) is None for k in range(FEWEST))
    negative = Progress(losses=[-1.0] * 50)
    assert negative.exceeds(5.0, 3.0) is None


def test_the_median_is_of_the_last_losses() -> None:
    progress = Progress(losses=[100.0] * WINDOW)
    for _ in range(WINDOW):
        progress.exceeds(1.0, 3.0)
    assert progress.exceeds(4.0, 3.0) == pytest.approx(1.0)
    assert len(progress.losses) == WINDOW
