"""Kernels as PyTorch operators, for use with autograd, torch.compile, CUDA graphs and vmap.

Kernels are written for a stack of models: every tensor has a leading dimension K with an entry per model. A
plain call has K = 1. Under `torch.func.vmap`, the mapped dimension is folded into K, so that a stack of
models runs as one launch instead of K launches.
"""

# mypy: allow-untyped-calls

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from bench.kernels.branches import operator_in_pass

Tensors = tuple[Tensor, ...]

VIEWS = ("UnsqueezeBackward0", "SqueezeBackward1", "ViewBackward0")
"""Autograd's names of operations whose gradient is a view of the result's gradient: no kernel runs."""

LIBRARY = torch.library.Library("bench", "FRAGMENT")
"""The namespace `torch.ops.bench`. Its operators live as long as this object."""


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
    parameters: tuple[str, ...] = (),
) -> Callable[..., Any]:
    """Register `bench::name` and its gradient; return a function of tensors without the leading dimension K.

    The function returns a tensor, or a tuple if there are several `outputs`.

    Args:
        name: name of the operator. Its gradient is `bench::name_backward`.
        arguments: names of the inputs, all tensors.
        kept: names of further tensors that the forward pass computes for the backward pass. Their first
            dimension is K too.
        forward: stacked inputs → (*outputs, *kept). None of them may be a view of an input or of another one.
        backward: (a gradient per output, then the tensors of `needs`) → a tensor for each distinct entry of
            `gradients`, contiguous, with the shape of that input.
        shapes: stacked inputs → empty tensors like those of `forward`, for tracing without computing.
        outputs: names of the differentiable outputs.
        needs: names of the inputs, outputs and kept tensors that `backward` reads, in its order of arguments;
            by default all inputs and all kept tensors. Other tensors are freed after the forward pass.
        gradient_shapes: arguments of `backward` → empty tensors like its results. Required if `needs` lacks
            an input; by default gradients have the shapes of the inputs.
        gradients: for each input, the name of the input whose gradient is equal; by default the input
            itself. For example, both summands of a sum have the same gradient, which is then written once.
        selective: whether `backward` takes a last argument, a list of bools that states which results are
            needed. For a result that is not needed, `backward` returns `unwanted(dy)`.
        parameters: names of the inputs whose gradients `backward` may compute on branches that it leaves
            (`bench.kernels.branches`).
    """
    signature = _Signature(
        arguments,
        outputs,
        kept,
        needs=(*arguments, *kept) if needs is None else needs,
        owners=arguments if gradients is None else gradients,
        selective=selective,
        parameters=parameters,
    )
    differentiated = signature.own_gradients
    count = len(differentiated)
    assert gradient_shapes or signature.needs[:count] == differentiated, (
        "`needs` lacks inputs: give `gradient_shapes`"
    )
    run = _define(name, signature.forward(), _unpacked(forward, signature.results))
    gradient = _define(f"{name}_backward", signature.backward(), _unpacked(backward, count))
    rule = _GradientRule(signature, gradient)
    library = torch.library
    library.register_fake(run, _unpacked(shapes, signature.results), lib=LIBRARY)
    library.register_fake(gradient, _unpacked(gradient_shapes or rule.shapes, count), lib=LIBRARY)
    library.register_autograd(run, rule.differentiate, setup_context=rule.keep, lib=LIBRARY)
    library.register_vmap(run, _folded(run), lib=LIBRARY)
    library.register_vmap(gradient, _folded(gradient), lib=LIBRARY)
    transformable = _transformable(name, run, rule)

    def apply(*values: Tensor) -> Any:
        stacked = [value.unsqueeze(0) for value in values]
        # Under torch.compile, the custom operator and its own registration of the gradient are used.
        tensors = _as_tuple(run(*stacked) if torch.compiler.is_compiling() else transformable(*stacked))
        results = tuple(value.squeeze(0) for value in tensors[: len(outputs)])
        return results if len(outputs) > 1 else results[0]

    return apply


@dataclass(frozen=True)
class _Signature:
    """Names of the tensors of an operator and of its gradient.

    Attributes:
        owners: for each argument, the argument whose gradient is equal (`gradients` of `operator`).
        arguments, outputs, kept, needs, selective, parameters: as in `operator`.
    """

    arguments: tuple[str, ...]
    outputs: tuple[str, ...]
    kept: tuple[str, ...]
    needs: tuple[str, ...]
    owners: tuple[str, ...]
    selective: bool
    parameters: tuple[str, ...]

    @property
    def results(self) -> int:
        """Number of tensors that the operator returns."""
        return len(self.outputs) + len(self.kept)

    @property
    def own_gradients(self) -> tuple[str, ...]:
        """The arguments whose gradients the backward pass returns."""
        return tuple(argument for argument in self.arguments if argument in self.owners)

    def forward(self) -> str:
        """Schema of the operator."""
        return f"({_tensors(self.arguments)}) -> {_tuple(self.results)}"

    def backward(self) -> str:
        """Schema of the gradient."""
        inputs = _tensors([*(f"d_{output}" for output in self.outputs), *self.needs])
        wanted = ", bool[] wanted" if self.selective else ""
        return f"({inputs}{wanted}) -> {_tuple(len(self.own_gradients))}"


class _GradientRule:
    """How autograd calls the gradient of an operator.

    Attributes:
        count: number of differentiable outputs.
        places: indices of the tensors that the gradient reads, among inputs, outputs and kept tensors.
        users: for each gradient, the indices of the inputs with this gradient.
        parameters: indices of the inputs that are parameters.
    """

    def __init__(self, signature: _Signature, gradient: Callable[..., Tensor | Tensors]) -> None:
        self.signature, self.gradient = signature, gradient
        self.count = len(signature.outputs)
        available = (*signature.arguments, *signature.outputs, *signature.kept)
        self.places = [available.index(value) for value in signature.needs]
        self.users = [
            [place for place, owner in enumerate(signature.owners) if owner == argument]
            for argument in signature.own_gradients
        ]
        self.parameters = [signature.arguments.index(name) for name in signature.parameters]

    def keep(self, ctx: Any, inputs: Tensors, output: Tensor | Tensors) -> None:
        """Keep the tensors that the backward pass needs."""
        ctx.set_materialize_grads(False)  # autograd would fill zeros for the kept tensors, which are large
        results = _as_tuple(output)
        ctx.shapes = [value.shape for value in results[: self.count]]
        tensors = (*inputs, *results)
        ctx.save_for_backward(*(tensors[place] for place in self.places))

    def differentiate(
        self, ctx: Any, *gradients: Tensor | None, through: Callable[..., Tensor | Tensors] | None = None
    ) -> tuple[Tensor | None, ...]:
        """A gradient per output (None if there is none) → a gradient per argument (None if not needed).

        Args:
            ctx: autograd's context, which `keep` has filled.
            gradients: of the outputs and of the kept tensors. Those of the kept tensors are ignored.
            through: a function to call instead of the gradient's operator.
        """
        signature = self.signature
        incoming = gradients[: self.count]
        example = next((value for value in incoming if value is not None), None)
        if example is None:
            return (None,) * len(signature.arguments)
        complete = [
            example.new_zeros(shape) if value is None else value
            for value, shape in zip(incoming, ctx.shapes, strict=True)
        ]
        wanted = [any(ctx.needs_input_grad[place] for place in places) for places in self.users]
        flags = [wanted] if signature.selective else []
        with operator_in_pass(getattr(ctx, "final", False)):
            results = _as_tuple((through or self.gradient)(*complete, *ctx.saved_tensors, *flags))
        by_owner = {
            owner: result if want else None
            for owner, result, want in zip(signature.own_gradients, results, wanted, strict=True)
        }
        return tuple(by_owner[owner] for owner in signature.owners)

    def shapes(self, *values: Any) -> Tensors:
        """Arguments of the gradient → empty tensors with the shapes of the inputs."""
        number = len(self.signature.own_gradients)
        wanted = values[-1] if self.signature.selective else [True] * number
        return tuple(
            value.new_empty(value.shape) if want else unwanted(values[0])
            for value, want in zip(values[self.count : self.count + number], wanted, strict=True)
        )


def _transformable(name: str, run: Callable[..., Any], rule: _GradientRule) -> Callable[..., Tensors]:
    """The operator with a second registration of its gradient.

    The second registration is needed because `torch.func` cannot differentiate through custom operators.
    """

    class Gradient(torch.autograd.Function):
        generate_vmap_rule = True

        @staticmethod
        def forward(*values: Any) -> Tensors:
            return _as_tuple(rule.gradient(*values))

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
            ctx.mark_non_differentiable(*output[rule.count :])
            ctx.parameters = rule.parameters
            rule.keep(ctx, inputs, output)

        @staticmethod
        def backward(ctx: Any, *gradients: Tensor | None) -> tuple[Tensor | None, ...]:
            return rule.differentiate(ctx, *gradients, through=Gradient.apply)

    apply: Callable[..., Tensors] = Transformable.apply
    return apply


def _define(name: str, schema: str, kernel: Callable[..., Any]) -> Any:
    """Define the operator `bench::name`, which runs `kernel` on every device; return it."""
    # `torch.library.custom_op` would import torch's compiler, 2 s in each process that trains.
    LIBRARY.define(name + schema)
    LIBRARY.impl(name, kernel, "CompositeExplicitAutograd")
    return getattr(torch.ops.bench, name).default


def mark_final(loss: Tensor) -> None:
    """Mark the operators below `loss` whose gradients of parameters are final.

    A gradient is final if `torch.autograd.grad` returns it and no other kernel of the backward pass reads it.
    This is so if the parameter is a leaf that only one operator uses. A weight that two layers share, or that
    is computed from a leaf, has no final gradient.
    """
    assert loss.grad_fn is not None
    uses: Counter[Any] = Counter()
    nodes = [loss.grad_fn]
    for node in nodes:  # the list grows in the loop
        for before, _ in node.next_functions:
            if before is not None:
                uses[before] += 1
                if uses[before] == 1:
                    nodes.append(before)

    def is_final(node: Any) -> bool:
        while node is not None and uses[node] == 1 and node.name() in VIEWS:
            node = node.next_functions[0][0]
        return node is None or (uses[node] == 1 and hasattr(node, "variable"))

    for node in nodes:
        if parameters := getattr(node, "parameters", []):
            node.final = all(is_final(node.next_functions[place][0]) for place in parameters)  # type: ignore[attr-defined]


def unwanted(gradient: Tensor) -> Tensor:
    """The placeholder (K, 0) that a selective operator returns for a gradient that is not needed."""
    return gradient.new_empty(gradient.shape[0], 0)


def rows(value: Tensor) -> Tensor:
    """`value` with its last dimension contiguous, copied only if necessary; other strides are arbitrary."""
    return value if value.stride(-1) == 1 else value.contiguous()


def unfolded(value: Tensor, like: Tensor) -> Tensor:
    """(B, K·E, L) → (K, B, L, E), for results of kernels that take the stack as further channels."""
    return torch.unflatten(value, 1, (like.shape[0], -1)).permute(1, 0, 3, 2).contiguous()


def like_first(x: Tensor, *rest: Tensor) -> tuple[Tensor]:
    """The `shapes` of an operator whose only output has the shape of its first input."""
    return (x.new_empty(x.shape),)


def _unpacked(function: Callable[..., Tensors], count: int) -> Callable[..., Any]:
    """`function` with `count` results. With one result, it returns the tensor instead of a tuple of one."""
    return function if count > 1 else lambda *values: _as_tuple(function(*values))[0]


def _tensors(names: Iterable[str]) -> str:
    return ", ".join(f"Tensor {name}" for name in names)


def _tuple(count: int) -> str:
    # Operator schemas have no tuple with one entry: an operator with one result returns the tensor itself.
    return "(" + ", ".join(["Tensor"] * count) + ")" if count > 1 else "Tensor"


def _as_tuple(values: Any) -> Tensors:
    return (values,) if isinstance(values, Tensor) else tuple(values)


def _folded(run: Callable[..., Any]) -> Callable[..., tuple[Any, Any]]:
    """The operator's vmap rule: fold the mapped dimension into the stack, (size, K, …) → (size · K, …)."""

    def rule(info: Any, dims: tuple[int | None, ...], *values: Any) -> tuple[Any, Any]:
        size = info.batch_size

        def stack(value: Any, dim: int | None) -> Any:
            if not isinstance(value, Tensor):
                return value
            # An unmapped tensor is expanded with stride 0. Kernels that accept any stride do not copy it.
            stacked = value.expand(size, *value.shape) if dim is None else value.movedim(dim, 0)
            return stacked.flatten(0, 1)

        stacked = [stack(value, dim) for value, dim in zip(values, dims, strict=True)]
        outputs = run(*stacked)
        if isinstance(outputs, Tensor):
            return torch.unflatten(outputs, 0, (size, -1)), 0
        return tuple(torch.unflatten(value, 0, (size, -1)) for value in outputs), (0,) * len(outputs)

    return rule
