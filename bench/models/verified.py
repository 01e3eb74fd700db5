"""What a run takes for granted of an architecture, tried on a built model before a user's own trains.

Prompts are drawn at full length and a curriculum only masks the loss, so a model that looks ahead would
learn another task than the others; and models are compared by their number of parameters.
"""

from __future__ import annotations

import torch

from bench.models.architectures import Architecture
from bench.models.backbone import Model
from bench.models.sizes import Size

N_INPUTS, N_OUTPUTS = 3, 1
TOLERANCE = 1e-4
"""Of the largest output: far above the rounding of a Fourier transform, far below what a leak changes."""


def fault(architecture: Architecture, size: Size, length: int, device: torch.device, scan: str) -> str | None:
    """What is wrong with an architecture, or None.

    Its outputs must have a shape of (B, L, n_outputs), be finite and not change when later tokens do; its
    parameters must be as many as it states.

    Args:
        architecture: the pattern of blocks.
        size: layers, nominal width, heads.
        length: tokens of a prompt.
        device: where to try it.
        scan: name of the selective scan.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = Model(architecture, size, n_inputs=N_INPUTS, n_outputs=N_OUTPUTS, length=length, scan=scan)
        tokens, others = (torch.randn(2, length, N_INPUTS).to(device) for _ in range(2))
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
        for changed in sorted({1, length // 2, length - 1} - {0}):
            after = model(torch.cat((tokens[:, :changed], others[:, changed:]), dim=1))
            moved = float((after - before)[:, :changed].abs().max())
            if moved > TOLERANCE * float(before.abs().max()):
                return (
                    f"it is not causal: other tokens from {changed} on (of {length}) change an output "
                    f"before them by {moved:.2g}"
                )
    return None
