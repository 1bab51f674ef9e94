import torch

from radiodiff.benchmarks.data import TARGETS, benchmark_dataset


def test_rates_of_a_tree_and_of_noise(tree):
    threads = torch.get_num_threads()
    rates = benchmark_dataset(tree, seconds=0.01)
    assert TARGETS.keys() <= rates.keys()
    assert min(rates.values()) > 0
    assert benchmark_dataset(seconds=0.01).keys() == rates.keys()
    assert torch.get_num_threads() == threads
