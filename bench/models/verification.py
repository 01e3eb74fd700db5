"""Check a user's architecture before training: output shape, finiteness, causality, parameter count.

Training relies on causality: prompts are drawn at full length, and a curriculum only masks the loss. A model
that is not causal would learn a different task. Comparisons rely on the stated number of parameters.

A model that reads one later token at one position can read the answer. Two tests therefore cover every
position:

- Cuts: if all tokens from position c on change, no output before c may change, for every c. This test finds
  any dependence, even one without a gradient.
- Gradients: the output at t must have no gradient with respect to tokens after t, for every t. Each row of
  the batch tests one t, so the test works under dropout, which differs between rows. The model is in training
  mode. All parameters are perturbed first, because a gate that starts at zero would hide a dependence.
  Prompts have at most `LONGEST` tokens.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import Tensor

from bench.models.architecture import Architecture
from bench.models.backbone import Model
from bench.models.mixers.block import Block
from bench.models.sizes import Size

N_INPUTS, N_OUTPUTS = 3, 1
TOLERANCE = 1e-4
"""Relative to the largest output or gradient. It is far above the rounding errors of a Fourier transform,
and far below the change that a leak causes."""
TOKENS_AT_ONCE = 1 << 13
"""Tokens in a batch of the tests. They need no more memory than training does."""
PERTURBATION = 0.02
"""Standard deviation of the noise that is added to all parameters before the gradient test."""
LONGEST = 256
"""Longest prompt of the gradient test, which costs several times as much as the test of cuts."""


def fault(
    architecture: Architecture, size: Size, length: int, device: torch.device, backend: str
) -> str | None:
    """The first fault of an architecture as a sentence; None if it has none.

    Every block must keep the shape and the type of its input. The outputs must have the shape
    (B, L, n_outputs), be finite and not depend on later tokens. The number of parameters must be the stated
    one. Torch's random state is the same afterwards.

    Args:
        architecture: the pattern of blocks.
        size: layers, nominal width, heads.
        length: tokens of a prompt.
        device: device of the test.
        backend: name of the kernels' backend.
    """
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        torch.manual_seed(0)
        model = Model(
            architecture, size, n_inputs=N_INPUTS, n_outputs=N_OUTPUTS, length=length, backend=backend
        )
        tokens, replacements = (torch.randn(2, length, N_INPUTS).to(device) for _ in range(2))
        noise = [PERTURBATION * torch.randn(parameter.shape) for parameter in model.parameters()]
        model.to(device).eval()
        counted = sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad)
        stated = architecture.parameters(
            size.layers, size.width, length=length, n_inputs=N_INPUTS, n_outputs=N_OUTPUTS
        )
        if counted != stated:
            return f"it states {stated:,} parameters and has {counted:,} (read-in and read-out included)"
        if wrong := _wrong_output(model, architecture.blocks(size.layers), tokens):
            return wrong
        if leak := _changed_by_a_cut(model, tokens[:1], replacements[:1]):
            return leak
        with torch.no_grad():
            for parameter, step in zip(model.parameters(), noise, strict=True):
                parameter.add_(step.to(device))
        model.train()
        longest = min(length, LONGEST)
        # An even and an odd length: a model may cut a prompt into pieces and leak within a piece.
        for count in (longest, longest - 1):
            if count > 1 and (leak := _gradient_from_ahead(model, tokens[:1, :count])):
                return leak
    return None


def _wrong_output(model: Model, blocks: Sequence[Block], tokens: Tensor) -> str | None:
    """The first wrong output of the model or a block on prompts (B, L, n_inputs), as a sentence, or None."""
    try:
        with torch.no_grad(), _checked_blocks(model, blocks):
            outputs = model(tokens)
    except _WrongOutput as wrong:
        return str(wrong)
    expected = (*tokens.shape[:2], N_OUTPUTS)
    if outputs.shape != expected:
        return f"outputs are {tuple(outputs.shape)} instead of {expected}"
    if not bool(torch.isfinite(outputs).all()):
        return "outputs are not finite when it is freshly initialised"
    return None


class _WrongOutput(Exception):
    """A block's output is not a tensor (B, L, D) with the type of the block's input."""


@contextmanager
def _checked_blocks(model: Model, blocks: Sequence[Block]) -> Iterator[None]:
    """Check the output of every block.

    PyTorch does not refuse all wrong shapes: it adds (B, L, 1) to (B, L, D). A Triton kernel would read
    beyond the end of such a tensor.

    Raises:
        _WrongOutput: in the context, when a block has returned a wrong output.
    """

    def check(block: Block, inputs: Tensor, output: Any) -> None:
        if not isinstance(output, Tensor):
            difference = f"{type(output).__name__} instead of a tensor"
        elif output.shape != inputs.shape:
            difference = f"{tuple(output.shape)} instead of {tuple(inputs.shape)}"
        elif output.dtype != inputs.dtype:
            difference = f"{output.dtype} instead of {inputs.dtype}"
        else:
            return
        raise _WrongOutput(f"block '{block.name}' returns {difference}")

    with ExitStack() as hooks:
        for block, module in zip(blocks, model.blocks, strict=True):
            handle = module.register_forward_hook(
                lambda _, inputs, output, block=block: check(block, inputs[0], output)
            )
            hooks.callback(handle.remove)
        yield


def _groups_of_positions(length: int) -> Iterator[Tensor]:
    """Positions 0 … length − 1, in groups of at most `TOKENS_AT_ONCE` tokens of prompts."""
    yield from torch.split(torch.arange(length), max(1, TOKENS_AT_ONCE // length))


@torch.no_grad()
def _changed_by_a_cut(model: Model, tokens: Tensor, replacements: Tensor) -> str | None:
    """The first cut of a prompt (1, L, n_inputs) that changes an earlier output, as a sentence, or None."""
    length = tokens.shape[1]
    at = torch.arange(length, device=tokens.device)
    before = model(tokens)
    largest = float(before.abs().max())
    for positions in _groups_of_positions(length):
        cuts = positions.to(tokens.device)[:, None]
        after = model(torch.where((at < cuts)[..., None], tokens, replacements))
        change = ((after - before).abs().amax(dim=2) * (at < cuts)).amax(dim=1)
        if not bool((change <= TOLERANCE * largest).all()):  # NaN is reported too
            row = int((~(change <= TOLERANCE * largest)).nonzero()[0])
            return (
                f"it is not causal: other tokens from {int(positions[row])} on (of {length}) change an "
                f"output before them by {float(change[row]):.2g}"
            )
    return None


def _gradient_from_ahead(model: Model, tokens: Tensor) -> str | None:
    """The first output of a prompt (1, L, n_inputs) that depends on later tokens, as a sentence, or None."""
    length = tokens.shape[1]
    at = torch.arange(length, device=tokens.device)
    for positions in _groups_of_positions(length):
        positions = positions.to(tokens.device)
        rows = tokens.expand(len(positions), -1, -1).clone().requires_grad_()
        outputs = model(rows)
        # Row i contributes the output at its own position only, so one backward pass tests all positions.
        tested = outputs[torch.arange(len(positions)), positions].sum()
        (gradient,) = torch.autograd.grad(tested, rows, allow_unused=True, materialize_grads=True)
        sizes = gradient.abs().amax(dim=2)
        ahead = (sizes * (at > positions[:, None])).amax(dim=1)
        if not bool((ahead <= TOLERANCE * sizes.max()).all()):
            row = int((~(ahead <= TOLERANCE * sizes.max())).nonzero()[0])
            return (
                f"it is not causal: while it trains, output {int(positions[row])} (of {length}) depends on "
                f"tokens after it, with a gradient of {float(ahead[row]):.2g}"
            )
    return None
