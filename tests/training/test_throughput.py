import time

import pytest
import torch
from torch import nn

from radiodiff.memory import peak_memory
from radiodiff.training.throughput import Clock, count_operations, measure_peak


class Linear(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(8, 16, bias=False)

    def forward(self, batch: dict[str, torch.Tensor], step: int) -> tuple[torch.Tensor, dict]:
        return nn.functional.dropout(self.layer(batch["x"])).square().mean(), {}


def test_rates_are_steps_and_shares_of_the_time_that_passed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now = [0.0]
    monkeypatch.setattr(time, "perf_counter", lambda: now[0])
    clock = Clock(batch_size=8, peak=100.0)
    clock.operations = 50
    for _ in range(2):
        with clock.span("data_wait"):
            now[0] += 1.0
        now[0] += 3.0
        clock.step()
    assert clock.rates() == {
        "steps_per_second": 0.25,
        "samples_per_second": 2.0,
        "data_wait_share": 0.25,
        "peak_share": 0.125,
    }
    now[0] += 1.0
    assert clock.rates()["steps_per_second"] == 0.0


def test_operations_are_counted_without_a_trace() -> None:
    objective, batch = Linear(), {"x": torch.ones(4, 8)}
    state = torch.get_rng_state()
    # Forward and the gradient of the weight; the input needs none.
    assert count_operations(objective, batch, 0) == 2 * 2 * 4 * 8 * 16
    assert objective.layer.weight.grad is None
    assert torch.equal(torch.get_rng_state(), state)


def test_peak_and_memory_are_positive() -> None:
    device = torch.device("cpu")
    assert measure_peak(device, "fp32", repeats=1) > 1e6
    assert 0.01 < peak_memory(device) < 1000.0
