"""Parameters of a block that states no closed form: its module is built once and counted."""

from __future__ import annotations

from functools import cache

import torch

from bench.errors import UserError, raised_in
from bench.models.blocks import Block, Place


def parameters(block: Block, D: int) -> int:
    """Trainable parameters of the module that `block` builds at width D.

    Raises:
        UserError: it cannot be built.
    """
    return _counted(type(block), block.model_dump_json(), D)


@cache
def _counted(kind: type[Block], settings: str, D: int) -> int:
    block = kind.model_validate_json(settings)
    try:
        with torch.random.fork_rng(devices=[]):
            module = block.build(Place(width=D, heads=1, layers=1, blocks=1, scan="sequential"))
    except Exception as error:  # whatever its author's code raises
        told = raised_in(error, kind.__module__)
        raise UserError(f"block '{block.name}' cannot be built at width {D}: {told}") from error
    return sum(parameter.numel() for parameter in module.parameters() if parameter.requires_grad)
