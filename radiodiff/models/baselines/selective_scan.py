"""The selective state space layer of Mamba (Gu & Dao, 2023), without custom kernels.

Per channel d the layer runs the recurrence

    h_t = exp(delta_t A) h_{t-1} + delta_t B_t u_t,    y_t = C_t . h_t + D u_t

over N states, with a step delta_t and projections B_t, C_t that follow from the input. Here the
recurrence is a parallel scan of logarithmic depth; where the package ``mamba_ssm`` is installed,
its kernel does the same on a GPU with far less memory.

Dimensions: B batch, D channels, L length of the sequence, N states.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional
from torch.utils.checkpoint import checkpoint

try:
    from mamba_ssm.ops.selective_scan_interface import selective_scan_fn as _kernel
except ImportError:
    _kernel = None

CHUNK = 256
"""Steps scanned at once. The states of one chunk alone, (B, D, N, CHUNK), are ever in memory."""


def linear_recurrence(decay: Tensor, drive: Tensor) -> Tensor:
    """Return h with h_t = decay_t h_{t-1} + drive_t and h_{-1} = 0, over the last axis.

    The scan is over the associative product (a, b) (a', b') = (a a', a' b + b'): it takes
    2 log2 L rounds and about 3 L products, instead of L rounds one after the other.

    Args:
        decay: (..., L).
        drive: the same shape.
    """
    return _LinearRecurrence.apply(decay, drive)


def _scan(decay: Tensor, drive: Tensor) -> Tensor:
    length = decay.shape[-1]
    if length == 1:
        return drive
    # Join neighbours, scan the half as long sequence, and fill in the steps between.
    even, odd = slice(0, length - 1, 2), slice(1, None, 2)
    joined = decay[..., odd] * drive[..., even] + drive[..., odd]
    at_odd = _scan(decay[..., odd] * decay[..., even], joined)
    result = torch.empty_like(drive)
    result[..., 0] = drive[..., 0]
    result[..., odd] = at_odd
    later = slice(2, None, 2)
    count = drive[..., later].shape[-1]
    result[..., later] = decay[..., later] * at_odd[..., :count] + drive[..., later]
    return result


class _LinearRecurrence(torch.autograd.Function):
    """The gradient of a linear recurrence is the same recurrence, run backwards."""

    @staticmethod
    def forward(ctx: Any, decay: Tensor, drive: Tensor) -> Tensor:
        states = _scan(decay, drive)
        ctx.save_for_backward(decay, states)
        return states

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor]:
        decay, states = ctx.saved_tensors
        # g_t = grad_t + decay_{t+1} g_{t+1}
        following = functional.pad(decay[..., 1:], (0, 1))
        grad_drive = _scan(following.flip(-1), grad.flip(-1)).flip(-1)
        previous = functional.pad(states[..., :-1], (1, 0))
        return grad_drive * previous, grad_drive


def selective_scan(u: Tensor, delta: Tensor, a: Tensor, b: Tensor, c: Tensor, d: Tensor) -> Tensor:
    """Run the selective state space recurrence; see the module for its formula.

    Computes in float32, whatever the precision around it.

    Args:
        u: input (B, D, L).
        delta: positive steps (B, D, L).
        a: negative decay rates (D, N).
        b: input projections (B, N, L).
        c: output projections (B, N, L).
        d: direct gains (D,).

    Returns:
        (B, D, L) float32.
    """
    u, delta, a, b, c, d = (tensor.float() for tensor in (u, delta, a, b, c, d))
    if _kernel is not None and u.is_cuda:
        return scan_with_kernel(_kernel, u, delta, a, b, c, d)
    state = u.new_zeros(len(u), *a.shape)
    outputs = []
    for first in range(0, u.shape[-1], CHUNK):
        part = slice(first, first + CHUNK)
        # Nothing but the inputs is kept for the backward pass: states are N times as large.
        y, state = checkpoint(
            _scan_chunk,
            state,
            u[..., part],
            delta[..., part],
            a,
            b[..., part],
            c[..., part],
            use_reentrant=False,
            preserve_rng_state=False,
        )
        outputs.append(y)
    return torch.cat(outputs, dim=-1) + d[:, None] * u


def scan_with_kernel(
    kernel: Callable[..., Tensor],
    u: Tensor,
    delta: Tensor,
    a: Tensor,
    b: Tensor,
    c: Tensor,
    d: Tensor,
) -> Tensor:
    """Run ``mamba_ssm``'s ``selective_scan_fn``, which takes the arguments of this module."""
    contiguous = (tensor.contiguous() for tensor in (u, delta, a, b, c, d))
    return kernel(*contiguous)


def _scan_chunk(
    state: Tensor, u: Tensor, delta: Tensor, a: Tensor, b: Tensor, c: Tensor
) -> tuple[Tensor, Tensor]:
    """Return the output (B, D, l) of a chunk, and the state (B, D, N) after it."""
    decay = (delta[:, :, None] * a[:, :, None]).exp()  # (B, D, N, l)
    drive = (delta * u)[:, :, None] * b[:, None]
    first = drive[..., :1] + decay[..., :1] * state[..., None]
    states = linear_recurrence(decay, torch.cat((first, drive[..., 1:]), dim=-1))
    return (states * c[:, None]).sum(dim=2), states[..., -1]


class SelectiveStateSpace(nn.Module):
    """A Mamba block: gate, causal convolution and selective scan (Gu & Dao, 2023, Sec. 3.4).

    Initial steps, decay rates and gains are those of the publication.

    Args:
        width: channels of the sequence.
        states: N, states per inner channel.
        kernel: taps of the causal convolution.
        expand: inner channels over ``width``.
    """

    def __init__(self, width: int, states: int = 16, kernel: int = 4, expand: int = 2) -> None:
        super().__init__()
        inner = expand * width
        self.rank = math.ceil(width / 16)
        self.states = states
        self.in_proj = nn.Linear(width, 2 * inner, bias=False)
        self.conv = nn.Conv1d(inner, inner, kernel, groups=inner, padding=kernel - 1)
        self.parameters_proj = nn.Linear(inner, self.rank + 2 * states, bias=False)
        self.step_proj = nn.Linear(self.rank, inner)
        self.log_rate = nn.Parameter(torch.arange(1.0, states + 1).log().repeat(inner, 1))
        self.gain = nn.Parameter(torch.ones(inner))
        self.out_proj = nn.Linear(inner, width, bias=False)
        nn.init.uniform_(self.step_proj.weight, -(self.rank**-0.5), self.rank**-0.5)
        # Steps start log-uniform in [0.001, 0.1]; the bias is the inverse softplus of them.
        steps = torch.empty(inner).uniform_(math.log(1e-3), math.log(0.1)).exp()
        with torch.no_grad():
            self.step_proj.bias.copy_(steps + torch.log(-torch.expm1(-steps)))

    def forward(self, x: Tensor) -> Tensor:
        """Map a sequence (B, L, width) to one of the same shape; position t sees 0 .. t."""
        length = x.shape[1]
        u, gate = self.in_proj(x).transpose(1, 2).chunk(2, dim=1)
        u = functional.silu(self.conv(u)[..., :length])
        step, b, c = self.parameters_proj(u.transpose(1, 2)).split(
            (self.rank, self.states, self.states), dim=-1
        )
        delta = functional.softplus(self.step_proj(step).float()).transpose(1, 2)
        y = selective_scan(
            u, delta, -self.log_rate.float().exp(), b.transpose(1, 2), c.transpose(1, 2), self.gain
        )
        y = y.to(gate.dtype) * functional.silu(gate)
        return self.out_proj(y.transpose(1, 2))
