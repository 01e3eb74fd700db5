"""Dropout in training: the masks of a step follow from the run's seed and the step alone."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from torch import Tensor, nn

from bench.kernels import dropout as kernel

_key: Tensor | None = None


@contextmanager
def masks(key: Tensor | None) -> Iterator[None]:
    """Draw the masks of all models that run in a `with` block with this key (`bench.kernels.dropout`).

    Under `torch.func.vmap` the key may have an entry per member, so that members have the masks of their own
    seeds.
    """
    global _key
    before, _key = _key, key
    try:
        yield
    finally:
        _key = before


class DropoutModule(nn.Dropout):
    """Dropout of single entries, (…, L, C) → the same.

    Without a key (see `masks`) it is PyTorch's dropout, which draws from PyTorch's generator.

    Args:
        probability: of dropping an entry.
        site: number of this module in the model. Modules of one model have different numbers.
        backend: name of the kernels' backend.
    """

    def __init__(self, probability: float, site: int, backend: str) -> None:
        super().__init__(probability)
        self.kernel = kernel.dropout(backend)
        self.site: Tensor
        # Not part of the state dict: a model with dropout has the parameters of one without.
        self.register_buffer("site", kernel.site(site, probability), persistent=False)

    @property
    def mask(self) -> tuple[Tensor, Tensor] | None:
        """The key and the site of the current mask; None if nothing is dropped, or without a key."""
        return None if _key is None or not self.drops else (_key, self.site)

    @property
    def drops(self) -> bool:
        """Whether entries are dropped."""
        return self.training and self.p > 0

    def forward(self, x: Tensor) -> Tensor:
        if not self.drops:
            return x
        return super().forward(x) if _key is None else self.kernel(x, _key, self.site)
