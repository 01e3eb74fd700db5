"""Matrix products with weights in plain PyTorch, on any device."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

from torch import Tensor
from torch.nn import functional

from bench.kernels.product.precision import current
from bench.kernels.product.split import split
from bench.kernels.product.stacked import operators


def linear(x: Tensor, weight: Tensor) -> Tensor:
    if current().pairs:
        y: Tensor = _split_form()[0](x, weight)
        return y
    return functional.linear(x, weight)


def linear_bias(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    if current().pairs:
        y: Tensor = _split_form()[1](x, weight, bias)
        return y
    return functional.linear(x, weight, bias)


@functools.cache
def _split_form() -> tuple[Callable[..., Any], Callable[..., Any]]:
    return operators("sequential", split, lambda values: values.sum(1))
