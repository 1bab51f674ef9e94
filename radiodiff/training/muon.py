"""Muon for matrices of weights, AdamW for all other parameters.

Muon (Jordan et al., 2024, https://kellerjordan.github.io/posts/muon/) makes every singular value of
an update about one, so that directions which few samples speak of are learned as well. Scaled as by
Liu et al. (2025, arXiv:2502.16982, eq. (4)), an update has the root mean square that AdamW's have,
so one learning rate and one weight decay serve both.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.adamw import adamw

from radiodiff.training.settings import OptimizerSettings
from radiodiff.training.sharding import distribute_like, gather_full

MOMENTUM = 0.95
COEFFICIENTS = (3.4445, -4.7750, 2.0315)
"""Of the quintic Newton-Schulz step: the steepest at zero that keeps [0, 1] near one (Jordan)."""
STEPS = 5
ADAM_SIZE = 0.2
"""Usual root mean square of an update by AdamW at a learning rate of 1 (Liu et al.)."""
MIN_SIDE = 32
"""Layers with fewer inputs or outputs touch maps rather than features, and are left to AdamW."""


class Muon(torch.optim.Optimizer):
    """Muon for the kernels of linear and convolutional layers, AdamW for the rest of a module.

    A kernel (O, I, K, K) is the matrix (O, I K K); a transposed convolution's (I, O, K, K) is
    (I, O K K). Sharded kernels are gathered for their update, those of one shape together.

    Args:
        module: whose parameters that require a gradient are optimised.
        lr: learning rate of both.
        betas: of AdamW.
        weight_decay: decoupled, of both.
    """

    def __init__(
        self, module: nn.Module, lr: float, betas: tuple[float, float], weight_decay: float
    ) -> None:
        kernels = {id(kernel) for kernel in map(_kernel, module.modules()) if kernel is not None}
        trained = [p for p in module.parameters() if p.requires_grad]
        groups: list[dict[str, Any]] = [
            {"params": [p for p in trained if id(p) in kernels], "muon": True},
            {"params": [p for p in trained if id(p) not in kernels], "muon": False},
        ]
        super().__init__(groups, {"lr": lr, "betas": betas, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # type: ignore[override]
        """Do one update by the gradients that the parameters hold."""
        loss = None if closure is None else torch.enable_grad()(closure)()
        for group in self.param_groups:
            parameters = [p for p in group["params"] if p.grad is not None]
            if group["muon"]:
                self._update_kernels(parameters, group)
            else:
                self._update_others(parameters, group)
        return loss

    def _update_kernels(self, kernels: list[Tensor], group: dict[str, Any]) -> None:
        # Products of small matrices are slow one by one.
        by_shape: dict[torch.Size, list[Tensor]] = defaultdict(list)
        for kernel in kernels:
            by_shape[kernel.flatten(1).shape].append(kernel)
        for shape, alike in by_shape.items():
            matrices = torch.stack([self._direction(kernel).flatten(1) for kernel in alike])
            updates = orthogonalise(matrices) * (ADAM_SIZE * max(shape) ** 0.5)
            for kernel, update in zip(alike, updates, strict=True):
                kernel.mul_(1.0 - group["lr"] * group["weight_decay"])
                kernel.sub_(distribute_like(update.view(kernel.shape), kernel), alpha=group["lr"])

    def _direction(self, kernel: Tensor) -> Tensor:
        """Return Nesterov's momentum of a kernel, whole."""
        gradient = kernel.grad
        assert gradient is not None
        state = self.state[kernel]
        if not state:
            state["momentum"] = torch.zeros_like(kernel)
        momentum: Tensor = state["momentum"].lerp_(gradient, 1.0 - MOMENTUM)
        direction: Tensor = gather_full(gradient.lerp(momentum, MOMENTUM))
        return direction

    def _update_others(self, parameters: list[Tensor], group: dict[str, Any]) -> None:
        for parameter in parameters:
            state = self.state[parameter]
            if not state:
                state["step"] = torch.zeros((), device=parameter.device)
                state["exp_avg"] = torch.zeros_like(parameter)
                state["exp_avg_sq"] = torch.zeros_like(parameter)
        states = [self.state[parameter] for parameter in parameters]
        beta1, beta2 = group["betas"]
        adamw(
            parameters,
            [p.grad for p in parameters if p.grad is not None],
            [state["exp_avg"] for state in states],
            [state["exp_avg_sq"] for state in states],
            [],
            [state["step"] for state in states],
            fused=True,
            amsgrad=False,
            beta1=beta1,
            beta2=beta2,
            lr=group["lr"],
            weight_decay=group["weight_decay"],
            eps=1e-8,
            maximize=False,
        )


def build_optimizer(module: nn.Module, settings: OptimizerSettings) -> torch.optim.Optimizer:
    """Return the optimiser of ``settings`` for all parameters of ``module`` that are trained."""
    rate, decay = settings.learning_rate, settings.weight_decay
    if settings.method == "muon":
        return Muon(module, rate, settings.betas, decay)
    trained = [p for p in module.parameters() if p.requires_grad]
    return torch.optim.AdamW(trained, rate, settings.betas, weight_decay=decay, fused=True)


def orthogonalise(matrices: Tensor) -> Tensor:
    """Return ``matrices`` (K, M, N) with their singular values brought near one.

    Five Newton-Schulz steps in bfloat16: values above 0.002 of the Frobenius norm come between 0.68
    and 1.21, but for rounding; smaller ones grow up to 480 times. A processor that only emulates
    bfloat16 takes float32, which is six times as fast there.
    """
    a, b, c = COEFFICIENTS
    tall = matrices.shape[-2] > matrices.shape[-1]
    x = matrices.mT if tall else matrices
    emulated = x.device.type == "cpu" and not torch.ops.mkldnn._is_mkldnn_bf16_supported()
    x = x / torch.linalg.matrix_norm(x, keepdim=True).clamp(min=1e-7)
    x = x.to(torch.float32 if emulated else torch.bfloat16)
    for _ in range(STEPS):
        gram = x @ x.mT
        factor = torch.baddbmm(gram, gram, gram, beta=b, alpha=c)
        x = torch.baddbmm(x, factor, x, beta=a)
    return (x.mT if tall else x).to(matrices.dtype)


def _kernel(module: nn.Module) -> nn.Parameter | None:
    """Return the kernel of a layer that mixes features, or None."""
    layers = nn.Linear | nn.Conv2d | nn.ConvTranspose2d
    if not isinstance(module, layers) or getattr(module, "groups", 1) > 1:
        return None
    kernel = module.weight
    assert isinstance(kernel, nn.Parameter)
    return kernel if min(kernel.shape[:2]) >= MIN_SIDE else None
