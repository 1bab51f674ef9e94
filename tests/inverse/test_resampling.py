import pytest
import torch

from radiodiff.inverse.resampling import effective_sample_size, resample


def test_effective_sample_size_of_equal_and_of_single_weights():
    log_weights = torch.tensor([[5.0, 5.0, 5.0, 5.0], [0.0, -1e6, -1e6, -1e6]]).double()
    torch.testing.assert_close(
        effective_sample_size(log_weights), torch.tensor([4.0, 1.0]).double()
    )


@pytest.mark.parametrize("scheme", ["systematic", "multinomial"])
def test_parents_come_in_proportion_to_their_weights(scheme):
    weights = torch.tensor([0.5, 0.3, 0.15, 0.05], dtype=torch.float64)
    log_weights = weights.log().repeat(5000, 1) - 1e5  # unnormalised, far below exp's range
    parents = resample(log_weights, scheme, torch.Generator().manual_seed(0))
    shares = torch.bincount(parents.flatten(), minlength=4) / parents.numel()
    torch.testing.assert_close(shares.double(), weights, atol=0.01, rtol=0)


def test_systematic_counts_differ_from_expectation_by_less_than_one():
    generator = torch.Generator().manual_seed(1)
    log_weights = torch.randn((200, 16), generator=generator, dtype=torch.float64)
    parents = resample(log_weights, "systematic", generator)
    counts = torch.stack([torch.bincount(p, minlength=16) for p in parents])
    assert (counts - 16 * torch.softmax(log_weights, 1)).abs().max() < 1


def test_one_generator_per_map_makes_maps_independent():
    log_weights = torch.zeros(2, 8, dtype=torch.float64)
    both = [torch.Generator().manual_seed(3), torch.Generator().manual_seed(4)]
    together = resample(log_weights, "multinomial", both)
    alone = resample(log_weights[1:], "multinomial", [torch.Generator().manual_seed(4)])
    assert torch.equal(together[1:], alone)
