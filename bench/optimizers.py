"""Optimizers by name: their options, their titles in figures, and how they update parameters.

A new optimizer is a class in this module and an entry in `OPTIMIZERS`. Suites, filters, claims, exports and
figures read the table. Importing this module does not import torch.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

from pydantic import BeforeValidator, Field, PositiveFloat, SerializeAsAny

from bench.errors import did_you_mean
from bench.frozen import Frozen
from bench.kernels import adam
from bench.lazy import torch

if TYPE_CHECKING:
    from torch import Tensor

    from bench.kernels.adam import Buffers, Update
    from bench.kernels.adam.clipped import ParameterRows


class Optimizer(Frozen):
    """Options of an optimizer, with bounds and defaults. They are part of a run's identity.

    A subclass defines `move`, or `update` if a kernel computes its update.
    """

    title: ClassVar[str]
    """The name in figures."""

    name: str

    def fault(self, steps: int) -> str | None:
        """Why a run of `steps` steps cannot use these options, and what would be right; or None."""
        return None

    @property
    def plateau_factor(self) -> float | None:
        """Factor of the learning rate after a checkpoint without a new lowest validation loss; None for 1."""
        return None

    def rate_factor(self, step: Tensor, steps: int) -> Tensor | None:
        """Factor of the learning rate at `step` (int64 scalar, from 0) of `steps` steps.

        It is a scalar on the device of `step`; None means a constant learning rate.
        """
        return None

    def update(self, kernels: str, buffers: Buffers) -> Update:
        """The update of a stack with the kernels' backend `kernels`: clip, `move`, meters, step counter."""
        from bench.kernels.adam.clipped import Clipped

        return Clipped(buffers, self.move)

    def move(self, parameters: Iterable[ParameterRows], rates: Tensor, step: Tensor) -> None:
        """Update parameters and moments in place, for all members at once.

        Args:
            parameters: with clipped gradients.
            rates: learning rate of each member, (K, 1).
            step: optimisation steps done, int64 scalar on the device. Reading it on the host is an error in
                a CUDA graph.
        """
        raise NotImplementedError(f"optimizer '{self.name}' defines neither move nor update")


class Adam(Optimizer):
    """Adam at a fixed learning rate (§3.1, A.2): PyTorch's defaults, no weight decay."""

    title = "Adam"

    name: Literal["adam"] = "adam"
    beta1: float = Field(default=0.9, ge=0, lt=1)
    beta2: float = Field(default=0.999, ge=0, lt=1)
    epsilon: PositiveFloat = 1e-8

    def update(self, kernels: str, buffers: Buffers) -> Update:
        """Clip and Adam as one kernel."""
        return adam.update(kernels)(buffers, adam.AdamSettings(self.beta1, self.beta2, self.epsilon))


class AdamW(Optimizer):
    """AdamW with linear warm-up and cosine decay (Appendix C), linear decay, or decay at plateaus.

    The learning rate rises linearly from `start` × rate to the rate over `warmup_steps`, then falls
    along a cosine, or a line, to `end` × rate after the last step. With `decay: plateau` it is divided by 4
    instead, after every checkpoint without a new lowest validation loss, as for the LSTM of Xie et al. The
    paper does not state the weight decay; PyTorch's default stands in. It acts on every parameter that a
    module does not list as `undecayed`.
    """

    title = "AdamW with schedule"
    later_fields: ClassVar[Mapping[str, Any]] = {"decay": "cosine"}

    name: Literal["adamw"] = "adamw"
    beta1: float = Field(default=0.9, ge=0, lt=1)
    beta2: float = Field(default=0.95, ge=0, lt=1)
    epsilon: PositiveFloat = 1e-8
    weight_decay: float = Field(default=0.01, ge=0)
    warmup_steps: int = Field(default=50_000, ge=0)
    start: float = Field(default=0.1, ge=0, le=1)
    end: float = Field(default=0.1, ge=0, le=1)
    decay: Literal["cosine", "linear", "plateau"] = "cosine"

    def fault(self, steps: int) -> str | None:
        """A warm-up that is not over when the run ends."""
        if self.warmup_steps < steps:
            return None
        return (
            f"its warm-up of {self.warmup_steps:,} steps is not over when the run ends, after {steps:,}: "
            f"write {{name: adamw, warmup_steps: {steps // 10}}}, for instance"
        )

    @property
    def plateau_factor(self) -> float | None:
        return 0.25 if self.decay == "plateau" else None

    def rate_factor(self, step: Tensor, steps: int) -> Tensor:
        """The schedule, with s the start, e the end, W the warm-up steps and T = `steps`.

        t < W:  s + (1 − s) t / W
        t ≥ W:  e + (1 − e) (1 + cos(π (t − W) / (T − W))) / 2, or e + (1 − e) (1 − (t − W) / (T − W)), or 1
        """
        warmup = self.warmup_steps
        # Both branches are computed and one is selected, because a branch in Python would read the device.
        rising = self.start + (1 - self.start) * step / max(1, warmup)
        progress = ((step - warmup) / max(1, steps - warmup)).clamp(0, 1)
        if self.decay == "plateau":
            return torch.where(step < warmup, rising, 1.0)
        left = 0.5 * (1 + torch.cos(math.pi * progress)) if self.decay == "cosine" else 1 - progress
        falling = self.end + (1 - self.end) * left
        return torch.where(step < warmup, rising, falling)

    def update(self, kernels: str, buffers: Buffers) -> Update:
        """Clip and Adam with weight decay as one kernel."""
        settings = adam.AdamSettings(self.beta1, self.beta2, self.epsilon, self.weight_decay)
        return adam.update(kernels)(buffers, settings)


OPTIMIZERS: dict[str, type[Optimizer]] = {"adam": Adam, "adamw": AdamW}
"""Every optimizer by name."""


def _of_table(value: Any) -> Any:
    """An optimizer from a mapping of its name and options."""
    if not isinstance(value, dict):
        return value
    name = str(value.get("name"))
    if name not in OPTIMIZERS:
        raise ValueError(f"unknown optimizer '{name}'{did_you_mean(name, OPTIMIZERS)}")
    return OPTIMIZERS[name].model_validate(value)


AnyOptimizer = Annotated[SerializeAsAny[Optimizer], BeforeValidator(_of_table)]
"""The type of a field that takes every optimizer of the table."""
