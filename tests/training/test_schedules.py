import math

import pytest

from radiodiff.training.schedules import learning_rate_at
from radiodiff.training.settings import OptimizerSettings


def settings(**changes: object) -> OptimizerSettings:
    values = {
        "learning_rate": 1.0,
        "final_learning_rate": 0.1,
        "schedule": "cosine",
        "warmup_steps": 10,
        "weight_decay": 0.0,
        "gradient_clip": None,
    }
    return OptimizerSettings.model_validate(values | changes)


@pytest.mark.parametrize("schedule", ["cosine", "polynomial"])
def test_the_floor_is_reached_at_the_last_step_and_never_undercut(schedule: str) -> None:
    rates = [learning_rate_at(step, 111, settings(schedule=schedule)) for step in range(200)]
    assert rates[110] == pytest.approx(0.1)
    assert min(rates[10:]) == pytest.approx(0.1)
    assert max(rates) == rates[10] == 1.0


def test_the_warm_up_is_linear_and_starts_above_zero() -> None:
    rates = [learning_rate_at(step, 100, settings()) for step in range(10)]
    assert rates == pytest.approx([0.1 * (k + 1) for k in range(10)])


def test_shapes_follow_their_formulas() -> None:
    middle = 10 + 50
    assert learning_rate_at(middle, 111, settings()) == pytest.approx(
        0.1 + 0.9 * 0.5 * (1 + math.cos(math.pi / 2))
    )
    power = settings(schedule="polynomial", power=2.0)
    assert learning_rate_at(middle, 111, power) == pytest.approx(0.1 + 0.9 * 0.25)
    assert learning_rate_at(middle, 111, settings(schedule="constant")) == 1.0


def test_a_floor_above_the_peak_is_refused() -> None:
    with pytest.raises(ValueError, match="must not exceed"):
        settings(final_learning_rate=2.0)
