"""The precision of matrix products in this process, and which precisions a device supports."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from bench.errors import UserError, did_you_mean
from bench.precision import PRECISIONS, Precision

if TYPE_CHECKING:
    import torch

_current = "fp32"


def current() -> Precision:
    """The current precision of matrix products."""
    return PRECISIONS[_current]


def dot_precision(dtype: torch.dtype) -> str:
    """`input_precision` of `tl.dot` for operands of `dtype`: the current precision for fp32."""
    return current().triton_dot if dtype.itemsize == 4 else "ieee"


def exact_dot_precision(dtype: torch.dtype) -> str:
    """`input_precision` of `tl.dot` for products that no precision of a run rounds: that of fp32."""
    return PRECISIONS["fp32"].triton_dot if dtype.itemsize == 4 else "ieee"


def use(name: str) -> None:
    """Compute matrix products in the precision `name` from now on.

    PyTorch's own products, such as those of its attention, use TF32 if products with weights do, and fp32
    otherwise.

    Raises:
        UserError: unknown precision.
    """
    import torch

    global _current
    _refuse_unknown(name)
    _current = name
    torch.set_float32_matmul_precision("high" if current().tf32_weights else "highest")
    torch.backends.cuda.matmul.allow_bf16_reduced_precision_reduction = False


@contextmanager
def precision(name: str) -> Iterator[None]:
    """Compute matrix products in the precision `name` within a `with` block.

    Raises:
        UserError: unknown precision.
    """
    import torch

    before, torch_setting = _current, torch.get_float32_matmul_precision()
    use(name)
    try:
        yield
    finally:
        use(before)
        torch.set_float32_matmul_precision(torch_setting)


def unavailable(name: str, device: str) -> str | None:
    """Why `device` ("cpu", "cuda:0") cannot compute in the precision `name`; None if it can.

    Raises:
        UserError: unknown precision.
    """
    _refuse_unknown(name)
    if name == "fp32":
        return None
    if not device.startswith("cuda"):
        return f"precision {name} needs an NVIDIA GPU: a processor computes in fp32"
    import torch

    major, minor = torch.cuda.get_device_capability(device)
    if major < 8:
        return (
            f"precision {name} needs compute capability 8.0 or higher, this GPU has {major}.{minor}: use fp32"
        )
    return None


def _refuse_unknown(name: str) -> None:
    if name not in PRECISIONS:
        raise UserError(f"there is no precision '{name}'{did_you_mean(name, PRECISIONS)}")
