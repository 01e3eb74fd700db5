"""Dropout in training. The masks of a step depend only on the run's seed and the step."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from torch import Tensor, nn

from bench.kernels import dropout as kernel

_key: Tensor | None = None


@contextmanager
def masks(key: Tensor | None) -> Iterator[None]:
    """Draw masks with a key (`bench.kernels.dropout`) in all models that run in a `with` block.

    Under `torch.func.vmap` the key may have an entry per member. Each member then has the masks of its seed.
    """
    global _key
    before, _key = _key, key
    try:
        yield
    finally:
        _key = before


class DropoutModule(nn.Dropout):
    """Dropout of single entries, (…, L, C) → (…, L, C).

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
        # Not part of the state dict: models with and without dropout have the same state dict.
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
