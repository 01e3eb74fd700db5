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
    *,
    outputs: tuple[str, ...] = ("y",),
    needs: tuple[str, ...] | None = None,
    gradient_shapes: Callable[..., Tensors] | None = None,
    gradients: tuple[str, ...] | None = None,
    selective: bool = False,
) -> Callable[..., Any]:
    """Register `bench::name` and its gradient; returns the function of unstacked tensors.

    The function returns one tensor, or a tuple where there are several `outputs`.

    Args:
        name: of the operator; its gradient is `bench::name_backward`.
        arguments: names of the inputs, all tensors.
        kept: names of what the forward pass computes for the backward pass beside its outputs; K comes
            first in them too.
        forward: stacked inputs → (*outputs, *kept), none of them a view of an input or of another.
        backward: (one gradient per output, then the tensors that `needs` names) → one tensor for each of
            `gradients`, contiguous and of its input's shape.
        shapes: stacked inputs → empty tensors like those of `forward`, for tracing without computing.
        outputs: names of the differentiable outputs.
        needs: which inputs, outputs and kept tensors the backward pass reads, in the order it takes them;
            all inputs and all kept ones by default. Anything else is freed after the forward pass.
        gradient_shapes: what `backward` takes → empty tensors like those it returns. Required where `needs`
            leaves out an input; by default the gradients have the shapes of the inputs.
        gradients: the input whose gradient is also this input's, for each input; by default every input has
            its own. The gradient of a sum, say, is that of its first summand, written once.
        selective: whether `backward` takes one more argument, a list that says of each of its results
            whether it is wanted. In place of one that is not it returns `unwanted` of the output's gradient.
    """
    available = (*arguments, *outputs, *kept)
    needs = (*arguments, *kept) if needs is None else needs
    places = [available.index(value) for value in needs]
    owners = arguments if gradients is None else gradients
    sources = tuple(argument for argument in arguments if argument in owners)
    assert gradient_shapes or needs[: len(sources)] == sources, "say which shapes the gradients have"
    users = [[place for place, owner in enumerate(owners) if owner == argument] for argument in sources]
    inputs = ", ".join(f"Tensor {argument}" for argument in arguments)
    given = ", ".join(
        [*(f"Tensor d_{output}" for output in outputs), *(f"Tensor {value}" for value in needs)]
    )
    given += ", bool[] wanted" if selective else ""
    made = len(outputs) + len(kept)
    # A schema knows no tuple of one: an operator that makes one tensor returns it alone.
    run = torch.library.custom_op(
        f"bench::{name}", _alone(forward, made), mutates_args=(), schema=f"({inputs}) -> {_tuple(made)}"
    )
    gradient = torch.library.custom_op(
        f"bench::{name}_backward",
        _alone(backward, len(sources)),
        mutates_args=(),
        schema=f"({given}) -> {_tuple(len(sources))}",
    )

    def keep(ctx: Any, inputs: Tensors, output: Tensor | Tensors) -> None:
        ctx.set_materialize_grads(False)  # the kept tensors are large, and nothing flows back to them
        made = _as_tuple(output)
        ctx.shapes = [value.shape for value in made[: len(outputs)]]
        tensors = (*inputs, *made)
        ctx.save_for_backward(*(tensors[place] for place in places))

    def differentiate(
        ctx: Any, *gradients: Tensor | None, through: Callable[..., Tensor | Tensors] = gradient
    ) -> tuple[Tensor | None, ...]:
        incoming = gradients[: len(outputs)]
        some = next((value for value in incoming if value is not None), None)
        if some is None:
            return (None,) * len(arguments)
        whole = [
            some.new_zeros(shape) if value is None else value
            for value, shape in zip(incoming, ctx.shapes, strict=True)
        ]
        wanted = [any(ctx.needs_input_grad[place] for place in same) for same in users]
        results = _as_tuple(through(*whole, *ctx.saved_tensors, *([wanted] if selective else [])))
        by_owner = {
            owner: result if want else None
            for owner, result, want in zip(sources, results, wanted, strict=True)
        }
        return tuple(by_owner[owner] for owner in owners)

    def shapes_of_inputs(*values: Any) -> Tensors:
        first = len(outputs)
        like = values[first : first + len(sources)]
        wanted = values[-1] if selective else [True] * len(sources)
        return tuple(
            value.new_empty(value.shape) if want else unwanted(values[0])
            for value, want in zip(like, wanted, strict=True)
        )

    run.register_fake(_alone(shapes, made))
    gradient.register_fake(_alone(gradient_shapes or shapes_of_inputs, len(sources)))
    run.register_autograd(differentiate, setup_context=keep)
    run.register_vmap(_folded(run))
    gradient.register_vmap(_folded(gradient))

    # A second registration of the gradient: `torch.func` cannot differentiate through custom operators.

    class Gradient(torch.autograd.Function):
        generate_vmap_rule = True

        @staticmethod
        def forward(*values: Any) -> Tensors:
            return _as_tuple(gradient(*values))

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
            ctx.mark_non_differentiable(*output[len(outputs) :])
            keep(ctx, inputs, output)

        @staticmethod
        def backward(ctx: Any, *gradients: Tensor | None) -> tuple[Tensor | None, ...]:
            return differentiate(ctx, *gradients, through=Gradient.apply)

    through: Callable[..., Tensors] = Transformable.apply

    def apply(*values: Tensor) -> Any:
        stacked = [value.unsqueeze(0) for value in values]
        made = _as_tuple(run(*stacked) if torch.compiler.is_compiling() else through(*stacked))
        results = tuple(value.squeeze(0) for value in made[: len(outputs)])
        return results if len(outputs) > 1 else results[0]

    return apply


def unwanted(gradient: Tensor) -> Tensor:
    """What a selective operator returns in place of a gradient that nobody wants: (K, 0)."""
    return gradient.new_empty(gradient.shape[0], 0)


def rows(value: Tensor) -> Tensor:
    """`value` with its last dimension contiguous; the others may have any stride (a slice stays one)."""
    return value if value.stride(-1) == 1 else value.contiguous()


def unfolded(value: Tensor, like: Tensor) -> Tensor:
    """(B, K·E, L) → (K, B, L, E): what a kernel returns that takes a stack of models as channels."""
    return torch.unflatten(value, 1, (like.shape[0], -1)).permute(1, 0, 3, 2).contiguous()


def like_first(x: Tensor, *rest: Tensor) -> tuple[Tensor]:
    """The `shapes` of an operator with one output that is like its first input."""
    return (x.new_empty(x.shape),)


def _alone(function: Callable[..., Tensors], count: int) -> Callable[..., Any]:
    """`function`, without the tuple around the one tensor where it returns one."""
    return function if count > 1 else lambda *values: _as_tuple(function(*values))[0]


def _tuple(count: int) -> str:
    return "(" + ", ".join(["Tensor"] * count) + ")" if count > 1 else "Tensor"


def _as_tuple(values: Any) -> Tensors:
    return (values,) if isinstance(values, Tensor) else tuple(values)


def _folded(run: Callable[..., Any]) -> Callable[..., tuple[Any, Any]]:
    """The operator over one more dimension: that dimension becomes part of the stack."""

    def rule(info: Any, dims: tuple[int | None, ...], *values: Any) -> tuple[Any, Any]:
        size = info.batch_size

        def stack(value: Any, dim: int | None) -> Any:
            if not isinstance(value, Tensor):
                return value
            stacked = value.expand(size, *value.shape) if dim is None else value.movedim(dim, 0)
            return stacked.flatten(0, 1)

        stacked = [stack(value, dim) for value, dim in zip(values, dims, strict=True)]
        outputs = run(*stacked)
        if isinstance(outputs, Tensor):
            return torch.unflatten(outputs, 0, (size, -1)), 0
        return tuple(torch.unflatten(value, 0, (size, -1)) for value in outputs), (0,) * len(outputs)

    return rule
