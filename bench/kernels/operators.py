"""A kernel as a PyTorch operator: what autograd, torch.compile, CUDA graphs and vmap see of it.

A kernel here is written for a stack of models: every tensor carries a leading dimension K, one entry
a model. Used plainly K is 1; under `torch.func.vmap` the mapped dimension is folded into it, so that
a stack of models runs as one launch instead of K.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

Tensors = tuple[Tensor, ...]


def operator(
    name: str,
    arguments: tuple[str, ...],
    kept: tuple[str, ...],
    forward: Callable[..., Tensors],
    backward: Callable[..., Tensors],
    shapes: Callable[..., Tensors],
) -> Callable[..., Tensor]:
    """Register `bench::name` and its gradient; returns the function of unstacked tensors.

    Args:
        name: of the operator; its gradient is `bench::name_backward`.
        arguments: names of the inputs, all tensors.
        kept: names of what the backward pass needs beside the inputs; K comes first in them too.
        forward: stacked inputs → (y, *kept), none of them a view of an input or of another.
        backward: (dy, *inputs, *kept) → one gradient an input, contiguous and of its shape.
        shapes: stacked inputs → empty tensors like those of `forward`, for tracing without computing.
    """
    inputs = ", ".join(f"Tensor {argument}" for argument in arguments)
    extra = "".join(f", Tensor {value}" for value in kept)
    # A schema knows no tuple of one: with nothing kept, the operator returns y alone.
    run = torch.library.custom_op(
        f"bench::{name}",
        forward if kept else lambda *values: forward(*values)[0],
        mutates_args=(),
        schema=f"({inputs}) -> {_tuple(1 + len(kept))}",
    )
    gradient = torch.library.custom_op(
        f"bench::{name}_backward",
        backward,
        mutates_args=(),
        schema=f"(Tensor dy, {inputs}{extra}) -> {_tuple(len(arguments))}",
    )

    def keep(ctx: Any, inputs: Tensors, output: Tensor | Tensors) -> None:
        ctx.set_materialize_grads(False)  # the kept tensors are large, and nothing flows back to them
        ctx.save_for_backward(*inputs, *_as_tuple(output)[1:])

    def differentiate(
        ctx: Any, dy: Tensor | None, *unused: None, through: Callable[..., Tensors] = gradient
    ) -> tuple[Tensor | None, ...]:
        if dy is None:
            return (None,) * len(arguments)
        return tuple(through(dy, *ctx.saved_tensors))

    def gradient_shapes(dy: Tensor, *values: Tensor) -> Tensors:
        return tuple(value.new_empty(value.shape) for value in values[: len(arguments)])

    run.register_fake(shapes if kept else lambda *values: shapes(*values)[0])
    gradient.register_fake(gradient_shapes)
    run.register_autograd(differentiate, setup_context=keep)
    run.register_vmap(_folded(run))
    gradient.register_vmap(_folded(gradient))

    # The same gradient once more, as functions: `torch.func` does not differentiate through operators.

    class Gradient(torch.autograd.Function):
        generate_vmap_rule = True

        @staticmethod
        def forward(*values: Tensor) -> Tensors:
            return tuple(gradient(*values))

        @staticmethod
        def setup_context(ctx: Any, inputs: Tensors, output: Tensors) -> None:
            pass

        @staticmethod
        def backward(ctx: Any, *unused: Tensor) -> Any:
            raise NotImplementedError(f"bench::{name} has no second derivative")

    class Transformable(torch.autograd.Function):
        generate_vmap_rule = True

        @staticmethod
        def forward(*values: Tensor) -> Tensors:
            return _as_tuple(run(*values))

        @staticmethod
        def setup_context(ctx: Any, inputs: Tensors, output: Tensors) -> None:
            ctx.mark_non_differentiable(*output[1:])
            keep(ctx, inputs, output)

        @staticmethod
        def backward(ctx: Any, dy: Tensor | None, *unused: None) -> tuple[Tensor | None, ...]:
            return differentiate(ctx, dy, through=Gradient.apply)

    through: Callable[..., Tensors] = Transformable.apply

    def apply(*values: Tensor) -> Tensor:
        stacked = [value.unsqueeze(0) for value in values]
        outputs = run(*stacked) if torch.compiler.is_compiling() else through(*stacked)
        return _as_tuple(outputs)[0].squeeze(0)

    return apply


def rows(value: Tensor) -> Tensor:
    """`value` with its last dimension contiguous; the others may have any stride (a slice stays one)."""
    return value if value.stride(-1) == 1 else value.contiguous()


def _tuple(count: int) -> str:
    return "(" + ", ".join(["Tensor"] * count) + ")" if count > 1 else "Tensor"


def _as_tuple(values: Any) -> Tensors:
    return (values,) if isinstance(values, Tensor) else tuple(values)


def _folded(run: Callable[..., Any]) -> Callable[..., tuple[Any, Any]]:
    """The operator over one more dimension: that dimension becomes part of the stack."""

    def rule(info: Any, dims: tuple[int | None, ...], *values: Tensor) -> tuple[Any, Any]:
        size = info.batch_size
        stacked = [
            (value.expand(size, *value.shape) if dim is None else value.movedim(dim, 0)).flatten(0, 1)
            for value, dim in zip(values, dims, strict=True)
        ]
        outputs = run(*stacked)
        if isinstance(outputs, Tensor):
            return torch.unflatten(outputs, 0, (size, -1)), 0
        return tuple(torch.unflatten(value, 0, (size, -1)) for value in outputs), (0,) * len(outputs)

    return rule
