"""What a run takes for granted of an architecture, tried on a built model before a user's own trains.

Prompts are drawn at full length and a curriculum only masks the loss, so a model that looks ahead would
learn another task than the others; and models are compared by their number of parameters.

Looking ahead by one token at one place is enough to read the answer. So every place is tried, twice:

- cuts: other tokens from c on must change no output before c, for every c. It sees any dependence, also one
  that has no gradient;
- gradients: the output at t must have none with respect to tokens after t, for every t. Each row of a batch
  stands for one t, so that this holds under dropout too, and is tried in training mode, with every parameter
  moved a little from where it starts (a gate that starts at zero is then open), at lengths up to `LONGEST`.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from bench.models.architectures import Architecture
from bench.models.backbone import Model
from bench.models.sizes import Size

N_INPUTS, N_OUTPUTS = 3, 1
TOLERANCE = 1e-4
"""Of the largest output: far above the rounding of a Fourier transform, far below what a leak changes."""
TOKENS_AT_ONCE = 1 << 13
"""Of a batch of places: fewer than a training batch has, which must fit too."""
MOVED = 0.02
"""Standard deviation of what is added to every parameter."""
LONGEST = 256
"""Tokens of the prompts whose gradients are taken, at a multiple of what cuts of whole prompts cost."""


def fault(architecture: Architecture, size: Size, length: int, device: torch.device, scan: str) -> str | None:
    """What is wrong with an architecture, or None.

    Its outputs must have a shape of (B, L, n_outputs), be finite and not depend on later tokens; its
    parameters must be as many as it states. The random state is left as it was.

    Args:
        architecture: the pattern of blocks.
        size: layers, nominal width, heads.
        length: tokens of a prompt.
        device: where to try it.
        scan: name of the selective scan.
    """
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        torch.manual_seed(0)
        model = Model(architecture, size, n_inputs=N_INPUTS, n_outputs=N_OUTPUTS, length=length, scan=scan)
        tokens, others = (torch.randn(2, length, N_INPUTS).to(device) for _ in range(2))
        noise = [MOVED * torch.randn(parameter.shape) for parameter in model.parameters()]
        model.to(device).eval()
        counted = sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad)
        stated = architecture.parameters(
            size.layers, size.width, length=length, n_inputs=N_INPUTS, n_outputs=N_OUTPUTS
        )
        if counted != stated:
            return f"it states {stated:,} parameters and has {counted:,} (read-in and read-out included)"
        with torch.no_grad():
            before = model(tokens)
        if before.shape != (2, length, N_OUTPUTS):
            return f"outputs are {tuple(before.shape)} instead of {(2, length, N_OUTPUTS)}"
        if not bool(torch.isfinite(before).all()):
            return "outputs are not finite when it is freshly initialised"
        if found := _changed_by_a_cut(model, tokens[:1], others[:1]):
            return found
        with torch.no_grad():
            for parameter, step in zip(model.parameters(), noise, strict=True):
                parameter.add_(step.to(device))
        model.train()
        longest = min(length, LONGEST)
        for tried in (longest, longest - 1):  # one of them is odd: models may cut a prompt into pieces
            if tried > 1 and (found := _gradient_from_ahead(model, tokens[:1, :tried])):
                return found
    return None


def _places(length: int) -> Iterator[Tensor]:
    """0 … length − 1, in pieces that fit into a batch."""
    yield from torch.split(torch.arange(length), max(1, TOKENS_AT_ONCE // length))


@torch.no_grad()
def _changed_by_a_cut(model: Model, tokens: Tensor, others: Tensor) -> str | None:
    """Which cut of a prompt (1, L, n_inputs) changes an output before it, or None."""
    length = tokens.shape[1]
    at = torch.arange(length, device=tokens.device)
    before = model(tokens)
    largest = float(before.abs().max())
    for places in _places(length):
        cuts = places.to(tokens.device)[:, None]
        after = model(torch.where((at < cuts)[..., None], tokens, others))
        moved = ((after - before).abs().amax(dim=2) * (at < cuts)).amax(dim=1)
        if not bool((moved <= TOLERANCE * largest).all()):
            row = int((~(moved <= TOLERANCE * largest)).nonzero()[0])
            return (
                f"it is not causal: other tokens from {int(places[row])} on (of {length}) change an output "
                f"before them by {float(moved[row]):.2g}"
            )
    return None


def _gradient_from_ahead(model: Model, tokens: Tensor) -> str | None:
    """Which output of a prompt (1, L, n_inputs) has a gradient with respect to later tokens, or None."""
    length = tokens.shape[1]
    at = torch.arange(length, device=tokens.device)
    for places in _places(length):
        places = places.to(tokens.device)
        rows = tokens.expand(len(places), -1, -1).clone().requires_grad_()
        outputs = model(rows)
        said = outputs[torch.arange(len(places)), places].sum()
        (gradient,) = torch.autograd.grad(said, rows, allow_unused=True, materialize_grads=True)
        sizes = gradient.abs().amax(dim=2)
        ahead = (sizes * (at > places[:, None])).amax(dim=1)
        if not bool((ahead <= TOLERANCE * sizes.max()).all()):
            row = int((~(ahead <= TOLERANCE * sizes.max())).nonzero()[0])
            return (
                f"it is not causal: while it trains, output {int(places[row])} (of {length}) depends on "
                f"tokens after it, with a gradient of {float(ahead[row]):.2g}"
            )
    return None
