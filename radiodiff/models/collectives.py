"""What depends on the whole batch, where the batch is spread over processes: statistics, dropout.

Process r holds the r-th contiguous share of the batch, and all shares are equal.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torchvision.ops import StochasticDepth


def mean_over_processes(x: Tensor) -> Tensor:
    """Return the mean of ``x`` over the processes, with gradients; ``x`` itself where it is alone.

    All shares of the batch are equal, so the mean of their means is that of the batch.
    """
    mean: Tensor = x if _processes() == 1 else _Mean.apply(x)
    return mean


def share_batch(network: nn.Module, device: torch.device) -> None:
    """Let ``network`` compute on its share what it would compute on the whole batch.

    Batch normalisations see the statistics of all processes. Dropout and stochastic depth draw for
    the whole batch, from torch's global generator, which must be in the same state on every
    process, and apply their share of it.
    """
    if _processes() > 1 and device.type == "cuda":
        nn.SyncBatchNorm.convert_sync_batchnorm(network)
    for module in network.modules():
        replacement = _REPLACEMENTS.get(type(module))
        if replacement is not None:
            module.__class__ = replacement


class SharedBatchNorm2d(nn.BatchNorm2d):
    """Batch normalisation by the statistics of all processes.

    For CPUs: torch's ``SyncBatchNorm`` computes the same, and works on GPUs alone.
    """

    def forward(self, x: Tensor) -> Tensor:
        """Normalise (B, C, H, W) over B, H and W of every process."""
        if not self.training or _processes() == 1:
            return super().forward(x)
        values = x.float()
        mean = mean_over_processes(values.mean((0, 2, 3)))
        centred = values - mean.view(-1, 1, 1)
        variance = mean_over_processes(centred.square().mean((0, 2, 3)))
        self._track(mean.detach(), variance.detach(), _processes() * x.numel() // x.shape[1])
        scale = self.weight * (variance + self.eps).rsqrt()
        return (centred * scale.view(-1, 1, 1) + self.bias.view(-1, 1, 1)).to(x.dtype)

    @torch.no_grad()
    def _track(self, mean: Tensor, variance: Tensor, count: int) -> None:
        assert self.running_mean is not None
        assert self.running_var is not None
        assert self.num_batches_tracked is not None
        assert self.momentum is not None
        self.num_batches_tracked += 1
        self.running_mean.lerp_(mean, self.momentum)
        self.running_var.lerp_(variance * count / (count - 1), self.momentum)


class SharedDropout(nn.Dropout):
    """Dropout drawn for the whole batch."""

    def forward(self, x: Tensor) -> Tensor:
        """Zero elements of (B, ...) with probability p and scale up the others."""
        return x * _keep(x, x.shape[1:], self.p) if self.training and self.p > 0 else x


class SharedStochasticDepth(StochasticDepth):
    """Stochastic depth by rows, drawn for the whole batch."""

    def forward(self, x: Tensor) -> Tensor:
        """Zero rows of (B, ...) with probability p and scale up the others."""
        if not self.training or self.p == 0:
            return x
        return x * _keep(x, torch.Size([1] * (x.ndim - 1)), self.p)


_REPLACEMENTS: dict[type[nn.Module], type[nn.Module]] = {
    nn.BatchNorm2d: SharedBatchNorm2d,
    nn.Dropout: SharedDropout,
    StochasticDepth: SharedStochasticDepth,
}


def _processes() -> int:
    distributed = torch.distributed
    return distributed.get_world_size() if distributed.is_initialized() else 1


def _keep(x: Tensor, shape: torch.Size, p: float) -> Tensor:
    """Return the factors of this process' rows: 0, or 1 / (1 - p)."""
    processes, rows = _processes(), len(x)
    first = rows * torch.distributed.get_rank() if processes > 1 else 0
    whole = torch.empty((processes * rows, *shape), dtype=x.dtype, device=x.device)
    return whole.bernoulli_(1.0 - p)[first : first + rows] / (1.0 - p)


class _Mean(torch.autograd.Function):
    """The mean over the processes, which is its own adjoint."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        total = x.clone(memory_format=torch.contiguous_format)
        torch.distributed.all_reduce(total)
        return total / _processes()

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        return _Mean.forward(ctx, gradient)
