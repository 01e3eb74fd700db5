"""How matrix products are computed, by name; readable without torch.

A new precision is an entry in `PRECISIONS`. `bench.kernels.product` computes with it.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Precision:
    """One way to compute a product of fp32 matrices.

    Attributes:
        name: the value of a run's field `precision`.
        triton_dot: the `input_precision` of `tl.dot`. For `bf16`, kernels round the operands to bf16 first,
            and every choice gives the same product.
        tf32_weights: whether cuBLAS computes products with weights in TF32.
        pairs: for a split precision, which parts of the two operands are multiplied; part 1 is the largest.
            Small products come first, so that they are summed before a large one absorbs them. Empty where
            the library multiplies fp32 operands itself.
    """

    name: str
    triton_dot: str
    tf32_weights: bool = False
    pairs: tuple[tuple[int, int], ...] = ()


PRECISIONS: dict[str, Precision] = {
    precision.name: precision
    for precision in (
        # Products and sums in fp32 (cuBLAS).
        Precision("fp32", "tf32x3"),
        # Operands rounded to 11 bits, fp32 sums (cuBLAS).
        Precision("tf32", "tf32", tf32_weights=True),
        # Products with weights as in tf32, those of two activations, such as scores of attention, as in fp32.
        Precision("tf32_weights", "tf32x3", tf32_weights=True),
        # Operands split into three bf16 parts, six products, fp32 sums: as accurate as fp32.
        Precision("bf16x6", "bf16x6", pairs=((3, 1), (2, 2), (1, 3), (2, 1), (1, 2), (1, 1))),
        # Operands split into two bf16 parts, three products, fp32 sums: relative error about 1e-5.
        Precision("bf16x3", "bf16x3", pairs=((2, 1), (1, 2), (1, 1))),
        # Operands rounded to bf16 (8 bits), fp32 sums.
        Precision("bf16", "tf32", pairs=((1, 1),)),
    )
}
"""Every precision by name. `fp32` runs on every device."""
