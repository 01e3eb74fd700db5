"""Prefix products: for every position, the product of all elements up to it."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from bench.lazy import torch

if TYPE_CHECKING:
    from torch import Tensor


def prefix_products(elements: Tensor, product: Callable[[Tensor, Tensor], Tensor]) -> Tensor:
    """The products e₁, e₁·e₂, e₁·e₂·e₃, … of (B, L, …), same shape.

    There are ⌈log₂ L⌉ rounds, each for all positions at once (Hillis & Steele 1986), because a loop over
    positions would cost a GPU L launches. After the round with shift s, position t has the product of the
    last 2s elements up to it.

    Args:
        elements: of any dtype.
        product: an associative product of two tensors of elements; the first is the earlier one.
    """
    products, shift = elements, 1
    while shift < elements.shape[1]:
        later = product(products[:, :-shift], products[:, shift:])
        products = torch.cat((products[:, :shift], later), dim=1)
        shift *= 2
    return products
