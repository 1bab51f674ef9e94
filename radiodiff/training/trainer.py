"""What a training stage is, and one update of it: phases, optimisers, averaging, state."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import torch
from accelerate import Accelerator
from diffusers.training_utils import EMAModel
from torch import Tensor, nn
from torch.distributed.fsdp import FSDPModule

from radiodiff.errors import InputError
from radiodiff.models.collectives import share_batch
from radiodiff.training.blocks import compile_blocks, recompute_activations
from radiodiff.training.muon import build_optimizer
from radiodiff.training.schedules import learning_rate_at
from radiodiff.training.settings import OptimizerSettings, TrainSettings
from radiodiff.training.sharding import (
    copy_buffers,
    distribute_like,
    gather_full,
    gather_into,
    load_module,
    load_optimizer,
    matching,
    replicate,
    shard,
)
from radiodiff.training.stream import Item, mix_seed
from radiodiff.training.throughput import Clock, count_operations


@dataclass
class Phase:
    """One optimiser and the module whose loss it lowers.

    Attributes:
        name: prefix of its logged values and its key in checkpoints.
        objective: ``forward(batch, step) -> (loss, values to log)``; every parameter of it that
            requires a gradient is optimised.
        optimizer: settings of its optimiser.
        first_step: the phase rests before this step.
    """

    name: str
    objective: nn.Module
    optimizer: OptimizerSettings
    first_step: int = 0


class Task(Protocol):
    """What the loop needs to know of a training stage."""

    phases: list[Phase]
    fields: tuple[str, ...]
    """Tensors of a dataset item that the objectives read."""
    frozen: list[nn.Module]
    """Networks that are used but not trained; moved to the device."""

    @property
    def averaged(self) -> nn.Module:
        """The network whose moving average is validated and exported."""

    def draw(self, item: Item, generator: torch.Generator) -> Item:
        """Return a sample's own random numbers, stacked into the batch beside its fields."""

    def validate(self, indices: Sequence[int]) -> dict[str, list[float]]:
        """Score validation maps ``indices`` with the present weights, one value for each map."""

    def preview(self) -> dict[str, Tensor]:
        """Return images (C, H, W) in [0, 1] of the same few validation maps."""

    def export(self, directory: Path) -> None:
        """Write the trained networks for ``from_pretrained``."""


class Trainer:
    """The prepared modules and optimisers of a task, and one update of them."""

    def __init__(
        self, task: Task, settings: TrainSettings, accelerator: Accelerator, clock: Clock
    ) -> None:
        self.task = task
        self.settings = settings
        self.accelerator = accelerator
        self._clock = clock
        for module in task.frozen:
            module.to(accelerator.device)
        self._modules: list[nn.Module] = []
        self._optimizers: list[torch.optim.Optimizer] = []
        self._sharded = settings.shard and accelerator.num_processes > 1
        if self._sharded and len(task.phases) > 1:
            names = " and ".join(phase.name for phase in task.phases)
            raise InputError(f"train.shard: {names} train each other; set it to false")
        for phase in task.phases:
            if settings.channels_last:
                phase.objective.to(memory_format=torch.channels_last)
            share_batch(phase.objective, accelerator.device)
            module = phase.objective
            if self._sharded:
                module = replicate(module.to(accelerator.device), task.frozen)
            if settings.checkpoint_activations:
                recompute_activations(module)
            if settings.compile:
                compile_blocks(module)
            if self._sharded:
                shard(module, accelerator.device)
            optimizer = build_optimizer(module, phase.optimizer)
            if not self._sharded:
                module = accelerator.prepare(module)
            self._modules.append(module)
            self._optimizers.append(accelerator.prepare(optimizer))
        self._parameters = list(task.averaged.parameters())
        if self._sharded:
            self._parameters = matching(task.averaged, task.phases[0].objective, self._modules[0])
        self._ema = EMAModel(self._parameters, decay=settings.ema.decay) if settings.ema else None

    def place(self, batch: Item) -> Item:
        """Move a batch to the device, images in the memory format of the run."""
        device = self.accelerator.device
        placed: Item = {}
        for name, value in batch.items():
            if not isinstance(value, Tensor):
                placed[name] = value
            elif value.ndim == 4 and self.settings.channels_last:
                placed[name] = value.to(
                    device, memory_format=torch.channels_last, non_blocking=True
                )
            else:
                placed[name] = value.to(device, non_blocking=True)
        return placed

    def update(
        self, step: int, micro_batches: list[Item], stop: bool
    ) -> tuple[float, dict[str, Tensor], bool]:
        """Do one update of every phase; return the loss, the values to log and whether to stop."""
        values: dict[str, Tensor] = {}
        loss = torch.zeros((), device=self.accelerator.device)
        with self._step_randomness(step):
            for index, phase in enumerate(self.task.phases):
                if step >= phase.first_step:
                    phase_loss, logs = self._update_phase(index, step, micro_batches)
                    loss = loss + phase_loss
                    values |= {f"{phase.name}/{name}": value for name, value in logs.items()}
        ema = self.settings.ema
        if self._ema is not None and ema is not None:
            done = step + 1
            if done > ema.first_step and done % ema.every == 0:
                with self._clock.span("optimizer"):
                    self._ema.step(self._parameters)
        # One collective for both, so that every process agrees on the loss and on stopping.
        agreed = self.accelerator.reduce(torch.stack([loss, loss.new_tensor(float(stop))]), "mean")
        mean_loss, stopping = agreed.tolist()
        return mean_loss, values, stopping > 0

    def _update_phase(
        self, index: int, step: int, micro_batches: list[Item]
    ) -> tuple[Tensor, dict[str, Tensor]]:
        phase, module = self.task.phases[index], self._modules[index]
        optimizer = self._optimizers[index]
        rate = learning_rate_at(step, self.settings.steps, phase.optimizer)
        for group in optimizer.param_groups:
            group["lr"] = rate
        optimizer.zero_grad(set_to_none=True)
        share = 1.0 / len(micro_batches)
        total: dict[str, Tensor] = {}
        for number, batch in enumerate(micro_batches):
            with self._synchronised(module, last=number == len(micro_batches) - 1):
                loss, logs = module(batch, step)
                self.accelerator.backward(loss * share)
            for name, value in (logs | {"loss": loss}).items():
                total[name] = total.get(name, 0.0) + value.detach().float() * share
        clip = phase.optimizer.gradient_clip
        with self._clock.span("optimizer"):
            norm = self.accelerator.clip_grad_norm_(
                module.parameters(), clip if clip is not None else float("inf")
            )
            optimizer.step()
        device = total["loss"].device
        total["gradient_norm"] = gather_full(norm.detach())
        total["learning_rate"] = torch.tensor(rate, device=device, dtype=torch.float64)
        return total["loss"], total

    @contextmanager
    def _synchronised(self, module: nn.Module, last: bool) -> Iterator[None]:
        """Average gradients over the processes in the last micro-batch alone."""
        if self._sharded:
            assert isinstance(module, FSDPModule)
            module.set_requires_gradient_sync(last)
            with self.accelerator.autocast():
                yield
        elif last:
            yield
        else:
            with self.accelerator.no_sync(module):
                yield

    @contextmanager
    def _step_randomness(self, step: int) -> Iterator[None]:
        """Tie what networks draw by themselves (dropout) to (seed, step), on every process."""
        device = self.accelerator.device
        with torch.random.fork_rng([device] if device.type == "cuda" else []):
            torch.manual_seed(mix_seed(self.settings.seed, step))
            yield

    def mean(self, values: dict[str, Tensor]) -> dict[str, float]:
        """Average logged values over the processes."""
        names = sorted(values)
        stacked = torch.stack([values[name].double() for name in names])
        return dict(zip(names, self.accelerator.reduce(stacked, "mean").tolist(), strict=True))

    def operations(self, step: int, micro_batches: list[Item]) -> int:
        """Return the floating-point operations of an update on this process."""
        return len(micro_batches) * sum(
            count_operations(phase.objective, micro_batches[0], step)
            for phase in self.task.phases
            if step >= phase.first_step
        )

    def histograms(self) -> dict[str, Tensor]:
        """Return the weights and the last update's gradients of the averaged network."""
        tensors = {}
        names = [name for name, _ in self.task.averaged.named_parameters()]
        for name, parameter in zip(names, self._parameters, strict=True):
            tensors[f"weights/{name}"] = gather_full(parameter.detach())
            if parameter.grad is not None:
                tensors[f"gradients/{name}"] = gather_full(parameter.grad)
        return tensors

    @contextmanager
    def averaged_weights(self) -> Iterator[None]:
        """Hold the moving average in the network inside the block, in evaluation mode."""
        network = self.task.averaged
        ema = self._ema if self._ema is not None and self._ema.optimization_step > 0 else None
        was_training = network.training
        network.eval()
        if self._sharded:
            gather_into(network, self._parameters if ema is None else ema.shadow_params)
            copy_buffers(self.task.phases[0].objective, self._modules[0])
        elif ema is not None:
            ema.store(network.parameters())
            ema.copy_to(network.parameters())
        try:
            yield
        finally:
            if ema is not None and not self._sharded:
                ema.restore(network.parameters())
            network.train(was_training)

    def state(self) -> dict[str, Any]:
        """Return everything a resumed run needs besides its step; all processes must call it."""
        scaler = self.accelerator.scaler
        state: dict[str, Any] = gather_full(
            {
                "modules": {
                    phase.name: self.accelerator.unwrap_model(module).state_dict()
                    for phase, module in zip(self.task.phases, self._modules, strict=True)
                },
                "optimizers": {
                    phase.name: optimizer.state_dict()
                    for phase, optimizer in zip(self.task.phases, self._optimizers, strict=True)
                },
                "ema": self._ema.state_dict() if self._ema is not None else None,
                "scaler": scaler.state_dict() if scaler is not None else None,
            },
            "cpu",
        )
        return state

    def load(self, state: dict[str, Any]) -> None:
        """Restore what :meth:`state` returned."""
        for phase, module, optimizer in zip(
            self.task.phases, self._modules, self._optimizers, strict=True
        ):
            load_module(self.accelerator.unwrap_model(module), state["modules"][phase.name])
            load_optimizer(optimizer, state["optimizers"][phase.name])
        if self._ema is not None:
            self._ema.load_state_dict(state["ema"])
            self._ema.to(self.accelerator.device)
            self._ema.shadow_params = [
                distribute_like(value, parameter)
                for value, parameter in zip(self._ema.shadow_params, self._parameters, strict=True)
            ]
        # A run that went on in fp16 has no scale from before.
        if self.accelerator.scaler is not None and state["scaler"] is not None:
            self.accelerator.scaler.load_state_dict(state["scaler"])
