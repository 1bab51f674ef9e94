import time
from dataclasses import replace

import pytest
import torch

from radiodiff.data.settings import DataConfig, MeasurementProtocol
from radiodiff.experiments.methods import METHODS, MapBatch, register
from radiodiff.experiments.reproduce.cost import CostRequest, describe_device, measure
from radiodiff.experiments.settings import MethodSettings

MEBIBYTES = 300


@pytest.fixture
def request_of(write_radio_maps, tmp_path):
    root = write_radio_maps(tmp_path, maps=(1,), transmitters=2, shape=(32, 32))

    def make(source):
        return CostRequest(
            settings=MethodSettings(source=source),
            imports=(),
            data=DataConfig(root=root, split="all"),
            part="test",
            protocol=MeasurementProtocol(missing_ratio=0.5, noise_std=0.0),
            known=None,
            repeats=2,
            threads=torch.get_num_threads(),
        )

    return make


def test_time_and_memory_of_a_map(request_of, monkeypatch):
    calls = []

    def slow(batch: MapBatch) -> torch.Tensor:
        calls.append(batch.names)
        time.sleep(0.05)
        held = torch.ones(MEBIBYTES * 2**18)
        return held[: 32 * 32].reshape(1, 32, 32)

    monkeypatch.setattr("radiodiff.experiments.methods.METHODS", dict(METHODS))
    register("slow", slow)
    cost = measure(request_of("slow"))
    assert calls == [("1_0",), ("1_1",), ("1_0",)]
    assert cost.seconds >= 0.05
    assert cost.memory_mb > MEBIBYTES
    assert cost.memory_mb >= cost.idle_mb > 0


def test_a_method_without_its_measurements_has_no_cost(request_of):
    assert measure(replace(request_of("nearest"), protocol=None)) is None
    assert measure(request_of("nearest")).seconds > 0


def test_the_device_is_named():
    threads = torch.get_num_threads()
    assert describe_device("cpu").endswith(f", {threads} thread{'s' if threads > 1 else ''}")
